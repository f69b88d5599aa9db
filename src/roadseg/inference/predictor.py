"""From the pixels of an image of any size to probabilities and to a mask; reads and writes no files of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import PredictConfig
from ..errors import ConfigError, ModelError
from .engine import Engine, EngineKind, open_engine, with_tta
from .tiling import Grid, predict_bands

if TYPE_CHECKING:
    from ..learning.runs import ModelInfo

__all__ = ["Predictor", "load_predictor"]


class Predictor:
    """A model with everything needed to apply it: tiling, blending, ground scale, test-time augmentation, threshold.

    Args:
        run: windows (N, H, W, C) uint8 -> probabilities (N, H, W, K) float32 in [0, 1].
        info: what the model is for; its threshold is the one that `mask` uses.
        config: windows and batch; test-time augmentation where `config.tta` or `tta` says so.
        name: where the model came from, for the record.
        engine: what `run` computes with, for the record.

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
        self.engine = engine
        self.outputs = len(info.classes) if len(info.classes) > 2 else 1

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
) -> Predictor:
    """The predictor of a run folder, a `model.keras` or a model by name.

    Args:
        threshold: in [0, 1], in place of the model's own.

    Raises:
        ConfigError: a threshold outside [0, 1], or an engine that is not known.
        ModelError: there is no such model, or it is not one of ours.
        BackendError: no Keras backend is installed.
    """
    from ..learning.runs import find_model, read_info

    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold}: give a probability from 0 to 1")
    path = find_model(model)
    info = read_info(path)
    if threshold is not None:
        info = dataclasses.replace(info, threshold=threshold)
    return Predictor(open_engine(path, engine), info, config, tta, name=str(path), engine="keras")
