"""`roadseg prepare`: raw images and raw labels, pictures or lines, to a dataset folder."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..preparation.prepare import Progress

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "make a dataset of raw images and raw labels (masks, coloured maps or lines): pair, convert, cut, check"
EXAMPLE = (
    "roadseg prepare tiles/ maps/ dataset/ --preset web-map --tile 256 --min-share 0.01\n"
    "  roadseg prepare scene.tif roads.gpkg dataset/ --tile 512"
)

MINUTE = 60.0  # seconds between two lines in a log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg prepare`."""
    add = parser.add_argument
    add("images", metavar="IMAGES", type=Path, help="a folder of images (not recursive), or one image")
    add(
        "labels",
        metavar="LABELS",
        type=Path,
        help="a folder of labels, or one label; or of lines (.gpkg, .geojson, .fgb, .shp): a file for each GeoTIFF, or "
        "one file for all of them",
    )
    add("out", metavar="OUT", type=Path, help="the dataset folder to write: images/, masks/, dataset.toml, prepare.png")
    add(
        "--pair",
        metavar="RULE",
        help="which names belong together, e.g. '{name}_sat = {name}_mask', 'img_{number} = map_{number}', or a "
        "regular expression with one group on each side (the same name, or what all names share left off)",
    )
    coloured = parser.add_argument_group("coloured labels")
    coloured.add_argument("--preset", metavar="NAME", help="colours by name: web-map (white and yellow/orange streets)")
    coloured.add_argument(
        "--colors",
        metavar="CLASS=COLOURS",
        action="append",
        default=[],
        help="e.g. road=#ffffff~12,#f8d56c~40: colours of a class, with the tolerance in each channel (8); may be "
        "repeated; 'ignore' is the class of unlabelled pixels, 'rest' every other colour; or a TOML file",
    )
    coloured.add_argument(
        "--mend", metavar="PX", type=int, default=5, help="thickness of text over a class that is filled in; 0: off (5)"
    )
    grey = parser.add_argument_group("grey labels")
    grey.add_argument("--classes", metavar="NAMES", help="names by label value, e.g. background,building,road")
    grey.add_argument("--ignore", metavar="V", type=int, default=-1, help="value of unlabelled pixels; becomes 255")
    grey.add_argument("--invert", action="store_true", help="the class of interest is the dark one")
    grey.add_argument("--threshold", metavar="T", type=float, help="the class of interest lies above this value")
    lines = parser.add_argument_group("lines")
    lines.add_argument("--width", metavar="M", type=float, help="metres, of every road (by width, lanes or class)")
    lines.add_argument("--width-field", metavar="NAME", help="the attribute that holds the width in metres")
    lines.add_argument("--widths", metavar="FILE.toml", type=Path, help="widths by attribute; see docs/prepare.md")
    lines.add_argument("--keep-tunnels", action="store_true", help="burn tunnels too; bridges always are")
    lines.add_argument("--lines-crs", metavar="CRS", help="of the lines, e.g. EPSG:25832, whatever their file says")
    lines.add_argument("--lines-layer", metavar="NAME", help="of a file with several layers")
    cut = parser.add_argument_group("sizes")
    cut.add_argument("--resize", metavar="SIZE", help="0.5, 50%% or 512x512, before cutting; labels are never blended")
    cut.add_argument("--tile", metavar="PX", type=int, default=0, help="cut into square tiles of this side")
    cut.add_argument("--overlap", metavar="PX", type=int, default=0, help="pixels that neighbouring tiles share (0)")
    cut.add_argument(
        "--blocks",
        metavar="N",
        type=int,
        help="N x N tiles train or validate together, and share no pixel with others; 0: those of an image do (chosen "
        "for fewer than 10 GeoTIFFs, else 0)",
    )
    cut.add_argument(
        "--min-share",
        metavar="S",
        type=float,
        default=0.0,
        help="drop tiles (or images) with less than this share of anything but the first class, e.g. 0.01",
    )
    cut.add_argument("--resolution", metavar="M", type=float, help="metres per pixel of the raw images, if known")
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")
    add("--overwrite", action="store_true", help="replace OUT, if prepare made it")
    add("--dry-run", action="store_true", help="check everything and say what would be done, and write nothing")
    add("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Prepare and print."""
    import json

    from ..preparation.prepare import prepare

    result = prepare(
        args.images,
        args.labels,
        args.out,
        colors=args.colors,
        preset=args.preset,
        mend=args.mend,
        pair=args.pair,
        classes=[name.strip() for name in args.classes.split(",")] if args.classes is not None else (),
        ignore=args.ignore,
        invert=args.invert,
        threshold=args.threshold,
        width=args.width,
        width_field=args.width_field,
        widths=args.widths,
        keep_tunnels=args.keep_tunnels,
        lines_crs=args.lines_crs,
        lines_layer=args.lines_layer,
        resize=args.resize,
        tile=args.tile,
        overlap=args.overlap,
        blocks=args.blocks,
        min_share=args.min_share,
        resolution=args.resolution,
        skip_bad=args.skip_bad,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        progress=_log_lines(),
    )
    if args.json:
        print(json.dumps(result.about, indent=2), flush=True)
        return 0
    print(result.summary())
    print(
        "dry run: nothing was written" if args.dry_run else f"dataset -> {result.path} (look at prepare.png)",
        flush=True,
    )
    return 0


def _log_lines() -> "Progress":
    """One flushed line a minute."""
    last = time.monotonic()

    def tell(done: int, total: int, name: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= MINUTE:
            last = now
            print(f"{done}/{total} pairs, {name}", file=sys.stderr, flush=True)

    return tell
