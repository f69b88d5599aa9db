"""From the pixels of an image of any size to probabilities and to a mask; reads and writes no files of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import PredictConfig
from ..errors import ConfigError, ModelError
from ..imagery.sources import Picture, Placing, Source
from .blending import Blender, Read, RowReader
from .decision import Decision
from .engine import Engine, EngineKind, Tell, engine_name, open_engine, with_tta
from .members import count_members
from .openvino_engine import OpenVINOEngine
from .tiling import Grid

if TYPE_CHECKING:
    from ..learning.runs import ModelInfo
    from .plan import Plan

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
        self.bare = run
        self.info = info
        self.name = name
        self._engine = engine
        self._with_members: Engine | None = None
        self._decision = Decision(len(info.classes), info.threshold)
        self.outputs = self._decision.outputs

    @property
    def engine(self) -> str:
        """What computes, e.g. `openvino bf16`; an engine that chooses itself says so after the first windows."""
        return self._engine or engine_name(self.bare)

    @property
    def settled(self) -> bool:
        """Whether it is known what computes."""
        return bool(getattr(self.bare, "settled", True))

    @property
    def int8(self) -> dict[str, Any] | None:
        """How far a quantised model's masks are from the float32 ones; None where nothing is quantised."""
        return getattr(self.bare, "report", None)

    @property
    def quantised(self) -> str:
        """The path of the quantised model; empty where nothing is quantised."""
        return str(Path(self.bare.path).absolute()) if isinstance(self.bare, OpenVINOEngine) and self.int8 else ""

    @cached_property
    def members(self) -> int:
        """The networks that the model takes the mean of; 0 where it is no ensemble, or does not tell of them."""
        return 0 if self.quantised or not self.name else count_members(Path(self.name))

    @property
    def setup_seconds(self) -> float:
        """Seconds that were spent within the predictions so far on choosing the engine."""
        return float(getattr(self.bare, "setup_seconds", 0.0))

    def bare_for(self, plan: Plan) -> Engine:
        """The network without views: with its members' answers, where the plan asks for those."""
        if not plan.members:
            return self.bare
        if self._with_members is None:
            from .cache import open_cache
            from .choice import build

            cache = open_cache(self.info.hash)
            self._with_members = build(plan.engine, Path(self.name), cache, members=True)
        return self._with_members

    def bands(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Probabilities from top to bottom, a band of rows at a time.

        They are those that a prediction of a file with the same pixels is made of.

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
            yield from self._rescaled(image)
        else:
            yield from self._bands(lambda top, bottom: (image[top:bottom], None), image.shape[0], image.shape[1])

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
        return self._decision.mask(probabilities)

    def _bands(self, read: Read, height: int, width: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        config = self.config
        grid = Grid(height, width, config.window, config.overlap, self.info.multiple)
        reader, blender = RowReader(read, grid), self._blender(grid)
        for band in range(len(grid.down)):
            lo, hi = grid.down.own(band)
            rows = np.empty((hi - lo, width, self.outputs), np.float32)
            for piece in blender.pieces(reader.row(band)):
                top, values = piece.top - lo, piece.values
                rows[top : top + len(values), piece.left : piece.left + values.shape[1]] = values
            yield lo, rows

    def _blender(self, grid: Grid) -> Blender:
        return Blender(grid, self.run, self.outputs, self.config.batch, fill=self.engine == "keras")

    def _rescaled(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Predict at the ground scale the model was trained at and lay the result back, as files are."""
        from ..imagery.scaled import ScaledSource, lay_back

        source = ScaledSource(_ArraySource(image), self.info.scale)
        wide = Decision(len(self.info.classes), self.info.threshold, wide=True)

        def read(top: int, bottom: int) -> tuple[NDArray[np.uint8], None]:
            return source.read(top, bottom).pixels, None

        def levels() -> Iterator[tuple[int, NDArray[Any]]]:
            for y, rows in self._bands(read, source.height, source.width):
                planes = wide.empty(*rows.shape[:2])
                wide.put(planes, 0, 0, rows)
                yield y, planes["levels"]

        for y, rows in lay_back(levels(), (source.height, source.width), image.shape[:2]):
            yield y, wide.answer(rows)


class _ArraySource:
    """An image in memory as a `Source`."""

    name, placing = "the image", Placing()
    resolution_m: float | None = None
    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        self.height, self.width, self.bands = image.shape

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> Picture:
        return Picture(self._image[top:bottom, left:right], None)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None: ...


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
