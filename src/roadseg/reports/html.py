"""The report of a run: one HTML file from the run folder's plain files; no scripts, nothing fetched, light and dark."""

import csv
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
from .curves import Axis, line_chart, swatch
from .overlays import COLOURS, MEANINGS

__all__ = ["write_report"]

# Key in metrics.json: name, and the score of calling everything background (a key, or a number by definition).
SCORES: dict[str, tuple[str, str | float]] = {
    "patch_accuracy": ("Patch accuracy", "all_background_patch_accuracy"),
    "pixel_f1": ("Pixel F1", 0.0),
    "pixel_iou": ("Pixel IoU", 0.0),
    "pixel_accuracy": ("Pixel accuracy", "all_background_pixel_accuracy"),
}
CURVES: dict[str, tuple[Axis, tuple[str, ...]]] = {
    "Loss": ("log", ("loss", "val_loss")),
    "Validation scores": ("free", ("val_pixel_f1", "val_patch_accuracy")),
    "More validation scores": ("free", ("val_pixel_iou", "val_pixel_accuracy", "val_patch_f1")),
    "Learning rate": ("zero", ("learning_rate",)),
    "Images per second": ("zero", ("images_per_second",)),
    "Seconds per epoch": ("zero", ("seconds",)),
}
RANKED_BY = ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy")  # the first that the images have
SHOWN = 6  # best and worst images
PICTURE = 420  # pixels, longest side of an embedded picture


def write_report(run: Path) -> Path:
    """Write RUN/report.html anew from config.toml, split.json, history.csv, metrics.json and validation/*_overlay.png.

    Any of the files may be missing (a run that was interrupted); their sections are then left out.

    Raises:
        RunError: `run` is no run folder, or one of its files is damaged.
        OutputError: the report cannot be written.
    """
    run = Path(run)
    if not run.is_dir():
        raise RunError(f"'{run}' is not a folder: give a run folder, as `roadseg train --out RUN` makes it")
    if not any((run / name).is_file() for name in ("config.toml", "metrics.json", "history.csv")):
        raise RunError(
            f"'{run}' is not a run folder: it has none of config.toml, metrics.json, history.csv; "
            "give the folder that `roadseg train --out RUN` made"
        )
    metrics = _json(run / "metrics.json")
    history = _history(run / "history.csv")
    name = run.resolve().name
    parts = [
        f"<header><h1>{escape(name)}</h1><p>{_summary(_json(run / 'split.json'), metrics, history)}</p></header>",
        _headline(metrics),
        _pictures(run / "validation", metrics.get("images")),
        _curves(history, metrics),
        _configuration(_toml(run / "config.toml")),
        _details(metrics),
    ]
    out = run / "report.html"
    write_text(out, PAGE.format(title=escape(name), style=STYLE, body="\n".join(part for part in parts if part)))
    return out


# === Reading ===


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"'{path}' is damaged: expected a JSON object, found {type(value).__name__}")
    return value


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error


def _history(path: Path) -> list[dict[str, float]]:
    """One mapping per epoch; what is empty or no number is nan."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: _number(value) for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


# === Sections ===


def _summary(split: Mapping[str, Any], metrics: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> str:
    said = [
        f"{key.replace('_', ' ')}: {len(value)} images"
        for key, value in split.items()
        if isinstance(value, list | dict) and key.startswith(("train", "val", "test"))
    ]
    if history:
        said.append(f"{len(history)} epochs")
    if not metrics:
        said.append("not finished: no metrics.json yet")
    return escape(" · ".join(said))


def _headline(metrics: Mapping[str, Any]) -> str:
    tiles = []
    for key, (name, ground) in SCORES.items():
        score = _number(metrics.get(key))
        if not math.isfinite(score):
            continue
        base = _number(metrics.get(ground) if isinstance(ground, str) else ground)
        beside, tick = "", ""
        if math.isfinite(base):
            beside = f"all background {base:.3f} <span>({score - base:+.3f})</span>"
            tick = f'<line x1="{100 * base:.1f}" x2="{100 * base:.1f}" y1="0" y2="6" class="base"/>'
        bar = f'<rect width="100" height="6" class="rail"/><rect width="{100 * min(max(score, 0), 1):.1f}" height="6"/>'
        tiles.append(
            f'<div class="tile"><h3>{name}</h3><strong>{score:.3f}</strong><small>{beside or "&nbsp;"}</small>'
            f'<svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">{bar}{tick}</svg></div>'
        )
    if not tiles:
        note = "This run held out no images, so there are no scores." if metrics else ""
        return f"<section><p>{note}</p></section>" if note else ""
    rest = {
        key: value
        for key, value in metrics.items()
        if key not in SCORES and key != "images" and not isinstance(value, dict) and value is not None
    }
    more = f"<details><summary>All scores</summary>{_table(rest)}</details>" if rest else ""
    images = f" of {_text(metrics['n_images'])} images" if "n_images" in metrics else ""
    note = (
        f"Pixels and 16x16 patches{images} that were held out, pooled. The mark on each bar is what calling everything "
        "background scores."
    )
    return (
        f'<section><h2>Scores</h2><div class="tiles">{"".join(tiles)}</div><p class="note">{note}</p>{more}</section>'
    )


def _pictures(folder: Path, images: Any) -> str:
    table = images if isinstance(images, dict) else {}
    scores = {str(stem): found for stem, found in table.items() if isinstance(found, dict)}
    groups: list[tuple[str, list[str]]]
    by = next((key for key in RANKED_BY if any(math.isfinite(_number(s.get(key))) for s in scores.values())), "")
    if by:
        ranked = sorted(
            (stem for stem in scores if math.isfinite(_number(scores[stem].get(by)))),
            key=lambda stem: (_number(scores[stem][by]), stem),
        )
        many = len(ranked) > SHOWN
        worst = min(SHOWN, len(ranked) // 2) if many else 0
        best = min(SHOWN, len(ranked) - worst)
        groups = [("Best" if many else "All", ranked[::-1][:best]), ("Worst", ranked[:worst])]
        order = f", ranked by {escape(by.replace('_', ' '))}"
    else:
        found = sorted(path.name.removesuffix("_overlay.png") for path in folder.glob("*_overlay.png"))
        groups, order = [("Some", found[: 2 * SHOWN])], ""
    parts = []
    for title, stems in groups:
        if stems:
            cells = "".join(_figure(folder, stem, scores.get(stem, {})) for stem in stems)
            parts.append(f'<h3>{title}</h3><div class="pictures">{cells}</div>')
    if not parts:
        return ""
    legend = " ".join(swatch(f"rgb{colour}", MEANINGS[kind]) for kind, colour in COLOURS.items())
    return f'<section><h2>Validation images</h2><p class="note">{legend}{order}</p>{"".join(parts)}</section>'


def _figure(folder: Path, stem: str, scores: Mapping[str, Any]) -> str:
    source = _embedded(folder / f"{stem}_overlay.png") if Path(stem).name == stem else None
    picture = (
        f'<img src="{source}" alt="prediction for {escape(stem)} over the image">'
        if source
        else '<div class="none">no picture</div>'
    )
    names = {"pixel_f1": "F1", "pixel_iou": "IoU", "patch_accuracy": "patches"}
    told = [
        f"{name} {_number(scores.get(key)):.3f}"
        for key, name in names.items()
        if math.isfinite(_number(scores.get(key)))
    ]
    return f"<figure>{picture}<figcaption><b>{escape(stem)}</b> {escape(' · '.join(told))}</figcaption></figure>"


def _embedded(path: Path) -> str | None:
    """A picture as a data URL, scaled down; None where it is missing or unreadable: the report goes on without it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((PICTURE, PICTURE))
            buffer = BytesIO()
            # Full colour resolution: thin coloured lines matter here.
            small.save(buffer, "JPEG", quality=85, subsampling=0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def _curves(history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> str:
    if not history:
        return ""
    epochs = [row.get("epoch", math.nan) for row in history]
    if not all(math.isfinite(epoch) for epoch in epochs):
        epochs = [float(index) for index in range(1, len(history) + 1)]
    charts = []
    for title, (axis, columns) in CURVES.items():
        lines = {column: [row.get(column, math.nan) for row in history] for column in columns}
        lines = {column: line for column, line in lines.items() if any(map(math.isfinite, line))}
        base = _number(metrics.get("all_background_patch_accuracy")) if "val_patch_accuracy" in lines else math.nan
        if lines:
            charts.append(line_chart(title, epochs, lines, ("patch accuracy, all background", base), axis))
    return f'<section><h2>Curves</h2><div class="charts">{"".join(charts)}</div></section>' if charts else ""


def _configuration(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    defaults = dict(_flat(Config().to_dict()))
    rows = "".join(
        f"<tr><th>{escape(key)}</th><td>{_text(value)}</td><td>{_text(defaults.get(key, '-'))}</td></tr>"
        for key, value in _flat(config)
        if key not in defaults or value != defaults[key]
    )
    head = "<tr><th>key</th><td>this run</td><td>default</td></tr>"
    body = f"<table><thead>{head}</thead>{rows}</table>" if rows else "<p>Every value is the default.</p>"
    return f'<section><h2>Configuration</h2><p class="note">What differs from the defaults.</p>{body}</section>'


def _details(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"<div><h3>{escape(str(key)).capitalize()}</h3>{_table(dict(_flat(value)))}</div>"
        for key, value in metrics.items()
        if key != "images" and isinstance(value, dict) and value
    ]
    return f'<section><h2>Run</h2><div class="columns">{"".join(parts)}</div></section>' if parts else ""


# === Pieces ===


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    """A value, escaped; floats with four digits that say something."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "(empty)"
    return escape(str(value)) if value != "" else "(empty)"


def _table(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(str(key).replace('_', ' '))}</th><td>{_text(value)}</td></tr>"
        for key, value in values.items()
    )
    return f"<table>{rows}</table>"


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
:root { --paper: #fff; --ink: #1d2329; --soft: #5c6670; --line: #dfe3e8; --s0: #0072b2; --s1: #d55e00; --s2: #00785a; }
@media (prefers-color-scheme: dark) { :root { --paper: #15191e; --ink: #e6e9ec; --soft: #9ba5af; --line: #313840;
  --s0: #56b4e9; --s1: #e69f00; --s2: #3fc59b; } }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --s0: #0072b2; --s1: #d55e00; --s2: #00785a; }
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
.key { margin-right: .8rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px;
  vertical-align: -.05em; }
.key .dash { height: 0; width: 1.2em; border-top: 2px dashed var(--ink); border-radius: 0; vertical-align: .25em; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); width: 45%; }
summary { cursor: pointer; margin-top: .6rem; }
"""
