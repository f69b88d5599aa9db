"""Images that are in a set twice: the same pixels, or the same picture a little changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .dataset import Sample

__all__ = ["Thumbnail", "find_duplicates", "thumbnail"]

SIDE = 16  # pixels of what is correlated
KEPT = 4 * SIDE  # pixels of what is kept of an image
FLAT = 4.0  # grey levels: standard deviation below which a thumbnail shows nothing to compare
SIMILAR = 0.95  # correlation of the thumbnails
BITS = 8  # of the 64 in the difference hash that may differ
HASH_SHAPE = (9, 8)  # cv2 order, width first: 8 differences in each of 8 rows


@dataclass(frozen=True)
class Thumbnail:
    """What finding duplicates needs of one image, 4 kB: so a set is compared without holding its images.

    Attributes:
        stem: of the pair.
        hash: `content_hash` of the image.
        grey: (64, 64) uint8, area averages.
    """

    stem: str
    hash: str
    grey: NDArray[np.uint8]


def thumbnail(sample: Sample) -> Thumbnail:
    """The thumbnail of a sample's image.

    What is not valid is as bright as the rest on average: black borders alone would make any two images alike.
    """
    grey = sample.image.mean(axis=-1, dtype=np.float32)
    if sample.valid is not None:
        grey[~sample.valid] = grey[sample.valid].mean() if sample.valid.any() else 0
    return Thumbnail(sample.stem, sample.hash, np.rint(_grey(grey, (KEPT, KEPT))).astype(np.uint8))


def find_duplicates(
    train: Sequence[Sample | Thumbnail], val: Sequence[Sample | Thumbnail]
) -> list[tuple[str, str, str]]:
    """Pairs (training stem, validation stem, "same" or "near"), in the order of `val`.

    "same": equal `hash`, that is equal pixels. "near": the 64-bit difference hash (N. Krawetz, "Kind of like that",
    2013) differs in at most 8 bits and 16x16 grey thumbnails correlate above 0.95, in any of the 8 orientations: a copy
    saved again, resized, brightened, mirrored or turned. A neighbouring or overlapping crop is not found.
    """
    if not train or not val:
        return []
    found: list[tuple[str, str, str]] = []
    kept = [item if isinstance(item, Thumbnail) else thumbnail(item) for item in train]
    by_hash: dict[str, list[int]] = {}
    for i, item in enumerate(kept):
        by_hash.setdefault(item.hash, []).append(i)
    known = [_fingerprint(item.grey) for item in kept]
    thumbnails = np.stack([vector for vector, _ in known])
    bits = np.stack([hash_bits for _, hash_bits in known])
    for other in val:
        own = other if isinstance(other, Thumbnail) else thumbnail(other)
        same = by_hash.get(own.hash, [])
        found += [(kept[i].stem, own.stem, "same") for i in same]
        near: set[int] = set()
        for turned in _orientations(own.grey):
            vector, hash_bits = _fingerprint(turned)
            similar = np.flatnonzero(thumbnails @ vector > SIMILAR)
            near |= set(similar[(bits[similar] != hash_bits).sum(axis=1) <= BITS].tolist())
        found += [(kept[i].stem, own.stem, "near") for i in sorted(near - set(same))]
    return found


def _orientations(grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(np.rot90(flipped, k)) for flipped in (grey, grey[:, ::-1]) for k in range(4)]


def _grey(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W[, C]) as float32 grey of `size` (width, height), by area averages."""
    grey = image if image.ndim == 2 else image.mean(axis=-1, dtype=np.float32)
    return np.asarray(cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def _fingerprint(grey: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
    """Of a thumbnail: a unit vector (256,) float32 (zeros when flat), and 64 bool of its difference hash."""
    small = _grey(grey, (SIDE, SIDE)).ravel()
    centred = small - small.mean()
    norm = float(np.linalg.norm(centred))
    flat = norm < FLAT * SIDE
    steps = np.diff(_grey(grey, HASH_SHAPE), axis=1) > 0
    return (np.zeros_like(centred) if flat else centred / norm), steps.ravel()
