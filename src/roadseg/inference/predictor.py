"""From the pixels of an image of any size to probabilities and to a mask; reads and writes no files of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import PredictConfig
from ..errors import ConfigError, ModelError
from .engine import Engine, EngineKind, Tell, engine_name, open_engine, with_tta
from .tiling import Grid, predict_bands

if TYPE_CHECKING:
    from ..learning.runs import ModelInfo

__all__ = ["Predictor", "float32_predictor", "load_predictor"]


class Predictor:
    """A model with everything needed to apply it: tiling, blending, ground scale, test-time augmentation, threshold.

    Args:
        run: windows (N, H, W, C) uint8 -> probabilities (N, H, W, K) float32 in [0, 1].
        info: what the model is for; its threshold is the one that `mask` uses.
        config: windows and batch; test-time augmentation where `config.tta` or `tta` says so.
        name: where the model came from, for the record.
        engine: what `run` computes with, for the record; where empty, what `run` says of itself.

    Attributes:
        outputs: K, 1 for two classes (the probability of the second one), else the number of classes.
    """

    def __init__(
        self,
        run: Engine,
        info: ModelInfo,
        config: PredictConfig | None = None,
        tta: bool = False,
        *,
        name: str = "",
        engine: str = "",
    ) -> None:
        self.config = config if config is not None else PredictConfig()
        self.tta = tta or self.config.tta
        self.run = with_tta(run) if self.tta else run
        self.info = info
        self.name = name
        self._source, self._engine = run, engine
        self.outputs = len(info.classes) if len(info.classes) > 2 else 1

    @property
    def engine(self) -> str:
        """What computes, e.g. `openvino bf16`; an engine that chooses itself says so after the first windows."""
        return self._engine or engine_name(self._source)

    @property
    def int8(self) -> dict[str, Any] | None:
        """How far a quantised model's masks are from the float32 ones; None where nothing is quantised."""
        return getattr(self._source, "report", None)

    @property
    def setup_seconds(self) -> float:
        """Seconds that were spent within the predictions so far on choosing the engine."""
        return float(getattr(self._source, "setup_seconds", 0.0))

    def bands(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Probabilities from top to bottom, a band of rows at a time; what a large image needs.

        Args:
            image: (H, W, C) uint8.

        Yields:
            `(y, rows)`: (rows, W, K) float32 in [0, 1] from row y down, each row once and in order.

        Raises:
            ModelError: the image has another number of bands than the model, or the model is not one for segmentation.
        """
        if image.ndim != 3 or image.shape[2] != self.info.bands or image.dtype != np.uint8:
            raise ModelError(
                f"the model takes (height, width, {self.info.bands}) of uint8, not {image.shape} of {image.dtype}: "
                "open the image with imagery.dataset.open_image"
            )
        if self.info.scale != 1:
            yield 0, self._rescaled(image)
        else:
            yield from self._bands(image)

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of the whole image: (H, W, C) uint8 -> (H, W, K) float32 in [0, 1]; see `bands`."""
        result = np.empty((*image.shape[:2], self.outputs), np.float32)
        for y, rows in self.bands(image):
            result[y : y + len(rows)] = rows
        return result

    def mask(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The decision: (H, W, K) float32 -> (H, W) uint8.

        Two classes: 255 where the probability is above the threshold, else 0. Several: the index of the most probable.
        """
        if self.outputs == 1:
            return np.asarray(np.where(probabilities[..., 0] > self.info.threshold, 255, 0), dtype=np.uint8)
        return np.asarray(probabilities.argmax(axis=-1), dtype=np.uint8)

    def _bands(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        height, width = image.shape[:2]
        config = self.config
        grid = Grid(height, width, config.window, config.overlap, self.info.multiple)
        for y, rows in predict_bands(lambda y0, y1: image[y0:y1], grid, self.run, config.batch):
            if rows.shape[2] != self.outputs:
                raise ModelError(
                    f"the model has {rows.shape[2]} outputs a pixel, "
                    f"but {len(self.info.classes)} classes need {self.outputs}: "
                    "the file and its description do not belong together"
                )
            yield y, np.clip(rows, 0, 1, out=rows)  # blending may exceed 1 by a rounding

    def _rescaled(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict at the ground scale the model was trained at and lay the result back; holds the whole image."""
        from ..imagery.resample import resample

        height, width = image.shape[:2]
        scale = self.info.scale
        rows_there, columns = max(1, round(height * scale)), max(1, round(width * scale))
        scaled = resample(image, rows_there, columns)
        found = np.empty((rows_there, columns, self.outputs), np.float32)
        for y, rows in self._bands(scaled):
            found[y : y + len(rows)] = rows
        return resample(found, height, width)


def load_predictor(
    model: str | Path,
    config: PredictConfig | None = None,
    tta: bool = False,
    threshold: float | None = None,
    engine: EngineKind = "auto",
    *,
    int8: bool = False,
    calibrate: Iterable[NDArray[np.uint8]] | None = None,
    tell: Tell | None = None,
) -> Predictor:
    """The predictor of a run folder, a `model.keras` or a model by name.

    Args:
        threshold: in [0, 1], in place of the model's own.
        engine: what computes; see `open_engine`.
        int8: quantise the model to 8 bits for OpenVINO, with windows of the images in `calibrate`, see `open_int8`.
        tell: is given a line before what takes long and happens once for a model.

    Raises:
        ConfigError: a threshold outside [0, 1], an engine that is not known, or one that has no int8.
        ModelError: there is no such model, it is not one of ours, or the engine cannot take it.
        BackendError: what the engine needs is not installed.
    """
    from ..learning.runs import find_model, read_info

    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold}: give a probability from 0 to 1")
    if int8 and engine not in ("auto", "openvino"):
        raise ConfigError(f"--int8 with --engine {engine}: only openvino computes in 8 bits, leave --engine out")
    path = find_model(model)
    info = read_info(path)
    if threshold is not None:
        info = dataclasses.replace(info, threshold=threshold)
    run: Engine
    if int8:
        from .int8 import open_int8

        run = open_int8(path, info, calibrate, tell)
    else:
        run = open_engine(path, engine, digest=info.hash, tell=tell)
    return Predictor(run, info, config, tta, name=str(path))


def float32_predictor(model: str | Path, *, tta: bool = False, threshold: float | None = None) -> Predictor:
    """What a predictor in 8 bits is compared with: OpenVINO in float32.

    Raises:
        ModelError, BackendError: as `load_predictor`.
    """
    from ..learning.runs import find_model, read_info
    from .cache import open_cache
    from .choice import build

    path = find_model(model)
    info = read_info(path)
    if threshold is not None:
        info = dataclasses.replace(info, threshold=threshold)
    return Predictor(build("openvino f32", path, open_cache(info.hash)), info, tta=tta, name=str(path))
