"""Raw labels of one kind as class positions: the rule is found over the whole set, then each label is read by it.

Grey and palette-index labels follow `imagery/masks.py`; coloured ones a palette of the user; lines are in `lines`.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, RoadsegWarning
from ..imagery.described import is_unlabelled
from ..imagery.layouts import Pair
from ..imagery.masks import (
    IGNORED,
    MaskCoding,
    RawMask,
    class_names,
    decode,
    find_coding,
    histogram,
    palettes_are_indices,
    read_mask,
)
from ..imagery.raster import read_picture
from .coloured import colour_table, match, mend
from .cutting import Tile
from .palette import Palette

__all__ = ["ColouredLabels", "GreyLabels", "Labels", "Look", "Masks", "parts_of"]

DOUBTFUL = 0.001  # share of a set's pixels from which colours of two classes are an error
LISTED = 8  # colours named in a message

Masks = Callable[[Tile], NDArray[np.uint8]]  # (h, w) uint8 class positions, or `IGNORED`, of a part of one image


@dataclass(frozen=True)
class Look:
    """What the first reading of a label leaves behind: its size and what its kind of labels wants to know of it."""

    path: Path
    size: tuple[int, int]
    found: Any


class Labels(Protocol):
    """One kind of labels. `look` at each, `settle` once, then ask for the `masks` of each."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by position; known when settled."""

    @property
    def ignores(self) -> bool:
        """Whether some pixels may be unlabelled; known when settled."""

    @property
    def rule(self) -> str:
        """One line for the user; known when settled."""

    def look(self, pair: Pair) -> Look:
        """Read a label for the first time; `DataError` where it is of no use."""

    def settle(self, looks: Sequence[Look]) -> None:
        """Find the rule of the set; `DataError` or `ConfigError` where there is none."""

    def masks(self, pair: Pair) -> Masks:
        """What the label says of any part of its image."""

    def account(self) -> dict[str, Any]:
        """What else `prepare.json` should say; known when settled."""


class GreyLabels:
    """Black and white, soft grey and class-index labels.

    Args:
        classes: names by label value; the unlabelled value is called "ignore" or nothing.
        ignore: the value of pixels without a label; -1: none.
        invert: the class of interest is the dark one.
        threshold: the class of interest lies above this value; None: as found.
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        ignore: int = -1,
        invert: bool = False,
        threshold: float | None = None,
    ) -> None:
        if len(classes) == 1:
            raise ConfigError(f"--classes {classes[0]}: expected two names or more, the background first")
        if len(set(classes)) < len(classes):
            double = next(name for name, n in Counter(classes).items() if n > 1)
            raise ConfigError(f"--classes names '{double}' twice: give each class a name of its own")
        if len(classes) > 2 and 0 <= ignore < len(classes) and not is_unlabelled(classes[ignore]):
            raise ConfigError(
                f"--ignore {ignore} is also the class '{classes[ignore]}': names are by label value, so call that one "
                "'ignore', or ignore another value"
            )
        self.names = tuple(classes)
        self.ignore = ignore
        self.invert = invert
        self.threshold = threshold
        self.coding = MaskCoding("binary", 0.5, (0, 1))
        self.ignores = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by position."""
        return class_names(self.coding, self.names)

    @property
    def rule(self) -> str:
        """One line for the user."""
        return self.coding.rule(self.classes[-1])

    def look(self, pair: Pair) -> Look:
        """Count the values of one label."""
        path = pair.mask
        try:
            raw = read_mask(path)
        except DataError as error:
            if "is coloured" not in str(error):
                raise
            colours = str(error).rpartition(": ")[0]  # the advice of a reader that knows no palette is cut off
            advice = "say which colours mean what with --preset web-map or --colors road=#ffffff~12"
            raise DataError(f"{colours}: {advice}") from error
        counts = histogram(raw.values if raw.valid is None else raw.values[raw.valid])
        greys = counts if raw.palette is None else histogram(raw.read_as(indexed=False))
        return Look(path, raw.values.shape, (counts, greys, raw.colours(), raw.valid is not None))

    def settle(self, looks: Sequence[Look]) -> None:
        """Find the one coding of the set."""
        indexed = palettes_are_indices(((look.found[2], look.found[0]) for look in looks), self.ignore)
        counts = {str(look.path): look.found[0 if indexed else 1] for look in looks}
        values = sorted(set().union(*counts.values()))
        rest = [v for v in values if v != self.ignore]
        if self.ignore in values and len(rest) < 2 and len(values) > 1:
            raise ConfigError(
                f"--ignore {self.ignore} is also a class: beside it the labels hold {rest[0]:g} alone, and there would "
                "be nothing to learn; leave --ignore out, or ignore another value"
            )
        self.coding = self._coding(counts, rest, indexed)
        self.ignores = self.ignore >= 0 or any(look.found[3] for look in looks)

    def _coding(self, counts: dict[str, dict[float, int]], values: list[float], indexed: bool) -> MaskCoding:
        lossy = any(Path(name).suffix.lower() in (".jpg", ".jpeg") for name in counts)
        if lossy:
            text = "some labels are JPEG: compression smears their edges; take the originals if you can"
            warnings.warn(text, RoadsegWarning, stacklevel=3)
        if self.threshold is None or len(self.names) > 2:
            coding = find_coding(
                counts, self.invert, names=self.names, indexed=indexed, lossy=lossy, ignore=self.ignore
            )
            if self.threshold is not None:
                raise ConfigError(
                    f"--threshold {self.threshold:g} is for soft labels: {len(self.names)} classes are named"
                )
            return coding
        low, high = values[0], values[-1]
        if not low <= self.threshold < high:
            raise ConfigError(
                f"--threshold {self.threshold:g}: the labels hold values {low:g}..{high:g}, give one from {low:g} on "
                f"and below {high:g}"
            )
        return MaskCoding("soft", self.threshold, (0, 1), self.invert, indexed, low, high, self.ignore)

    def masks(self, pair: Pair) -> Masks:
        """The label's parts; it is decoded once."""
        return parts_of(self.read(pair.mask))

    def account(self) -> dict[str, Any]:
        """Nothing that the rule does not say."""
        return {}

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W) uint8 class positions, or `IGNORED`."""
        raw: RawMask = read_mask(path)
        mask = np.asarray(decode(raw.read_as(indexed=self.coding.indexed), self.coding), np.uint8)
        if raw.valid is not None:
            mask[~raw.valid] = IGNORED
        return mask


class ColouredLabels:
    """Coloured maps.

    Args:
        palette: which colours are which class.
        size: px, thickness of the text that is mended; 0: none is.
    """

    def __init__(self, palette: Palette, size: int) -> None:
        self.palette = palette
        self.size = size
        self.table: NDArray[np.int64] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by position."""
        return self.palette.classes

    @property
    def ignores(self) -> bool:
        """Whether the palette leaves pixels without a class."""
        return self.palette.ignores

    @property
    def rule(self) -> str:
        """One line for the user."""
        mended = f"; text of strokes up to {self.size} px mended" if self.size else ""
        return f"labels are coloured: {'; '.join(self.palette.words())}{mended}"

    def look(self, pair: Pair) -> Look:
        """Count the colours of one label."""
        path = pair.mask
        pixels, _ = _rgb(path)
        self.table = colour_table(pixels, self.table)
        found = match(pixels, self.palette, edges=False)
        return Look(path, pixels.shape[:2], (found.hits, found.doubtful))

    def settle(self, looks: Sequence[Look]) -> None:
        """Check that the palette fits the set."""
        pixels = sum(look.size[0] * look.size[1] for look in looks)
        hits, doubtful = Counter[int](), Counter[tuple[int, int]]()
        for look in looks:
            hits.update(look.found[0])
            doubtful.update(look.found[1])
        if not any(n for position, n in hits.items() if position != IGNORED):
            raise DataError(
                f"no pixel of {len(looks)} labels has a colour of the palette ({'; '.join(self.palette.words())}); "
                f"they hold {self._colours()}: give those of your classes with --colors, e.g. road=#ffffff~12"
            )
        for (one, other), n in doubtful.most_common(1):
            if n >= DOUBTFUL * pixels:
                raise ConfigError(self._doubt(one, other, n / pixels))
        for position, name in enumerate(self.classes):
            if position != self.palette.rest and not hits[position]:
                listed = ", ".join(map(str, self.palette.of(position)))
                text = f"no pixel has a colour of class {name} ({listed}); the labels hold {self._colours()}"
                warnings.warn(text, RoadsegWarning, stacklevel=3)

    def _colours(self) -> str:
        """The usual colours of the set with their shares."""
        if self.table is None:
            return "nothing"
        order = np.argsort(-self.table[:, 0], kind="stable")[:LISTED]
        total = int(self.table[:, 0].sum())
        found = []
        for count, *sums in self.table[order].tolist():
            if count:
                rgb = (round(s / count) for s in sums)
                found.append("#{:02x}{:02x}{:02x} ({:.1%})".format(*rgb, count / total))
        return ", ".join(found)

    def _doubt(self, one: int, other: int, share: float) -> str:
        """The two colours that overlap most, and tolerances that do not."""
        first, second = min(
            ((a, b) for a in self.palette.of(one) for b in self.palette.of(other)),
            key=lambda pair: _apart(pair[0].rgb, pair[1].rgb) - pair[0].tolerance - pair[1].tolerance,
        )
        half = (_apart(first.rgb, second.rgb) - 1) // 2
        return (
            f"{share:.1%} of the labels' pixels have colours of both {self.palette.name(one)} and "
            f"{self.palette.name(other)}: the tolerances of {first} and {second} overlap; the colours are "
            f"{_apart(first.rgb, second.rgb)} apart, so tolerances of at most {half} each keep them separate"
        )

    def masks(self, pair: Pair) -> Masks:
        """The label's parts; it is decoded once."""
        return parts_of(self.read(pair.mask))

    def account(self) -> dict[str, Any]:
        """Nothing that the rule does not say."""
        return {}

    def read(self, path: Path) -> NDArray[np.uint8]:
        """(H, W) uint8 class positions, or `IGNORED`."""
        pixels, valid = _rgb(path)
        found = match(pixels, self.palette)
        if valid is not None:  # a transparent layer: nothing is drawn there
            positions = np.where(valid, found.positions, np.uint8(self.palette.rest))
            found = replace(found, positions=positions, listed=found.listed & valid)
        return mend(found, self.palette, self.size)


def parts_of(mask: NDArray[np.uint8]) -> Masks:
    """The parts of class positions (H, W) in memory."""
    return lambda tile: np.asarray(tile.of(mask), np.uint8)


def _apart(one: Iterable[int], other: Iterable[int]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _rgb(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    picture = read_picture(path)
    pixels = picture.pixels
    if pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, 3):
        raise DataError(
            f"label '{path}' has {pixels.shape[-1]} bands of {pixels.dtype}: a palette is for 8-bit red, green and "
            "blue; export it so, or leave the palette out"
        )
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels), picture.valid
