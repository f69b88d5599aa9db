"""The tables of a study file, strict and typed; what they mean is in `study`."""

import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from ..errors import ConfigError

__all__ = ["BaselineTable", "ConfirmTable", "LengthTable", "StudyTables", "nearest", "study_tables"]

Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Count = Annotated[int, Meta(ge=1)]
Minutes = Annotated[float, Meta(gt=0, lt=1e6)]


class LengthTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one training: one of them."""

    steps: Count | None = None
    epochs: Count | None = None
    minutes: Minutes | None = None


class BaselineTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the factors are compared with."""

    config: str = ""
    set: list[str] = []


class ConfirmTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The second stage."""

    best: Count
    seeds: list[Seed]
    hold_out: list[int] | None = None
    fold_seed: Seed | None = None
    fold_seeds: list[Seed] | None = None
    steps: Count | None = None
    epochs: Count | None = None
    minutes: Minutes | None = None


class StudyTables(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    metric: str
    length: LengthTable
    title: str = ""
    folds: Annotated[int, Meta(ge=2)] = 5
    hold_out: list[int] | None = None
    fold_seed: Seed | None = None
    fold_seeds: list[Seed] | None = None
    seeds: list[Seed] = msgspec.field(default_factory=lambda: [0])
    group: str = ""
    baseline: BaselineTable = BaselineTable()
    factors: dict[str, str | list[str]] = {}
    grid: dict[str, list[Any]] = {}
    confirm: ConfirmTable | None = None


def nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """`did you mean 'x'?`, or what is known; `prefix` goes before the name that is meant."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{prefix}{near[0]}'?" if near else f"known here: {', '.join(known)}"


def study_tables(tables: Mapping[str, Any], where: str) -> StudyTables:
    """The parsed TOML as typed tables.

    Raises:
        ConfigError: an unknown key (the nearest is suggested), a wrong type, a value out of range.
    """
    _check_keys(StudyTables, tables, "", where)
    try:
        return msgspec.convert(tables, StudyTables)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        key = at.strip("`.").replace("[...]", "")
        raise ConfigError(f"{where}: {f'{key}: ' if key else ''}{message}") from error


def _check_keys(kind: Any, table: Mapping[str, Any], prefix: str, where: str) -> None:
    """Name an unknown key with the nearest known one."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key '{prefix}{key}': {nearest(key, list(fields), prefix)}")
        inner = next((t for t in _kinds(fields[key]) if isinstance(t, type) and issubclass(t, msgspec.Struct)), None)
        if inner is not None and isinstance(value, Mapping):
            _check_keys(inner, value, f"{prefix}{key}.", where)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
