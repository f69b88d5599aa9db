"""A dataset folder, opened and checked: pairs of images and masks as uint8 arrays of one form."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DataConfig
from ..errors import ConfigError, DataError, RoadsegWarning
from .blocks import BLOCK
from .checking import Checked, Raster, check
from .described import IGNORED, Description, describe, names_by_value
from .layouts import Pair, find_pairs
from .masks import MaskCoding, class_names, decode, find_coding, palettes_are_indices
from .pixels import to_bands
from .places import with_places
from .problems import report_problems
from .raster import ground_resolution
from .samples import Form, Reader, Sample, as_uint8, read_image
from .store import PixelStore

__all__ = ["Dataset", "Sample", "open_dataset", "open_image"]

PERCENTILES = (0.5, 99.5)  # of the pixel values that become 0 and 255, where images are not 8-bit


@dataclass(frozen=True)
class Dataset:
    """An opened dataset folder; `open_dataset` makes it.

    Attributes:
        pairs: sorted by stem as plain strings; all readable, image and mask of the same size. A large raster is as
            many pairs as it has blocks with labels.
        tests: images without labels.
        coding: how the masks become classes.
        classes: names, by class position.
        bands: of every image as read here.
        select: numbers from 1 of the bands of the files that are read, in this order; empty: all but alpha.
        value_range: pixel values that become 0 and 255; None: 8-bit images as they are.
        skipped: messages on what was left out.
        ground_resolution_m: metres per pixel, when known.
        sizes: (height, width) of each pair.
        hashes: `content_hash` of each pair's image.
        mask_hashes: the same of each pair's mask, as it is in its file.
        class_shares: share of the masks' labelled pixels in each class.
        unlabelled: share of the masks' pixels that have no label.
        dtype: of the images' files.
        group: what `dataset.toml` says makes the pairs' places; None: nothing.
        rasters: the large ones, which are read by blocks.
        block: px, side of the blocks.
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
    select: tuple[int, ...] = ()
    group: str | None = None
    rasters: tuple[Raster, ...] = ()
    block: int = BLOCK

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

    def reader(self) -> Reader:
        """For a `with` block in which several pairs are read one after the other: blocks of a raster open it once."""
        form = Form(self.coding, self.bands, self.select, self.value_range)
        return Reader(self.pairs, self.hashes, form)

    def read(self, index: int) -> Sample:
        """Decode one pair.

        Raises:
            DataError: a file has changed or gone since the dataset was opened.
        """
        with self.reader() as reader:
            return reader.read(index)

    def read_all(self, indices: Iterable[int], store: PixelStore | None = None) -> list[Sample]:
        """Decode the pairs of `indices`, in their order; into memory, or where `store` has room for them.

        Raises:
            DataError: see `read`.
            OutputError: the store's folder cannot be written, or the disk is full.
        """
        wanted = list(indices)
        if store is None:
            with self.reader() as reader:
                return [reader.read(i) for i in wanted]
        bare: list[tuple[str, str]] = []

        def rows() -> Iterator[tuple[np.ndarray | None, ...]]:
            with self.reader() as reader:
                for sample in map(reader.read, wanted):
                    bare.append((sample.stem, sample.hash))
                    yield sample.image, sample.mask, sample.valid

        bytes_each = self.bands + 1 + (self.unlabelled > 0)  # pixel, class, whether it is valid
        size = sum(math.prod(self.sizes[i]) * bytes_each for i in wanted)
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
        if self.select:
            bands += f" (of the files: {', '.join(map(str, self.select))})"
        lines = [
            f"{self.root}: {len(self)} pairs{tests} ({self.layout})",
            *_rasters_in_words(self),
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


def _rasters_in_words(dataset: Dataset) -> list[str]:
    """What the user is told of large rasters: how many blocks, and what a split keeps together."""
    if not dataset.rasters:
        return []
    rasters, side = dataset.rasters, dataset.block
    kept, all_of_them = sum(r.kept for r in rasters), sum(math.prod(r.grid) for r in rasters)
    what = f"large raster '{rasters[0].stem}'" if len(rasters) == 1 else f"{len(rasters)} large rasters"
    line = f"{what}, read as {kept} block{'s' if kept > 1 else ''} of {side} px"
    if all_of_them > kept:
        line += f" ({all_of_them - kept} without a label or without data left out)"
    places = {pair.place for pair in dataset.pairs if pair.block is not None and pair.place is not None}
    line += (
        f"; a split divides {len(places)} places ({next(iter(places)).rule})" if places else "; a split divides these"
    )
    return [line]


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
    checked: list[Checked] = []
    for pair in found.pairs:
        try:
            checked.append(check(pair, config, said.ignore))
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
        value_range = _percentiles([values for c in good for values in c.values])
    parts = sorted((part for c in good for part in c.parts), key=lambda part: part.pair.stem)
    return Dataset(
        root=root,
        layout=found.layout,
        pairs=tuple(with_places([part.pair for part in parts], said.group, config.squares)),
        tests=found.tests,
        coding=coding,
        classes=classes,
        bands=bands,
        value_range=value_range,
        skipped=tuple(problems),
        ground_resolution_m=said.resolution if said.resolution is not None else ground_resolution(good[0].pair.image),
        sizes=tuple(part.size for part in parts),
        hashes=tuple(part.hash for part in parts),
        mask_hashes=tuple(part.mask_hash for part in parts),
        class_shares=shares,
        unlabelled=unlabelled,
        dtype=str(dtype),
        select=tuple(config.select),
        group=said.group,
        rasters=tuple(c.raster for c in good if c.raster is not None),
        block=config.block,
    )


def open_image(
    path: Path, bands: int, value_range: tuple[float, float] | None, select: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image for prediction: (H, W, bands) uint8, and valid: (H, W) bool, or None where all of it is data.

    Args:
        bands, value_range, select: as the model has them, see `ModelInfo`.

    Raises:
        ImageError: it cannot be read.
        DataError: its bands or its dtype do not fit.
    """
    picture = read_image(path, select or ())
    pixels = to_bands(picture.pixels, bands, Path(path))
    return as_uint8(pixels, value_range, Path(path)), picture.valid


def _common_bands(checked: list[Checked], config: DataConfig) -> int:
    if config.bands and config.select and len(config.select) != config.bands:
        raise ConfigError(f"data.bands = {config.bands}, but data.select names {len(config.select)} bands")
    if config.bands:
        return config.bands
    found = Counter(c.bands for c in checked)
    if not found:
        return 3
    return 3 if set(found) == {1, 3} else found.most_common(1)[0][0]


def _coding(good: list[Checked], said: Description, invert: bool) -> MaskCoding:
    """The set's coding."""
    indexed = palettes_are_indices(((c.colours, c.counts) for c in good), said.ignore)
    jpeg = sum(c.pair.mask.suffix.lower() in (".jpg", ".jpeg") for c in good)
    if jpeg:
        text = f"{jpeg} masks are JPEG: compression smears their edges; export them as PNG if you can"
        warnings.warn(text, RoadsegWarning, stacklevel=3)
    counts = {str(c.pair.mask): c.counts if indexed else c.greys for c in good}
    return find_coding(counts, invert, names=said.names, indexed=indexed, lossy=jpeg > 0, ignore=said.ignore)


def _shares(good: list[Checked], coding: MaskCoding, classes: int) -> tuple[tuple[float, ...], float]:
    """Share of each class in the labelled pixels, and of the others in all pixels."""
    totals = np.zeros(IGNORED + 1, np.int64)
    for one in good:
        counts = one.counts if coding.indexed else one.greys
        positions = decode(np.asarray(list(counts)), coding)
        np.add.at(totals, positions, np.asarray(list(counts.values()), np.int64))
    known = int(totals[:IGNORED].sum())
    pixels = sum(one.pixels for one in good)
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
