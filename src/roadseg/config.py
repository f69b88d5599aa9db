"""The configuration: one typed, strict tree with six sections, to and from TOML.

| section   | says                                                               |
|-----------|--------------------------------------------------------------------|
| `data`    | how the images and masks are read                                  |
| `perturb` | what is done to the training images at run time                    |
| `network` | the model                                                          |
| `loss`    | what training minimises                                            |
| `train`   | optimiser, schedule, batch, length                                 |
| `predict` | tiling, test-time augmentation, thresholds                         |

`roadseg.settings` has every key with its type, range and default. Three sections can be given by one word:
`network = "module:function"` (or a .keras file), `loss = "bce + 0.5 * patch"`, `perturb = "light"` (a preset).
An unknown key, a wrong type or a value out of range is a `ConfigError` that names the key.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from .errors import ConfigError
from .files import write_text
from .settings import (
    PRESETS,
    Chance,
    Config,
    DataConfig,
    Effect,
    LossConfig,
    NetworkConfig,
    PerturbConfig,
    PredictConfig,
    TrainConfig,
)

__all__ = [
    "Chance",
    "Config",
    "DataConfig",
    "Effect",
    "LossConfig",
    "NetworkConfig",
    "PerturbConfig",
    "PredictConfig",
    "TrainConfig",
    "load_config",
    "read_config",
    "save_config",
]

SHORT = {"network": "name", "loss": "name", "perturb": "preset"}  # the key that one word for the section sets


def _check_keys(kind: Any, table: Mapping[str, Any], where: str, source: str) -> None:
    """Name an unknown key with the nearest known one (msgspec would name it alone)."""
    fields = {f.name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in table.items():
        dotted = f"{where}{key}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean '{where}{near[0]}'?" if near else f"known here: {', '.join(fields)}"
            raise ConfigError(f"{source}: unknown configuration key '{dotted}': {hint}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{source}: '{dotted}' is a table, not {value!r}: set its keys, e.g. {_example(dotted, inner)}"
                )
            _check_keys(inner, value, f"{dotted}.", source)


def _example(dotted: str, kind: Any) -> str:
    first = msgspec.structs.fields(kind)[0].name
    return f"{dotted}.{first}"


def _convert(tables: Mapping[str, Any], source: str) -> Config:
    _check_keys(Config, tables, "", source)
    try:
        return msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        text = str(error)
        message, _, where = text.partition(" - at `$.")
        key = where.rstrip("`")
        found: Any = tables
        for part in key.replace("[", ".").replace("]", "").split("."):
            found = (
                found[int(part)] if isinstance(found, list) else found.get(part) if isinstance(found, Mapping) else None
            )
        raise ConfigError(f"{source}: '{key}' = {found!r}: {message}") from error


def _merge(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = _merge({}, value) if isinstance(value, Mapping) else value  # the caller's tables stay his own
    return base


def _spelled_out(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in which a section that is given by one word is a table."""
    return {
        section: {SHORT[section]: value} if section in SHORT and isinstance(value, str) else value
        for section, value in tables.items()
    }


def _lay_over(merged: dict[str, Any], tables: Mapping[str, Any]) -> None:
    """Merge checked tables into complete ones; a preset of perturbations begins anew from its own values."""
    preset = tables.get("perturb", {}).get("preset")
    if isinstance(preset, str) and preset in PRESETS:
        merged["perturb"] = _merge(Config().to_dict()["perturb"], PRESETS[preset])
    _merge(merged, tables)


def _assignment(text: str) -> dict[str, Any]:
    """`section.key=value` as nested tables; the value is TOML, or a bare word."""
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    parts = key.split(".")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        try:
            parsed = float(value)  # ".3", which TOML does not take
        except ValueError:
            parsed = value
    word = key in SHORT and isinstance(parsed, str)
    if not equals or (len(parts) < 2 and not word) or not all(parts):
        raise ConfigError(f"--set '{text}': write section.key=value, e.g. --set network.width=16")
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def read_config(
    tables: Mapping[str, Any] | None = None, assignments: Iterable[str] = (), source: str = "configuration"
) -> Config:
    """A `Config` from nested tables and `section.key=value` strings, the later ones winning.

    Raises:
        ConfigError: unknown key (the nearest is suggested), wrong type, value out of range.
    """
    # From the defaults: to set one key of an effect leaves its other one as the section, not the type, has it.
    merged = Config().to_dict()
    config = Config()
    for given, where in [(tables or {}, source), *((_assignment(text), f"--set {text}") for text in assignments)]:
        given = _spelled_out(given)
        _check_keys(Config, given, "", where)
        _lay_over(merged, given)
        config = _convert(merged, where)  # each in its turn: what is wrong in a file is not blamed on --set
    return config


def load_config(path: Path | str | None = None, assignments: Iterable[str] = ()) -> Config:
    """A `Config` from a TOML file (or the defaults when `path` is None) and `section.key=value` strings.

    Raises:
        ConfigError: the file is missing or not TOML, or see `read_config`.
    """
    if path is None:
        return read_config({}, assignments)
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read configuration '{path}': {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration '{path}' is not TOML: {error}") from error
    return read_config(tables, assignments, source=str(path))


def save_config(config: Config, path: Path) -> None:
    """Write every value, defaults included, as TOML."""
    write_text(path, tomli_w.dumps(config.to_dict()))
