"""Training crops made of two: a rectangle or the roads of another one; and a rectangle of noise.

Each takes a crop of its own kind and gives a new one; image, mask and pixel weights move together, and masks stay
discrete. What lies in the mask is what lies in the image: no share of a class, and no blended edge.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import Chance, Effect

__all__ = ["Labelled", "copy_paste", "cutmix", "erase"]

AREAS = 0.05  # smallest erased area, share of the largest: Zhong et al. 2017 take 0.02 to 0.4 of the image
ASPECT = 0.3  # of an erased rectangle, to its inverse: Zhong et al. 2017, section 4


class Labelled(NamedTuple):
    """An image, or a crop of one, with what is known of its pixels.

    Attributes:
        image: (H, W, C) uint8.
        mask: (H, W) uint8 class position, `IGNORED` where unlabelled.
        weights: (H, W) float weights in the loss, or None.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    weights: NDArray[np.floating[Any]] | None = None


Another = Callable[[np.random.Generator], Labelled]


def _over(crop: Labelled, other: Labelled, where: NDArray[np.bool_]) -> Labelled:
    """`other` where it is asked for, else `crop`; all of one size."""
    weights = crop.weights
    if weights is not None and other.weights is not None:
        weights = np.where(where, other.weights, weights)
    image = np.where(where[..., None], other.image, crop.image)
    return Labelled(image, np.where(where, other.mask, crop.mask), weights)


def _place(height: int, width: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a rectangle somewhere in a picture, wholly inside."""
    top, left = (int(rng.integers(room - side + 1)) for room, side in zip(shape, (height, width), strict=False))
    return slice(top, top + height), slice(left, left + width)


def erase(image: NDArray[np.uint8], effect: Effect, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image (H, W, C) uint8 with noise in a rectangle of up to `strength` squared of its area.

    Random erasing with random values (Zhong et al. 2017, arXiv:1708.04896, "RE-R"), for masks: what lies beneath is
    still asked for, as of roads under trees.
    """
    happens = rng.random() < effect.probability
    area = effect.strength**2 * rng.uniform(AREAS, 1) * image.shape[0] * image.shape[1]
    aspect = math.exp(rng.uniform(math.log(ASPECT), -math.log(ASPECT)))
    height = min(image.shape[0], math.ceil(math.sqrt(area * aspect)))
    width = min(image.shape[1], math.ceil(math.sqrt(area / aspect)))
    if not happens or not area:
        return image
    erased = image.copy()
    rows, columns = _place(height, width, image.shape, rng)
    erased[rows, columns] = rng.integers(0, 256, (height, width, image.shape[2]), np.uint8)
    return erased


def cutmix(crop: Labelled, another: Another, effect: Effect, rng: np.random.Generator) -> Labelled:
    """The crop with a rectangle of another in the place of its own, image, mask and weights.

    CutMix (Yun et al. 2019, arXiv:1905.04899) where every pixel has its label: nothing is left to mix. As there the
    rectangle has the crop's proportions and an area uniform up to its largest, here `strength` squared of the crop; it
    lies wholly inside.

    Args:
        another: makes the other crop, of the same size, from the generator; called when it is needed.
    """
    happens = rng.random() < effect.probability
    share = min(1.0, effect.strength * math.sqrt(rng.random()))
    height, width = (math.ceil(share * side) for side in crop.mask.shape)
    if not happens or not share:
        return crop
    where = np.zeros(crop.mask.shape, np.bool_)
    where[_place(height, width, crop.mask.shape, rng)] = True
    return _over(crop, another(rng), where)


def copy_paste(crop: Labelled, another: Another, chance: Chance, last: int, rng: np.random.Generator) -> Labelled:
    """The crop with pieces of class `last` of another laid over it, image, mask and weights.

    Copy-paste (Ghiasi et al. 2021, arXiv:2012.07177) with connected pieces of the class as the objects: each of them
    comes with chance one half, one of them at least; unblended, which they found to be as good. Nothing happens
    where the other crop has none.

    Args:
        another: makes the other crop, of the same size, from the generator; called when it is needed.
    """
    if rng.random() >= chance.probability:
        return crop
    (choosing,) = rng.spawn(1)  # how many numbers the other crop takes is its own affair
    other = another(rng)
    count, pieces = cv2.connectedComponents((other.mask == last).astype(np.uint8), connectivity=8)
    if count == 1:  # the rest alone
        return crop
    chosen = np.less(choosing.random(count), 0.5)
    chosen[choosing.integers(1, count)] = True
    chosen[0] = False
    return _over(crop, other, chosen[pieces])
