"""`roadseg evaluate`: a model's scores on labelled images."""

import argparse
import json
from pathlib import Path
from typing import Any

from .predict import add_engine

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "score a model on labelled images, beside the all-background baseline"
EXAMPLE = "roadseg evaluate runs/first path/to/dataset --tta"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `roadseg evaluate`."""
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="a run folder or a model.keras")
    add("dataset", metavar="DATASET", type=Path, help="a folder of images and masks")
    add("--json", action="store_true", help="the scores as JSON, those of each image included")
    add("--tta", action="store_true", help="mean over 8 rotations and reflections")
    add("--threshold", metavar="T", type=float, help="road where the probability is above T (the model's own)")
    add("--graph", action="store_true", help="also score the traced roads: APLS, relaxed precision and recall")
    add("--all", action="store_true", help="also the images that the model was trained on")
    add_engine(parser, None)
    add("--skip-bad", action="store_true", help="leave bad files out with a warning")


def run(args: argparse.Namespace) -> int | None:
    """Score and print."""
    from .. import evaluation
    from .train import scores_line

    result = evaluation.evaluate(
        args.model,
        args.dataset,
        tta=args.tta,
        threshold=args.threshold,
        include_trained=args.all,
        skip_bad=args.skip_bad,
        engine=args.engine,
        int8=args.int8,
        graph=args.graph,
    )
    if args.json:
        print(json.dumps(result, indent=2), flush=True)
        return 0
    if result["n_trained_on"]:
        what = "taken in: these scores are too good" if args.all else "left out"
        print(f"{result['n_trained_on']} images that the model was trained on are {what}", flush=True)
    print(f"{result['n_images']} images: {scores_line(result)}", flush=True)
    if "graph" in result:
        print(f"  {_graph_line(result['graph'])}", flush=True)
    if "float32" in result:
        changes = ", ".join(f"{name.replace('_', ' ')} {gap:+.4f}" for name, gap in result["change"].items())
        print(f"  in float32: {scores_line(result['float32'])}", flush=True)
        print(f"  8 bits change {changes}", flush=True)
    if "class_iou" in result:
        for name, iou in result["class_iou"].items():
            print(f"  IoU {name}: {'-' if iou is None else f'{iou:.4f}'}", flush=True)
    return 0


def _graph_line(scores: dict[str, Any]) -> str:
    unit = scores["unit"]
    return (
        f"traced roads: APLS {scores['apls']:.4f} (weighted by length; mean of {scores['n_images_with_roads']} images "
        f"{scores['apls_mean']:.4f}), within {scores['buffer_m']:g} {unit} "
        f"precision {scores['relaxed_precision']:.4f}, recall {scores['relaxed_recall']:.4f}, "
        f"F1 {scores['relaxed_f1']:.4f} (lengths pooled)"
    )
