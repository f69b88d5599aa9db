"""Relaxed precision and recall of lines: what share of a network's length lies within a buffer of another's.

Mnih 2013, "Machine Learning for Aerial Image Labeling", section 3.2 (there of pixels, with a slack of 3 pixels);
Wiedemann 2003, "External Evaluation of Road Networks" (completeness, correctness and quality, of lengths).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .nearness import Near, check_buffer

__all__ = ["BUFFER", "Relaxed", "pool", "relaxed"]

BUFFER = 3.0  # metres (pixels of pixel coordinates)


@dataclass(frozen=True)
class Relaxed:
    """Lengths in the plane's unit, and the scores that follow from them.

    Two empty networks agree (1); of an empty one and another every score is 0.
    """

    truth: float
    truth_matched: float
    proposed: float
    proposed_matched: float

    @property
    def precision(self) -> float:
        """Share of the proposed length that lies within the buffer of the truth; Wiedemann's correctness."""
        return self.proposed_matched / self.proposed if self.proposed else float(not self.truth)

    @property
    def recall(self) -> float:
        """Share of the true length that lies within the buffer of the proposed roads; Wiedemann's completeness."""
        return self.truth_matched / self.truth if self.truth else float(not self.proposed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def quality(self) -> float:
        """Wiedemann's quality: matched proposed length over proposed length and truth that was missed."""
        whole = self.proposed + self.truth - self.truth_matched
        return self.proposed_matched / whole if whole else 1.0


def relaxed(
    truth: Sequence[NDArray[np.float64]], proposed: Sequence[NDArray[np.float64]], buffer: float = BUFFER
) -> Relaxed:
    """Compare lines (N, 2) float64 of one plane; `buffer` in its unit. Swapping them swaps precision and recall.

    Lengths are exact to a 24th of the buffer at each place where a line leaves the other's buffer.

    Raises:
        ConfigError: `buffer` is not above 0.
    """
    check_buffer(buffer)
    true_length, true_matched = _lengths(truth, proposed, buffer)
    length, matched = _lengths(proposed, truth, buffer)
    return Relaxed(true_length, true_matched, length, matched)


def pool(parts: Iterable[Relaxed]) -> Relaxed:
    """Of several pairs of networks: their lengths added up."""
    found = list(parts)
    return Relaxed(
        sum(part.truth for part in found),
        sum(part.truth_matched for part in found),
        sum(part.proposed for part in found),
        sum(part.proposed_matched for part in found),
    )


def _lengths(
    lines: Sequence[NDArray[np.float64]], others: Sequence[NDArray[np.float64]], buffer: float
) -> tuple[float, float]:
    along = Near(others).along(lines, buffer)
    # Both sums in one way, so that lines that match all along match exactly.
    return sum(len(near) * step for near, step in along), sum(int(near.sum()) * step for near, step in along)
