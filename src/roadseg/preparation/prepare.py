"""Raw images and raw labels to a dataset folder: paired, checked, turned into masks, cut, written all or nothing."""

import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import tomli_w
from numpy.typing import NDArray

from ..errors import DataError, RoadsegWarning
from ..files import write_json, write_text
from ..imagery.alignment import pooled_shift, shift_surface
from ..imagery.layouts import Pair
from ..imagery.masks import IGNORED
from ..imagery.pixels import to_uint8
from ..imagery.problems import report_problems
from ..imagery.raster import ground_resolution
from ..imagery.resample import resample_mask
from ..imagery.sources import Picture, Source
from ..imagery.whole import HeldPicture
from .cutting import Resize, Tile, resize_labels, resize_picture
from .folder import ABOUT, SHEET, check_out, filled_aside
from .labels import Look, Masks, parts_of
from .lines import LineLabels
from .options import check_numbers, labels_for
from .pairing import are_lines, pair_up
from .report import Job, Prepared, Tally, about_it, described, in_words
from .sheet import Shown, draw_sheet
from .windows import (
    MANY,
    blocks_for,
    can_be_windowed,
    check,
    group_of,
    looks,
    middle,
    opened,
    place_tiles,
    small,
    window,
)
from .writing import part_suffix, place_of, write_labels, write_part

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
    width: float | None = None,
    width_field: str | None = None,
    widths: str | Path | None = None,
    keep_tunnels: bool = False,
    lines_crs: str | None = None,
    lines_layer: str | None = None,
    resize: str | None = None,
    tile: int = 0,
    overlap: int = 0,
    blocks: int | None = None,
    min_share: float = 0.0,
    resolution: float | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Make a dataset folder of raw images and raw labels.

        out/images/NAME.png|jpg|tif    out/masks/NAME.png|tif    out/dataset.toml    out/prepare.json    out/prepare.png

    Everything is read and checked first; the folder appears when it is complete. The same input gives the same bytes.
    An image that is neither cut nor resized is copied; parts keep its bit depth, and those of a GeoTIFF its place.
    Masks hold 0 and 255, or class positions 0, 1, 2, ... with 255 where there is no label; those of georeferenced
    images are GeoTIFFs. GeoTIFFs that are cut are read a window at a time: they may be larger than the memory.

    >>> roadseg.prepare("tiles", "maps", "dataset", preset="web-map", tile=256, min_share=0.01)
    >>> roadseg.prepare("scene.tif", "roads.gpkg", "dataset", tile=512)

    Args:
        images: a folder (not recursive) or one image.
        labels: a folder or one image; or lines (GeoPackage, GeoJSON, FlatGeobuf, Shapefile): a folder with a file for
            each image, or one file for all of them. The images are GeoTIFFs then; each line is burnt in its width.
        out: the dataset folder.
        colors: classes of coloured labels: `class=#rrggbb~tolerance,...` words, or TOML files; see `read_palette`.
        preset: a named palette, "web-map".
        mend: px, thickness of the text over coloured classes that is mended; 0: none.
        pair: which names belong together, `IMAGE = LABEL`; see `pair_up`.
        classes: names, by label value where there are more than two.
        ignore: label value of pixels without a label, written as 255; -1: none.
        invert: the class of interest is the dark one.
        threshold: the class of interest lies above this label value; None: as found.
        width: m, of every road; with `width_field`, of those without one. None: by the table in `widths`.
        width_field: the lines' attribute that holds their width in metres.
        widths: a TOML file with widths by attribute, over the built-in table; see `read_widths`.
        keep_tunnels: burn tunnels too.
        lines_crs: of the lines, such as "EPSG:25832", whatever their files say.
        lines_layer: of vector files with several layers.
        resize: a factor ("0.5", "50%") or "WIDTHxHEIGHT", before cutting.
        tile: side of the tiles, px; 0: whole images.
        overlap: px that neighbouring tiles share.
        blocks: tiles a side of a block, all of which train or all validate; tiles of two blocks share no pixel. 0: no
            blocks, an image is one place; None: as many as make 20 blocks, where there are less than 10 images and all
            are georeferenced.
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
        "ignore": ignore, "invert": invert, "threshold": threshold, "width": width, "width_field": width_field,
        "widths": None if widths is None else str(widths), "keep_tunnels": keep_tunnels, "lines_crs": lines_crs,
        "lines_layer": lines_layer, "resize": resize, "tile": tile, "overlap": overlap, "blocks": blocks,
        "min_share": min_share, "resolution": resolution,
    }  # fmt: skip
    check_numbers(mend, ignore, tile, overlap, blocks, min_share, resolution)
    kind = labels_for(
        are_lines(images, labels),
        words=words, preset=preset, mend=mend, classes=classes, ignore=ignore, invert=invert, threshold=threshold,
        width=width, width_field=width_field, widths=widths, keep_tunnels=keep_tunnels, lines_crs=lines_crs,
        lines_layer=lines_layer,
    )  # fmt: skip
    job = Job(kind, None if resize is None else Resize.parse(resize), tile, overlap, min_share)
    check_out(out, (images, labels), overwrite)

    pairing = pair_up(images, labels, pair)
    if isinstance(kind, LineLabels):
        kind.around(pairing.pairs)
        if labels.is_file():
            kind.check(labels)
    problems = list(pairing.problems)
    seen: list[Look] = []
    good: list[Pair] = []
    for found in pairing.pairs:
        try:
            seen.append(_look(found, job))
            good.append(found)
        except DataError as error:
            problems.append(str(error))
    report_problems(f"'{images}' and its labels have", problems, skip_bad, len(good))
    kind.settle(seen)
    job = replace(job, blocks=_blocks(good, seen, job) if blocks is None else blocks)

    tally, surfaces = Tally(), []
    chosen = {len(good) * k // min(ROWS, len(good)) for k in range(min(ROWS, len(good)))}

    with nullcontext() if dry_run else filled_aside(out) as folder:
        if folder is not None:
            (folder / "images").mkdir()
            (folder / "masks").mkdir()
        for number, found in enumerate(good):
            with opened(found.image, _windowed(found, job)) as source:
                masks = kind.masks(found)
                for part in looks(source.height, source.width):
                    surfaces.append(shift_surface(_display(window(source, part)), masks(part)))
                if number in chosen and folder is not None:
                    tally.shown.append(_row(found, source, masks, job))
                _write_pair(found, source, masks, job, tally, folder)
            if progress is not None:
                progress(number + 1, len(good), found.stem)
        if not tally.pairs:
            raise DataError(_all_dropped(tally, min_share))
        if tile:
            tally.group = group_of([item["name"] for item in tally.pairs], job.blocks > 0)
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


def _look(pair: Pair, job: Job) -> Look:
    """Read both files of a pair for the first time; `DataError` where they are of no use."""
    look = job.labels.look(pair)
    with opened(pair.image, _windowed(pair, job)) as source:
        check(source)
        height, width = source.height, source.width
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


def _windowed(pair: Pair, job: Job) -> bool:
    """Whether to read an image a window at a time: where nothing needs the whole of it."""
    return job.tile > 0 and job.resize is None and can_be_windowed(pair.image)


def _blocks(good: Sequence[Pair], seen: Sequence[Look], job: Job) -> int:
    """Tiles a side of a block where nothing is said: few large scenes are cut into places, many images are places."""
    if not job.tile or len(good) >= MANY or not all(place_of(pair.image).known for pair in good):
        return 0
    sizes = [job.resize.of(*look.size) if job.resize else look.size for look in seen]
    return blocks_for(sizes, job.tile, job.overlap)


# --- one pair --------------------------------------------------------------------------------------------------------


def _row(pair: Pair, source: Source, masks: Masks, job: Job) -> Shown:
    """What the sheet shows of a pair: lines close by, other labels as a whole."""
    if isinstance(job.labels, LineLabels):
        part = middle(source.height, source.width)
        return job.labels.shown(pair, part, _display(window(source, part)), masks(part))
    image, mask = _display(small(source)), masks(_all(source))
    if mask.shape != image.shape[:2]:
        mask = resample_mask(mask, *image.shape[:2])
    return Shown.of(pair, image, mask)


def _write_pair(pair: Pair, source: Source, masks: Masks, job: Job, tally: Tally, folder: Path | None) -> None:
    height, width = source.height, source.width
    resolution = ground_resolution(pair.image)
    scale = 1.0, 1.0
    if job.resize is not None:
        new = job.resize.of(height, width)
        scale = new[0] / height, new[1] / width
        if new != (height, width):
            whole = _all(source)
            resized = resize_labels(masks(whole), *new)
            source = HeldPicture(resize_picture(window(source, whole), *new))
            masks = parts_of(resized)
    same = scale == (1.0, 1.0) and not job.tile
    place = place_of(pair.image)
    suffix = part_suffix(pair.image, source.picture) if isinstance(source, HeldPicture) else ".tif"
    tally.resolutions.add(None if resolution is None else float(np.float32(resolution / np.sqrt(scale[0] * scale[1]))))
    for tile in _parts(source, job):
        part, own = window(source, tile), masks(tile)
        name = pair.stem + tile.ending
        counts = np.bincount(own.ravel(), minlength=IGNORED + 1)
        why = _reason_to_drop(counts, part, job, place.known)
        if why is not None:
            tally.dropped.append({"name": name, "why": why})
            continue
        image = f"images/{name}{pair.image.suffix.lower() if same else suffix}"
        label = f"masks/{name}{'.tif' if place.known else '.png'}"
        tally.counts += counts
        known = int(counts[:IGNORED].sum())
        share = round(1 - int(counts[0]) / known, 4)
        tally.pairs.append({"name": name, "image": image, "mask": label, "share": share})
        if folder is None:
            continue
        transform = place.part(*scale, tile.top, tile.left)
        write_labels(folder / label, own, job.binary, place, transform)
        if same:
            shutil.copyfile(pair.image, folder / image)
        else:
            write_part(folder / image, part, place, transform)


def _all(source: Source) -> Tile:
    return Tile(0, 0, source.height, source.width, "")


def _parts(source: Source, job: Job) -> Iterable[Tile]:
    if not job.tile:
        return [_all(source)]
    return place_tiles(source.height, source.width, job.tile, job.overlap, job.blocks)


def _reason_to_drop(counts: NDArray[np.int64], part: Picture, job: Job, on_ground: bool) -> str | None:
    known = int(counts[:IGNORED].sum())
    if not known:
        return "nothing is labelled"
    if part.valid is not None and not part.valid.any():
        return "the image has no data there"
    if on_ground and job.tile and not part.pixels.any():
        return "the image is 0 everywhere there, as where a scene has no data and does not say so"
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
