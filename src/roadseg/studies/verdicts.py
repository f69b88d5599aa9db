"""What the records of a study say: each factor against the baseline, paired, with intervals and a verdict.

`tables_of` makes ablation.json. Numbers are computed in `statistics`; here is what is compared with what.
"""

import json
import math
import statistics as plain
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..imagery.splits import groups_of
from .ledger import Ledger, Split
from .records import METRICS, RunRecord
from .study import Stage, Study, Variant

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset

__all__ = ["read_choice", "screened", "tables_of"]

ALPHA = 0.05
Intervals = dict[tuple[object, ...], dict[str, float | None]]  # by what they are of: 0.3 s each
METHOD = (
    "Scores are pooled over the held-out images of a fold, with the final weights and the recipe's threshold: no "
    "epoch and no threshold is chosen on what is scored. Differences to the baseline are paired by fold and seed and "
    "averaged over the seeds. Interval and p: corrected resampled t over the folds, of all splits of the images where "
    "there are several (Nadeau and Bengio 2003, Bouckaert and Frank 2004), p after "
    "Holm's correction over all factors of the study, those that a screening left behind too; beside it a bootstrap "
    "interval over the held-out images."
)


def tables_of(
    study: Study,
    ledger: Ledger,
    dataset: "Dataset",
    stages: Sequence[tuple[Stage, Sequence[Variant]]],
    command: str = "",
    intervals: Intervals | None = None,
) -> dict[str, Any]:
    """All of ablation.json.

    Args:
        stages: each with its factors.
        command: what made it, to be shown.
        intervals: bootstrap intervals of earlier calls with this ledger, to be used again and added to.
    """
    intervals = {} if intervals is None else intervals
    metrics = _metrics(len(dataset.classes))
    records = [r for stage, factors in stages for v in (study.baseline, *factors) for r in ledger.records(v, stage)]
    groups = groups_of(dataset.pairs, study.group)
    machines = _distinct([_machine(record) for record in records])
    return {
        "version": 1,
        "kind": "ablation",
        "title": study.title,
        "dataset": {"name": dataset.root.name, "pairs": len(dataset), "classes": list(dataset.classes)},
        "metric": study.metric,
        "fold_seed": study.screen.fold_seed,
        "fold_seeds": list(study.screen.fold_seeds),
        "group": study.group,
        "method": METHOD,
        "command": command,
        "machine": records[0].machine if records else None,
        "machines": machines,
        "versions": records[0].versions if records else {},
        "not_used": ledger.strangers(study.variants),  # runs of factors that the study no longer has
        "stages": [_stage(study, stage, factors, ledger, metrics, groups, intervals) for stage, factors in stages],
    }


def _stage(
    study: Study,
    stage: Stage,
    factors: Sequence[Variant],
    ledger: Ledger,
    metrics: Sequence[str],
    groups: Mapping[str, str],
    intervals: Intervals,
) -> dict[str, Any]:
    """One stage: the baseline's scores, and each factor against them."""
    from .statistics import holm, judge

    # All factors of the study count, those that have no p yet too: a verdict does not wear off as others come in. So do
    # those that were looked at and taken out, and in a confirmation those that the screening left behind: both stages
    # share the images (decision 11).
    family = len(study.factors) + len(ledger.strangers(study.variants))
    base, alpha = ledger.records(study.baseline, stage), ALPHA / family
    rows = []
    for factor in factors:
        ours, theirs = _common(ledger.records(factor, stage), base)
        row = {**_about(factor, stage, ledger, base), **_compare(study.metric, ours, theirs, metrics, alpha)}
        if row["p"] is not None:
            row["bootstrap"] = _bootstrap(study.metric, ours, theirs, groups, (stage.name, factor.slug), intervals)
        rows.append(row)
    told = [row for row in rows if row["p"] is not None]
    for row, p in zip(told, holm([row["p"] for row in told], family=family), strict=True):
        row["p_holm"] = p
        row["verdict"] = judge(row["t"], p, ALPHA)
    for row in rows:
        del row["t"]
    return {
        "name": stage.name,
        "chosen_by": f"the best {stage.best} by mean difference in the screening" if stage.best else None,
        "folds": stage.folds,
        "held_out_folds": list(stage.hold_out),
        "fold_seed": stage.fold_seed,
        "fold_seeds": list(stage.fold_seeds),
        "seeds": list(stage.seeds),
        "length": str(stage.length),
        "baseline": {
            "set": list(study.baseline.settings),
            "scores": {metric: _mean_sd(list(_by_fold(base, metric).values())) for metric in metrics},
            "cost": _cost(base, []),
            **_count(study.baseline, stage, ledger),
        },
        "factors": rows,
    }


def screened(study: Study, ledger: Ledger) -> list[tuple[Variant, float]]:
    """The factors whose screening is finished, with their mean difference, the best first."""
    from .statistics import paired_differences

    stage, found = study.screen, []
    base = ledger.records(study.baseline, stage)
    for factor in study.factors:
        ours = ledger.records(factor, stage)
        if base and len(ours) == len(stage.places()):
            differences = paired_differences(*_common(ours, base), study.metric)
            found.append((factor, plain.fmean(differences.values())))
    return sorted(found, key=lambda item: -item[1])  # stable: the study's order where they are equal


def read_choice(study: Study, path: Path, best: int, *, more: bool = False) -> tuple[Variant, ...] | None:
    """The factors that were chosen for confirmation before; None when none were, or more are asked for now.

    Args:
        more: also where more are asked for now: those to which the others are added.

    Raises:
        RunError: the file is damaged, or names what the study no longer has.
    """
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        names, asked = list(stored["factors"]), int(stored.get("best", 0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{path}' is damaged ({error!r}): remove it to choose anew") from error
    by_name = {factor.name: factor for factor in study.factors}
    for name in names:
        if name not in by_name:
            raise RunError(
                f"'{path}' has chosen '{name}', which study '{study.source}' no longer has: put it back, or remove "
                "the file to choose anew"
            )
    # Fewer than asked for then were all that could be chosen from; fewer than are asked for now: more are to be added.
    if len(names) < best and asked < best and not more:
        return None
    return tuple(by_name[name] for name in names)[:best]


# === One factor ===


def _about(factor: Variant, stage: Stage, ledger: Ledger, base: Sequence[RunRecord]) -> dict[str, Any]:
    """What a factor is, what it costs, and how far it is; the comparison still empty."""
    return {
        "name": factor.name,
        "set": list(factor.settings),
        "folds": [],
        "fold_seeds": [],
        "per_fold": [],
        **dict.fromkeys(("mean", "low", "high", "p", "p_holm", "bootstrap", "verdict", "more_runs", "t")),
        "scores": {},
        "cost": _cost(ledger.records(factor, stage), base),
        **_count(factor, stage, ledger),
    }


def _compare(
    metric: str, ours: Sequence[RunRecord], theirs: Sequence[RunRecord], metrics: Sequence[str], alpha: float
) -> dict[str, Any]:
    """Differences, interval, p and outlook of paired runs, as far as they go; `t` is for the verdict alone."""
    from .statistics import corrected_t, mean_sizes, more_runs, paired_differences, seed_sd

    if not ours:
        return {}
    by_fold = paired_differences(ours, theirs, metric)
    scores = {}
    for name in metrics:
        change = plain.fmean(paired_differences(ours, theirs, name).values())
        scores[name] = {"mean": plain.fmean(_by_fold(ours, name).values()), "difference": change}
    values = list(by_fold.values())
    splits = sorted({(record.fold_seed, record.fold) for record in ours})
    found = {
        "folds": [fold for _, fold in splits],
        "fold_seeds": [fold_seed for fold_seed, _ in splits],
        "per_fold": values,
        "mean": plain.fmean(values),
        "scores": scores,
    }
    if len(values) < 2:
        return found
    n_train, n_test = mean_sizes(ours)
    t = corrected_t(values, n_train, n_test)
    seeds = len({record.seed for record in ours})
    outlook = more_runs(t, n_train, n_test, seed_sd(ours, theirs, metric), seeds, alpha)
    return {**found, "t": t, "low": _finite(t.low), "high": _finite(t.high), "p": t.p, "more_runs": outlook.text}


def _bootstrap(
    metric: str,
    ours: Sequence[RunRecord],
    theirs: Sequence[RunRecord],
    groups: Mapping[str, str],
    what: tuple[str, str],
    known: Intervals,
) -> dict[str, float | None]:
    """The interval over the held-out images, groups of them drawn as one.

    A record never changes, so that the same runs have the same interval.
    """
    from .statistics import Counts, bootstrap

    key = (metric, *what, *(record.place for record in ours))
    if key not in known:
        interval = bootstrap(Counts.of(ours).by_group(groups), Counts.of(theirs).by_group(groups), metric)
        known[key] = {"low": _finite(interval.low), "high": _finite(interval.high)}
    return known[key]


def _common(ours: Sequence[RunRecord], base: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """The runs of the folds and seeds that both have, in the same order."""
    at = {record.place: record for record in base}
    both = [record for record in ours if record.place in at]
    return both, [at[record.place] for record in both]


def _by_fold(records: Sequence[RunRecord], metric: str) -> dict[Split, float]:
    """The score of each fold of each split, averaged over its seeds."""
    found: dict[Split, list[float]] = {}
    for record in records:
        found.setdefault((record.fold_seed, record.fold), []).append(record.score(metric))
    return {split: plain.fmean(scores) for split, scores in sorted(found.items())}


def _count(variant: Variant, stage: Stage, ledger: Ledger) -> dict[str, Any]:
    return {
        "finished": len(ledger.records(variant, stage)),
        "wanted": len(stage.places()),
        "failed": ledger.failures(variant, stage),
    }


def _cost(records: Sequence[RunRecord], base: Sequence[RunRecord]) -> dict[str, Any]:
    """Medians over the runs; `time_ratio` compares runs of the same fold and seed on the same machine alone."""
    if not records:
        return dict.fromkeys(("seconds_per_epoch", "image_s", "parameters", "time_ratio"))
    pairs = zip(*_common(records, base), strict=True)
    ratios = [_epoch_s(a) / _epoch_s(b) for a, b in pairs if _machine(a) == _machine(b) and _epoch_s(b) > 0]
    return {
        "seconds_per_epoch": plain.median(map(_epoch_s, records)),
        "image_s": plain.median(record.image_s for record in records),
        "parameters": records[0].parameters,
        "time_ratio": plain.median(ratios) if ratios else None,
    }


def _epoch_s(record: RunRecord) -> float:
    return record.training_s / max(1, record.epochs)


def _machine(record: RunRecord) -> str:
    """What makes seconds comparable, as a line."""
    m: Mapping[str, Any] = record.machine
    parts = [f"{m.get('processor', 'unknown processor')}", f"{m.get('cores', '?')} cores"]
    return ", ".join(parts + [str(m[key]) for key in ("backend", "precision") if m.get(key)])


def _metrics(classes: int) -> tuple[str, ...]:
    """Patches are the road contests': two classes alone."""
    return METRICS if classes == 2 else tuple(name for name in METRICS if not name.startswith("patch"))


def _mean_sd(values: Sequence[float]) -> dict[str, float | None]:
    from .statistics import mean_sd

    if not values:
        return {"mean": None, "sd": None}
    mean, sd = mean_sd(values)
    return {"mean": mean, "sd": sd}


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))
