"""A model quantised to 8 bits with windows of the user's own images, and what that changes."""

import contextlib
import hashlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError, ConfigError, DataError, ModelError, OutputError
from ..files import write_json
from ..learning.runs import ModelInfo
from ._openvino import load_openvino, silence_telemetry
from .cache import open_cache
from .convert import run_module
from .engine import Engine, Tell
from .openvino_engine import OpenVINOEngine
from .tiling import reflect_index

__all__ = ["WINDOWS", "ImageFiles", "Int8Engine", "calibration_windows", "describe", "main", "open_int8"]

WINDOWS = 64  # half of them calibrate, the other half are compared
SIDE = 256  # pixels of a window, or the next size that the network takes
IMAGES = 64  # at most: of a sequence from all over it, of a stream the first
LARGE, LOOK, TRIES = 2**24, 512, 20  # px of rasters of which windows are read, their side; how often for one with data
BATCH = 4
RECIPE = 1  # raised when the quantisation changes
PLASTIC = 1.32471795724474602596  # steps by its powers cover a square evenly: Roberts 2018, the R2 sequence


class Int8Engine(OpenVINOEngine):
    """A quantised model, with `report`: how its answers differ from float32 on windows that did not calibrate it."""

    def __init__(
        self, path: Path, report: dict[str, Any], compiled: Path | None = None, threads: int | None = None
    ) -> None:
        super().__init__(path, "int8", compiled, threads)
        self.report = report


def describe(report: dict[str, Any]) -> str:
    """An `Int8Engine`'s report in a line."""
    same = (
        f"{report['equal_pixels']:.2%} of the pixels get the same class"
        if "equal_pixels" in report
        else f"IoU with the float32 masks {report['mask_iou']:.4f}"
    )
    return (
        f"int8: {same}, probabilities differ by {report['mean_difference']:.4f} (mean of {report['windows']} windows)"
    )


def open_int8(
    path: Path,
    info: ModelInfo,
    images: Iterable[NDArray[np.uint8]] | None,
    tell: Tell | None = None,
    threads: int | None = None,
) -> Int8Engine:
    """The quantised engine of the model at `path`; made once for the same model and windows.

    Args:
        images: (H, W, C) uint8, some of those that will be predicted; no labels are needed.
        tell: is given a line before what takes long.
        threads: CPU threads that compute; None: all cores.

    Raises:
        ConfigError: no images.
        BackendError: nncf or OpenVINO is not installed.
        ModelError: the images do not fit the model, or it cannot be quantised.
    """
    if images is None:
        raise ConfigError("int8 needs images like those to predict: give calibrate=[...], arrays of (H, W, C) uint8")
    if importlib.util.find_spec("openvino") is None:
        raise BackendError("int8 runs on OpenVINO, which is not installed: pip install openvino")
    windows = calibration_windows(images, info)
    cache = open_cache(info.hash)
    name = f"int8-{_digest(windows)}.xml"

    def make(target: Path) -> None:
        if importlib.util.find_spec("nncf") is None:
            raise BackendError("int8 needs nncf to quantise the model: pip install 'roadseg[int8]'")
        if tell is not None:
            tell(f"quantising with {len(windows[::2])} windows of the images, once for this model and these images")
        _quantise(cache.openvino(path), windows[::2], target)

    quantised = cache.keep(name, make)
    engine = Int8Engine(quantised, {}, cache.compiled, threads)
    record = cache.folder / f"{quantised.stem}.report.json"
    engine.report = _read_report(record, info.threshold)
    if not engine.report:
        others = windows[1::2] if len(windows) > 1 else windows
        exact = OpenVINOEngine(cache.openvino(path), "f32", cache.compiled, threads)
        engine.report = _compare(exact, engine, others, info)
        with contextlib.suppress(OutputError):  # it is measured again the next time
            write_json(record, engine.report)
    return engine


def calibration_windows(
    images: Iterable[NDArray[np.uint8]], info: ModelInfo, side: int = SIDE, windows: int | None = None
) -> NDArray[np.uint8]:
    """Windows (N, S, S, C) spread over the images, the same each time; images smaller than a window are reflected.

    Args:
        side: S, pixels, or the next size that the network takes.
        windows: N, at most; None: `WINDOWS`.

    Raises:
        ConfigError: no images.
        ModelError: an image that the model does not take.
    """
    side = -(-side // info.multiple) * info.multiple
    known = images if isinstance(images, Sequence) else list(islice(images, IMAGES))
    count = min(len(known), IMAGES)
    found: dict[tuple[int, int, int], NDArray[np.uint8]] = {}
    damaged: DataError | None = None
    for j in range(count):
        try:
            image = _at_scale(known[j * len(known) // count], info)
        except DataError as error:  # `predict` names it when it comes to it
            damaged = error
            continue
        height, width = image.shape[:2]
        for k in range(j, WINDOWS if windows is None else windows, count):
            y, x = (_spread(k, power, n - side) for power, n in ((1, height), (2, width)))
            rows, columns = reflect_index(np.arange(y, y + side), height), reflect_index(np.arange(x, x + side), width)
            found.setdefault((j, y, x), image[np.ix_(rows, columns)])
    if not found:
        raise damaged or ConfigError("int8 needs at least one image to be calibrated with")
    return np.stack(list(found.values()))


def _spread(k: int, power: int, room: int) -> int:
    """The k-th of evenly spread places in 0..room; another sequence for each power."""
    return int((0.5 + (k + 1) / PLASTIC**power) % 1 * (max(room, 0) + 1))


class ImageFiles(Sequence[NDArray[np.uint8]]):
    """Rasters that are opened when they are asked for, as the model takes them; of a large one, windows all over it.

    Args:
        rasters: a file each, or the files of a mosaic.
        info: what the model is for.
        bands, value_range: in place of the model's, see `planning.Wanted`.

    Raises:
        DataError: on asking, for a file that cannot be read or does not fit.
    """

    def __init__(
        self,
        rasters: Sequence[Path | Sequence[Path]],
        info: ModelInfo,
        *,
        bands: tuple[int, ...] | None = None,
        value_range: tuple[float, float] | Literal["auto"] | None = None,
    ) -> None:
        self.rasters, self.info = list(rasters), info
        self._select = bands if bands is not None else info.select
        self._range = value_range if value_range is not None else info.value_range

    @cached_property
    def _places(self) -> list[tuple[Path | Sequence[Path], int | None]]:
        """The images: a raster, or the k-th window of one."""
        found: list[tuple[Path | Sequence[Path], int | None]] = []
        for raster in self.rasters:
            try:
                source = self._open(raster)
                large = source.height * source.width > LARGE
            except DataError:  # it is named when it is asked for
                large = False
            found += [(raster, k) for k in range(IMAGES)] if large else [(raster, None)]
        return found

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        from ..imagery.value_range import find_range, prepared

        raster, number = self._places[index]
        source = self._open(raster)
        with source:
            value_range = find_range(source) if self._range == "auto" else self._range
            opened = prepared(source, self.info.bands, value_range)
            if number is None:
                return opened.read(0, opened.height)[0]
            pixels = np.empty((0, 0, self.info.bands), np.uint8)
            for k in range(number, number + IMAGES * TRIES, IMAGES):
                side = min(LOOK, opened.height, opened.width)
                top, left = (_spread(k, power, n - side) for power, n in ((1, opened.height), (2, opened.width)))
                pixels, valid = opened.read(top, top + side, left, left + side)
                if valid is None or valid.mean() > 0.5:
                    break
            return pixels

    def _open(self, raster: Path | Sequence[Path]) -> Any:
        from ..imagery.opening import open_source

        return open_source(raster, bands=self._select)


def _at_scale(image: NDArray[np.uint8], info: ModelInfo) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[2] != info.bands or image.dtype != np.uint8 or image.size == 0:
        raise ModelError(
            f"the model takes (height, width, {info.bands}) of uint8, not {image.shape} of {image.dtype}: "
            "open the image with imagery.dataset.open_image"
        )
    if info.scale == 1:
        return image
    from ..imagery.resample import resample

    height, width = (max(1, round(n * info.scale)) for n in image.shape[:2])
    return resample(image, height, width)


def _digest(windows: NDArray[np.uint8]) -> str:
    return hashlib.sha256(f"{RECIPE} {windows.shape}".encode() + windows.tobytes()).hexdigest()[:12]


def _quantise(model: Path, windows: NDArray[np.uint8], target: Path) -> None:
    """nncf in a process of its own: it imports PyTorch where that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "windows.npy"
        np.save(kept, windows)
        failure = run_module("roadseg.inference.int8", str(model), str(kept), str(target))
    if failure:
        raise ModelError(f"the model cannot be quantised ({failure}): predict without --int8")


def _compare(exact: Engine, quantised: Engine, windows: NDArray[np.uint8], info: ModelInfo) -> dict[str, Any]:
    """How far two engines differ on windows (N, S, S, C): the masks, and the probabilities on average."""
    off, both, either, equal, pixels = 0.0, 0, 0, 0, 0
    several = len(info.classes) > 2
    for k in range(0, len(windows), BATCH):
        one, other = exact(windows[k : k + BATCH]), quantised(windows[k : k + BATCH])
        off += float(np.abs(one - other).sum(dtype=np.float64)) / one.shape[-1]
        pixels += one[..., 0].size
        if several:
            equal += int((one.argmax(-1) == other.argmax(-1)).sum())
        else:
            a, b = one > info.threshold, other > info.threshold
            both, either = both + int((a & b).sum()), either + int((a | b).sum())
    masks = {"equal_pixels": equal / pixels} if several else {"mask_iou": both / either if either else 1.0}
    return {**masks, "mean_difference": off / pixels, "windows": len(windows), "threshold": info.threshold}


def _read_report(path: Path, threshold: float) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("threshold") == threshold else {}


# --- in the process of its own ---------------------------------------------------------------------------------------


def main(words: list[str]) -> int:
    """`MODEL.xml WINDOWS.npy TARGET.xml`; 0 when `TARGET` is written."""
    source, kept, target = words
    silence_telemetry()
    try:
        import nncf

        openvino = load_openvino()
        model = openvino.Core().read_model(source)
        windows = np.load(kept)
        kinds = ("Convolution", "ConvolutionBackpropData")
        convolutions = [n.get_friendly_name() for n in model.get_ordered_ops() if n.get_type_name() in kinds]
        quantised = nncf.quantize(
            model,
            nncf.Dataset([window[None] for window in windows]),
            # Activations may be asymmetric: 0.94 against 0.93 IoU with the float32 masks (CIL), at the same speed.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(windows),
            # The pixels' own convolution and the one of the probabilities: little work, and 0.96 against 0.94.
            ignored_scope=nncf.IgnoredScope(names=sorted({convolutions[0], convolutions[-1]}) if convolutions else []),
        )
        openvino.save_model(quantised, target, compress_to_fp16=False)
    except Exception as error:
        first = str(error).strip().splitlines()
        print(f"{type(error).__name__}: {first[0] if first else ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
