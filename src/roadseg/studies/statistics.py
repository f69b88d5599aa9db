"""Statistics of paired trainings: differences by fold, the corrected t, Holm's correction, the verdict. Numbers alone.

| question | answer |
|---|---|
| by how much does each fold differ? | `paired_differences` |
| would other training and held-out images say the same? | `corrected_t` |
| would the same trained models differ on other images? | `bootstrap` (of `bootstrap.py`) |
| several factors at once | `holm`, `judge` |
| would more runs tell? | `more_runs` (of `outlook.py`) |

What holds where, and how well the intervals cover: docs/decisions/0011-statistics.md.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError, RunError
from .bootstrap import Counts, Interval, bootstrap
from .outlook import Outlook, more_runs
from .records import RunRecord, check_metric

__all__ = [
    "Counts",
    "Interval",
    "Outlook",
    "PairedT",
    "Verdict",
    "bootstrap",
    "corrected_t",
    "holm",
    "judge",
    "mean_sd",
    "mean_sizes",
    "more_runs",
    "paired_differences",
    "paired_runs",
    "seed_sd",
]

Verdict = Literal["helps", "hurts", "cannot tell"]
Key = tuple[int, int, int]  # fold_seed, fold, seed

ROUNDING = 1e-12  # scores are fractions of 1: a smaller spread is one of floating-point arithmetic


@dataclass(frozen=True)
class PairedT:
    """A mean difference, its interval and its two-sided p value against a difference of 0.

    `sd` is the sample standard deviation of the differences, None for a single one. `low` and `high` are infinite
    and `p` is 1 where the differences have no spread to judge by, see `corrected_t`.
    """

    mean: float
    sd: float | None
    low: float
    high: float
    p: float
    df: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: None for an infinite end."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self).items()
        }


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (divisor n - 1; None for one value; 0 where they differ by rounding alone).

    Raises:
        ValueError: no value, or one that is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected one or more finite numbers, got {list(values)}")
    mean = float(array.mean())
    if array.size == 1:
        return mean, None
    if float(np.ptp(array)) <= ROUNDING * max(1.0, float(np.abs(array).max())):
        return mean, 0.0
    return mean, float(array.std(ddof=1))


def corrected_t(differences: Sequence[float], n_train: float, n_test: float, confidence: float = 0.95) -> PairedT:
    """The corrected resampled t of Nadeau and Bengio (2003, Inference for the Generalization Error, section 4.3).

    The training sets of the folds overlap, hence their differences are correlated and the usual standard error is
    too small. Its 1/J becomes 1/J + n_test/n_train, with J - 1 degrees of freedom. Where the images are dealt into k
    folds r times, J = r k: the corrected repeated k-fold test of Bouckaert and Frank (2004, Evaluating the
    Replicability of Significance Tests for Comparing Learning Algorithms). Repeats lower the 1/J alone.

    Without any spread nothing can be said of other images: one difference, or all of them equal (as when a setting
    has no effect at all), gives an interval without ends and p = 1, and never "certainly".

    Args:
        differences: one for each fold (of each repeat), already averaged over the seeds.
        n_train, n_test: images that trained and images held out, of one fold; their ratio counts.

    Raises:
        ValueError: no difference or one that is not finite, or a size that is not above 0.
        ConfigError: a confidence that is not between 0 and 1.
    """
    mean, sd = mean_sd(differences)
    if not (n_train > 0 and n_test > 0):
        raise ValueError(f"n_train {n_train} and n_test {n_test}: both are numbers of images above 0")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence:g}: expected a share above 0 and below 1, e.g. 0.95")
    count = len(differences)
    df = count - 1
    if not sd:
        return PairedT(mean, sd, -math.inf, math.inf, 1.0, df)
    from scipy import special

    error = sd * math.sqrt(1 / count + n_test / n_train)
    half = float(special.stdtrit(df, (1 + confidence) / 2)) * error
    p = 2 * float(special.stdtr(df, -abs(mean) / error))
    return PairedT(mean, sd, mean - half, mean + half, min(1.0, p), df)


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """Adjusted p values in the given order; below alpha, they keep the chance of any false claim below alpha.

    Holm 1979 (A Simple Sequentially Rejective Multiple Test Procedure): valid however the tests depend on each
    other, as they do when all factors are compared with one baseline.

    Args:
        family: number of factors that were looked at in all, where only the most promising are given: the others
            count as if their p values were larger. By default those that are given.

    Raises:
        ValueError: one is not in [0, 1], or the family is smaller than what is given.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values are in [0, 1], got {list(p_values)}")
    count = len(p_values) if family is None else family
    if count < len(p_values):
        raise ValueError(f"a family of {count} cannot have {len(p_values)} p values")
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def judge(t: PairedT, p_holm: float, alpha: float = 0.05) -> Verdict:
    """The verdict on a factor, more being better. `p_holm` is its p value as `holm` adjusts it."""
    if p_holm > alpha or t.mean == 0:
        return "cannot tell"
    return "helps" if t.mean > 0 else "hurts"


def paired_runs(ours: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> list[tuple[RunRecord, RunRecord]]:
    """The runs of both that have the same fold (of the same split) and the same seed, sorted by these.

    Raises:
        RunError: nothing in common; a fold and seed that is there twice; folds of different numbers; held-out images
            that are not the same on both sides.
    """
    left, right = _by_place(ours), _by_place(baseline)
    if len({record.folds for record in (*ours, *baseline)}) > 1:
        raise RunError(
            f"{_names(ours, baseline)} cannot be paired: {sorted({r.folds for r in (*ours, *baseline)})} folds; "
            "compare runs of one number of folds"
        )
    common = sorted(left.keys() & right.keys())
    if not common:
        raise RunError(
            f"{_names(ours, baseline)} have no fold and seed in common: "
            f"{_places(left)} against {_places(right)}; train both on the same ones"
        )
    for key in common:
        _check_images(left[key], right[key])
    return [(left[key], right[key]) for key in common]


def paired_differences(ours: Sequence[RunRecord], baseline: Sequence[RunRecord], metric: str) -> dict[int, float]:
    """Ours minus the baseline's score by fold: each the mean over the seeds that both have on that fold.

    With several splits (fold seeds) of the same images, fold k of the r-th split, in the order of the fold seeds of
    both, is number r x folds + k.

    Args:
        metric: one of `records.METRICS`, pooled over the held-out images of a fold.

    Raises:
        ConfigError: an unknown metric, or one that these classes do not have.
        RunError: the runs cannot be paired, see `paired_runs`.
    """
    return {fold: float(np.mean(found)) for fold, found in _differences(ours, baseline, metric).items()}


def seed_sd(ours: Sequence[RunRecord], baseline: Sequence[RunRecord], metric: str) -> float | None:
    """Standard deviation of a difference between seeds within a fold, pooled over the folds; None without two seeds.

    It is of one seed's difference: that of a mean over S seeds is smaller by the square root of S.

    Raises:
        ConfigError, RunError: as `paired_differences`.
    """
    several = [found for found in _differences(ours, baseline, metric).values() if len(found) > 1]
    if not several:
        return None
    squares = sum(float(np.var(found)) * len(found) for found in several)
    return math.sqrt(squares / sum(len(found) - 1 for found in several))


def mean_sizes(records: Sequence[RunRecord]) -> tuple[float, float]:
    """(n_train, n_test): images that trained and images held out, means over the runs."""
    return (
        float(np.mean([record.n_train for record in records])),
        float(np.mean([len(record.images) for record in records])),
    )


def _differences(ours: Sequence[RunRecord], baseline: Sequence[RunRecord], metric: str) -> dict[int, list[float]]:
    """By number of the fold: a difference for each seed."""
    pairs = paired_runs(ours, baseline)
    for held_out in pairs[0][0].images.values():
        check_metric(metric, len(held_out.pixels))
    splits = sorted({mine.fold_seed for mine, _ in pairs})
    found: dict[int, list[float]] = {}
    for mine, theirs in pairs:
        number = splits.index(mine.fold_seed) * mine.folds + mine.fold
        found.setdefault(number, []).append(mine.score(metric) - theirs.score(metric))
    return found


def _by_place(records: Sequence[RunRecord]) -> dict[Key, RunRecord]:
    found: dict[Key, RunRecord] = {}
    for record in records:
        key = (record.fold_seed, record.fold, record.seed)
        if key in found:
            raise RunError(
                f"two runs of '{record.variant}' on fold {record.fold} (fold seed {record.fold_seed}) with seed "
                f"{record.seed}: keep one"
            )
        found[key] = record
    return found


def _check_images(mine: RunRecord, theirs: RunRecord) -> None:
    """Both held out the same images: by stem and by content."""
    place = f"{_names([mine], [theirs])}, fold {mine.fold}, seed {mine.seed}"
    other = sorted(mine.images.keys() ^ theirs.images.keys())
    if other:
        raise RunError(f"{place}: only one of them held out '{other[0]}' ({len(other)} such images); train both anew")
    if mine.trained_on and theirs.trained_on and mine.trained_on != theirs.trained_on:
        raise RunError(f"{place}: the two were trained on other images or masks; train both on one set")
    changed = [stem for stem, image in mine.images.items() if image.hash != theirs.images[stem].hash]
    if changed:
        raise RunError(
            f"{place}: held-out image '{changed[0]}' was another one then ({len(changed)} such images): the data set "
            "changed between the runs; train both on one"
        )


def _names(ours: Sequence[RunRecord], baseline: Sequence[RunRecord]) -> str:
    names = [" and ".join(sorted({record.variant for record in side})) or "no run" for side in (ours, baseline)]
    return f"'{names[0]}' and '{names[1]}'"


def _places(found: dict[Key, RunRecord]) -> str:
    listed = [f"fold {fold} seed {seed} (fold seed {split})" for split, fold, seed in sorted(found)]
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "") or "nothing"
