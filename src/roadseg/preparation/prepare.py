"""Raw images and raw labels to a dataset folder: paired, checked, turned into masks, cut, written all or nothing."""

import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tomli_w
from numpy.typing import NDArray

from ..errors import ConfigError, DataError, RoadsegWarning
from ..files import write_json, write_text
from ..imagery.alignment import pooled_shift, shift_surface
from ..imagery.layouts import Pair
from ..imagery.masks import IGNORED
from ..imagery.pixels import to_uint8
from ..imagery.problems import report_problems
from ..imagery.raster import Picture, ground_resolution, read_picture
from .cutting import Resize, Tile, resize_labels, resize_picture, tiles
from .folder import ABOUT, SHEET, check_out, filled_aside
from .labels import ColouredLabels, GreyLabels, Labels, Look
from .pairing import pair_up
from .palette import read_palette
from .report import Job, Prepared, Tally, about_it, described, in_words
from .sheet import Shown, draw_sheet
from .writing import part_of, part_suffix, place_of, write_labels, write_part

__all__ = ["DEFAULT_MEND", "Prepared", "Progress", "prepare"]

DEFAULT_MEND = 5  # px, strokes of the text on map tiles
ROWS = 12  # pairs on the contact sheet
PERCENTILES = (0.5, 99.5)  # pixel values shown as black and white where images are not 8-bit

Progress = Callable[[int, int, str], None]  # pairs done, pairs in all, name


def prepare(
    images: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    colors: str | Path | Sequence[str | Path] = (),
    preset: str | None = None,
    mend: int = DEFAULT_MEND,
    pair: str | None = None,
    classes: Sequence[str] = (),
    ignore: int = -1,
    invert: bool = False,
    threshold: float | None = None,
    resize: str | None = None,
    tile: int = 0,
    overlap: int = 0,
    min_share: float = 0.0,
    resolution: float | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Make a dataset folder of raw images and raw labels.

        out/images/NAME.png|jpg|tif    out/masks/NAME.png    out/dataset.toml    out/prepare.json    out/prepare.png

    Everything is read and checked first; the folder appears when it is complete. The same input gives the same bytes.
    An image that is neither cut nor resized is copied; parts keep its bit depth, and those of a GeoTIFF its place.
    Masks hold 0 and 255, or class positions 0, 1, 2, ... with 255 where there is no label.

    >>> roadseg.prepare("tiles", "maps", "dataset", preset="web-map", tile=256, min_share=0.01)

    Args:
        images: a folder (not recursive) or one image.
        labels: a folder or one image.
        out: the dataset folder.
        colors: classes of coloured labels: `class=#rrggbb~tolerance,...` words, or TOML files; see `read_palette`.
        preset: a named palette, "web-map".
        mend: px, thickness of the text over coloured classes that is mended; 0: none.
        pair: which names belong together, `IMAGE = LABEL`; see `pair_up`.
        classes: names, by label value where there are more than two.
        ignore: label value of pixels without a label, written as 255; -1: none.
        invert: the class of interest is the dark one.
        threshold: the class of interest lies above this label value; None: as found.
        resize: a factor ("0.5", "50%") or "WIDTHxHEIGHT", before cutting.
        tile: side of the tiles, px; 0: whole images.
        overlap: px that neighbouring tiles share.
        min_share: share of labelled pixels that are of another class than the first, below which a tile is dropped.
        resolution: metres per pixel of the raw images; None: as GeoTIFFs say.
        skip_bad: leave bad files out with a `RoadsegWarning` each.
        overwrite: replace an `out` that this function made.
        dry_run: write nothing.
        progress: called with (pairs done, pairs in all, name).

    Raises:
        ConfigError: an option is not usable, or does not fit the labels.
        DataError: files are bad: all of them in one message; or nothing is left.
        OutputError: `out` exists or cannot be written.
    """
    images, labels, out = Path(images), Path(labels), Path(out)
    words = [colors] if isinstance(colors, (str, Path)) else list(colors)
    given = {
        "colors": [str(w) for w in words], "preset": preset, "mend": mend, "pair": pair, "classes": list(classes),
        "ignore": ignore, "invert": invert, "threshold": threshold, "resize": resize, "tile": tile, "overlap": overlap,
        "min_share": min_share, "resolution": resolution,
    }  # fmt: skip
    _check_numbers(mend, ignore, tile, overlap, min_share, resolution)
    if words or preset is not None:
        _check_alone(classes, ignore, invert, threshold)
        kind: Labels = ColouredLabels(read_palette(words, preset), mend)
    else:
        kind = GreyLabels(classes, ignore, invert, threshold)
    job = Job(kind, None if resize is None else Resize.parse(resize), tile, overlap, min_share)
    check_out(out, (images, labels), overwrite)

    pairing = pair_up(images, labels, pair)
    problems = list(pairing.problems)
    looks: list[Look] = []
    good: list[Pair] = []
    for found in pairing.pairs:
        try:
            looks.append(_look(found, job))
            good.append(found)
        except DataError as error:
            problems.append(str(error))
    report_problems(f"'{images}' and its labels have", problems, skip_bad, len(good))
    kind.settle(looks)

    tally, surfaces = Tally(), []
    chosen = {len(good) * k // min(ROWS, len(good)) for k in range(min(ROWS, len(good)))}

    with nullcontext() if dry_run else filled_aside(out) as folder:
        if folder is not None:
            (folder / "images").mkdir()
            (folder / "masks").mkdir()
        for number, found in enumerate(good):
            picture, mask = read_picture(found.image), kind.read(found.mask)
            surfaces.append(shift_surface(_display(picture), mask))
            if number in chosen and folder is not None:
                tally.shown.append(Shown.of(found, _display(picture), mask))
            _write_pair(found, picture, mask, job, tally, folder)
            if progress is not None:
                progress(number + 1, len(good), found.stem)
        if not tally.pairs:
            raise DataError(_all_dropped(tally, min_share))
        shift = pooled_shift(surfaces)
        inputs = {"images": str(images), "labels": str(labels)}
        about = about_it(inputs, given, pairing, problems, job, tally, shift)
        if folder is not None:
            write_text(folder / "dataset.toml", tomli_w.dumps(described(job, tally, resolution)))
            write_json(folder / ABOUT, about)
            draw_sheet(folder / SHEET, tally.shown, kind.classes)
    if shift.suspicious:
        text = f"{in_words(shift)}: look at {SHEET}, and shift them if it is so"
        warnings.warn(text, RoadsegWarning, stacklevel=2)
    return Prepared(out, about, shift)


# --- before ----------------------------------------------------------------------------------------------------------


def _check_numbers(mend: int, ignore: int, tile: int, overlap: int, min_share: float, resolution: float | None) -> None:
    if not 0 <= mend <= 64:
        raise ConfigError(f"--mend {mend}: expected px, 0..64")
    if not -1 <= ignore <= 255:
        raise ConfigError(f"--ignore {ignore}: expected a label value, 0..255")
    if tile < 0 or (0 < tile < 16):
        raise ConfigError(f"--tile {tile}: expected 16 px or more a side")
    if overlap < 0 or (overlap and not tile):
        raise ConfigError(f"--overlap {overlap}: " + ("expected 0 px or more" if overlap < 0 else "needs --tile"))
    if tile and overlap >= tile:
        raise ConfigError(f"--overlap {overlap}: expected less than the side of the tiles, --tile {tile}")
    if not 0 <= min_share <= 1:
        raise ConfigError(f"--min-share {min_share:g}: expected a share, 0..1, e.g. 0.01")
    if resolution is not None and not 0 < resolution < 1e6:
        raise ConfigError(f"--resolution {resolution:g}: expected metres per pixel, e.g. 0.3")


def _check_alone(classes: Sequence[str], ignore: int, invert: bool, threshold: float | None) -> None:
    """Options of grey labels say nothing about coloured ones."""
    if classes:
        raise ConfigError("--classes is for grey labels: a palette names its classes, e.g. --colors road=#ffffff~12")
    if ignore >= 0:
        raise ConfigError("--ignore is for grey labels: name the colours, e.g. --colors ignore=#000000")
    if invert:
        raise ConfigError("--invert is for grey labels: name the colours of the other class")
    if threshold is not None:
        raise ConfigError("--threshold is for grey labels: colours have tolerances, e.g. #ffffff~12")


def _look(pair: Pair, job: Job) -> Look:
    """Read both files of a pair for the first time; `DataError` where they are of no use."""
    look = job.labels.look(pair.mask)
    pixels = read_picture(pair.image).pixels
    height, width = pixels.shape[:2]
    if look.size != (height, width):
        label_h, label_w = look.size
        raise DataError(
            f"label '{pair.mask}' is {label_w}x{label_h} but its image is {width}x{height}: "
            "resize or re-export one of them, or take the pair out"
        )
    new_h, new_w = job.resize.of(height, width) if job.resize else (height, width)
    if job.tile > min(new_h, new_w):
        resized = " when resized" if job.resize else ""
        raise DataError(f"image '{pair.image}' is {new_w}x{new_h}{resized}, smaller than --tile {job.tile}")
    return look


# --- one pair --------------------------------------------------------------------------------------------------------


def _write_pair(
    pair: Pair, picture: Picture, mask: NDArray[np.uint8], job: Job, tally: Tally, folder: Path | None
) -> None:
    height, width = mask.shape
    resolution = ground_resolution(pair.image)
    scale = 1.0, 1.0
    if job.resize is not None:
        new = job.resize.of(height, width)
        scale = new[0] / height, new[1] / width
        if new != (height, width):
            picture, mask = resize_picture(picture, *new), resize_labels(mask, *new)
    same = scale == (1.0, 1.0) and not job.tile
    place, suffix = place_of(pair.image), part_suffix(pair.image, picture)
    tally.resolutions.add(None if resolution is None else float(np.float32(resolution / np.sqrt(scale[0] * scale[1]))))
    for tile in _parts(mask.shape, job):
        part = part_of(picture, tile)
        own = np.asarray(tile.of(mask), np.uint8)
        name = pair.stem + tile.ending
        counts = np.bincount(own.ravel(), minlength=IGNORED + 1)
        why = _reason_to_drop(counts, part, job)
        if why is not None:
            tally.dropped.append({"name": name, "why": why})
            continue
        image = f"images/{name}{pair.image.suffix.lower() if same else suffix}"
        tally.counts += counts
        known = int(counts[:IGNORED].sum())
        share = round(1 - int(counts[0]) / known, 4)
        tally.pairs.append({"name": name, "image": image, "mask": f"masks/{name}.png", "share": share})
        if folder is None:
            continue
        write_labels(folder / "masks" / f"{name}.png", own, job.binary)
        if same:
            shutil.copyfile(pair.image, folder / image)
        else:
            write_part(folder / image, part, place, place.part(*scale, tile.top, tile.left))


def _parts(shape: tuple[int, ...], job: Job) -> Iterable[Tile]:
    return tiles(shape[0], shape[1], job.tile, job.overlap) if job.tile else [Tile(0, 0, shape[0], shape[1], "")]


def _reason_to_drop(counts: NDArray[np.int64], part: Picture, job: Job) -> str | None:
    known = int(counts[:IGNORED].sum())
    if not known:
        return "nothing is labelled"
    if part.valid is not None and not part.valid.any():
        return "the image has no data there"
    if known - int(counts[0]) < job.min_share * known:
        return f"less than {job.min_share:g} of it is labelled as anything but {job.labels.classes[0]}"
    return None


def _all_dropped(tally: Tally, min_share: float) -> str:
    why = tally.dropped[0]["why"]
    tip = "; lower --min-share" if min_share else ""
    return f"nothing is left: all {len(tally.dropped)} were dropped, '{tally.dropped[0]['name']}' because {why}{tip}"


def _display(picture: Picture) -> NDArray[np.uint8]:
    """The image with 8 bits per band."""
    if picture.pixels.dtype == np.uint8:
        return np.asarray(picture.pixels, np.uint8)
    values = picture.pixels[np.isfinite(picture.pixels)] if picture.pixels.dtype.kind == "f" else picture.pixels
    low, high = np.percentile(values, PERCENTILES).tolist() if values.size else (0.0, 1.0)
    return to_uint8(picture.pixels, (low, high if high > low else low + 1.0))
