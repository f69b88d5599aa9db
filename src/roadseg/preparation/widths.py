"""How wide a line is drawn, in metres, and which lines are no roads: by one width, a column, or a table.

The table, in this order, the first that says something:

| says                                       | width                                                          |
|--------------------------------------------|----------------------------------------------------------------|
| `width_m`; `width`, `est_width`            | that: our own layers; OpenStreetMap                            |
| `lanes`; `lane_number`                     | times 3.5 m: OpenStreetMap; SpaceNet                           |
| attributes in a table of the user's own    | as it says                                                     |
| `highway` (`fclass`); `road_type`          | by the class: OpenStreetMap; SpaceNet                          |
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .tags import is_true, number, tags_of, values_of, width_in_metres

__all__ = ["CLASSES", "LANE", "WIDEST", "Drawn", "Widths", "read_widths"]

LANE = 3.5  # m, a usual lane of a main road, and what SpaceNet's own masks count

# Of OpenStreetMap's `highway`: metres of one carriageway without tags of its own. Lanes by the wiki's assumption for
# roads without `lanes` (two, one of service roads and links, two each way and so two of a motorway's carriageway) times
# `LANE`, and a hard shoulder of a lane's width for motorways. Guesses: streets differ between countries.
CLASSES: Mapping[str, float] = {
    "motorway": 10.5, "trunk": 7.0, "primary": 7.0, "secondary": 7.0, "tertiary": 7.0, "unclassified": 7.0,
    "residential": 7.0, "living_street": 7.0, "road": 7.0, "busway": 3.5, "service": 3.5,
    "motorway_link": 3.5, "trunk_link": 3.5, "primary_link": 3.5, "secondary_link": 3.5, "tertiary_link": 3.5,
    "track": 3.5, "track_grade1": 3.5, "track_grade2": 3.5, "track_grade3": 3.5, "track_grade4": 3.5,
    "track_grade5": 3.5, "unknown": 7.0,
}  # fmt: skip
# SpaceNet's `road_type` (Van Etten, Lindenbaum & Bacastow 2018, SpaceNet: A Remote Sensing Dataset and Challenge
# Series), as classes of OpenStreetMap.
SPACENET: Mapping[str, str] = {
    "1": "motorway", "2": "primary", "3": "secondary", "4": "tertiary", "5": "residential", "6": "unclassified",
    "7": "track",
}  # fmt: skip

NARROWEST, WIDEST = 0.2, 200.0  # m; anything else is a slip of the pen
MOST_LANES = 30
OWN = "width_m"
WIDTHS = ("width", "est_width")
LANES = ("lanes", "lane_number")
OTHERS = (  # keys of OpenStreetMap that make a line without `highway` another thing
    "railway", "waterway", "aerialway", "barrier", "natural", "boundary", "power", "man_made", "aeroway", "landuse",
    "leisure", "building", "amenity",
)  # fmt: skip
# Values of `route` alone: in the files of road authorities a column of that name holds the road's number.
ROUTES = frozenset({
    "ferry", "power", "pipeline", "railway", "train", "tracks", "subway", "light_rail", "tram", "monorail", "funicular",
    "bus", "trolleybus", "hiking", "foot", "bicycle", "mtb", "horse", "ski", "piste", "canoe", "waterway",
})  # fmt: skip
ROADS = (OWN, *LANES, "road_type")  # attributes that only roads have


@dataclass(frozen=True)
class Drawn:
    """What becomes of one line.

    Attributes:
        what: the class it is counted under, such as "highway=residential".
        width: m; None: it is left out.
        by: what said the width, such as "lanes x 3.5 m"; or why it is left out.
    """

    what: str
    width: float | None
    by: str


@dataclass(frozen=True)
class Widths:
    """The rule of a set.

    Attributes:
        constant: m, of every road; with `column`: of roads where that says nothing.
        column: the attribute that holds the width in metres (or with a unit, as "24 ft").
        lane: m.
        default: m, of lines that nothing is known of; None: they are left out.
        tables: by attribute: value -> m, 0: no road. They win over what is built in.
        keep_tunnels: draw them too.
        path: of the file the tables are from.
    """

    constant: float | None = None
    column: str | None = None
    lane: float = LANE
    default: float | None = None
    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    keep_tunnels: bool = False
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.constant is not None and not NARROWEST <= self.constant <= WIDEST:
            raise ConfigError(f"--width {self.constant:g}: expected metres, {NARROWEST:g}..{WIDEST:g}, e.g. 7")
        if self.path is not None and (self.constant is not None or self.column is not None):
            option = "--width-field" if self.column is not None else "--width"
            raise ConfigError(f"{option} and --widths '{self.path}' exclude each other: give one")

    def words(self) -> str:
        """The rule for the user."""
        if self.column is not None:
            rest = f", {self.constant:g} m where it says nothing" if self.constant is not None else ""
            text = f"widths from '{self.column}', m{rest}"
        elif self.constant is not None:
            text = f"{self.constant:g} m wide"
        else:
            table = f" and '{self.path.name}'" if self.path is not None else ""
            text = f"widths by width, lanes x {self.lane:g} m, or class{table}"
        return text + ("; with tunnels" if self.keep_tunnels else "; without tunnels")

    def of(self, properties: Mapping[str, Any], *, classed: bool = False) -> Drawn:
        """What becomes of a line with these attributes.

        Args:
            classed: other lines of its file have a `highway`: one without is no road unless something else says so.
        """
        tags = tags_of(properties)
        what = _what(tags)
        no_road = self._no_road(tags, classed)
        if no_road is not None:
            return Drawn(what, None, no_road)
        if self.column is not None:
            said = _plausible(width_in_metres(tags[self.column])) if self.column in tags else None
            if said is not None:
                return Drawn(what, said, self.column)
            if self.constant is None:
                return Drawn(what, None, f"no usable width in '{self.column}'")
        if self.constant is not None:
            return Drawn(what, self.constant, "--width")
        found = self._by_table(tags)
        return Drawn(what, None, "nothing says how wide") if found is None else Drawn(what, *found)

    def _no_road(self, tags: Mapping[str, str], classed: bool) -> str | None:
        if is_true(tags.get("tunnel")) and not self.keep_tunnels:
            return "tunnel"
        if is_true(tags.get("area")) and "highway" in tags:
            return "the outline of an area (area=yes)"
        for name, table in self.tables.items():
            if name in tags and all(table.get(value) == 0 for value in values_of(tags[name])):
                return f"{name}={tags[name]}"
        if "highway" in tags:
            known = {**CLASSES, **self.tables.get("highway", {})}
            if not any(known.get(value, 0) > 0 for value in values_of(tags["highway"])):
                return f"highway={tags['highway']}"
        elif any(name in tags for name in OTHERS) or any(v in ROUTES for v in values_of(tags.get("route", ""))):
            return "another thing than a road (OpenStreetMap)"
        elif classed and not any(name in tags for name in ROADS) and not self._in_tables(tags):
            return "no highway, where other lines have one"
        return None

    def _in_tables(self, tags: Mapping[str, str]) -> bool:
        return any(
            table.get(value, 0) > 0 for name, table in self.tables.items() for value in values_of(tags.get(name, ""))
        )

    def _by_table(self, tags: Mapping[str, str]) -> tuple[float, str] | None:
        for name in (OWN, *WIDTHS):
            said = _plausible(width_in_metres(tags[name])) if name in tags else None
            if said is not None:
                return said, name
        for name in LANES:
            count = number(tags[name]) if name in tags else None
            if count is not None and 0 < count <= MOST_LANES:
                return count * self.lane, f"{name} x {self.lane:g} m"
        for name, table in self.tables.items():
            known = [table[value] for value in values_of(tags.get(name, "")) if table.get(value, 0) > 0]
            if known:
                return max(known), name
        classes = [*values_of(tags.get("highway", "")), *map(_openstreetmap, values_of(tags.get("road_type", "")))]
        built_in = [CLASSES[value] for value in classes if value in CLASSES]
        if built_in:
            return max(built_in), "class"
        return None if self.default is None else (self.default, "default")


def _openstreetmap(road_type: str) -> str:
    return SPACENET.get(road_type, road_type)


def _what(tags: Mapping[str, str]) -> str:
    for name in ("highway", "road_type"):
        if name in tags:
            return f"{name}={tags[name]}"
    return "road"


def _plausible(width: float | None) -> float | None:
    return width if width is not None and NARROWEST <= width <= WIDEST else None


def read_widths(path: Path) -> Widths:
    """A table of the user's own.

        lane = 3.25             # m, of a lane (3.5)
        default = 6             # m, of lines that nothing is known of; without it they are left out

        [highway]               # any attribute: its values, and the width in metres; 0: no road
        residential = 9
        service = 0
        path = 2

    What it leaves out is as built in.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds what is no width.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"cannot read --widths '{path}': {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--widths '{path}' is not TOML: {error}") from error
    lane, default = LANE, None
    tables: dict[str, dict[str, float]] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            tables[name] = {str(k): _checked(path, f"{name}.{k}", v, 0.0) for k, v in value.items()}
        elif name == "lane":
            lane = _checked(path, name, value, NARROWEST)
        elif name == "default":
            default = _checked(path, name, value, NARROWEST)
        else:
            raise ConfigError(
                f"--widths '{path}': unknown key '{name}': expected lane, default, or a table such as [highway]"
            )
    return Widths(lane=lane, default=default, tables=tables, path=Path(path))


def _checked(path: Path, name: str, value: Any, least: float) -> float:
    if value is False:
        value = 0.0
    if type(value) not in (int, float) or not (value == least == 0 or NARROWEST <= value <= WIDEST):
        no_road = " or 0 for no road" if least == 0 else ""
        raise ConfigError(f"--widths '{path}': {name} = {value!r}: expected metres, e.g. 7{no_road}")
    return float(value)
