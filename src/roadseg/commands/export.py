"""`roadseg export`: a model for other programs."""

import argparse
import json
from functools import partial
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "write a model for other programs: ONNX (QGIS, GeoDeep), OpenVINO, plain Keras"
EXAMPLE = "roadseg export runs/first --format onnx --out roads.onnx --resolution 0.3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg export`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a run folder or a model.keras")
    add("--format", metavar="onnx|openvino|keras", help="of the file (by the suffix of --out: .onnx, .xml, .keras)")
    add("--out", metavar="PATH", type=Path, required=True, help="the file to write")
    add(
        "--for",
        dest="purpose",
        choices=("gis", "programs"),
        default="gis",
        help="ONNX: gis (default) for QGIS Deepness and GeoDeep, one size of tiles, a channel for each class; "
        "programs: any size, pixels in and probabilities out as model.keras",
    )
    add("--tile", metavar="PX", type=int, default=512, help="side of the tiles of --for gis (512)")
    add(
        "--resolution",
        metavar="M_PER_PX",
        type=float,
        help="ground resolution that --for gis asks for, metres per pixel (what the model was trained at)",
    )
    add("--int8", action="store_true", help="in 8 bits: smaller, faster, slightly different; needs --calibrate")
    add("--fp16", action="store_true", help="OpenVINO: weights in 16 bits, half the size")
    add(
        "--calibrate",
        metavar="IMAGES",
        type=Path,
        nargs="+",
        help="images, or folders of some, like those to predict: for --int8, and for the check (made scenes)",
    )
    add("--json", action="store_true", help="what was made as JSON")


def run(args: argparse.Namespace) -> int | None:
    """Export, and say how far the file's answers are from the model's."""
    from ..exports.export import export

    images = None
    if args.calibrate:
        from ..imagery.layouts import list_images
        from ..inference.int8 import ImageFiles
        from ..learning.runs import find_model, read_info

        info = read_info(find_model(args.model))
        images = ImageFiles([image for place in args.calibrate for image in list_images(place)], info)
    made = export(
        args.model,
        args.out,
        args.format,
        purpose=args.purpose,
        tile=args.tile,
        resolution=args.resolution,
        int8=args.int8,
        fp16=args.fp16,
        calibrate=images,
        tell=None if args.json else partial(print, flush=True),
    )
    about = made.to_dict()
    if args.json:
        print(json.dumps(about, indent=2), flush=True)
        return 0
    print(f"{made.check if made.check is not None else 'the same bytes; plain Keras loads it'}", flush=True)
    about["what"] = {"onnx": "ONNX", "openvino": "OpenVINO", "keras": "Keras"}[made.format]
    words = [f"{about['what']} {about['precision']}", f"{about['bands']} bands", f"{len(about['classes'])} classes"]
    if made.about.purpose == "gis":
        ground = f"{made.resolution_m:g} m per pixel" if made.resolution_m else "ground resolution not known"
        words += [f"for Deepness and GeoDeep: tiles of {made.about.tile} px, {ground}"]
    print(f"{', '.join(words)}, {about['bytes'] / 1e6:.1f} MB -> {made.path}", flush=True)
    return 0
