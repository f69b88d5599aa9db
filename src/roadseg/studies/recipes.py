"""Recipes as lists of settings: what two of them differ in, and one as the `--set` assignments that make it."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from ..config import Config, read_config

__all__ = ["assignment", "assignments_of", "difference", "flat", "same_training", "shown_difference"]


def flat(config: msgspec.Struct, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted key, e.g. `{"perturb.flip.probability": 0.5, ...}`, in the order of the sections."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, msgspec.Struct):
            found |= flat(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


def difference(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes differ, each with both values."""
    old, new = flat(before), flat(after)
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}


def shown_difference(before: Config, after: Config, most: int = 6) -> str:
    """`network.width was 16, is now 32; ...`, at most so many settings."""
    parts = [f"{key} was {_toml(old)}, is now {_toml(new)}" for key, (old, new) in difference(before, after).items()]
    return "; ".join(parts[:most]) + (f"; and {len(parts) - most} more" if len(parts) > most else "")


def same_training(one: Config, other: Config) -> bool:
    """Whether two recipes train alike; what a preset is called is nothing beside the values that it stands for."""
    return not difference(one, other).keys() - {"perturb.preset"}


def assignment(key: str, value: Any) -> str:
    """`key=value` as `--set` takes it; a text without quotation marks where that says the same."""
    if isinstance(value, str) and re.fullmatch(r"\w[\w .:/*+-]*", value) and value == value.strip():
        try:
            tomllib.loads(f"v = {value}")  # a number, a date or a truth value: this text needs its quotation marks
        except tomllib.TOMLDecodeError:
            if not _is_number(value):
                return f"{key}={value}"
    return f"{key}={_toml(value)}"


def assignments_of(config: Config) -> list[str]:
    """The assignments that make this recipe of the default one: `read_config({}, assignments_of(c)) == c`."""
    preset = config.perturb.preset
    first = [] if preset == "default" else [f"perturb.preset={preset}"]  # the others start from its values
    more = difference(read_config({}, first), config)
    return first + [assignment(key, new) for key, (_, new) in more.items()]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
