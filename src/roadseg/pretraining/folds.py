"""A published cross-validation, from scratch and from a model that has never seen its set: paired, fold by fold."""

import statistics
from pathlib import Path
from typing import Any

from ..config import Config
from ..files import write_json
from ..learning.runs import find_model
from ..studies.crossval import CrossValidation, crossval

__all__ = ["compare_folds"]

SCORE = "pixel_f1"


def compare_folds(
    dataset: Path,
    work: Path,
    init: Path | str,
    config: Config,
    *,
    folds: int = 5,
    fold_seed: int = 43,
    name: str = "",
) -> dict[str, Any]:
    """Train every fold both ways by one recipe; the same call again goes on where it was interrupted.

    Writes `work/folds.json`; the cross-validations are `work/scratch` and `work/init`.

    Args:
        init: a model that has not seen any image of the set; `crossval` refuses another.
        config: of both ways; its length is in it.

    Raises:
        RoadsegError: see `studies.crossval.crossval`.
    """
    start = find_model(init)
    found: dict[str, dict[str, float]] = {}
    for way, first in (("init", start), ("scratch", None)):
        done = crossval(dataset, work / way, config, folds=folds, fold_seed=fold_seed, init=first)
        found[way] = _by_fold(done)
    gaps = [found["init"][fold] - found["scratch"][fold] for fold in found["init"]]
    told = {
        "set": name or dataset.resolve().name,
        "fold_seed": fold_seed,
        **found,
        "init_mean": round(statistics.fmean(found["init"].values()), 5),
        "scratch_mean": round(statistics.fmean(found["scratch"].values()), 5),
        "difference": round(statistics.fmean(gaps), 5),
        "sd_of_difference": round(statistics.stdev(gaps), 5),
    }
    write_json(work / "folds.json", told)
    return told


def _by_fold(done: CrossValidation) -> dict[str, float]:
    return {str(row["fold"]): round(float(row[SCORE]), 5) for row in done.scores["single"]["per_fold"]}
