"""How the masks of a set are coded, found over the whole set, and turning one mask into class positions.

Never file by file: an all-background tile of a 0/255 set and one of a class-index set look the same, and a 0/1 mask
read as 0/255 is black. One value may stand for pixels without a label (`data.ignore`): it is none of the coding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import ConfigError, DataError
from .described import IGNORED
from .raster import Picture, read_picture

__all__ = [
    "IGNORED",
    "Histogram",
    "MaskCoding",
    "RawMask",
    "class_names",
    "decode",
    "find_coding",
    "histogram",
    "palettes_are_indices",
    "raw_mask",
    "read_mask",
]

Histogram = Mapping[float, int]  # value: number of pixels

MAX_INDEX = 63  # larger values are class indices only when that many class names are given
MIN_SOFT = 8  # distinct values from which a mask is soft (CIL has 238; an ignore value or two are no shades)
JPEG_SLACK = 24  # by how much compression lets the bands of a grey JPEG differ
LISTED = 6  # values or colours named in a message


@dataclass(frozen=True)
class MaskCoding:
    """The rule that turns mask values into classes.

    Attributes:
        kind: binary (0 and one other value), soft (shades, cut at a threshold) or index (the value is the class).
        threshold: binary and soft: the class of interest lies above it.
        classes: the class values, in order of their position: (0, 1), or every index up to the highest but `ignore`.
        invert: binary and soft: the class of interest is the dark one, at or below the threshold.
        indexed: palette masks are read by palette index, not by colour.
        ignore: the value of pixels without a label; -1: none.
    """

    kind: Literal["binary", "soft", "index"]
    threshold: float
    classes: tuple[int, ...]
    invert: bool = False
    indexed: bool = False
    low: float = 0
    high: float = 255
    ignore: int = -1

    def rule(self, name: str = "road") -> str:
        """One line for the user; `name` is the class of interest."""
        left_out = f"; {self.ignore} is unlabelled" if self.ignore >= 0 else ""
        if self.kind == "index":
            by = "palette index" if self.indexed else "value"
            return f"masks are class indices: classes {self.classes[0]}..{self.classes[-1]} by {by}{left_out}"
        if self.kind == "soft":
            sign = "<=" if self.invert else ">"
            return f"masks are soft grey {self.low:g}..{self.high:g}: {name} is {sign} {self.threshold:g}{left_out}"
        value = self.low if self.invert else self.high
        return f"masks are {self.low:g}/{self.high:g}: {name} is {value:g}{left_out}"


@dataclass(frozen=True)
class RawMask:
    """A mask as in its file.

    Attributes:
        values: (H, W) native dtype: grey values, or palette indices when there is a palette.
        palette: (256, 3) uint8, or None.
        valid: (H, W) bool, False where a TIFF says "no data"; None where all of it is data.
    """

    values: np.ndarray
    palette: np.ndarray | None
    valid: np.ndarray | None

    def read_as(self, *, indexed: bool) -> np.ndarray:
        """(H, W) values by palette index or by grey of the palette's colours; the same without a palette."""
        if self.palette is None or indexed:
            return self.values
        return np.asarray(self.palette[:, 0][self.values])

    def colours(self) -> np.ndarray:
        """(N, 3) the palette colours in use; none without a palette."""
        if self.palette is None:
            return np.empty((0, 3), np.uint8)
        return np.unique(self.palette[np.unique(self.values)], axis=0)


def read_mask(path: Path) -> RawMask:
    """Read a mask file: grey, grey in RGB, 1-bit, 16-bit or palette; alpha is dropped.

    Raises:
        ImageError: the file cannot be read.
        DataError: it is coloured and has no palette, or has a number of bands that no mask has.
    """
    path = Path(path)
    picture = read_picture(path, expand_palette=False)
    # A declared "no data" value of 0 is background by mistake; an alpha channel says nothing about a mask.
    tiff = path.suffix.lower() in (".tif", ".tiff")
    holes = tiff and picture.valid is not None and bool((picture.pixels[~picture.valid] != 0).any())
    return raw_mask(picture, path, holes=holes)


def raw_mask(picture: Picture, path: Path, *, holes: bool) -> RawMask:
    """A decoded mask, or a part of one, see `read_mask`.

    Args:
        picture: with a palette's indices.
        path: of the file, for messages.
        holes: whether the pixels that the picture says are no data have no label.

    Raises:
        DataError: it is coloured and has no palette, or has a number of bands that no mask has.
    """
    pixels, valid = picture.pixels, picture.valid
    if picture.palette is not None:
        return RawMask(pixels[..., 0], picture.palette, None)
    if pixels.shape[-1] == 3:
        spread = pixels.max(axis=-1).astype(np.float64) - pixels.min(axis=-1)
        slack = JPEG_SLACK if path.suffix.lower() in (".jpg", ".jpeg") else 0
        if spread.max() > slack:
            codes = pixels.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])  # one number each: rows sort slowly
            unique, counts = np.unique(codes, return_counts=True)
            ranked = unique[np.argsort(-counts, kind="stable")]
            common = np.stack([ranked >> 32, ranked >> 16 & 0xFFFF, ranked & 0xFFFF], axis=1)
            raise DataError(
                f"mask '{path}' is coloured: {_colour_list(common)}; expected grey values: "
                "make a dataset of images and coloured labels with `roadseg prepare`"
            )
    elif pixels.shape[-1] != 1:
        raise DataError(f"mask '{path}' has {pixels.shape[-1]} bands, expected 1: export it with one")
    values = pixels[..., 0]
    if valid is not None and holes:
        return RawMask(np.where(valid, values, values.dtype.type(0)), None, valid)
    return RawMask(values, None, None)


def histogram(values: np.ndarray) -> dict[float, int]:
    """Number of pixels of each value of a mask (H, W)."""
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return {float(v) if v % 1 else int(v): int(n) for v, n in zip(found.tolist(), counts.tolist(), strict=True)}


def find_coding(
    values: Mapping[str, np.ndarray | Histogram],
    invert: bool = False,
    *,
    names: Sequence[str] = (),
    indexed: bool = False,
    lossy: bool = False,
    ignore: int = -1,
) -> MaskCoding:
    """The one coding of all masks of a set.

    Args:
        values: file name to its mask (H, W), or to the histogram of its values.
        invert: the class of interest is the dark one.
        names: class names, when given; more than two mean class indices, and are by value.
        indexed: palette masks have been read by index.
        lossy: some are JPEG, whose few odd values are no classes.
        ignore: the value of pixels without a label, of which the coding is not made; -1: none.

    Raises:
        DataError: the values follow no coding (the files with the odd ones are named), every mask is one constant, or
            `ignore` is asked of JPEG masks.
        ConfigError: `invert` for class indices.
    """
    if not values:
        raise DataError("no masks: nothing to learn from")
    sets = {name: h if isinstance(h, Mapping) else histogram(h) for name, h in values.items()}
    if ignore >= 0:
        if lossy:
            raise DataError("an ignored value in JPEG masks is smeared by compression: export the masks as PNG")
        sets = {name: {v: n for v, n in h.items() if v != ignore} for name, h in sets.items()}
    found = sorted(set().union(*sets.values()))
    if not found:
        raise DataError(f"every mask is unlabelled: all {len(sets)} hold nothing but {ignore}, '{min(sets)}' for one")
    low, high = found[0], found[-1]
    if len(found) == 1:
        what = "empty" if high == 0 else "full"
        beside = f" beside the ignored {ignore}" if ignore >= 0 else ""
        raise DataError(
            f"every mask is {what}: all {len(sets)} hold the value {high:g} alone{beside}, '{min(sets)}' for one; "
            "draw or export them again"
        )
    if low < 0:
        raise _odd(sets, [v for v in found if v < 0], "a negative value is no class")

    if len(names) > 2 or _looks_like_index(found):
        if lossy:
            raise DataError("class indices in JPEG masks are smeared by compression: export the masks as PNG")
        if (names and high > len(names) - 1) or any(v % 1 for v in found):
            odd = [v for v in found if v > len(names) - 1 or v % 1]
            hint = f"expected class indices 0..{len(names) - 1}: {len(names)} classes are named"
            raise _odd(sets, odd, hint + _ignore_hint(odd, ignore))
        if invert:
            raise ConfigError("data.invert is for black and white masks: these hold class indices")
        classes = tuple(v for v in range(max(int(high) + 1, len(names))) if v != ignore)
        if len(classes) > IGNORED:
            raise DataError(f"{len(classes)} classes: at most {IGNORED} can be told apart")
        return MaskCoding("index", 0.5, classes, indexed=indexed, ignore=ignore)

    if len(found) == 2 and low == 0:
        return MaskCoding("binary", high / 2, (0, 1), invert, indexed, low, high, ignore)

    middle = 0.5 if high <= 1 else 127 if high <= 255 else 32767  # of 1, 255, 65535
    if (lossy or len(found) >= MIN_SOFT) and low <= middle < high:
        return MaskCoding("soft", middle, (0, 1), invert, indexed, low, high, ignore)
    raise _no_coding(sets, found, ignore)


def palettes_are_indices(masks: Iterable[tuple[np.ndarray, Histogram]], ignore: int = -1) -> bool:
    """Whether palette masks are read by index, not by the grey of their colours.

    Args:
        masks: of each mask the colours (N, 3) of its palette, none without one, and the histogram of its values.
        ignore: the value of unlabelled pixels; -1: none.
    """
    found = [(colours, counts) for colours, counts in masks if len(colours)]
    if not found:
        return False
    colours = np.unique(np.concatenate([c for c, _ in found]), axis=0)
    coloured = bool((colours.max(axis=1) != colours.min(axis=1)).any())
    highest = max((v for _, counts in found for v in counts if v != ignore), default=0)
    return coloured or (2 < len(colours) < MIN_SOFT and highest <= MAX_INDEX)


def class_names(coding: MaskCoding, names: Sequence[str]) -> tuple[str, ...]:
    """Names by class position; `names` are by mask value where masks hold class indices, "" where there is none."""
    if coding.kind == "index":
        return tuple((names[v] if v < len(names) else "") or f"class {v}" for v in coding.classes)
    return tuple(name or f"class {k}" for k, name in enumerate(names)) or ("background", "road")


def decode(mask: np.ndarray, coding: MaskCoding) -> np.ndarray:
    """Class positions of a mask (H, W): uint8, 0/1 or 0..K-1, `IGNORED` where it holds the value `coding.ignore`."""
    if coding.kind == "index":
        positions = np.asarray(mask.astype(np.uint8))
        if coding.classes[-1] >= len(coding.classes):  # a value is left out: the ones above it move down
            table = np.full(256, IGNORED, np.uint8)
            table[list(coding.classes)] = np.arange(len(coding.classes))
            positions = table[positions]
    else:
        above = mask > coding.threshold
        positions = np.asarray((~above if coding.invert else above).astype(np.uint8))
    if coding.ignore >= 0:
        positions[mask == coding.ignore] = IGNORED
    return positions


def _looks_like_index(found: Sequence[float]) -> bool:
    """Whole, small, more than 0 and one other, and no sparse handful of odd values."""
    if found[-1] > MAX_INDEX or any(v % 1 for v in found):
        return False
    more_than_binary = len(found) > 2 or found[0] != 0
    return more_than_binary and len(found) * 4 >= found[-1] + 1


def _no_coding(sets: Mapping[str, Histogram], found: Sequence[float], ignore: int) -> DataError:
    tall = {name for name, h in sets.items() if h and max(h) > MAX_INDEX}
    small = {name for name, h in sets.items() if h and 0 < max(h) <= MAX_INDEX}
    for_tall = sorted(set().union(*(sets[n] for n in tall)))
    for_small = sorted(set().union(*(sets[n] for n in small)))
    if tall and small and all(len(g) <= 2 for g in (for_tall, for_small)):
        return DataError(
            f"masks are coded in two ways: '{min(tall)}' holds {_list(for_tall)} and '{min(small)}' holds "
            f"{_list(for_small)}: export all of them the same way"
        )
    small_values = [v for v in found if v <= MAX_INDEX]
    if len(found) < MIN_SOFT and len(small_values) >= 2 and len(small_values) < len(found):
        odd = [v for v in found if v > MAX_INDEX]
        hint = f"the others are {_list(small_values)}: give those pixels a class{_ignore_hint(odd, ignore)}"
        return _odd(sets, odd, hint)
    usual = [v for v in found if 2 * sum(v in h for h in sets.values()) > len(sets)]
    if len(usual) == 2 and usual[0] == 0:
        rare = [v for v in found if v not in usual]
        hint = f"expected {_list(usual)}, as in most masks: correct it or export it again"
        return _odd(sets, rare, hint + _ignore_hint(rare, ignore))
    hint = "expected 0/1, 0/255, soft grey 0..255 or class indices 0, 1, 2, ...: convert them, or name the classes"
    if ignore < 0 and len(found) == 3:
        hint += "; a value that marks unlabelled pixels can be left out with data.ignore"
    return _odd(sets, [v for v in found if v != 0], hint)


def _ignore_hint(odd: Sequence[float], ignore: int) -> str:
    if ignore >= 0 or len(odd) != 1 or odd[0] % 1 or not 0 <= odd[0] <= 255:
        return ""
    return f", or leave them out, if they are unlabelled, with data.ignore = {odd[0]:g}"


def _odd(sets: Mapping[str, Histogram], odd: Sequence[float], hint: str) -> DataError:
    files = [name for name, h in sets.items() if any(v in h for v in odd)]
    more = f" (and {len(files) - 1} more masks)" if len(files) > 1 else ""
    values = "values" if len(odd) > 1 else "value"
    return DataError(f"mask '{files[0]}'{more} holds the {values} {_list(odd)}: {hint}")


def _list(values: Sequence[float]) -> str:
    more = f", ... ({len(values)} in all)" if len(values) > LISTED else ""
    return ", ".join(f"{v:g}" for v in values[:LISTED]) + more


def _colour_list(colours: np.ndarray) -> str:
    more = f", ... ({len(colours)} in all)" if len(colours) > LISTED else ""
    return ", ".join("({}, {}, {})".format(*c) for c in colours[:LISTED].tolist()) + more
