"""`roadseg vectorize`: masks or probabilities to centre lines or polygons in a vector file."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "turn masks or probability rasters into centre lines (or polygons), and these into a network"
EXAMPLE = "roadseg vectorize predictions/town_prob.tif --out town.gpkg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg vectorize`."""
    add = parser.add_argument
    add("masks", metavar="MASK", nargs="+", type=Path, help="masks or probabilities (TIFF, PNG), or folders of them")
    add(
        "--out",
        metavar="FILE",
        type=Path,
        help="FILE.gpkg, FILE.fgb (both in the raster's CRS) or FILE.geojson (EPSG:4326)",
    )
    add(
        "--network",
        metavar="FILE",
        type=Path,
        help="the lines as a network: FILE.gpkg (layers nodes and edges) or FILE.graphml (networkx, Gephi)",
    )
    add("--as", dest="form", choices=("lines", "polygons"), default="lines", help="centre lines (default) or outlines")
    add("--threshold", metavar="P", type=float, default=0.5, help="road where the probability is above P (0.5)")
    add("--low", metavar="P", type=float, default=0.3, help="and above this where connected to such (0.3)")
    add("--tolerance", metavar="PX", type=float, default=1.5, help="how far simplified lines may stray, pixels (1.5)")
    add("--min-length", metavar="M", type=float, default=0.0, help="drop pieces and dead ends shorter than this (0)")
    add(
        "--bridge",
        metavar="M",
        type=float,
        help="longest gap to bridge, metres (4 road widths, of a mask 1.5); 0: none. Pixels where there is no CRS",
    )
    add("--uncertainty", metavar="FILE", type=Path, help="raster of the same size; each road gets its mean")
    add("--like", metavar="FILE", type=Path, help="GeoTIFF that says where the pixels of a plain mask lie")
    add("--json", action="store_true", help="what was made as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Trace, write and print."""
    from ..errors import ConfigError
    from ..roads.centrelines import TraceOptions
    from ..roads.vectorize import vectorize

    if args.out is None and args.network is None:
        raise ConfigError("nothing says where to write: give --out FILE.gpkg, --network FILE.graphml, or both")
    options = TraceOptions(
        threshold=args.threshold,
        low=args.low,
        tolerance=args.tolerance,
        min_length=args.min_length,
        bridge=args.bridge,
    )
    made = vectorize(
        args.masks,
        args.out,
        network=args.network,
        form=args.form,
        options=options,
        uncertainty=args.uncertainty,
        like=args.like,
    )
    about = made.about()
    if args.json:
        print(json.dumps(about, indent=2), flush=True)
        return 0
    where = about["crs"] if about["crs"] is None or len(about["crs"]) < 40 else "the raster's CRS"
    where = where or "pixel coordinates (x to the right, y down)"
    files = " and ".join(str(path) for path in (made.path, made.network) if path is not None)
    if args.form == "lines":
        long = f"{about['length'] / 1000:.2f} km" if about["unit"] == "m" else f"{about['length']:.0f} px"
        print(f"{about['roads']} roads, {long}, {about['dead_ends']} dead ends, {where} -> {files}", flush=True)
    else:
        unit = "m²" if about["unit"] == "m2" else "px²"
        print(f"{about['polygons']} polygons, {about['area']:.0f} {unit}, {where} -> {files}", flush=True)
    return 0
