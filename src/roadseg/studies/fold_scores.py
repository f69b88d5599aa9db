"""Scores of a cross-validation: of each fold, their mean and deviation, pooled over all images; and as a table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import PredictConfig
from ..scores import Scores, score_image
from .calibration import Histogram
from .records import ROWS, RunRecord, pooled

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset
    from .out_of_fold import Maps

__all__ = ["SHOWN", "Scored", "score_maps", "score_runs", "score_table"]

SHOWN = {  # columns of the table
    "pixel_f1": "pixel F1",
    "pixel_iou": "IoU",
    "pixel_accuracy": "accuracy",
    "patch_accuracy": "patch accuracy",
    "all_background_patch_accuracy": "all background",
    "patch_f1": "patch F1",
}

Scored = dict[str, Any]  # `per_fold`: one table each; `mean` and `sd` over the folds; `pooled` over all images
Cells = Mapping[int, Sequence[Scores]]  # by fold, one for each seed


def score_runs(records: Sequence[RunRecord]) -> Scored:
    """Scores of single models by the records of their runs: each seed of each fold once."""
    cells: dict[int, list[Scores]] = {}
    for record in sorted(records, key=lambda r: r.place):
        cells.setdefault(record.fold, []).append(pooled(record.images.values()))
    return _scored(cells)


def score_maps(
    dataset: "Dataset",
    held_out: Sequence[Sequence[int]],
    maps: "Maps",
    turned: "Maps | None",
    config: PredictConfig,
) -> tuple[dict[str, Scored], dict[int, Histogram]]:
    """Scores of the stored maps at the recipe's threshold, and for calibration how often each probability occurs.

    Reads one image at a time.

    Args:
        held_out: of each fold the indices into the dataset's pairs.
        maps, turned: as predicted plainly and, where asked for, with test-time augmentation.

    Returns:
        By row, those that there are: "tta" (mean over the seeds of the score), "seeds" and "seeds_tta" (score of the
        mean over the seeds); and by fold the histograms of `maps`, of their mean where there are several seeds.
    """
    from ..learning.validation import labels_of

    classes = len(dataset.classes)
    several = len(maps.seeds) > 1
    wanted: dict[str, tuple[Maps, Sequence[int | None]]] = {}
    if turned is not None:
        wanted["tta"] = turned, maps.seeds
    if several:
        wanted["seeds"] = maps, [None]
    if several and turned is not None:
        wanted["seeds_tta"] = turned, [None]
    cells: dict[str, dict[int, list[Scores]]] = {name: {} for name in wanted}
    histograms = {fold: Histogram() for fold in range(len(held_out))}
    nothing = Scores(np.zeros((classes, classes), np.int64))
    with dataset.reader() as reader:
        for fold, indices in enumerate(held_out):
            for name, (_, seeds) in wanted.items():
                cells[name][fold] = [nothing] * len(seeds)
            for index in indices:
                sample = reader.read(index)
                histograms[fold].add(maps.levels(sample.stem), sample.mask, config.patch_threshold)
                for name, (source, seeds) in wanted.items():
                    for place, seed in enumerate(seeds):
                        found = labels_of(source.probabilities(sample.stem, seed), config.threshold)
                        cells[name][fold][place] += score_image(
                            sample.mask, found, classes, config.patch_threshold, sample.valid
                        )
    return {name: _scored(part) for name, part in cells.items()}, histograms


def _scored(cells: Cells) -> Scored:
    """Of several seeds each score is the mean over them."""
    per_fold = [{"fold": fold, **_mean([part.to_dict() for part in parts])} for fold, parts in sorted(cells.items())]
    names = [name for name, value in per_fold[0].items() if isinstance(value, float)]
    values = {name: [row[name] for row in per_fold] for name in names}
    return {
        "per_fold": per_fold,
        "mean": {name: statistics.fmean(found) for name, found in values.items()},
        "sd": {name: statistics.stdev(found) for name, found in values.items()},
        "pooled": _mean(
            [Scores.pool(parts, parts[0].classes).to_dict() for parts in zip(*cells.values(), strict=True)]
        ),
    }


def _mean(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Value by value; counts of images and scores that do not exist are the same in all."""
    return {
        name: statistics.fmean(table[name] for table in tables) if isinstance(value, float) else value
        for name, value in tables[0].items()
    }


def score_table(scores: Mapping[str, Scored]) -> str:
    """A block of lines for each row: the folds, mean ± standard deviation over them, pooled over all images."""
    return "\n\n".join(_block(ROWS[name], scored) for name, scored in scores.items())


def _block(title: str, scored: Scored) -> str:
    per_fold, mean, sd, together = (scored[part] for part in ("per_fold", "mean", "sd", "pooled"))
    names = [name for name in SHOWN if together.get(name) is not None]
    rows = [
        [title, *(SHOWN[name] for name in names)],
        *([f"fold {row['fold']}", *(f"{row[name]:.4f}" for name in names)] for row in per_fold),
        ["mean ± sd", *(f"{mean[name]:.4f} ± {sd[name]:.4f}" for name in names)],
        [f"all {together['n_images']} images", *(f"{together[name]:.4f}" for name in names)],
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
