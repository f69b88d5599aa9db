"""What values the pixels of a set have, band by band, gathered image by image in bounded memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BandValues"]

PERCENTILES = (1, 50, 99)
SAMPLED = 200_000  # values per band that the percentiles are taken from, where pixels have more than 8 bits
BINS = 64  # of the histograms that are drawn


class BandValues:
    """Least, greatest and mean value, percentiles and histogram of each band, in the units of the files.

    Exact for 8-bit images; for others the percentiles and the histogram are those of a sample spread over all images.
    Pixels without data and values that are no finite number are left out.

    Args:
        images: how many are expected; the sample is shared out among them.
    """

    def __init__(self, images: int) -> None:
        self.share = max(100, SAMPLED // max(1, images))
        self.counts: NDArray[np.int64] | None = None  # (bands, 256)
        self.samples: list[list[NDArray[Any]]] = []
        self.least: list[float] = []
        self.greatest: list[float] = []
        self.total: list[float] = []
        self.number: list[int] = []

    def add(self, pixels: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
        """Take in one image: (H, W, C) in its file's dtype, and (H, W) bool where it has data."""
        bands = [pixels[..., k] if valid is None else pixels[..., k][valid] for k in range(pixels.shape[-1])]
        while len(self.total) < len(bands):
            self.samples.append([])
            self.least.append(np.inf)
            self.greatest.append(-np.inf)
            self.total.append(0.0)
            self.number.append(0)
        for k, band in enumerate(bands):
            self._add(k, band.ravel())

    def _add(self, k: int, values: NDArray[Any]) -> None:
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if not values.size:
            return
        self.least[k] = min(self.least[k], float(values.min()))
        self.greatest[k] = max(self.greatest[k], float(values.max()))
        self.total[k] += float(values.sum(dtype=np.float64))
        self.number[k] += values.size
        if values.dtype == np.uint8:
            if self.counts is None or len(self.counts) <= k:
                grown = np.zeros((k + 1, 256), np.int64)
                if self.counts is not None:
                    grown[: len(self.counts)] = self.counts
                self.counts = grown
            self.counts[k] += np.bincount(values, minlength=256)
        else:
            self.samples[k].append(values[:: max(1, values.size // self.share)].copy())

    def _sample(self, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values, ascending, and how often each is there."""
        if self.samples[k]:
            return np.unique(np.concatenate(self.samples[k]).astype(np.float64), return_counts=True)
        counts = np.zeros(256, np.int64) if self.counts is None or len(self.counts) <= k else self.counts[k]
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]

    def table(self) -> list[dict[str, float]]:
        """For each band: min, p1, median, p99, max, mean; bands without a value are left out."""
        rows = []
        for k, number in enumerate(self.number):
            if not number:
                continue
            values, counts = self._sample(k)
            places = np.searchsorted(np.cumsum(counts), np.asarray(PERCENTILES) / 100 * counts.sum(), side="left")
            low, median, high = (float(v) for v in values[np.minimum(places, len(values) - 1)])
            row = {"band": k + 1, "min": self.least[k], "p1": low, "median": median, "p99": high}
            rows.append(row | {"max": self.greatest[k], "mean": self.total[k] / number})
        return rows

    def histograms(self) -> tuple[float, float, NDArray[np.float64]]:
        """Lower and upper end, and (bands, bins) shares of the values in equal bins between them."""
        filled = [k for k, number in enumerate(self.number) if number]
        if not filled:
            return 0.0, 1.0, np.zeros((0, BINS))
        low, high = min(self.least[k] for k in filled), max(self.greatest[k] for k in filled)
        if all(not samples for samples in self.samples):
            low, high = 0.0, 256.0  # 8 bits: whole values in each bin
        elif high == low:
            high = low + 1
        rows = []
        for k in filled:
            values, counts = self._sample(k)
            found, _ = np.histogram(values, BINS, (low, high), weights=counts)
            rows.append(found / max(1, found.sum()))
        return low, high, np.stack(rows)
