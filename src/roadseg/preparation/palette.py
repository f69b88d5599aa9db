"""Palettes: which colours of a coloured map stand for which class. Words and files to values; no pixels.

A colour is `#rrggbb` or `#rgb`, with `~N` for its tolerance: a pixel has the colour when none of its three channels is
more than N away. `rest` in place of a colour is every colour that is not listed.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..imagery.masks import IGNORED

__all__ = ["DEFAULT_TOLERANCE", "PRESETS", "Colour", "Palette", "read_palette"]

DEFAULT_TOLERANCE = 8  # of 255: what saving a map as JPEG does to its flat areas
REST = "rest"
IGNORE = "ignore"  # the class of pixels without a label
BACKGROUND = "background"
COLOUR = re.compile(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})(?:~(\d{1,3}))?")

# Measured on tiles of a common web map (docs/prepare.md): streets white, avenues yellow, highways orange with a darker
# outline, ramps pale orange. Buildings (#f3f0e9) lie 20 away from white, school grounds (#e8ddbd) 60 from the ramps.
PRESETS: dict[str, dict[str, list[str]]] = {
    "web-map": {"road": ["#ffffff~12", "#ffe168~24", "#fcd488~34", "#fa9e25~34", "#e29b3b~26"]},
}


@dataclass(frozen=True)
class Colour:
    """One colour of a class; `position` is the class's, or `IGNORED`."""

    position: int
    rgb: tuple[int, int, int]
    tolerance: int

    def __str__(self) -> str:
        return "#{:02x}{:02x}{:02x}~{}".format(*self.rgb, self.tolerance)


@dataclass(frozen=True)
class Palette:
    """Classes by colour.

    Attributes:
        classes: names by position; the one that takes what is not listed comes first.
        colours: of all classes and of what is ignored.
        rest: position of every other colour: 0, or `IGNORED`.
    """

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    rest: int = 0

    @property
    def ignores(self) -> bool:
        """Whether some pixels may be without a label."""
        return self.rest == IGNORED or any(c.position == IGNORED for c in self.colours)

    def name(self, position: int) -> str:
        """The class's name, or `ignore`."""
        return IGNORE if position == IGNORED else self.classes[position]

    def of(self, position: int) -> tuple[Colour, ...]:
        """The colours of one class."""
        return tuple(c for c in self.colours if c.position == position)

    def words(self) -> list[str]:
        """As `read_palette` takes it."""
        positions = dict.fromkeys([self.rest, *(c.position for c in self.colours)])
        found = {p: [str(c) for c in self.of(p)] + [REST] * (p == self.rest) for p in positions}
        return [f"{self.name(p)}={','.join(colours)}" for p, colours in found.items()]


def read_palette(colors: Sequence[str | Path] = (), preset: str | None = None) -> Palette:
    """The palette of a preset, of words and of TOML files, put together.

    >>> read_palette(["road=#ffffff~12,#f8d56c~40", "water=#b1d0fe"]).classes
    ('background', 'road', 'water')

    Args:
        colors: `class=colour,colour,...` each, or the path of a TOML file: a table `[classes]` of such lists.
        preset: one of `PRESETS`.

    Raises:
        ConfigError: a file that cannot be read, a wrong key or colour, a colour of two classes, fewer than two classes.
    """
    table: dict[str, list[str]] = {}
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"--preset {preset}: there is {', '.join(PRESETS)}; give other colours with --colors")
        _merge(table, PRESETS[preset])
    for word in colors:
        text = str(word)
        if text in PRESETS:
            _merge(table, PRESETS[text])
        elif "=" in text and not Path(text).is_file():
            name, _, listed = text.partition("=")
            if not name.strip():
                raise ConfigError(f"--colors {text}: the class has no name, expected e.g. road=#ffffff~12")
            _merge(table, {name.strip(): [c.strip() for c in listed.split(",")]})
        else:
            _merge(table, _from_file(Path(text)))
    return _made(table)


def _merge(table: dict[str, list[str]], more: Mapping[str, Sequence[str]]) -> None:
    for name, colours in more.items():
        table.setdefault(name, []).extend(colours)


def _made(table: Mapping[str, Sequence[str]]) -> Palette:
    if not table:
        raise ConfigError("the palette is empty: give colours, e.g. --colors road=#ffffff~12, or --preset web-map")
    rest = [name for name, colours in table.items() if REST in colours]
    if len(rest) > 1:
        raise ConfigError(f"{' and '.join(rest)} both have the colour 'rest': one class takes what is not listed")
    first = rest[0] if rest else BACKGROUND
    names = [name for name in table if name not in (first, IGNORE)]
    if first != IGNORE:
        names.insert(0, first)
    if len(names) < 2:
        raise ConfigError(
            f"the palette has one class, {names[0] if names else 'none'}: name the colours of another one, "
            f"or let '{BACKGROUND}=rest' take what is not listed"
        )
    if len(names) > IGNORED:
        raise ConfigError(f"the palette has {len(names)} classes: at most {IGNORED} can be told apart")
    colours: list[Colour] = []
    owner: dict[tuple[int, int, int], str] = {}
    for name, listed in table.items():
        position = IGNORED if name == IGNORE else names.index(name)
        for text in listed:
            if text == REST:
                continue
            colour = _colour(text, name, position)
            if owner.setdefault(colour.rgb, name) != name:
                raise ConfigError(
                    f"colour {text.split('~')[0]} is of {owner[colour.rgb]} and of {name}: give it to one"
                )
            colours.append(colour)
    return Palette(tuple(names), tuple(colours), IGNORED if first == IGNORE else 0)


def _colour(text: str, name: str, position: int) -> Colour:
    found = COLOUR.fullmatch(text)
    if found is None or int(found[2] or 0) > 255:
        raise ConfigError(f"'{text}' of class {name} is no colour: expected e.g. #ffffff, #ffffff~12 (0..255) or rest")
    digits = found[1] if len(found[1]) == 6 else "".join(2 * d for d in found[1])
    red, green, blue = bytes.fromhex(digits)
    return Colour(position, (red, green, blue), DEFAULT_TOLERANCE if found[2] is None else int(found[2]))


# --- TOML ------------------------------------------------------------------------------------------------------------


def _from_file(path: Path) -> dict[str, list[str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"--colors {path}: neither class=colours (e.g. road=#ffffff~12) nor a preset ({', '.join(PRESETS)}) nor a "
            "TOML file that exists"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"palette '{path}' is not TOML: {error}") from error
    unknown = set(table) - {"classes", "tolerance", REST, IGNORE}
    if unknown or not isinstance(table.get("classes"), dict):
        text = f"unknown key '{min(unknown)}'" if unknown else "no table [classes]"
        raise ConfigError(
            f"palette '{path}': {text}; expected a table [classes] with lines such as road = [\"#ffffff~12\"], "
            "and beside it, if wanted, tolerance, ignore and rest"
        )
    tolerance = table.get("tolerance", DEFAULT_TOLERANCE)
    if type(tolerance) is not int or not 0 <= tolerance <= 255:
        raise ConfigError(f"palette '{path}': tolerance = {tolerance!r}: expected 0..255")
    if IGNORE in table["classes"] and IGNORE in table:
        raise ConfigError(f"palette '{path}': ignore is given twice, beside [classes] and in it")
    entries = dict(table["classes"]) | ({IGNORE: table[IGNORE]} if IGNORE in table else {})
    found = {name: [_entry(c, tolerance, f"palette '{path}': {name}") for c in _list(v)] for name, v in entries.items()}
    if REST in table:
        name = table[REST]
        if not isinstance(name, str) or not name:
            raise ConfigError(f"palette '{path}': rest = {name!r}: expected the name of a class, or \"ignore\"")
        found.setdefault(name, []).append(REST)
    return found


def _list(value: Any) -> list[Any]:
    """A list of colours from a list or from one colour, which may be [r, g, b]."""
    one = not isinstance(value, list) or (len(value) == 3 and all(type(v) is int for v in value))
    return [value] if one else value


def _entry(value: Any, tolerance: int, where: str) -> str:
    """`#rrggbb~N` from a string, [r, g, b] or {colour = ..., tolerance = N}."""
    if isinstance(value, dict) and "colour" in value and set(value) <= {"colour", "tolerance"}:
        own = value.get("tolerance", tolerance)
        if type(own) is not int or not 0 <= own <= 255:
            raise ConfigError(f"{where}: tolerance = {own!r}: expected 0..255")
        return _entry(value["colour"], own, where)
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return "#{:02x}{:02x}{:02x}~{}".format(*value, tolerance)
    if isinstance(value, str) and (value == REST or COLOUR.fullmatch(value)):
        return value if value == REST or "~" in value else f"{value}~{tolerance}"
    raise ConfigError(f'{where}: {value!r} is no colour: expected e.g. "#ffffff~12", [255, 255, 255] or "rest"')
