"""The recipe of a model in the package: which sets it learns from, how their labels differ, and how it is trained.

A TOML file, such as `recipes/roads.toml`: some keys of its own, a table `[[sets]]` for each set, `[mend]`, and the
sections of an ordinary configuration under `[config]`.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..config import Config, read_config
from ..errors import ConfigError

__all__ = ["MEASURES", "Mend", "Recipe", "SetRecipe", "load_recipe"]

Positive = Annotated[float, Meta(gt=0)]
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

MEASURES = {
    "resolution": "all sets at about one ground resolution",
    "borders": "no label within a few pixels of the roads' borders where labels are drawn lines",
    "sampling": "a share of the crops for each set, whatever its area",
    "mend": "background that a teacher takes for road is no label, in sets where roads are missing",
}


class SetRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One set.

    Args:
        name: in the names of the images it gives.
        folder: below the data folder, in any layout that `roadseg train` reads.
        resolution_m: metres per pixel.
        estimated: the resolution is not stated by those who made the set.
        labels: "surface": the road as it is seen; "lines": lines drawn with a few fixed widths.
        complete: all roads are labelled; else background may be road that nobody drew.
        share: of the training crops, relative to the other sets'; None, in all of them: as their areas ask for.
        border: px of the training image, on both sides of a road's border, in which there is no label.
        held_out: regular expression; images with it in their names are never trained on. Neighbours must be alike.
        source: where the set comes from and what is known of its licence, for the card.
    """

    name: str
    folder: str
    resolution_m: Positive
    held_out: str
    estimated: bool = False
    labels: Literal["surface", "lines"] = "surface"
    complete: bool = True
    share: Positive | None = None
    border: Annotated[int, Meta(ge=0, le=50)] = 0
    source: str = ""


class Mend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Roads that are missing in incomplete sets: found by a teacher, and taken out of the labels.

    The teacher is a short training on the same images: a network learns what many labels agree on long before it
    learns single ones by heart (Arpit et al. 2017, arXiv:1706.05394).

    Args:
        steps: length of the teacher's training; 0: no mending.
        above: probability from which labelled background is doubted.
        pixels: least area of a doubted piece.
        margin: px around it that are taken out too.
    """

    steps: Annotated[int, Meta(ge=0)] = 0
    above: Annotated[float, Meta(gt=0.5, lt=1)] = 0.85
    pixels: Annotated[int, Meta(ge=1)] = 150
    margin: Annotated[int, Meta(ge=0)] = 4


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides what a model becomes, besides the images.

    Args:
        name: of the model.
        about: one line for the card.
        ground_resolution_m: metres per pixel of the images that the network learns from.
        tolerance: images within this factor of it stay as they are; the others are resampled to it.
        steps: length of the training.
        largest_mb: what the model file may have, MB.
        mistakes: what it gets wrong, for the card; written after looking at its worst images.
        config: sections of an ordinary configuration.
    """

    name: str
    sets: list[SetRecipe]
    ground_resolution_m: Positive
    steps: Annotated[int, Meta(ge=1)]
    about: str = ""
    tolerance: Annotated[float, Meta(ge=1)] = 1.0
    largest_mb: Positive = 16.0
    mistakes: list[str] = []
    mend: Mend = Mend()
    config: dict[str, Any] = {}

    def configuration(self, steps: int | None = None) -> Config:
        """The configuration of the training, without what the gathered data adds."""
        return read_config(self.config, [f"train.steps={steps or self.steps}", "train.minutes=0"], "recipe, [config]")

    def without(self, names: Sequence[str]) -> "Recipe":
        """The recipe of a model that does not learn from the sets of these names; its name says so.

        Raises:
            ConfigError: no such set, or none is left.
        """
        if not names:
            return self
        _known(names, [one.name for one in self.sets], "set")
        left = [one for one in self.sets if one.name not in names]
        if not left:
            raise ConfigError(f"--without {' '.join(names)}: no set is left")
        return msgspec.structs.replace(self, name="-without-".join([self.name, *sorted(names)]), sets=left)

    def without_measures(self, names: Sequence[str]) -> "Recipe":
        """The recipe without some of `MEASURES`.

        Raises:
            ConfigError: no such measure.
        """
        _known(names, list(MEASURES), "measure")
        recipe = self
        if "resolution" in names:
            recipe = msgspec.structs.replace(recipe, tolerance=1e9)
        if "borders" in names:
            plain = [msgspec.structs.replace(one, border=0) for one in recipe.sets]
            recipe = msgspec.structs.replace(recipe, sets=plain)
        if "sampling" in names:
            plain = [msgspec.structs.replace(one, share=None) for one in recipe.sets]
            recipe = msgspec.structs.replace(recipe, sets=plain)
        if "mend" in names:
            recipe = msgspec.structs.replace(recipe, mend=Mend(steps=0))
        return recipe

    def digest(self, data: str = "") -> str:
        """16 hex digits of SHA-256 over what decides the weights: the recipe without its words, and `data`.

        Settings that the recipe does not give are not in it: a new one in a later version changes no hash.
        """
        told = msgspec.to_builtins(self)
        for key in ("name", "about", "mistakes", "largest_mb"):
            del told[key]
        for one in told["sets"]:
            del one["source"], one["estimated"]
        text = json.dumps(told, sort_keys=True) + data
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"'{name}' is no {what} of the recipe: choose from {', '.join(known)}")


def load_recipe(path: Path | str, steps: int | None = None) -> Recipe:
    """Read a recipe.

    Args:
        steps: in place of the recipe's own.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or a key is unknown, missing or out of range.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read recipe '{path}': {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe '{path}' is not TOML: {error}") from error
    if steps is not None:
        tables["steps"] = steps
    try:
        recipe = msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        raise ConfigError(f"recipe '{path}': {error}") from error
    names = [one.name for one in recipe.sets]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"recipe '{path}': expected one or more [[sets]] of different names, found {names}")
    for text in [recipe.name, *names]:
        if not NAME.fullmatch(text):
            raise ConfigError(f"recipe '{path}': the name '{text}' must be of small letters, digits and '-'")
    if len({one.share is None for one in recipe.sets}) > 1:
        raise ConfigError(f"recipe '{path}': some sets have a share and some have none: give one to each, or to none")
    for one in recipe.sets:
        try:
            re.compile(one.held_out)
        except re.error as error:
            raise ConfigError(f"recipe '{path}': held_out of {one.name} is no regular expression: {error}") from error
    recipe.configuration()
    return recipe
