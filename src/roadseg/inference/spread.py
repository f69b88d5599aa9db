"""How far the answers for one pixel lie apart: over the 8 views of a window, the members of an ensemble, or both."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, engine_name

__all__ = ["with_spread"]

Floats = NDArray[np.float32]


class _Spread:
    def __init__(self, run: Engine, outputs: int, tta: bool, members: int) -> None:
        self.run, self.outputs, self.tta, self.members = run, outputs, tta, members
        self.name = engine_name(run)

    def __call__(self, batch: NDArray[np.uint8]) -> Floats:
        shape = (*batch.shape[:3], self.outputs)
        total, first, second = (np.zeros(shape, np.float32) for _ in range(3))
        views = 0
        for found in self._views(batch):
            views += 1
            total += found[..., : self.outputs]
            members = range(self.members) or range(-1, 0)  # a model that is no ensemble is its own only member
            for k in members:
                answer = found[..., (k + 1) * self.outputs : (k + 2) * self.outputs]
                first += answer
                second += answer * answer
        total /= views
        count = views * max(self.members, 1)
        first /= count
        variance = second / count - first * first  # rounding: below 1e-6, which is nothing in 8 bits
        spread = np.sqrt(np.maximum(variance, 0, out=variance)).max(axis=-1, keepdims=True)
        return np.concatenate([total, spread], axis=-1)

    def _views(self, batch: NDArray[np.uint8]) -> Iterator[Floats]:
        for mirrored in (False, True) if self.tta else (False,):
            for turns in range(4) if self.tta else (0,):
                view = np.rot90(batch[:, :, ::-1] if mirrored else batch, turns, axes=(1, 2))
                found = np.rot90(self.run(np.ascontiguousarray(view)), -turns, axes=(1, 2))
                yield found[:, :, ::-1] if mirrored else found


def with_spread(run: Engine, outputs: int, *, tta: bool, members: int = 0) -> Engine:
    """`run` with one more value for each pixel: the standard deviation of the answers, in [0, 0.5].

    Of several classes' probabilities it is the one that varies most that counts.

    Args:
        run: windows (N, H, W, C) -> (N, H, W, outputs), or with `members` (N, H, W, (1 + members) * outputs): the mean
            and what it is the mean of.
        tta: over the 8 rotations and reflections of each window too; the answer is their mean then.

    Returns:
        windows (N, H, W, C) uint8 -> (N, H, W, outputs + 1) float32.
    """
    return _Spread(run, outputs, tta, members)
