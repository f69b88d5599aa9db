"""Would more runs tell a difference apart from nothing, and how many? Planning with the corrected t."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .statistics import PairedT

__all__ = ["Outlook", "more_runs"]

MOST_DIFFERENCES = 200
MOST_SEEDS = 10
POINTS = 1000  # of the quadrature: errors of the power below 0.001


@dataclass(frozen=True)
class Outlook:
    """What more runs on the same images would do.

    Attributes:
        differences: number of differences (folds x repeats) in the cheapest design that would tell, the present one
            where it has told already; None: none would.
        seeds: seeds of each, in that design; None likewise.
        power: chance that the present design tells such a difference.
        detectable: smallest difference that the present design would tell; infinite where it cannot be known.
        limit: the same for the largest design that was looked at.
        text: all that in at most 100 characters.
    """

    differences: int | None
    seeds: int | None
    power: float
    detectable: float
    limit: float
    text: str


def more_runs(
    t: "PairedT",
    n_train: float,
    n_test: float,
    seed_sd: float | None,
    seeds: int,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Outlook:
    """The fewest trainings after which a difference as large as the present one would be told from 0.

    Power is that of the two-sided corrected t (noncentral t distribution) if the true difference were the present
    mean and the spread between folds the present one. Both are estimates from few folds: it is a plan, no
    promise, and in hindsight it says nothing that `t.p` does not. For a factor among m that Holm's correction
    judges, alpha / m is the careful choice.

    More folds (cross-validation repeated with other fold seeds) cannot lower the error below
    sd x sqrt(n_test / n_train), since they share the images; more seeds lower the part of sd that comes from seeds.
    Designs have at least the present folds and seeds, at most 200 differences and 10 seeds.

    Args:
        t: of the present differences, averages over `seeds` seeds.
        n_train, n_test: as for `corrected_t`.
        seed_sd: as `statistics.seed_sd` gives it: None where there is one seed, then more seeds are not considered.
        seeds: of the present design.

    Raises:
        ValueError: a size or a number of seeds that is not above 0; alpha or power not between 0 and 1.
    """
    if not (n_train > 0 and n_test > 0 and seeds > 0 and 0 < alpha < 1 and 0 < power < 1):
        raise ValueError(
            f"n_train {n_train}, n_test {n_test}, seeds {seeds}: above 0; alpha {alpha}, power {power}: in (0, 1)"
        )
    folds = max(2, round(1 + n_train / n_test))
    if t.sd is None:
        text = f"one fold has no spread to judge by: run all {folds}"
        return Outlook(None, None, 0.0, math.inf, math.inf, text)
    if t.sd == 0:
        text = "no difference on any fold" if abs(t.mean) < 1e-12 else "the folds do not differ: nothing to plan with"
        return Outlook(None, None, 0.0, math.inf, math.inf, text)

    now = t.df + 1
    most = max(MOST_DIFFERENCES, now)
    choices = range(seeds, max(MOST_SEEDS, seeds) + 1) if seed_sd else range(seeds, seeds + 1)
    variance = t.sd**2
    from_seeds = min((seed_sd or 0.0) ** 2 / seeds, variance)  # the seeds' part of it, at most all
    share = n_test / n_train

    def error(chosen: int, count: int) -> float:
        return math.sqrt((variance - from_seeds + from_seeds * seeds / chosen) * (1 / count + share))

    def chance(chosen: int, count: int) -> float:
        return _power(abs(t.mean) / error(chosen, count), count - 1, alpha)

    reached: list[tuple[int, int, int]] = []  # trainings, differences, seeds
    for chosen in choices:
        counts = range(now, most + 1)
        first = bisect_left(counts, power, key=partial(chance, chosen))  # it rises with the count
        if first < len(counts):
            reached.append((counts[first] * chosen, counts[first], chosen))
    detectable = error(seeds, now) * _noncentrality(now - 1, alpha, power)
    limit = error(choices[-1], most) * _noncentrality(most - 1, alpha, power)
    present = chance(seeds, now)
    if t.p <= alpha:
        text = f"told already; the smallest difference these runs can tell is {_size(detectable)}"
        return Outlook(now, seeds, present, detectable, limit, text)
    if not reached:
        what = "runs on" if seed_sd else "folds of"
        can = f"they can tell {_size(limit)} at best, now {_size(detectable)}"
        text = f"no number of {what} these images would tell: {can}"
        return Outlook(None, None, present, detectable, limit, text)
    _, count, chosen = min(reached)
    text = f"{_design(count, folds)} with {chosen} seed{'s' * (chosen > 1)} would tell, if {t.mean:+.4f} is true"
    return Outlook(count, chosen, present, detectable, limit, text)


def _size(difference: float) -> str:
    return f"±{difference:.4f}" if difference < 1 else "none"  # scores are fractions of 1


def _design(count: int, folds: int) -> str:
    """Folds in words: `all 5 folds`, `30 folds (6 fold_seeds x 5)`, the repeats rounded up."""
    if count < folds:
        return f"{count} of {folds} folds"
    repeats = -(-count // folds)
    return f"all {folds} folds" if repeats == 1 else f"{repeats * folds} folds ({repeats} fold_seeds x {folds})"


def _power(ratio: float, df: int, alpha: float) -> float:
    """Chance that a two-sided t test at level alpha rejects, the difference being `ratio` standard errors.

    The noncentral t by its definition: a normal deviate over an independent chi, averaged over quantiles of the
    latter. It holds for the huge critical values of one or two degrees of freedom too.
    """
    from scipy import special

    critical = float(special.stdtrit(df, 1 - alpha / 2)) * _chi(df)
    return float((special.ndtr(ratio - critical) + special.ndtr(-ratio - critical)).mean())


@lru_cache(maxsize=512)
def _chi(df: int) -> NDArray[np.float64]:
    """Quantiles, evenly spread, of the square root of chi squared over its degrees of freedom."""
    from scipy import special

    found: NDArray[np.float64] = np.sqrt(special.chdtri(df, (np.arange(POINTS) + 0.5) / POINTS) / df)
    return found


def _noncentrality(df: int, alpha: float, power: float) -> float:
    """The difference in standard errors that is told with this power."""
    low, high = 0.0, 1.0
    while _power(high, df, alpha) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, df, alpha) < power else (low, middle)
    return high
