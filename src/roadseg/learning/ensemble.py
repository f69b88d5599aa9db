"""Several trained models as one: a `.keras` file whose answer is the mean of the members' probabilities."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ModelError
from ..files import check_place
from .runs import ModelInfo, find_model, load_model, read_info, save_model

__all__ = ["ensemble"]

ALIKE = (
    "classes",
    "bands",
    "select",
    "value_range",
    "scale",
    "ground_resolution_m",
    "patch_threshold",
    "invert",
    "ignore",
)


def ensemble(models: Sequence[Path | str], out: Path | str, *, threshold: float | None = None) -> Path:
    """Write one model that answers with the mean of several models' probabilities; it costs as much as all of them.

    >>> roadseg.ensemble(["runs/first", "runs/second"], "runs/both.keras")

    It is a model as any other: plain Keras loads it, (N, H, W, bands) uint8 in, (N, H, W, K) float32 in [0, 1] out, and
    `roadseg predict` and `evaluate` take it. It counts as trained on the images of all its members: of those that a
    cross-validation trained on none is left to evaluate it with.

    Args:
        models: two or more run folders or `.keras` files.
        out: the `.keras` file to write.
        threshold: road where the mean probability is above it; None: as the members have it.

    Returns:
        `out` as a path.

    Raises:
        ModelError: fewer than two models, or ones for other classes, bands, pixel values or scales; the message names
            the difference.
        ConfigError: `out` is no `.keras` file, or the threshold is none.
        OutputError: the file cannot be written.
    """
    out = Path(out)
    if out.suffix != ".keras":
        raise ConfigError(f"'{out}': an ensemble is a Keras model, give a name that ends in .keras")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold}: give a probability from 0 to 1")
    if len(models) < 2:
        raise ModelError("an ensemble takes two models or more: give run folders or .keras files")
    check_place(out)
    paths = [find_model(model) for model in models]
    info = _joint(paths, threshold)
    save_model(_mean_of([load_model(path) for path in paths], info.bands), out, info)
    return out


def _joint(paths: Sequence[Path], threshold: float | None) -> ModelInfo:
    """What the ensemble says of itself."""
    infos = [read_info(path) for path in paths]
    first = infos[0]
    for path, info in zip(paths[1:], infos[1:], strict=True):
        for name in ALIKE if threshold is not None else (*ALIKE, "threshold"):
            ours, theirs = getattr(first, name), getattr(info, name)
            if ours != theirs:
                hint = ": say which, with threshold=" if name == "threshold" else ": they cannot answer together"
                raise ModelError(f"models differ in {name}: '{paths[0]}' has {ours}, '{path}' has {theirs}{hint}")
    return dataclasses.replace(
        first,
        threshold=first.threshold if threshold is None else threshold,
        multiple=math.lcm(*(info.multiple for info in infos)),
        trained_on=tuple(dict.fromkeys(code for info in infos for code in info.trained_on)),
        hash="",
    )


def _mean_of(members: Sequence[Any], bands: int) -> Any:
    import keras

    pixels = keras.Input((None, None, bands), dtype="uint8", name="pixels")
    answers = []
    for k, member in enumerate(members):
        member.name = f"member{k}"  # runs of one recipe are all called alike; a model's layers may not be
        answers.append(member(pixels))
    mean = keras.layers.Average(dtype="float32", name="mean")(answers)
    return keras.Model(pixels, mean, name="ensemble")
