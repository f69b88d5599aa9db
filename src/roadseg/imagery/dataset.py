"""A dataset folder, opened and checked: pairs of images and masks as uint8 arrays of one form."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataConfig
from ..errors import ConfigError, DataError, RoadsegWarning
from .described import IGNORED, Description, describe, names_by_value
from .layouts import Pair, find_pairs
from .masks import MaskCoding, class_names, decode, find_coding, histogram, palettes_are_indices, read_mask
from .pixels import content_hash, to_bands, to_uint8
from .problems import report_problems
from .raster import ground_resolution, read_picture
from .store import PixelStore

__all__ = ["Dataset", "Sample", "open_dataset", "open_image"]

PERCENTILES = (0.5, 99.5)  # of the pixel values that become 0 and 255, where images are not 8-bit
SAMPLED = 20_000  # pixel values per image that the percentiles are taken from


@dataclass(frozen=True)
class Sample:
    """One pair, decoded.

    Attributes:
        stem: the pair's name.
        image: (H, W, bands) uint8.
        mask: (H, W) uint8 class position, 0 and 1 when binary; `IGNORED` (255) where there is no label or no data.
        valid: (H, W) bool, False where the mask is `IGNORED`; None where it nowhere is.
        hash: `content_hash` of the image's pixels as decoded, before bands and range are changed.
    """

    stem: str
    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray | None
    hash: str


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder; `open_dataset` makes it.

    Attributes:
        pairs: sorted by stem as plain strings; all readable, image and mask of the same size.
        tests: images without labels.
        coding: how the masks become classes.
        classes: names, by class position.
        bands: of every image as read here.
        value_range: pixel values that become 0 and 255; None: 8-bit images as they are.
        skipped: messages on what was left out.
        ground_resolution_m: metres per pixel, when known.
        sizes: (height, width) of each pair.
        hashes: `content_hash` of each pair's image.
        mask_hashes: the same of each pair's mask, as it is in its file.
        class_shares: share of the masks' labelled pixels in each class.
        unlabelled: share of the masks' pixels that have no label.
        dtype: of the images' files.
    """

    root: Path
    layout: str
    pairs: tuple[Pair, ...]
    tests: tuple[Path, ...]
    coding: MaskCoding
    classes: tuple[str, ...]
    bands: int
    value_range: tuple[float, float] | None
    skipped: tuple[str, ...]
    ground_resolution_m: float | None
    sizes: tuple[tuple[int, int], ...] = ()
    hashes: tuple[str, ...] = ()
    mask_hashes: tuple[str, ...] = ()
    class_shares: tuple[float, ...] = ()
    unlabelled: float = 0.0
    dtype: str = "uint8"

    @property
    def class_setting(self) -> list[str]:
        """What `data.classes` must say to open the folder again with these classes: index masks have names by value."""
        index = self.coding.kind == "index"
        return list(names_by_value(self.classes, self.coding.ignore) if index else self.classes)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def entry(self, index: int) -> dict[str, str]:
        """A pair as split.json names it: stem, and the hashes of image and mask."""
        return {"stem": self.pairs[index].stem, "hash": self.hashes[index], "mask": self.mask_hashes[index]}

    def read(self, index: int) -> Sample:
        """Decode one pair.

        Raises:
            DataError: a file has changed or gone since the dataset was opened.
        """
        pair = self.pairs[index]
        picture, raw = read_picture(pair.image), read_mask(pair.mask)
        values = raw.read_as(indexed=self.coding.indexed)
        _check_sizes(pair, picture.pixels, values)
        image = _as_uint8(to_bands(picture.pixels, self.bands, pair.image), self.value_range, pair.image)
        mask = decode(values, self.coding)
        for valid in (picture.valid, raw.valid):
            if valid is not None:
                mask[~valid] = IGNORED
        known = mask != IGNORED
        valid = None if known.all() else known
        return Sample(pair.stem, image, mask, valid, content_hash(picture.pixels))

    def read_all(self, indices: Iterable[int], store: PixelStore | None = None) -> list[Sample]:
        """Decode the pairs of `indices`, in their order; into memory, or where `store` has room for them.

        Raises:
            DataError: see `read`.
            OutputError: the store's folder cannot be written, or the disk is full.
        """
        wanted = list(indices)
        if store is None:
            return [self.read(i) for i in wanted]
        bare: list[tuple[str, str]] = []

        def rows() -> Iterator[tuple[np.ndarray | None, ...]]:
            for sample in map(self.read, wanted):
                bare.append((sample.stem, sample.hash))
                yield sample.image, sample.mask, sample.valid

        size = sum(math.prod(self.sizes[i]) * (self.bands + 1) for i in wanted)
        kept: Any = zip(bare, store.keep(rows(), size), strict=True)
        return [Sample(stem, image, mask, valid, code) for (stem, code), (image, mask, valid) in kept]

    def summary(self) -> str:
        """A few lines for the user: layout, counts, sizes, bands, mask rule, what was left out."""
        tests = f", {len(self.tests)} images without masks" if self.tests else ""
        sizes = Counter(self.sizes).most_common()
        shown = ", ".join(f"{w}x{h}" + (f" ({n})" if len(sizes) > 1 else "") for (h, w), n in sizes[:3])
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        bands = f"{self.bands} band{'s' if self.bands > 1 else ''}"
        stretch = "" if self.value_range is None else ", values {:g}..{:g} become 0..255".format(*self.value_range)
        shares = zip(self.classes, self.class_shares, strict=False)
        lines = [
            f"{self.root}: {len(self)} pairs{tests} ({self.layout})",
            f"images: {shown}{more}, {bands}, {self.dtype}{stretch}",
            self.coding.rule(self.classes[-1] if len(self.classes) == 2 else "road"),
            "classes: " + ", ".join(f"{name} {share:.1%}" for name, share in shares),
        ]
        if self.unlabelled:
            lines.append(f"unlabelled: {self.unlabelled:.1%} of the pixels")
        if self.ground_resolution_m is not None:
            lines.append(f"ground resolution: {self.ground_resolution_m:.3g} m per pixel")
        if self.skipped:
            lines.append(f"left out: {len(self.skipped)}")
        return "\n".join(lines)


@dataclass
class _Checked:
    """What the first reading of a pair leaves behind."""

    pair: Pair
    size: tuple[int, int]
    bands: int
    dtype: np.dtype[Any]
    hash: str
    mask_hash: str
    values: np.ndarray  # a few pixel values, for the percentiles
    counts: dict[float, int]  # of the mask where it has data, by palette index where it has a palette
    greys: dict[float, int]  # of the mask, by grey
    colours: np.ndarray  # (N, 3) of its palette


def open_dataset(root: Path, config: DataConfig = DataConfig(), *, skip_bad: bool = False) -> Dataset:  # noqa: B008
    """Open a dataset folder and read every pair once.

    Args:
        root: the folder, in any layout that `find_pairs` knows.
        config: bands, value range, class names, inversion.
        skip_bad: leave bad files out with a `RoadsegWarning` each, instead of raising.

    Raises:
        DataError: the folder is not usable, or files are bad: all of them in one message.
        ConfigError: `config` does not fit the images.
    """
    root = Path(root)
    given_range = _given_range(config)
    found = find_pairs(root)
    said = describe(root, config)
    problems = list(found.problems)
    checked: list[_Checked] = []
    for pair in found.pairs:
        try:
            checked.append(_check(pair))
        except DataError as error:
            problems.append(str(error))
    bands = _common_bands(checked, config)
    dtype = Counter(c.dtype for c in checked).most_common(1)[0][0] if checked else np.dtype(np.uint8)
    good = []
    for item in checked:
        if item.dtype != dtype:
            text = f"image '{item.pair.image}' has {item.dtype} pixels but most have {dtype}"
            problems.append(f"{text}: export all of them the same way")
        elif item.bands != bands and {item.bands, bands} != {1, 3}:
            text = f"image '{item.pair.image}' has {item.bands} bands, expected {bands}"
            problems.append(f"{text}: export all with {bands}, or set data.bands")
        else:
            good.append(item)
    report_problems(f"dataset '{root}' has", problems, skip_bad, len(good))

    coding = _coding(good, said, config.invert)
    classes = class_names(coding, said.names)
    shares, unlabelled = _shares(good, coding, len(classes))
    value_range = given_range
    if value_range is None and dtype != np.uint8:
        value_range = _percentiles([c.values for c in good])
    return Dataset(
        root=root,
        layout=found.layout,
        pairs=tuple(c.pair for c in good),
        tests=found.tests,
        coding=coding,
        classes=classes,
        bands=bands,
        value_range=value_range,
        skipped=tuple(problems),
        ground_resolution_m=said.resolution if said.resolution is not None else ground_resolution(good[0].pair.image),
        sizes=tuple(c.size for c in good),
        hashes=tuple(c.hash for c in good),
        mask_hashes=tuple(c.mask_hash for c in good),
        class_shares=shares,
        unlabelled=unlabelled,
        dtype=str(dtype),
    )


def open_image(path: Path, bands: int, value_range: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image for prediction: (H, W, bands) uint8, and valid: (H, W) bool, or None where all of it is data.

    Raises:
        ImageError: it cannot be read.
        DataError: its bands or its dtype do not fit.
    """
    picture = read_picture(path)
    pixels = to_bands(picture.pixels, bands, Path(path))
    return _as_uint8(pixels, value_range, Path(path)), picture.valid


def _as_uint8(pixels: np.ndarray, value_range: tuple[float, float] | None, path: Path) -> np.ndarray:
    if value_range is None and pixels.dtype != np.uint8:
        raise DataError(f"image '{path}' has {pixels.dtype} pixels, expected uint8: export it with 8 bits per band")
    if value_range is not None and pixels.dtype == np.uint8 and value_range[1] > 255:
        low, high = value_range
        raise DataError(f"image '{path}' has 8-bit pixels, expected values {low:g}..{high:g}: give the original image")
    return to_uint8(pixels, value_range)


def _check_sizes(pair: Pair, pixels: np.ndarray, mask: np.ndarray) -> None:
    if pixels.shape[:2] != mask.shape:
        (h, w), (mask_h, mask_w) = pixels.shape[:2], mask.shape
        raise DataError(
            f"mask '{pair.mask}' is {mask_w}x{mask_h} but its image is {w}x{h}: "
            "resize or re-export one of them, or drop the pair from the folder"
        )


def _check(pair: Pair) -> _Checked:
    picture, raw = read_picture(pair.image), read_mask(pair.mask)
    _check_sizes(pair, picture.pixels, raw.values)
    pixels = picture.pixels
    data = pixels.reshape(-1, pixels.shape[-1]) if picture.valid is None else pixels[picture.valid]
    step = max(1, data.size // SAMPLED)
    counts = histogram(raw.values if raw.valid is None else raw.values[raw.valid])
    greys = counts if raw.palette is None else histogram(raw.read_as(indexed=False))
    values = data.reshape(-1)[::step].copy() if pixels.dtype != np.uint8 else data[:0].reshape(-1).copy()
    return _Checked(
        pair,
        pixels.shape[:2],
        pixels.shape[-1],
        pixels.dtype,
        content_hash(pixels),
        content_hash(raw.values),
        values,
        counts,
        greys,
        raw.colours(),
    )


def _common_bands(checked: list[_Checked], config: DataConfig) -> int:
    if config.bands:
        return config.bands
    found = Counter(c.bands for c in checked)
    if not found:
        return 3
    return 3 if set(found) == {1, 3} else found.most_common(1)[0][0]


def _coding(good: list[_Checked], said: Description, invert: bool) -> MaskCoding:
    """The set's coding."""
    indexed = palettes_are_indices(((c.colours, c.counts) for c in good), said.ignore)
    jpeg = sum(c.pair.mask.suffix.lower() in (".jpg", ".jpeg") for c in good)
    if jpeg:
        text = f"{jpeg} masks are JPEG: compression smears their edges; export them as PNG if you can"
        warnings.warn(text, RoadsegWarning, stacklevel=3)
    counts = {str(c.pair.mask): c.counts if indexed else c.greys for c in good}
    return find_coding(counts, invert, names=said.names, indexed=indexed, lossy=jpeg > 0, ignore=said.ignore)


def _shares(good: list[_Checked], coding: MaskCoding, classes: int) -> tuple[tuple[float, ...], float]:
    """Share of each class in the labelled pixels, and of the others in all pixels."""
    totals = np.zeros(IGNORED + 1, np.int64)
    for one in good:
        counts = one.counts if coding.indexed else one.greys
        positions = decode(np.asarray(list(counts)), coding)
        np.add.at(totals, positions, np.asarray(list(counts.values()), np.int64))
    known = int(totals[:IGNORED].sum())
    pixels = sum(math.prod(one.size) for one in good)
    return tuple((totals[:classes] / known).tolist()), 1 - known / pixels


def _given_range(config: DataConfig) -> tuple[float, float] | None:
    given = config.value_range
    if not given:
        return None
    if len(given) != 2 or not given[0] < given[1]:
        raise ConfigError(f"data.value_range = {given}: expected a low and a high pixel value, e.g. [0, 4095]")
    return float(given[0]), float(given[1])


def _percentiles(values: list[np.ndarray]) -> tuple[float, float]:
    pooled = np.concatenate(values).astype(np.float64)
    pooled = pooled[np.isfinite(pooled)]
    if not pooled.size:
        return 0.0, 1.0
    low, high = np.percentile(pooled, PERCENTILES).tolist()
    return (low, high) if high > low else (low, low + 1.0)
