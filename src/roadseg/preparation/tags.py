"""What the attributes of a line say of the road, whoever wrote them: columns, tags packed into one column, words.

Nothing here knows how wide a road is drawn; see `widths`.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["ALIASES", "is_true", "number", "tags_of", "values_of", "width_in_metres"]

NOTHING = frozenset({"", "none", "null", "nan", "na", "n/a", "<null>", "[]"})  # what exporters write for "no value"
PACKED = ("other_tags", "all_tags", "tags")  # GDAL's OSM driver (hstore or JSON); Overpass and others (JSON)
ALIASES = {  # names that Shapefiles cut to 10 characters, and other parties' names of the same thing
    "fclass": "highway",  # Geofabrik's Shapefiles
    "lane_numbe": "lane_number",
    "bridge_typ": "bridge_type",
}
FALSE = frozenset({"no", "f", "false", "0"})
FOOT, INCH, MILE = 0.3048, 0.0254, 1609.344  # m
UNITS = {"": 1.0, "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "cm": 0.01, "km": 1000.0,
         "ft": FOOT, "feet": FOOT, "foot": FOOT, "'": FOOT, "in": INCH, '"': INCH, "mi": MILE}  # fmt: skip
HSTORE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*=>\s*(?:"((?:[^"\\]|\\.)*)"|NULL)')


def tags_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """Every attribute that says something, as text by its usual name.

    A column wins over the same name among packed tags; so do full names over cut ones.

    >>> tags_of({"highway": "service", "lanes": "None", "other_tags": '"lanes"=>"2","surface"=>"asphalt"'})
    {'highway': 'service', 'lanes': '2', 'surface': 'asphalt'}
    """
    found: dict[str, str] = {}
    packed: list[Mapping[Any, Any]] = []
    for name, value in properties.items():
        if name in PACKED:
            packed.append(_unpacked(value))
            continue
        text = _text(value)
        if text is not None and (name not in ALIASES or _text(properties.get(ALIASES[name])) is None):
            found[ALIASES.get(name, name)] = text
    for tags in packed:
        for name, value in tags.items():
            text = _text(value)
            if text is not None:
                found.setdefault(str(name), text)
    return found


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table with gaps turns whole numbers into real ones: 2.0 lanes
    text = str(value).strip()
    return None if text.casefold() in NOTHING else text


def _unpacked(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    text = str(value or "").strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, Mapping) else {}
    plain = re.compile(r"\\(.)")
    return {plain.sub(r"\1", key): plain.sub(r"\1", text) for key, text in HSTORE.findall(text)}


def values_of(text: str) -> list[str]:
    """The values of an attribute that holds several: `2;3` of OpenStreetMap, `['2', '3']` of joined edges.

    >>> values_of("['residential', 'service']")
    ['residential', 'service']
    """
    if text.startswith("[") and text.endswith("]"):
        return [part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()]
    return [part.strip() for part in text.split(";") if part.strip()]


def is_true(text: str | None) -> bool:
    """Whether a tag such as `tunnel` holds: `yes`, `culvert`, `T`, `1`; not `no`, `F`, `0` or nothing."""
    return text is not None and any(value.casefold() not in FALSE for value in values_of(text))


def number(text: str) -> float | None:
    """The largest of the numbers in an attribute; None where one is no number.

    >>> number("2;3"), number("two")
    (3.0, None)
    """
    found = []
    for value in values_of(text):
        try:
            found.append(float(value))
        except ValueError:
            return None
    return max(found) if found and all(map(math.isfinite, found)) else None


def width_in_metres(text: str) -> float | None:
    """A width as OpenStreetMap writes it, in metres where no unit is said; the largest of several; None: no width.

    >>> [width_in_metres(text) for text in ("7.5", "7,5 m", "24 ft", "16'3\\"", "wide")]
    [7.5, 7.5, 7.3152, 4.9530, None]
    """
    found = [_one_width(value) for value in values_of(text)]
    known = [value for value in found if value is not None]
    return max(known) if known and len(known) == len(found) else None


def _one_width(text: str) -> float | None:
    text = text.strip().lstrip("~").strip().casefold()
    both = re.fullmatch(r"(\d+)\s*(?:'|ft|feet)\s*(\d+(?:\.\d+)?)\s*(?:\"|in|'')", text)
    if both is not None:
        return round(int(both[1]) * FOOT + float(both[2]) * INCH, 4)
    match = re.fullmatch(r"(\d+(?:[.,]\d*)?|[.,]\d+)\s*([a-z]*|'|\")", text)
    if match is None or match[2] not in UNITS:
        return None
    return round(float(match[1].replace(",", ".")) * UNITS[match[2]], 4)
