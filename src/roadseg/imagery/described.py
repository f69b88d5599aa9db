"""What a dataset folder says of itself in `dataset.toml` and `classes.json`; what "unlabelled" is called. No pixels."""

import json
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..errors import ConfigError, DataError, RoadsegWarning

__all__ = ["IGNORED", "Description", "describe", "is_unlabelled", "names_by_value"]

IGNORED = 255  # in every mask as read: the pixel has no class, is not learnt and not scored
UNLABELLED = frozenset({"", "ignore", "ignored", "nodata", "no data", "void", "unlabelled", "unlabeled"})


@dataclass(frozen=True)
class Description:
    """Class names, the unlabelled value, metres per pixel and places, from the configuration and the folder's files.

    Attributes:
        names: by mask value where masks hold class indices (an empty or "ignore" name where that value is no class),
            else of the two classes; none: as found.
        ignore: mask value of unlabelled pixels; -1: none.
        resolution: metres per pixel, when said.
        group: regular expression; pairs whose names match alike are of one place, see `splits`. None: none is said.
    """

    names: tuple[str, ...]
    ignore: int
    resolution: float | None
    group: str | None = None


def is_unlabelled(name: str) -> bool:
    """Whether a class of that name stands for pixels without a label: "nodata", "ignore", "void", ..."""
    return name.strip().casefold().replace("_", " ").replace("-", " ") in UNLABELLED


def names_by_value(classes: Sequence[str], ignore: int) -> tuple[str, ...]:
    """Names of classes by position -> by mask value of a class-index mask, "ignore" at the unlabelled value.

    >>> names_by_value(["background", "road"], 0)
    ('ignore', 'background', 'road')
    """
    names = list(classes)
    if 0 <= ignore < len(names):
        names.insert(ignore, "ignore")
    return tuple(names)


def describe(root: Path, config: DataConfig) -> Description:
    """Read `dataset.toml` and `classes.json` of the folder `root`; `config` wins over both.

    Raises:
        DataError: `dataset.toml` is not TOML, or a key of it is not usable.
        ConfigError: fewer than two names in `data.classes`; the unlabelled value has the name of a class.
    """
    toml, table = root / "dataset.toml", dict[str, Any]()
    if toml.is_file():
        try:
            table = tomllib.loads(toml.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"'{toml}' is not TOML: {error}") from error
    resolution = table.get("ground_resolution_m", table.get("ground_resolution"))
    if resolution is not None and not (type(resolution) in (int, float) and resolution > 0):
        raise DataError(f"'{toml}': ground_resolution_m = {resolution!r}: expected metres per pixel, e.g. 0.3")
    ignore = table.get("ignore", -1)
    if type(ignore) is not int or not -1 <= ignore <= 255:
        raise DataError(f"'{toml}': ignore = {ignore!r}: expected the mask value of unlabelled pixels, 0..255")
    if config.ignore >= 0:
        ignore = config.ignore
    group = table.get("group")
    if group is not None and (not isinstance(group, str) or not group):
        raise DataError(f"'{toml}': group = {group!r}: expected a regular expression on the images' names")

    source: Path | str
    if config.classes:
        if len(config.classes) < 2:
            raise ConfigError(f"data.classes = {config.classes}: expected two names or more, the background first")
        names, source = tuple(config.classes), "data.classes"
    elif "classes" in table:
        found = _names(table["classes"])
        if found is None:
            raise DataError(f"'{toml}': classes = {table['classes']!r}: expected a list of two names or more")
        names, source = found, toml
    else:
        source = root / "classes.json"
        names = _names_of_json(source)
    _check_names(names, ignore, source)
    return Description(names, ignore, resolution, group)


def _check_names(names: Sequence[str], ignore: int, source: Path | str) -> None:
    """More than two names are by mask value: the unlabelled one's must not be a class's."""
    if len(names) <= 2:
        return
    if ignore < 0:
        for value, name in enumerate(names):
            if name and is_unlabelled(name) and isinstance(source, Path):
                text = f"'{source}' calls the value {value} '{name}', and it is learnt and scored as a class"
                advice = f"leave those pixels out with --set data.ignore={value}"
                warnings.warn(f"{text}: {advice}", RoadsegWarning, stacklevel=4)
    elif ignore < len(names) and not is_unlabelled(names[ignore]):
        raise ConfigError(
            f"value {ignore} is unlabelled (ignore) and is also the class '{names[ignore]}' in '{source}': names are "
            f"by mask value, so call that one 'ignore', or ignore another value"
        )


def _names_of_json(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        names = _names(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        names = None
    if names is None:
        text = f"'{path}' is not a list of class names or a table of index to name, and is ignored"
        warnings.warn(f"{text}: write the names to dataset.toml", RoadsegWarning, stacklevel=4)
        return ()
    return names


def _names(value: object) -> tuple[str, ...] | None:
    """Names from `["a", "b"]` or `{"0": "a", "1": "b"}`, "" where there is none; None when it is neither."""
    if isinstance(value, Mapping):
        if not all(str(k).isdecimal() and int(k) <= 255 for k in value):
            return None
        by_index = {int(k): v for k, v in value.items()}
        value = [by_index.get(i, "") for i in range(max(by_index, default=-1) + 1)]
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(v, str) for v in value) or not any(value):
        return None
    return tuple(value)
