"""What all reports share: one self-contained HTML page, its style, and small pieces of HTML from plain values."""

import json
import math
import tomllib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import RunError
from ..files import write_text

__all__ = [
    "SCORE_NAMES",
    "changed_keys",
    "embedded",
    "figure",
    "flat",
    "grouped",
    "key_table",
    "listed",
    "machine_tables",
    "number",
    "read_json",
    "read_toml",
    "row_table",
    "score_text",
    "section",
    "table_of",
    "value_text",
    "write_page",
]

SCORE_NAMES = {
    "pixel_f1": "Pixel F1",
    "pixel_iou": "Pixel IoU",
    "pixel_accuracy": "Pixel accuracy",
    "patch_accuracy": "Patch accuracy",
    "patch_f1": "Patch F1",
}
PICTURE = 420  # pixels, longest side of an embedded picture


def write_page(path: Path, title: str, parts: Iterable[str]) -> Path:
    """Write a page with these parts (HTML; empty ones are left out), aside and renamed.

    The page runs no scripts, fetches nothing, and follows the reader's light or dark setting.

    Args:
        title: plain text, escaped here.

    Raises:
        OutputError: it cannot be written.
    """
    body = "\n".join(part for part in parts if part)
    write_text(path, PAGE.format(title=escape(title), style=STYLE, body=body))
    return path


# === Reading: any file may be missing, any value may be of another kind than expected ===


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        RunError: it is damaged, or no object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"'{path}' is damaged: expected a JSON object, found {type(value).__name__}")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; none where there is no such file.

    Raises:
        RunError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error


def number(value: Any) -> float:
    """A value as a number; nan where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def table_of(value: Any) -> dict[str, Any]:
    """The value where it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[dict[str, Any]]:
    """The tables of a list; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Keys with dots and values of nested tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# === Pieces of HTML ===


def section(title: str, *parts: str, note: str = "") -> str:
    """A `<section>` with a heading (plain text) and parts (HTML); nothing where all parts are empty."""
    body = "".join(parts)
    told = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{body}</section>" if body else ""


def value_text(value: Any) -> str:
    """A value, escaped; floats with four digits that say something; a dash for None."""
    if value is None:
        return "&ndash;"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(value_text(item) for item in value) or "(empty)"
    return escape(str(value)) if value != "" else "(empty)"


def score_text(value: Any, signed: bool = False) -> str:
    """A score with four decimals, with its sign on request; a dash where there is none."""
    found = number(value)
    if not math.isfinite(found):
        return "&ndash;"
    text = f"{found:+.4f}" if signed else f"{found:.4f}"
    return text.replace("-", "&minus;")


def grouped(value: Any) -> str:
    """A whole number with its thousands set apart; a dash where there is none."""
    found = number(value)
    return f"{found:,.0f}".replace(",", "\N{NO-BREAK SPACE}") if math.isfinite(found) else "\N{EN DASH}"


def key_table(values: Mapping[str, Any]) -> str:
    """A `<table>` of two columns: key and value."""
    rows = "".join(
        f"<tr><th>{escape(str(key).replace('_', ' '))}</th><td>{value_text(value)}</td></tr>"
        for key, value in values.items()
    )
    return f"<table>{rows}</table>"


def row_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A `<table>` with a row of headings; its cells are HTML, the first of each row is the row's name."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return f'<div class="wide"><table class="rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def machine_tables(content: Mapping[str, Any]) -> str:
    """The tables `machine` and `versions` of a study's file side by side; nothing where there are none."""
    about = [
        f"<div><h3>{name.capitalize()}</h3>{key_table(dict(flat(table)))}</div>"
        for name in ("machine", "versions")
        if (table := table_of(content.get(name)))
    ]
    return f'<div class="columns">{"".join(about)}</div>' if about else ""


def changed_keys(config: Mapping[str, Any], heading: str) -> str:
    """A table of the keys whose value is not the default; a sentence where there is none."""
    defaults = dict(flat(Config().to_dict()))
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{value_text(value)}</td><td>{value_text(defaults.get(key, '-'))}</td></tr>"
        for key, value in flat(config)
        if key not in defaults or value != defaults[key]
    )
    head = f"<tr><th>key</th><td>{escape(heading)}</td><td>default</td></tr>"
    return f"<table><thead>{head}</thead>{rows}</table>" if rows else "<p>Every value is the default.</p>"


def embedded(path: Path, longest: int = PICTURE) -> str | None:
    """A picture as a data URL, scaled down; None where it is missing or unreadable: the report goes on without it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((longest, longest))
            buffer = BytesIO()
            # Full colour resolution: thin coloured lines matter here.
            small.save(buffer, "JPEG", quality=85, subsampling=0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def figure(path: Path | None, alternative: str, caption: str, longest: int = PICTURE) -> str:
    """A `<figure>` with an embedded picture, or a place for one that is missing.

    Args:
        alternative: plain text for those who cannot see it.
        caption: HTML.
        longest: pixels of its longer side.
    """
    source = embedded(path, longest) if path else None
    shown = f'<img src="{source}" alt="{escape(alternative)}">' if source else '<div class="none">no picture</div>'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


# === The page ===

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title} - roadseg</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

STYLE = """
:root { --paper: #fff; --ink: #1d2329; --soft: #5c6670; --line: #dfe3e8; --s0: #0072b2; --s1: #d55e00; --s2: #00785a;
  --s3: #a3487f; }
@media (prefers-color-scheme: dark) { :root { --paper: #15191e; --ink: #e6e9ec; --soft: #9ba5af; --line: #313840;
  --s0: #56b4e9; --s1: #e69f00; --s2: #3fc59b; --s3: #d793b9; } }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --s0: #0072b2; --s1: #d55e00; --s2: #00785a; --s3: #a3487f; }
  figure, .tile, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } body { print-color-adjust: exact; } }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
h3 { margin: 1rem 0 .3rem; font-size: .95rem; }
header p, .note { margin: .2rem 0; color: var(--soft); }
.tiles, .charts, .pictures, .columns { display: grid; gap: 1rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); margin: 1rem 0; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
.pictures { grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); }
.columns { grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; }
.tile h3 { margin: 0; color: var(--soft); font-weight: 500; }
.tile strong { display: block; font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile small { display: block; color: var(--soft); }
.tile svg { width: 100%; height: 6px; margin-top: .5rem; fill: var(--s0); }
.rail { fill: var(--line); }
figure { margin: 0; }
figure img, .none { display: block; width: 100%; border-radius: 4px; }
.none { display: grid; place-items: center; aspect-ratio: 1; border: 1px dashed var(--line); color: var(--soft); }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
figure > p { margin: 0; font-size: .85rem; color: var(--soft); }
figure > svg { width: 100%; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); }
.base { stroke: var(--ink); stroke-dasharray: 5 4; }
.tile .base { stroke-width: 2; stroke-dasharray: none; vector-effect: non-scaling-stroke; }
.s0 path { stroke: var(--s0); } .s1 path { stroke: var(--s1); } .s2 path { stroke: var(--s2); }
.s0 circle { fill: var(--s0); } .s1 circle { fill: var(--s1); } .s2 circle { fill: var(--s2); }
figure path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); }
.plain { --c: var(--soft); }
.mark { fill: var(--c); stroke: var(--paper); } .hollow { fill: var(--paper); stroke: var(--c); stroke-width: 1.5; }
.bar { fill: var(--c); } .stroke { stroke: var(--c); } .bold { stroke-width: 3; }
.zero { stroke: var(--ink); stroke-width: 1.5; }
svg .name, svg .said { fill: var(--ink); } svg .said { font-weight: 600; } svg .right { text-anchor: end; }
svg .middle { text-anchor: middle; }
.key svg { width: 1em; height: 1em; margin-right: .3em; vertical-align: -.12em; }
.key { margin-right: .8rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px;
  vertical-align: -.05em; }
.key .dash { height: 0; width: 1.2em; border-top: 2px dashed var(--ink); border-radius: 0; vertical-align: .25em; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); width: 45%; }
.rows th, .rows td { width: auto; overflow-wrap: normal; }
.rows th[scope] { min-width: 8rem; } .rows thead th { vertical-align: bottom; }
.rows small { color: var(--soft); } .rows code { font-size: .95em; overflow-wrap: anywhere; }
code { font: .88em ui-monospace, monospace; }
.wide { overflow-x: auto; } .wide > svg { min-width: 46rem; width: 100%; } .wide + *, .charts + * { margin-top: 1rem; }
.large { grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
.narrow { max-width: 26rem; }
.broad { grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
pre { overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; margin-top: .6rem; }
"""
