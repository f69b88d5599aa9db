"""The contests' submission CSV, both ways: masks to one row per 16x16 patch, and rows back to masks.

A row is `{image:03d}_{x}_{y},{0|1}`: x is the column and y the row of the patch's upper left corner in pixels, x outer,
y inner (as in the contests' `mask_to_submission`).
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, ImageError, RoadsegWarning
from ..files import make_folder, write_aside, write_text
from .patches import PATCH, patch_labels, unpatch

__all__ = ["Summary", "image_number", "read_submission", "unsubmit", "write_submission"]

HEADER = "id,prediction"
MASK_SUFFIXES = (".png", ".tif", ".tiff")
BESIDE = ("_prob", "_unc", "_overlay")  # what a prediction folder holds beside the masks
ROW_ID = re.compile(r"([0-9]{1,9})_([0-9]{1,9})_([0-9]{1,9})")
SHOWN = 3  # examples listed in a message


@dataclass(frozen=True)
class Summary:
    """What a submission holds: number of images, number of rows, share of the rows that are road (0..1)."""

    images: int
    rows: int
    road_share: float


@dataclass(frozen=True)
class _Table:
    """A submission file: its header line (None without one) and its rows, in order."""

    header: str | None
    ids: list[str]
    keys: list[tuple[int, int, int]]  # image, x, y
    values: list[str]
    lines: list[int]  # line numbers, from 1


def image_number(path: Path | str) -> int:
    """The first run of digits in the base name of `path`.

    Raises:
        DataError: the name has no digits.
    """
    found = re.search(r"[0-9]+", Path(path).name)
    if found is None:
        raise DataError(f"'{path}' has no number in its name: a submission names images by number, e.g. test_7.png")
    return int(found.group())


def write_submission(
    masks: Iterable[tuple[str, NDArray[Any]]] | Path | str,
    out: Path | str,
    sample: Path | str | None = None,
    threshold: float = 0.25,
) -> Summary:
    """Write the submission of some masks to the CSV file `out`.

    Args:
        masks: a folder of masks (`x.png`, `x.tif`; `x_prob.*`, `x_unc.*` and `x_overlay.*` are left out), or pairs of a
            name and a mask (H, W), 0..255 with road > 127, or 0/1. Masks are made binary before patches are averaged.
        out: the file to write, LF line ends.
        sample: a sample submission that gives the header, the spelling of the ids and their order; without it
            `id,prediction`, sorted by image number, x, y.
        threshold: a patch is road when the share of its road pixels is strictly above it, 0..1.

    Raises:
        DataError: no masks, a name without a number, two masks with one number, or masks that differ from the sample.
        ImageError: a mask cannot be read.
        ConfigError: the threshold is not in 0..1.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"patch threshold {threshold}: give a share of road pixels from 0 to 1, e.g. 0.25")
    masks = Path(masks) if isinstance(masks, str) else masks
    table = None if sample is None else _read_table(Path(sample))
    origin = f"'{masks}'" if isinstance(masks, Path) else "what was given"
    pairs = _read_folder(masks) if isinstance(masks, Path) else masks
    names: dict[int, str] = {}
    grids: dict[int, NDArray[np.bool_]] = {}
    for name, mask in pairs:
        number = image_number(name)
        if number in names:
            raise _twice(number, names[number], name)
        names[number] = name
        grids[number] = patch_labels(_binary(mask, name), threshold)
    if not grids:
        raise DataError(f"no masks in {origin}: expected files such as test_7.png, as `roadseg predict` writes them")
    if table is None:
        text = HEADER + "\n" + "".join(_rows(number, grids[number]) for number in sorted(grids))
    else:
        text = _as_sample(table, Path(str(sample)), grids, names, origin)
    write_text(Path(out), text)
    rows = sum(grid.size for grid in grids.values())
    return Summary(len(grids), rows, sum(int(grid.sum()) for grid in grids.values()) / max(rows, 1))


def read_submission(csv: Path | str) -> dict[int, NDArray[np.bool_]]:
    """The patches of a submission, by image number in the file's order: (rows, columns) bool, true = road.

    Raises:
        DataError: the file cannot be read, a row is malformed or there twice, or an image's patches are no full grid.
    """
    table = _read_table(Path(csv))
    patches: dict[int, dict[tuple[int, int], bool]] = {}
    for (number, x, y), value, line in zip(table.keys, table.values, table.lines, strict=True):
        if value not in ("0", "1"):
            raise DataError(f"line {line} of '{csv}' predicts '{value}': expected 0 or 1")
        if x % PATCH or y % PATCH:
            raise DataError(
                f"line {line} of '{csv}' is for a patch at ({x}, {y}): expected multiples of {PATCH} pixels"
            )
        patches.setdefault(number, {})[y // PATCH, x // PATCH] = value == "1"
    return {number: _grid(number, found, Path(csv)) for number, found in patches.items()}


def unsubmit(csv: Path | str, out: Path | str) -> int:
    """Write each image of a submission as `OUT/mask_NNN.png`, 8-bit, 0 or 255, every patch whole; return how many.

    Raises:
        DataError: see `read_submission`. Nothing is written then.
    """
    from PIL import Image

    grids = read_submission(csv)
    folder = make_folder(Path(out))
    for number, grid in grids.items():
        rows, columns = grid.shape
        with write_aside(folder / f"mask_{number:03d}.png") as aside:
            Image.fromarray(unpatch(grid, rows * PATCH, columns * PATCH)).save(aside)
    return len(grids)


def _rows(number: int, grid: NDArray[np.bool_]) -> str:
    """All rows of one image, x outer, y inner."""
    return "".join(
        f"{number:03d}_{x * PATCH}_{y * PATCH},{label:d}\n"
        for x, column in enumerate(grid.T.tolist())
        for y, label in enumerate(column)
    )


def _as_sample(
    table: _Table, sample: Path, grids: Mapping[int, NDArray[np.bool_]], names: Mapping[int, str], origin: str
) -> str:
    """The text of a submission with the header, the ids and the order of `table`."""
    wanted = {number for number, _, _ in table.keys}
    if missing := sorted(wanted - grids.keys()):
        raise DataError(f"sample '{sample}' lists images that {origin} lacks a mask for: {_some(missing)}")
    if surplus := sorted(grids.keys() - wanted):
        files = _some([f"'{names[number]}'" for number in surplus])
        raise DataError(f"sample '{sample}' does not list the images of {files}: move these masks elsewhere")
    labels = {number: grid.tolist() for number, grid in grids.items()}
    lines = [] if table.header is None else [table.header]
    left = {number: grid.size for number, grid in grids.items()}
    for spelled, (number, x, y), line in zip(table.ids, table.keys, table.lines, strict=True):
        rows, columns = grids[number].shape
        if x % PATCH or y % PATCH or x >= columns * PATCH or y >= rows * PATCH:
            raise DataError(
                f"line {line} of sample '{sample}' asks for '{spelled}', but mask '{names[number]}' has "
                f"{columns} x {rows} patches of {PATCH} pixels: predict images of the size that the sample was made for"
            )
        lines.append(f"{spelled},{labels[number][y // PATCH][x // PATCH]:d}")
        left[number] -= 1
    for number in (number for number, count in left.items() if count):
        listed = {(y // PATCH, x // PATCH) for image, x, y in table.keys if image == number}
        rest = [
            f"{number:03d}_{x * PATCH}_{y * PATCH}" for y, x in np.ndindex(grids[number].shape) if (y, x) not in listed
        ]
        raise DataError(f"sample '{sample}' has no rows for patches of mask '{names[number]}': {_some(rest)}")
    return "\n".join(lines) + "\n"


def _read_table(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read submission '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not a submission: it is not UTF-8 text") from error
    table = _Table(None, [], [], [], [])
    header = None
    seen: dict[tuple[int, int, int], int] = {}
    for line, content in enumerate(text.split("\n"), start=1):
        row = content.strip()
        if not row:
            continue
        spelled, _, value = (part.strip() for part in row.partition(","))
        found = ROW_ID.fullmatch(spelled)
        if found is None:
            if header is None and not seen:
                header = row
                continue
            raise DataError(f"line {line} of '{path}' has the id '{spelled[:40]}': expected IMAGE_X_Y, e.g. 007_0_16")
        key = (int(found[1]), int(found[2]), int(found[3]))
        if (first := seen.setdefault(key, line)) != line:
            raise DataError(f"line {line} of '{path}' repeats '{spelled}' of line {first}: remove one of them")
        table.ids.append(spelled)
        table.keys.append(key)
        table.values.append(value)
        table.lines.append(line)
    if not table.ids:
        raise DataError(f"'{path}' is not a submission: it has no row such as 007_0_16,1")
    return _Table(header, table.ids, table.keys, table.values, table.lines)


def _grid(number: int, found: Mapping[tuple[int, int], bool], csv: Path) -> NDArray[np.bool_]:
    rows, columns = (1 + max(key[axis] for key in found) for axis in (0, 1))
    if len(found) != rows * columns:
        gaps = ((y, x) for x in range(columns) for y in range(rows) if (y, x) not in found)
        few = [f"{number:03d}_{x * PATCH}_{y * PATCH}" for (y, x), _ in zip(gaps, range(SHOWN), strict=False)]
        raise DataError(
            f"image {number} in '{csv}' has {len(found)} of the {rows * columns} patches of a {columns} x {rows} grid: "
            f"missing {', '.join(few)}{', ...' if rows * columns - len(found) > len(few) else ''}"
        )
    grid = np.zeros((rows, columns), bool)
    grid[tuple(np.array(list(found)).T)] = list(found.values())
    return grid


def _read_folder(folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and mask of each mask file in `folder`, by name; two with one number are refused before any is read."""
    if not folder.is_dir():
        raise DataError(f"'{folder}' is not a folder: give the folder of masks that `roadseg predict` wrote")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in MASK_SUFFIXES and not path.stem.endswith(BESIDE) and not path.name.startswith(".")
    ]
    numbers: dict[int, Path] = {}
    for path in paths:
        if (first := numbers.setdefault(image_number(path), path)) != path:
            raise _twice(image_number(path), str(first), str(path))
    for path in paths:
        yield str(path), _read_mask(path)


def _read_mask(path: Path) -> NDArray[Any]:
    """(H, W), the first band; pixels without data are background."""
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() == ".png":
        try:
            with Image.open(path) as image:
                return np.asarray(image if image.mode in ("L", "I", "I;16") else image.convert("L"))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(f"cannot read mask '{path}': {error}: write it again or remove it") from error
    import rasterio

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                return np.where(source.dataset_mask() == 0, 0, source.read(1))
    except rasterio.errors.RasterioError as error:
        raise ImageError(f"cannot read mask '{path}': {error}: write it again or remove it") from error


def _binary(mask: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """(H, W) bool from 0/255, soft 0..255 or 0/1; 16-bit masks use the full range."""
    if mask.size == 0:
        raise DataError(f"mask '{name}' is empty: its shape is {mask.shape}")
    top = mask.max()
    if top <= 1:
        road: NDArray[np.bool_] = mask > 0.5
        return road
    if top <= 127:
        warnings.warn(
            f"mask '{name}' has values up to {top} of 255, none of them road (> 127); "
            "if they are class indices, write the road class as 255 first",
            RoadsegWarning,
            stacklevel=2,
        )
    road = mask > (127 if top <= 255 else 32767)
    return road


def _twice(number: int, first: str, second: str) -> DataError:
    return DataError(f"'{first}' and '{second}' both are image {number}: keep one of them in the folder")


def _some(items: list[Any]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(str(item) for item in items[:SHOWN]) + more
