"""The answer of an ablation as text, from ablation.json's tables: a Markdown page, and a table for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["markdown", "text_table"]

HEAD = ("factor", "difference", "95 % interval", "p (Holm)", "bootstrap", "verdict", "time", "weights")
STAGES = {"screen": "Screening", "confirm": "Confirmation"}


def markdown(tables: Mapping[str, Any]) -> str:
    """ablation.md: a section a stage, ready to be pasted."""
    data = tables["dataset"]
    lines = [f"# {tables['title']}", ""]
    if tables.get("command"):
        lines += [f"    {tables['command']}", ""]
    subject = f"Declared beforehand: {_name(tables['metric'])}, on {data['name']} ({data['pairs']} images)"
    lines += [f"{subject}. {tables['method']}"]
    for stage in tables["stages"]:
        lines += ["", f"## {_headline(stage)}", "", _baseline(stage), ""]
        rows = _rows(stage)
        lines += [_row(HEAD), "|---|" + "---:|" * 4 + "---|" + "---:|" * 2, *(_row(_escaped(row)) for row in rows)]
        notes = _notes(stage)
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
    lines += ["", _machines(tables)]
    return "\n".join(lines) + "\n"


def text_table(tables: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    data = tables["dataset"]
    lines = [f"{tables['title']}: {_name(tables['metric'])} on {data['name']} ({data['pairs']} images)"]
    for stage in tables["stages"]:
        lines += ["", _headline(stage), _baseline(stage)]
        rows = [HEAD, *_rows(stage)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
        left = (0, 5)  # words
        for row in rows:
            cells = (
                cell.ljust(w) if k in left else cell.rjust(w)
                for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(cells).rstrip())
        lines += [f"- {note}" for note in _notes(stage)]
    return "\n".join(lines)


def _headline(stage: Mapping[str, Any]) -> str:
    folds, splits, seeds = stage["held_out_folds"], stage["fold_seeds"], stage["seeds"]
    return (
        f"{STAGES[stage['name']]}: {stage['length']} a training, fold{_s(folds)} {_listed(folds)} of {stage['folds']} "
        f"(fold seed{_s(splits)} {_listed(splits)}), seed{_s(seeds)} {_listed(seeds)}"
    )


def _baseline(stage: Mapping[str, Any]) -> str:
    base = stage["baseline"]
    settings = f" ({', '.join(base['set'])})" if base["set"] else ""
    parts = []
    for metric, score in base["scores"].items():
        if score["mean"] is not None:
            spread = "" if score["sd"] is None else f" ± {score['sd']:.4f}"
            parts.append(f"{_name(metric)} {score['mean']:.4f}{spread}")
    what = ", ".join(parts) or "no run is finished"
    spread = "; ± is the standard deviation over the folds" if any("±" in part for part in parts) else ""
    cost = base["cost"]
    seconds = ""
    if cost["seconds_per_epoch"] is not None:
        seconds = f"; {cost['seconds_per_epoch']:.1f} s an epoch, {cost['image_s']:.3f} s an image"
        seconds += f", {cost['parameters']:,} weights"
    return f"Baseline{settings}: {what}{_done(base)}{spread}{seconds}."


def _rows(stage: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a factor, the best first, those without a difference last."""
    weights = stage["baseline"]["cost"]["parameters"]
    ordered = sorted(stage["factors"], key=lambda f: (f["mean"] is None, -(f["mean"] or 0.0)))
    return [_cells(factor, weights) for factor in ordered]


def _cells(factor: Mapping[str, Any], weights: int | None) -> tuple[str, ...]:
    cost, ours = factor["cost"], factor["cost"]["parameters"]
    return (
        factor["name"],
        _signed(factor["mean"]),
        _interval(factor),
        "-" if factor["p_holm"] is None else _p(factor["p_holm"]),
        "-" if factor["bootstrap"] is None else _interval(factor["bootstrap"]),
        (factor["verdict"] or "-") + _done(factor),
        "-" if cost["time_ratio"] is None else f"x{cost['time_ratio']:.2f}",
        f"x{ours / weights:.2f}" if ours and weights else "-",
    )


def _notes(stage: Mapping[str, Any]) -> list[str]:
    """What the table has no room for."""
    notes = []
    if stage["chosen_by"]:
        notes.append(
            f"These factors are {stage['chosen_by']}. Believe these differences, not those that they were chosen by; "
            "both are of the same images."
        )
    for factor in stage["factors"]:
        if factor["verdict"] == "cannot tell" and factor["more_runs"]:
            notes.append(f"{factor['name']}: {factor['more_runs']}")
    for row in ({"name": "baseline", **stage["baseline"]}, *stage["factors"]):
        notes += [f"{row['name']}: failed: {why}" for why in row["failed"]]
    return notes


def _machines(tables: Mapping[str, Any]) -> str:
    known = {
        name: v
        for name, v in tables["versions"].items()
        if name in ("roadseg", "python", "keras", "tensorflow", "jax", "torch")
    }
    made = "; ".join(tables["machines"]) or "no run is finished"
    return f"Machine: {made}. Versions: {', '.join(f'{name} {v}' for name, v in known.items()) or '-'}."


def _done(row: Mapping[str, Any]) -> str:
    return "" if row["finished"] == row["wanted"] else f" ({row['finished']} of {row['wanted']} runs)"


def _interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None or found["high"] is None:
        return "-"
    return f"{_signed(found['low'])} .. {_signed(found['high'])}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _name(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1").replace("iou", "IoU")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _s(numbers: Sequence[int]) -> str:
    return "s" if len(numbers) > 1 else ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
