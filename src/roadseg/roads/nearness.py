"""Which parts of lines lie near other lines: lines in short pieces, each judged by its middle."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

__all__ = ["PIECES", "Near", "check_buffer", "pieces"]

PIECES = (
    12  # pieces in a buffer's width: a length is known to a 24th of the buffer at each place where a line leaves it
)
AT_ONCE = 500_000  # points asked for at a time


def check_buffer(buffer: float, name: str = "buffer") -> float:
    """The buffer as it is.

    Raises:
        ConfigError: it is not above 0.
    """
    if not (buffer > 0 and math.isfinite(buffer)):
        raise ConfigError(f"{name} = {buffer}: expected a distance above 0")
    return float(buffer)


def pieces(line: NDArray[np.float64], step: float) -> tuple[NDArray[np.float64], float]:
    """Middles (N, 2) of the N equal pieces of a line that are at most `step` long, and the length of one."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    count = max(1, math.ceil(along[-1] / step))
    at = (np.arange(count) + 0.5) * (along[-1] / count)
    middles = np.column_stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])])
    return middles, float(along[-1]) / count


class Near:
    """Lines to be near to, (N, 2) float64 each, in one plane."""

    def __init__(self, lines: Iterable[NDArray[np.float64]]) -> None:
        import shapely

        ends = [np.stack([line[:-1], line[1:]], axis=1) for line in lines]
        # Segment by segment: the distance to a long line would walk along all of it for every point.
        self._tree = shapely.STRtree(shapely.linestrings(np.concatenate(ends))) if ends else None

    def within(self, points: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
        """(P,) whether each of the points (P, 2) lies within `distance` of a line."""
        import shapely

        found = np.zeros(len(points), bool)
        if self._tree is None:
            return found
        for k in range(0, len(points), AT_ONCE):
            part = shapely.points(points[k : k + AT_ONCE])
            hit, _ = self._tree.query_nearest(part, max_distance=distance, all_matches=False)
            found[k + hit] = True
        return found

    def along(self, lines: Sequence[NDArray[np.float64]], buffer: float) -> list[tuple[NDArray[np.bool_], float]]:
        """Of each line: (n,) whether each of its n equal pieces is within `buffer`, and the length of one."""
        parts = [pieces(line, buffer / PIECES) for line in lines]
        if not parts:
            return []
        near = self.within(np.concatenate([middles for middles, _ in parts]), buffer)
        cuts = np.cumsum([len(middles) for middles, _ in parts])[:-1]
        return [(part, step) for part, (_, step) in zip(np.split(near, cuts), parts, strict=True)]
