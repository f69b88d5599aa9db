"""From what a user asks for to the plan of a raster's prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from ..machine import versions
from .identity import identities
from .plan import Plan, open_input, open_sources
from .tiling import COARSE, reflect_index

if TYPE_CHECKING:
    from ..imagery.sources import Source
    from ..learning.runs import ModelInfo
    from .predictor import Predictor

__all__ = ["Wanted", "check_bands", "check_input", "make_plan", "some_windows"]

PROBE = 512  # px, largest side of the windows that engines are compared with
SHAPING = {  # the libraries whose version may change a bit of the result
    "openvino": ("openvino",),
    "onnx": ("onnxruntime",),
    "keras": ("keras", "tensorflow", "tensorflow-cpu", "jax", "torch"),
}


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a prediction, beside the model and the images.

    Args:
        probabilities: `x_prob` beside the mask.
        uncertainty: `x_unc` beside the mask: the standard deviation over the 8 views of test-time augmentation, the
            members of an ensemble, or both.
        resolution_m: metres per pixel of the images, whatever they say themselves.
        aoi: a vector file; what lies outside its polygons has no data.
        bands: numbers from 1 of the bands that are read, in this order; None: as the model says.
        value_range: pixel values that become 0 and 255; "auto": as found in the image; None: as the model says.
        mosaic: all images are one raster, with this name.
        cog: write TIFFs as cloud-optimised ones, with overviews.
        resume: go on where an earlier prediction was interrupted.
    """

    probabilities: bool = False
    uncertainty: bool = False
    resolution_m: float | None = None
    aoi: Path | None = None
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | Literal["auto"] | None = None
    mosaic: str | None = None
    cog: bool = False
    resume: bool = False


def make_plan(
    sources: Sequence[Path],
    targets: tuple[Path, Path | None, Path | None],
    predictor: Predictor,
    wanted: Wanted,
) -> Plan:
    """Settle how a raster is predicted. Writes nothing; the network is run where the engine is still to be chosen.

    Args:
        sources: the raster's file, or those of a mosaic.
        targets: mask, probability and uncertainty.

    Raises:
        ImageError, DataError: the raster cannot be read, or has not the bands or values that the model takes.
        ConfigError: options that do not go together.
        ModelError: the model does not fit.
    """
    from ..imagery.scaled import factor_for, scaled_shape
    from ..imagery.sources import warn_place

    info, config = predictor.info, predictor.config
    select = wanted.bands if wanted.bands is not None else info.select
    with open_sources(sources, select) as source:
        check_bands(source.name, source.bands, info.bands)
        value_range = _value_range(source, info, wanted)
        factor = factor_for(source.resolution_m, info.ground_resolution_m, info.scale, wanted.resolution_m, source.name)
        if targets[0].suffix == ".tif":
            warn_place(source)
        height, width = source.height, source.width
        rows, columns = (height, width) if factor == 1 else scaled_shape(height, width, factor)
    mask, probability, uncertainty = (None if path is None else str(path.absolute()) for path in targets)
    assert mask is not None
    plan = Plan(
        sources=tuple(str(path.absolute()) for path in sources),
        mask=mask,
        probability=probability,
        uncertainty=uncertainty,
        height=height,
        width=width,
        factor=factor,
        rows=rows,
        columns=columns,
        select=select,
        value_range=value_range,
        aoi=None if wanted.aoi is None else str(wanted.aoi.absolute()),
        model=str(Path(predictor.name).absolute()) if predictor.name else "",
        model_hash=info.hash,
        engine=predictor.engine,
        quantised=predictor.quantised,
        tta=predictor.tta,
        members=predictor.members if uncertainty is not None else 0,
        classes=len(info.classes),
        bands=info.bands,
        threshold=info.threshold,
        multiple=info.multiple,
        window=config.window,
        overlap=config.overlap,
        batch=config.batch,
        files=identities(sources, wanted.aoi),
    )
    if not predictor.settled:
        predictor.bare(some_windows(plan, PROBE))
    return replace(plan, engine=predictor.engine, libraries=_libraries(predictor.engine))


def some_windows(plan: Plan, largest: int) -> NDArray[np.uint8]:
    """One or two windows (N, h, w, bands) uint8, of its middle and its beginning, no side above `largest`."""
    step = math.lcm(plan.multiple, COARSE)
    found = []
    with open_input(plan) as source:
        for part in (2, len(plan.grid.down) + len(plan.grid.across)):
            axes = []
            for axis in (plan.grid.down, plan.grid.across):
                k = len(axis) // part
                size = min(axis.sizes[k], max(largest // step, 1) * step)
                axes.append(reflect_index(np.arange(axis.starts[k], axis.starts[k] + size), axis.length))
            (top, bottom), (left, right) = ((int(index.min()), int(index.max()) + 1) for index in axes)
            pixels, _ = source.read(top, bottom, left, right)
            found.append(pixels[np.ix_(axes[0] - top, axes[1] - left)])
    return np.stack([window for window in found if window.shape == found[0].shape])


def check_bands(name: str, found: int, bands: int) -> None:
    """Refuse an image whose bands the model does not take.

    Raises:
        DataError: another number of them; grey and colour are turned into each other.
    """
    if found != bands and {found, bands} != {1, 3}:
        few = "--bands chooses among them" if found > bands else f"export the image with {bands} bands"
        raise DataError(
            f"image '{name}' has {found} bands but the model was trained on {bands}: {few}, or train on images like it"
        )


def _value_range(source: Source, info: ModelInfo, wanted: Wanted) -> tuple[float, float] | None:
    if wanted.value_range == "auto":
        from ..imagery.value_range import find_range

        return find_range(source)
    if wanted.value_range is not None:
        low, high = wanted.value_range
        if not low < high:
            raise ConfigError(f"--value-range {low:g},{high:g}: the first is not below the second")
        return low, high
    if info.value_range is None and source.dtype != "uint8":
        raise DataError(
            f"image '{source.name}' has {source.dtype} pixels, expected uint8: "
            "say with --value-range LO,HI which values become 0 and 255 (auto: as found in it)"
        )
    if info.value_range is not None and source.dtype == "uint8" and info.value_range[1] > 255:
        low, high = info.value_range
        raise DataError(
            f"image '{source.name}' has 8-bit pixels, expected values {low:g}..{high:g}: give the original image, "
            "or --value-range"
        )
    return info.value_range


def check_input(plan: Plan) -> None:
    """Make sure that the raster is the one that was planned with.

    Raises:
        DataError: a file of it has changed.
    """
    found = identities([Path(path) for path in plan.sources], None if plan.aoi is None else Path(plan.aoi))
    for was, now in zip(plan.files, found, strict=False):
        if was != now:
            raise DataError(f"'{was[0]}' has changed since its prediction was begun: predict without --resume")
    if len(found) != len(plan.files):
        raise DataError(
            f"'{plan.sources[0]}' has other files than when its prediction was begun: predict without --resume"
        )


def _libraries(engine: str) -> dict[str, str]:
    there = versions()
    names = ("roadseg", *SHAPING.get(engine.partition(" ")[0], ()))
    return {name: there[name] for name in names if name in there}
