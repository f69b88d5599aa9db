"""From probabilities to the 8 bits that are written: the mask, the probability, the uncertainty."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_CLASS", "SPREAD_MAX", "Decision", "Planes"]

NO_CLASS = 255  # where a map of classes has no data
SPREAD_MAX = 0.5  # the largest standard deviation that values in [0, 1] can have: 255 in the file
WIDE = 65535  # of the 16-bit levels on a grid of another resolution

Floats = NDArray[np.float32]
Planes = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Decision:
    """What is made of the network's answers.

    Args:
        classes: number of them. Two: the answer is the probability of the second one; more: of each.
        threshold: of two classes: road where the probability is above it.
        probability, uncertainty: whether those are kept beside the mask. With `uncertainty` the last of the answer's
            values is a standard deviation.
        wide: keep what the answer says in 16 bits instead, for a decision on another grid.
    """

    classes: int
    threshold: float
    probability: bool = False
    uncertainty: bool = False
    wide: bool = False

    @property
    def outputs(self) -> int:
        """Probabilities of a pixel."""
        return self.classes if self.classes > 2 else 1

    @property
    def values(self) -> int:
        """Of an answer: the probabilities, and the spread."""
        return self.outputs + self.uncertainty

    @property
    def names(self) -> tuple[str, ...]:
        """Of the planes: `mask`, `probability`, `uncertainty` (H, W) uint8; or `levels` (H, W, values) uint16."""
        if self.wide:
            return ("levels",)
        return ("mask", *["probability"] * self.probability, *["uncertainty"] * self.uncertainty)

    def empty(self, height: int, width: int) -> Planes:
        """Planes of a band in which nothing is found."""
        if self.wide:
            return {"levels": np.zeros((height, width, self.values), np.uint16)}
        return {name: np.zeros((height, width), np.uint8) for name in self.names}

    def put(self, planes: Planes, top: int, left: int, answer: Floats) -> None:
        """Write the answer (h, w, values) into the planes, from row `top` and column `left` on."""
        rows, columns = slice(top, top + answer.shape[0]), slice(left, left + answer.shape[1])
        if self.wide:
            full = np.full(self.values, WIDE, np.float32)
            if self.uncertainty:
                full[-1] = WIDE / SPREAD_MAX
            planes["levels"][rows, columns] = _rounded(answer * full, WIDE)
            return
        planes["mask"][rows, columns] = self.mask(answer)
        if self.probability:  # several classes: of the class in the mask
            best = answer[..., 0] if self.outputs == 1 else answer[..., : self.outputs].max(axis=-1)
            planes["probability"][rows, columns] = _rounded(best * np.float32(255), 255)
        if self.uncertainty:
            planes["uncertainty"][rows, columns] = _rounded(answer[..., -1] * np.float32(255 / SPREAD_MAX), 255)

    def mask(self, answer: Floats) -> NDArray[np.uint8]:
        """(H, W, values) -> (H, W) uint8.

        Two classes: 255 where the probability is above the threshold, else 0. Several: the index of the most probable.
        """
        if self.outputs == 1:
            return (answer[..., 0] > self.threshold).view(np.uint8) * np.uint8(255)
        return np.asarray(answer[..., : self.outputs].argmax(axis=-1), dtype=np.uint8)

    def answer(self, levels: NDArray[np.uint16]) -> Floats:
        """The answer (H, W, values) float32 that was kept in 16 bits."""
        found = levels.astype(np.float32) / np.float32(WIDE)
        if self.uncertainty:
            found[..., -1] *= np.float32(SPREAD_MAX)
        return found


def _rounded(scaled: Floats, largest: int) -> NDArray[Any]:
    """To the nearest whole number in 0..largest; the array is used up."""
    np.rint(scaled, out=scaled)
    return np.clip(scaled, 0, largest, out=scaled)  # assignment to whole numbers casts
