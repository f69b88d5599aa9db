"""Images that are in training and in validation at once: the same pixels, or the same picture a little changed."""

from collections.abc import Sequence

import cv2
import numpy as np

from .dataset import Sample

__all__ = ["find_duplicates"]

SIDE = 16  # pixels of the thumbnails
FLAT = 4.0  # grey levels: standard deviation below which a thumbnail shows nothing to compare
SIMILAR = 0.95  # correlation of the thumbnails
BITS = 8  # of the 64 in the difference hash that may differ
HASH_SHAPE = (9, 8)  # cv2 order, width first: 8 differences in each of 8 rows


def find_duplicates(train: Sequence[Sample], val: Sequence[Sample]) -> list[tuple[str, str, str]]:
    """Pairs (training stem, validation stem, "same" or "near"), in the order of `val`.

    "same": equal `hash`, that is equal pixels. "near": the 64-bit difference hash (N. Krawetz, "Kind of like that",
    2013) differs in at most 8 bits and 16x16 grey thumbnails correlate above 0.95, in any of the 8 orientations: a copy
    saved again, resized, brightened, mirrored or turned. A neighbouring or overlapping crop is not found.
    """
    if not train or not val:
        return []
    found: list[tuple[str, str, str]] = []
    by_hash: dict[str, list[int]] = {}
    for i, sample in enumerate(train):
        by_hash.setdefault(sample.hash, []).append(i)
    known = [_fingerprint(sample.image) for sample in train]
    thumbnails = np.stack([thumbnail for thumbnail, _ in known])
    bits = np.stack([hash_bits for _, hash_bits in known])
    for sample in val:
        same = by_hash.get(sample.hash, [])
        found += [(train[i].stem, sample.stem, "same") for i in same]
        near: set[int] = set()
        for turned in _orientations(sample.image):
            thumbnail, hash_bits = _fingerprint(turned)
            close = (bits != hash_bits).sum(axis=1) <= BITS
            near |= set(np.flatnonzero(close & (thumbnails @ thumbnail > SIMILAR)).tolist())
        found += [(train[i].stem, sample.stem, "near") for i in sorted(near - set(same))]
    return found


def _orientations(image: np.ndarray) -> list[np.ndarray]:
    small = _grey(image, (4 * SIDE, 4 * SIDE))
    return [np.ascontiguousarray(np.rot90(flipped, k)) for flipped in (small, small[:, ::-1]) for k in range(4)]


def _grey(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W[, C]) as float32 grey of `size` (width, height), by area averages."""
    grey = image if image.ndim == 2 else image.mean(axis=-1)
    return np.asarray(cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA))


def _fingerprint(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A thumbnail as a unit vector (256,) float32 (zeros when flat), and 64 bool of its difference hash."""
    small = _grey(image, (4 * SIDE, 4 * SIDE))
    thumbnail = _grey(small, (SIDE, SIDE)).ravel()
    centred = thumbnail - thumbnail.mean()
    norm = float(np.linalg.norm(centred))
    flat = norm < FLAT * SIDE
    steps = np.diff(_grey(small, HASH_SHAPE), axis=1) > 0
    return (np.zeros_like(centred) if flat else centred / norm), steps.ravel()
