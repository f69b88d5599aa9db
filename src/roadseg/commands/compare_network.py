"""`roadseg compare-network`: which roads are new, gone or the same."""

import argparse
import json
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "find the roads that are new, gone or the same, against an existing vector layer"
EXAMPLE = "roadseg compare-network osm.gpkg roads.gpkg --out changes.gpkg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg compare-network`."""
    add = parser.add_argument
    add("old", metavar="OLD", type=Path, help="the existing map's lines: .gpkg, .geojson, .fgb or .shp")
    add("new", metavar="NEW", type=Path, help="lines to compare with it, in any CRS")
    add("--out", metavar="FILE", type=Path, required=True, help="the parts with their status: .gpkg, .geojson or .fgb")
    add("--buffer", metavar="M", type=float, default=5.0, help="metres within which a road is the same (5)")
    add("--min-length", metavar="M", type=float, default=20.0, help="metres: shorter parts join what they adjoin (20)")
    add("--aoi", metavar="FILE", type=Path, help="polygons, or a raster: compare only what lies inside")
    add("--old-layer", metavar="NAME", help="the layer of OLD, where it has several (roads, edges or lines)")
    add("--new-layer", metavar="NAME", help="the layer of NEW")
    add("--json", action="store_true", help="the summary as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Compare, write and print."""
    from ..roads.change import STATES, compare_networks

    change = compare_networks(
        args.old,
        args.new,
        args.out,
        buffer=args.buffer,
        min_length=args.min_length,
        aoi=args.aoi,
        old_layer=args.old_layer,
        new_layer=args.new_layer,
    )
    summary = change.summary
    if args.json:
        print(json.dumps(summary | {"out": str(args.out)}, indent=2), flush=True)
        return 0
    unit = "px" if summary["unit"] == "px" else "km"
    told = {
        "new": f"in '{args.new}' and not in '{args.old}'",
        "gone": f"in '{args.old}' and not in '{args.new}'",
        "same": f"in both (within {args.buffer:g} {summary['unit']})",
    }
    for state in STATES:
        length = f"{summary[f'{state}_{unit}']:.3f} {unit}"
        print(f"{state + ':':<6} {length:>12} in {summary[f'{state}_parts']} parts, {told[state]}")
    if summary["missing_in_old"] is not None:
        print(f"{summary['missing_in_old']:.1%} of '{args.new}' is missing in '{args.old}'")
    print(f"written: {args.out}", flush=True)
    return 0
