"""How far an exported file's answers are from those of the model it was made of, on a few windows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ..inference.cache import open_cache
from ..inference.choice import build
from ..inference.engine import Engine
from ..inference.from_onnx import cut_of
from ..inference.int8 import calibration_windows
from ..learning.exported import Export
from ..learning.runs import ModelInfo

__all__ = ["RoundTrip", "check_windows", "compare", "decide", "engine_answers", "gis_engine", "reference_engine"]

WINDOWS = 4

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RoundTrip:
    """The differences on `windows` windows of `side` x `side` pixels, `made` (scenes) or the user's.

    Args:
        max_difference, mean_difference: of the probabilities.
        mask_iou: of the masks at the model's threshold, 1 where both are empty; several classes: None.
        equal_pixels: the share of pixels that get the same class.
        reference: what computed the model itself.
    """

    max_difference: float
    mean_difference: float
    mask_iou: float | None
    equal_pixels: float
    windows: int
    side: int
    made: bool
    reference: str

    def __str__(self) -> str:
        what = "made scenes" if self.made else "the images"
        same = f"{self.equal_pixels:.4%} of the pixels get the same class"
        if self.mask_iou is not None:
            same = f"IoU of the masks {self.mask_iou:.4f}"
        return (
            f"against {self.reference} on {self.windows} windows of {what} ({self.side}x{self.side}): probabilities "
            f"differ by at most {self.max_difference:.2g} (mean {self.mean_difference:.2g}), {same}"
        )


def check_windows(images: Iterable[Pixels] | None, info: ModelInfo, side: int) -> Pixels:
    """Windows (N, S, S, C) uint8 of images, or of made scenes; none of those that 8 bits are calibrated with.

    Raises:
        ConfigError, ModelError: no images, or one that the model does not take.
    """
    if images is None:
        return np.stack(list(_scenes(info.bands, side)))
    found = calibration_windows(images, info, side, 2 * WINDOWS)
    return found[1::2] if len(found) > 1 else found


def _scenes(bands: int, side: int) -> Iterable[Pixels]:
    """Made scenes; other numbers of bands than 3 are its colours in turn."""
    from ..imagery.scenes import make_scene

    for seed in range(WINDOWS):
        yield make_scene(seed, side)[0][..., np.arange(bands) % 3]


def reference_engine(path: Path, info: ModelInfo) -> tuple[Engine, str]:
    """Keras in float32; without a backend, the model as `predict` converts it for OpenVINO. And its name."""
    try:
        return build("keras", path, open_cache(info.hash)), "Keras"
    except BackendError:
        return build("openvino f32", path, open_cache(info.hash)), "OpenVINO in float32"


def gis_engine(path: Path, export: Export) -> Callable[[Pixels], tuple[Floats, Pixels]]:
    """A GIS file on ONNX Runtime, fed and decided as Deepness and GeoDeep do.

    The function: windows (N, T, T, C) uint8 -> probabilities (N, T, T, K) float32 with the model's threshold where it
    was, and the class of each pixel (N, T, T) uint8.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    cut = cut_of(export)

    def run(windows: Pixels) -> tuple[Floats, Pixels]:
        shares = np.moveaxis(windows, 3, 1).astype(np.float32) / np.float32(255)
        shown = np.concatenate([session.run(None, {name: share[None]})[0] for share in shares])
        classes = shown.argmax(axis=1).astype(np.uint8)
        if len(export.info.classes) > 2:
            return np.moveaxis(shown, 1, 3), classes
        found = shown[:, 1:].transpose(0, 2, 3, 1)
        return np.where(found <= 0.5, found * 2 * cut, 1 - (1 - found) * 2 * (1 - cut)), classes

    return run


def decide(probabilities: Floats, info: ModelInfo) -> Pixels:
    """The class of each pixel, (..., K) float32 -> (...) uint8, as `Predictor.mask` decides."""
    if len(info.classes) > 2:
        return np.asarray(probabilities.argmax(axis=-1), np.uint8)
    return np.asarray(probabilities[..., 0] > info.threshold, np.uint8)


def compare(
    run: Callable[[Pixels], tuple[Floats, Pixels]],
    reference: Engine,
    name: str,
    windows: Pixels,
    info: ModelInfo,
    made: bool,
) -> RoundTrip:
    """Both on the same windows, one at a time."""
    largest, total, both, either, equal = 0.0, 0.0, 0, 0, 0
    for k in range(len(windows)):
        one, classes = run(windows[k : k + 1])
        other = np.asarray(reference(windows[k : k + 1]), np.float32)
        off = np.abs(one - other)
        largest, total = max(largest, float(off.max())), total + float(off.mean(dtype=np.float64))
        wanted = decide(other, info)
        equal += int((classes == wanted).sum())
        both, either = (
            both + int(((classes > 0) & (wanted > 0)).sum()),
            either + int(((classes > 0) | (wanted > 0)).sum()),
        )
    iou = None if len(info.classes) > 2 else (both / either if either else 1.0)
    pixels = windows[..., 0].size
    return RoundTrip(largest, total / len(windows), iou, equal / pixels, len(windows), windows.shape[1], made, name)


def engine_answers(run: Engine, info: ModelInfo) -> Callable[[Pixels], tuple[Floats, Pixels]]:
    """An engine's probabilities with the classes decided of them."""

    def answer(windows: Pixels) -> tuple[Floats, Pixels]:
        found = np.asarray(run(windows), np.float32)
        return found, decide(found, info)

    return answer
