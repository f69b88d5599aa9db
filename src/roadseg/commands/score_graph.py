"""`roadseg score-graph`: one road network against another."""

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "score a road network against another: APLS, relaxed precision and recall"
EXAMPLE = "roadseg score-graph truth.geojson roads.gpkg --buffer 3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg score-graph`."""
    add = parser.add_argument
    add("truth", metavar="TRUTH", type=Path, help="lines: .gpkg, .geojson, .fgb or .shp")
    add("proposed", metavar="PROPOSED", type=Path, help="lines to score, in any CRS")
    add("--buffer", metavar="M", type=float, default=3.0, help="metres within which a line is found again (3)")
    add("--snap", metavar="M", type=float, default=4.0, help="metres within which APLS finds a control point (4)")
    add("--aoi", metavar="FILE", type=Path, help="polygons, or a raster: score only what lies inside")
    add("--truth-layer", metavar="NAME", help="the layer of TRUTH, where it has several (roads, edges or lines)")
    add("--proposed-layer", metavar="NAME", help="the layer of PROPOSED")
    add("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Score and print."""
    from ..roads.network_scores import score_graph

    result = score_graph(
        args.truth,
        args.proposed,
        buffer=args.buffer,
        snap=args.snap,
        aoi=args.aoi,
        truth_layer=args.truth_layer,
        proposed_layer=args.proposed_layer,
    )
    if args.json:
        print(json.dumps(result, indent=2), flush=True)
        return 0
    unit = result["unit"]
    if unit == "px":
        print("both files are in pixel coordinates: distances are pixels")
    for name in ("truth", "proposed"):
        print(f"{name + ':':<10} {_network(result[name])}")
    print(
        f"APLS {result['apls']:.4f} (truth in proposed {result['apls_truth_to_proposed']:.4f}, "
        f"proposed in truth {result['apls_proposed_to_truth']:.4f}; snapped within {args.snap:g} {unit})"
    )
    if result["sampled"]:
        print(f"  of so many control points, paths were compared from 1000 drawn with seed {result['seed']}")
    print(
        f"within {args.buffer:g} {unit}: precision {result['relaxed_precision']:.4f}, "
        f"recall (completeness) {result['relaxed_recall']:.4f}, F1 {result['relaxed_f1']:.4f}, "
        f"quality {result['quality']:.4f}",
        flush=True,
    )
    return 0


def _network(counts: dict[str, Any]) -> str:
    length = f"{counts['km']:.3f} km" if "km" in counts else f"{counts['px']:.0f} px"
    return (
        f"{length} in {counts['roads']} roads, {counts['junctions']} junctions, {counts['dead_ends']} dead ends; "
        f"{counts['snapped']} of {counts['control_points']} control points found on the other"
    )
