"""The report of a run: one HTML file from the run folder's plain files; no scripts, nothing fetched, light and dark."""

import csv
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..errors import RunError
from .curves import Axis, line_chart, swatch
from .overlays import COLOURS, MEANINGS, overlay_names
from .page import (
    changed_keys,
    figure,
    flat,
    key_table,
    number,
    read_json,
    read_toml,
    section,
    value_text,
    write_page,
)

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
            "give the folder that `roadseg train --out RUN` made, or that of a study"
        )
    metrics = read_json(run / "metrics.json")
    history = _history(run / "history.csv")
    name = run.resolve().name
    parts = [
        f"<header><h1>{escape(name)}</h1><p>{_summary(read_json(run / 'split.json'), metrics, history)}</p></header>",
        _headline(metrics),
        _pictures(run / "validation", metrics.get("images")),
        _curves(history, metrics),
        _configuration(read_toml(run / "config.toml")),
        _details(metrics),
    ]
    return write_page(run / "report.html", name, parts)


# === Reading ===


def _history(path: Path) -> list[dict[str, float]]:
    """One mapping per epoch; what is empty or no number is nan."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: number(value) for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error


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
        score = number(metrics.get(key))
        if not math.isfinite(score):
            continue
        base = number(metrics.get(ground) if isinstance(ground, str) else ground)
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
    more = f"<details><summary>All scores</summary>{key_table(rest)}</details>" if rest else ""
    images = f" of {value_text(metrics['n_images'])} images" if "n_images" in metrics else ""
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
    by = next((key for key in RANKED_BY if any(math.isfinite(number(s.get(key))) for s in scores.values())), "")
    if by:
        ranked = sorted(
            (stem for stem in scores if math.isfinite(number(scores[stem].get(by)))),
            key=lambda stem: (number(scores[stem][by]), stem),
        )
        many = len(ranked) > SHOWN
        worst = min(SHOWN, len(ranked) // 2) if many else 0
        best = min(SHOWN, len(ranked) - worst)
        groups = [("Best" if many else "All", ranked[::-1][:best]), ("Worst", ranked[:worst])]
        order = f", ranked by {escape(by.replace('_', ' '))}"
    else:
        found = sorted(path.name.removesuffix("_overlay.png") for path in folder.glob("*_overlay.png"))
        groups, order = [("Some", found[: 2 * SHOWN])], ""
    overlays = overlay_names(table)
    parts = []
    for title, stems in groups:
        if stems:
            cells = "".join(
                _figure(folder, stem, overlays.get(stem, f"{stem}_overlay"), scores.get(stem, {})) for stem in stems
            )
            parts.append(f'<h3>{title}</h3><div class="pictures">{cells}</div>')
    if not parts:
        return ""
    legend = " ".join(swatch(f"rgb{colour}", MEANINGS[kind]) for kind, colour in COLOURS.items())
    return f'<section><h2>Validation images</h2><p class="note">{legend}{order}</p>{"".join(parts)}</section>'


def _figure(folder: Path, stem: str, overlay: str, scores: Mapping[str, Any]) -> str:
    names = {"pixel_f1": "F1", "pixel_iou": "IoU", "patch_accuracy": "patches"}
    told = [
        f"{name} {number(scores.get(key)):.3f}" for key, name in names.items() if math.isfinite(number(scores.get(key)))
    ]
    source = folder / f"{overlay}.png" if Path(stem).name == stem else None
    caption = f"<b>{escape(stem)}</b> {escape(' · '.join(told))}"
    return figure(source, f"prediction for {stem} over the image", caption)


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
        base = number(metrics.get("all_background_patch_accuracy")) if "val_patch_accuracy" in lines else math.nan
        if lines:
            charts.append(line_chart(title, epochs, lines, ("patch accuracy, all background", base), axis))
    return f'<section><h2>Curves</h2><div class="charts">{"".join(charts)}</div></section>' if charts else ""


def _configuration(config: Mapping[str, Any]) -> str:
    if not config:
        return ""
    return section("Configuration", changed_keys(config, "this run"), note="What differs from the defaults.")


def _details(metrics: Mapping[str, Any]) -> str:
    parts = [
        f"<div><h3>{escape(str(key)).capitalize()}</h3>{key_table(dict(flat(value)))}</div>"
        for key, value in metrics.items()
        if key != "images" and isinstance(value, dict) and value
    ]
    return f'<section><h2>Run</h2><div class="columns">{"".join(parts)}</div></section>' if parts else ""
