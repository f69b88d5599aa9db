"""What is predicted, how and into which files: settled once, so that any process can work by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, ModelError
from .decision import Decision
from .engine import Engine, with_tta
from .spread import with_spread
from .tiling import Grid

if TYPE_CHECKING:
    from ..imagery.sources import Source
    from ..imagery.value_range import Prepared

__all__ = ["Plan", "open_engine", "open_input", "open_raw", "open_sources", "with_views"]

SMALL = 16_000_000  # px that the network sees


@dataclass(frozen=True)
class Plan:
    """All that a process needs to predict a part of one raster; plain values only.

    Paths are absolute: who takes part sees the same files under the same names. `make_plan` makes it.

    Attributes:
        sources: the raster's file, or those of a mosaic.
        mask, probability, uncertainty: the files to write; None: not asked for.
        height, width: px of the raster.
        factor: px that the network sees per px of the raster, along a side; 1: not resampled.
        rows, columns: px of the grid that the network sees.
        select, value_range, aoi: see `Wanted`; settled.
        model, model_hash, engine: the `.keras` file, its hash, and what computes, e.g. `openvino bf16`.
        quantised: the 8-bit model of `openvino int8`, else empty.
        tta, members: test-time augmentation; how many members' answers are asked for, 0: only their mean.
        classes, bands, threshold, multiple: of the model.
        window, overlap, batch: see `PredictConfig`.
        files: size, modification time and sampled content of every file of the raster.
        libraries: versions of what computes.
    """

    sources: tuple[str, ...]
    mask: str
    probability: str | None
    uncertainty: str | None
    height: int
    width: int
    factor: float
    rows: int
    columns: int
    select: tuple[int, ...] | None
    value_range: tuple[float, float] | None
    aoi: str | None
    model: str
    model_hash: str
    engine: str
    quantised: str
    tta: bool
    members: int
    classes: int
    bands: int
    threshold: float
    multiple: int
    window: int
    overlap: int
    batch: int
    files: tuple[tuple[str, int, int, str], ...] = field(repr=False, default=())
    libraries: dict[str, str] = field(repr=False, default_factory=dict)

    @cached_property
    def grid(self) -> Grid:
        """The windows."""
        return Grid(self.rows, self.columns, self.window, self.overlap, self.multiple)

    @property
    def strips(self) -> tuple[range, ...]:
        """Numbers of the bands (rows of windows) of each strip."""
        return self.grid.strips

    @property
    def scaled(self) -> bool:
        """Whether the network sees another grid than the raster's."""
        return self.factor != 1

    @property
    def small(self) -> bool:
        """Whether it is predicted in memory, without parts in a folder: it is done again in seconds."""
        return self.rows * self.columns <= SMALL

    @cached_property
    def decision(self) -> Decision:
        """What the parts hold."""
        return self._decision(self.scaled)

    @cached_property
    def last_decision(self) -> Decision:
        """What the files hold."""
        return self._decision(False)

    def _decision(self, wide: bool) -> Decision:
        return Decision(self.classes, self.threshold, self.probability is not None, self.uncertainty is not None, wide)

    @property
    def targets(self) -> dict[str, Path]:
        """The files to write, by what they hold."""
        asked = {"mask": self.mask, "probability": self.probability, "uncertainty": self.uncertainty}
        return {name: Path(path) for name, path in asked.items() if path is not None}

    @property
    def folder(self) -> Path:
        """Where finished bands are kept."""
        mask = Path(self.mask)
        return mask.parent / f".{mask.name}.parts"

    @property
    def key(self) -> str:
        """16 hex digits, other ones for whatever may change a bit of the result."""
        return hashlib.sha256(json.dumps(self.shaping(), sort_keys=True).encode()).hexdigest()[:16]

    def pixels(self, band: int) -> int:
        """Pixels of the raster that a band stands for; over all bands, all of them."""
        lo, hi = self.grid.down.own(band)
        return (hi * self.height // self.rows - lo * self.height // self.rows) * self.width

    def shaping(self) -> dict[str, Any]:
        """What the parts depend on, as plain values."""
        return self.shaping_of(self.to_dict())

    @staticmethod
    def shaping_of(found: dict[str, Any]) -> dict[str, Any]:
        """The same of a plan's `to_dict`."""
        kept = {key: value for key, value in found.items() if key not in ("mask", "model")}
        asked = {key: found.get(key) is not None for key in ("probability", "uncertainty")}
        return kept | asked | {"quantised": Path(found.get("quantised") or "").name}  # named by what it was made with

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Plan:
        """Back from `to_dict`.

        Raises:
            DataError: that is no plan.
        """
        try:
            values = dict(found)
            for name in ("sources", "select", "value_range"):
                values[name] = None if values[name] is None else tuple(values[name])
            values["files"] = tuple(tuple(one) for one in values["files"])
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is not the plan of a prediction ({error!r}): predict without --resume") from error


def open_raw(plan: Plan) -> Source:
    """The raster with what has data of it: where the files have, within the area of interest."""
    source = open_sources([Path(path) for path in plan.sources], plan.select)
    if plan.aoi is None:
        return source
    from ..imagery.area import limit, read_area

    return limit(source, read_area(plan.aoi, source))


def open_input(plan: Plan) -> Prepared:
    """The raster as the network sees it: on the grid of the plan, in 8 bits, with the model's bands."""
    from ..imagery.scaled import ScaledSource
    from ..imagery.value_range import prepared

    source = open_raw(plan)
    if plan.scaled:
        source = ScaledSource(source, plan.factor)
    return prepared(source, plan.bands, plan.value_range)


def open_engine(plan: Plan, threads: int | None = None) -> Engine:
    """What computes for a plan: windows (N, h, w, C) uint8 -> answers (N, h, w, values) float32, see `Decision`.

    For processes that have nothing but the plan; keep it for all strips of it.

    Args:
        threads: CPU threads that compute; None: all cores.

    Raises:
        ModelError, BackendError: the model is not there, or cannot be computed here.
    """
    from ..learning.runs import find_model
    from .cache import open_cache
    from .choice import build
    from .openvino_engine import OpenVINOEngine

    cache = open_cache(plan.model_hash)
    run: Engine
    if plan.quantised:
        path = Path(plan.quantised)
        if not path.is_file():
            raise ModelError(
                f"the 8-bit model '{path}' is not there: set ROADSEG_CACHE to a folder that all machines share"
            )
        run = OpenVINOEngine(path, "int8", cache.compiled, threads)
    else:
        run = build(plan.engine, find_model(plan.model), cache, threads, members=plan.members > 0)
    return with_views(run, plan)


def with_views(run: Engine, plan: Plan) -> Engine:
    """An engine of the bare model with what the plan asks for beside: test-time augmentation, the answers' spread."""
    if plan.uncertainty is not None:
        return with_spread(run, plan.last_decision.outputs, tta=plan.tta, members=plan.members)
    return with_tta(run) if plan.tta else run


def open_sources(sources: Sequence[Path], select: tuple[int, ...] | None) -> Source:
    from ..imagery.opening import open_source

    return open_source(list(sources), bands=select)
