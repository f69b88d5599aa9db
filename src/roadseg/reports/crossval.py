"""The report of a cross-validation, from its crossval.json, calibration.json, mistakes.json and pictures."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..studies.records import ROWS
from .charts import dot_chart, reliability_diagram
from .mistakes import mistakes_parts
from .page import (
    SCORE_NAMES,
    changed_keys,
    listed,
    machine_tables,
    number,
    read_json,
    row_table,
    score_text,
    section,
    table_of,
    value_text,
)

if TYPE_CHECKING:
    from ..studies.records import RunRecord

__all__ = ["crossval_parts"]

CHARTED = ("pixel_f1", "patch_accuracy")
BACKGROUND = "all background"


def crossval_parts(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """The page's parts (HTML, some empty).

    Args:
        folder: with the other files, of which any may be missing.
        content: of crossval.json.

    Raises:
        RunError: one of the other files is damaged.
    """
    scores = {row: table_of(found) for row, found in table_of(content.get("scores")).items()}
    runs = _records(content.get("runs"))
    return [
        _header(folder, content),
        _scores(content, scores, _background(runs), runs),
        _calibration(read_json(folder / "calibration.json")),
        *mistakes_parts(folder, read_json(folder / "mistakes.json")),
        _recipe(table_of(content.get("recipe"))),
        _runs(content, runs),
    ]


def _records(runs: Any) -> "list[RunRecord]":
    """The records of the runs; none where they are of another form."""
    import msgspec

    from ..studies.records import RunRecord

    try:
        return sorted(msgspec.convert(runs, list[RunRecord]), key=lambda run: run.place)
    except msgspec.ValidationError:
        return []


def _header(folder: Path, content: Mapping[str, Any]) -> str:
    dataset = table_of(content.get("dataset"))
    name = str(dataset.get("name") or folder.resolve().name)
    seeds = content.get("seeds")
    said = [
        f"{dataset['pairs']} images" if dataset.get("pairs") is not None else "",
        f"{content['folds']} folds (fold seed {content.get('fold_seed', '?')})"
        if content.get("folds") is not None
        else "",
        f"groups by {content['group']}" if content.get("group") else "",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if isinstance(seeds, list) else "",
        str(content.get("length") or ""),
    ]
    summary = str(dataset.get("summary") or "")
    about = f"<details><summary>The images</summary><pre>{escape(summary)}</pre></details>" if summary else ""
    facts = escape(" · ".join(part for part in said if part))
    return f"<header><h1>{escape(name)}: cross-validation</h1><p>{facts}</p>{about}</header>"


def _score(run: "RunRecord", metric: str) -> float:
    """A score of a run; nan where it does not exist, such as that of patches for several classes."""
    from ..studies.records import pooled

    return number(pooled(run.images.values()).to_dict()[metric]) if run.images else math.nan


# === Scores ===


@dataclass(frozen=True)
class _Background:
    """Scores of calling every pixel background: by fold, and of all images together."""

    per_fold: dict[int, dict[str, float]]
    pooled: dict[str, float]


def _background(runs: "Sequence[RunRecord]") -> _Background | None:
    """From the truth in the records' counts; None without records, or of several classes."""
    from ..studies.records import pooled

    first: dict[int, RunRecord] = {}
    for run in runs:
        first.setdefault(run.fold, run)
    totals = {fold: pooled(run.images.values()) for fold, run in first.items() if run.images}
    if not totals or any(total.classes != 2 for total in totals.values()):
        return None

    def told(pixels: Any, patches: Any) -> dict[str, float]:
        accuracy = {"pixel_accuracy": pixels, "patch_accuracy": patches}
        return {"pixel_f1": 0.0, "pixel_iou": 0.0, "patch_f1": 0.0} | {
            key: float(counts[0].sum() / counts.sum()) for key, counts in accuracy.items() if counts.sum()
        }

    everything = [(total.pixels, total.patches) for total in totals.values()]
    together = told(*(sum(parts) for parts in zip(*everything, strict=True)))
    return _Background({fold: told(total.pixels, total.patches) for fold, total in totals.items()}, together)


def _scores(
    content: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Any]],
    background: _Background | None,
    runs: "Sequence[RunRecord]",
) -> str:
    told = {row: found for row, found in scores.items() if found}
    metrics = [
        key
        for key in SCORE_NAMES
        if any(math.isfinite(number(table_of(s.get("mean")).get(key))) for s in told.values())
    ]
    if not metrics:
        return ""
    several = isinstance(content.get("seeds"), list) and len(content["seeds"]) > 1
    rows = [[ROWS.get(row, escape(row)), *_cells(found, metrics)] for row, found in told.items()]
    if background:
        nothing: dict[str, dict[str, float]] = {"mean": {}, "sd": {}, "pooled": background.pooled}
        for key in metrics:
            values = [fold[key] for fold in background.per_fold.values() if key in fold]
            if values:
                nothing["mean"][key] = statistics.fmean(values)
                nothing["sd"][key] = statistics.stdev(values) if len(values) > 1 else math.nan
        rows.append([BACKGROUND, *_cells(nothing, metrics)])
    heads = ["", *(SCORE_NAMES[key] for key in metrics)]
    of_seeds = "; of one model, means over the seeds" if several else ""
    note = (
        "Mean ± standard deviation over the folds, and beneath it the score of all images together. Each image is "
        f"scored by final weights that have not seen it, at the recipe's own threshold{of_seeds}."
    )
    blocks = [row_table(heads, rows), _charts(told, background, runs, several)]
    for place, (row, found) in enumerate(told.items()):
        table = _fold_table(found, metrics)
        state = " open" if place == 0 else ""
        blocks.append(f"<details{state}><summary>Each fold: {ROWS.get(row, escape(row))}</summary>{table}</details>")
    return section("Scores", *blocks, note=note)


def _cells(found: Mapping[str, Any], metrics: Sequence[str]) -> Iterator[str]:
    mean, sd, together = (table_of(found.get(part)) for part in ("mean", "sd", "pooled"))
    for key in metrics:
        spread = f" ± {score_text(sd.get(key))}" if math.isfinite(number(sd.get(key))) else ""
        whole = f"<br><small>{score_text(together[key])}</small>" if math.isfinite(number(together.get(key))) else ""
        yield f"{score_text(mean.get(key))}{spread}{whole}"


def _fold_table(found: Mapping[str, Any], metrics: Sequence[str]) -> str:
    folds = listed(found.get("per_fold"))
    keys = [*metrics, "all_background_patch_accuracy"]
    keys = [key for key in keys if any(math.isfinite(number(fold.get(key))) for fold in folds)]
    heads = ["fold", "images", *(SCORE_NAMES.get(key, "Patch accuracy, all background") for key in keys)]
    rows = [
        [
            value_text(fold.get("fold", "")),
            value_text(fold.get("n_images", "")),
            *(score_text(fold.get(k)) for k in keys),
        ]
        for fold in folds
    ]
    for part, name in (("mean", "mean"), ("sd", "sd"), ("pooled", "all images")):
        table = table_of(found.get(part))
        if table:
            count = value_text(table["n_images"]) if part == "pooled" and "n_images" in table else ""
            rows.append([name, count, *(score_text(table.get(key)) for key in keys)])
    return row_table(heads, rows)


def _by_fold(found: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    return {int(fold["fold"]): fold for fold in listed(found.get("per_fold")) if fold.get("fold") is not None}


def _charts(
    scores: Mapping[str, Mapping[str, Any]], background: _Background | None, runs: "Sequence[RunRecord]", several: bool
) -> str:
    """A dot chart for each of the main scores, the folds as its rows."""
    folds = sorted({fold for found in scores.values() for fold in _by_fold(found)})
    charts = []
    for metric in CHARTED:
        series = {}
        for row, found in scores.items():
            by_fold = _by_fold(found)
            line = [number(by_fold[fold].get(metric)) if fold in by_fold else math.nan for fold in folds]
            if any(map(math.isfinite, line)):
                series[ROWS.get(row, row)] = line
        singles: list[list[float]] = [[] for _ in folds]
        for run in runs if several else ():
            if run.fold in folds:
                singles[folds.index(run.fold)].append(_score(run, metric))
        levels = []
        if background and metric == "patch_accuracy":
            levels = [background.per_fold.get(fold, {}).get(metric, math.nan) for fold in folds]
        title = f"{SCORE_NAMES[metric]} of each fold"
        names = [f"fold {fold}" for fold in folds]
        charts.append(dot_chart(title, names, series, singles=singles, levels=levels, level_name=BACKGROUND))
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


# === Calibration ===


def _calibration(content: Mapping[str, Any]) -> str:
    if not content:
        return ""
    told = []
    ece, after, temperature = (number(content.get(key)) for key in ("ece", "ece_after", "temperature"))
    if math.isfinite(ece):
        told.append(f"Expected calibration error {ece:.4f}: the mean distance between probability and frequency.")
    if math.isfinite(temperature):
        sure = "surer of itself than it is right" if temperature > 1 else "less sure of itself than it could be"
        left = f"; fitted on the other folds each, it gives an error of {after:.4f}" if math.isfinite(after) else ""
        told.append(f"The temperature that fits best is {temperature:.2f} (the model is {sure}){left}.")
    figure = reliability_diagram(listed(content.get("reliability")))
    parts = [f"<p>{' '.join(told)}</p>" if told else "", _thresholds(content)]
    beside = f'<div class="charts">{figure}<div>{"".join(parts)}</div></div>' if figure else "".join(parts)
    return section("Probabilities and thresholds", beside)


def _thresholds(content: Mapping[str, Any]) -> str:
    thresholds = {name: table_of(found) for name, found in table_of(content.get("thresholds")).items()}
    if not thresholds:
        return ""
    rows = []
    for name, found in thresholds.items():
        gain = number(found.get("score_nested")) - number(found.get("score_at_half"))
        rows.append(
            [
                SCORE_NAMES.get(name, escape(name)),
                value_text(found.get("threshold")),
                score_text(found.get("score_at_half")),
                score_text(found.get("score_nested")),
                score_text(gain, signed=True),
                score_text(found.get("score_in_sample")),
            ]
        )
    heads = ["best for", "threshold", "score at 0.5", "nested", "nested &minus; at 0.5", "in sample"]
    share = content.get("stated_road_share")
    weighed = (
        f" Classes are weighted for images of which {value_text(100 * share)} % of the patches are road: these scores "
        "are not those above."
        if isinstance(share, int | float)
        else ""
    )
    note = (
        "Believe the nested score: for each fold the threshold was chosen on the other folds, as it is for new images. "
        "The score in sample is of the threshold that is best on these very images, and too good."
        f"{weighed}"
    )
    return f'<h3>Thresholds</h3>{row_table(heads, rows)}<p class="note">{note}</p>'


# === The rest ===


def _recipe(recipe: Mapping[str, Any]) -> str:
    if not recipe:
        return ""
    return section("Recipe", changed_keys(recipe, "here"), note="What differs from the defaults.")


def _runs(content: Mapping[str, Any], runs: "Sequence[RunRecord]") -> str:
    heads = ["fold", "seed", "trained on", "epochs", "steps", "training", "in all", "one image", "Pixel F1"]
    rows = [
        [
            str(run.fold),
            str(run.seed),
            f"{run.n_train} images",
            str(run.epochs),
            str(run.steps),
            f"{run.training_s / 60:.1f} min",
            f"{run.total_s / 60:.1f} min",
            f"{run.image_s:.3g} s" if run.image_s else "&ndash;",
            score_text(_score(run, "pixel_f1")),
        ]
        for run in runs
    ]
    total = sum(run.total_s for run in runs)
    note = f"{len(runs)} trainings, {total / 3600:.2g} hours one after the other." if runs else ""
    return section("Trainings", row_table(heads, rows) if rows else "", machine_tables(content), note=note)
