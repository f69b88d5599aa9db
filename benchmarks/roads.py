"""Masks to lines: how close the lines are to those that the mask was made of, and what a large mask costs.

    python benchmarks/roads.py made                                   made networks, burnt and traced back
    python benchmarks/roads.py mask MASK LINES [--like IMAGE.tif]     a mask against the lines that it was drawn from
    python benchmarks/roads.py predicted RUN DATASET                  predictions with and without bridges and pruning
    python benchmarks/roads.py bands                                  one piece against tiles and bands of any size
    python benchmarks/roads.py size [5000 10000]                      seconds and peak memory of large GeoTIFFs

`predicted` takes the probabilities of a run's validation images, and as the truth the lines of their masks. Each prints
JSON lines. `made`, `predicted` and `bands` measure in pixels, `mask` in metres; `size` runs each mask in a process of
its own, whose memory includes Python and the libraries.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from roadseg.errors import RoadsegWarning
from roadseg.imagery.dataset import open_dataset
from roadseg.machine import peak_memory_mb
from roadseg.roads.bands import Raster
from roadseg.roads.centrelines import TraceOptions, trace, trace_file, trace_raster
from roadseg.roads.layers import RoadLayer, read_layer
from roadseg.roads.made import made_network
from roadseg.roads.mask_scores import pool_networks
from roadseg.roads.network_scores import compare_layers, score_graph

SCORES = ("apls", "relaxed_f1", "relaxed_precision", "relaxed_recall", "length_ratio")


def say(**values: Any) -> None:
    """One JSON line."""
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}), flush=True)


def made(networks: int) -> None:
    """About 500 junctions each: a crooked grid, curves, roundabouts, dead ends, roads 6 to 15 px wide."""
    for seed in range(networks):
        network = made_network(20, seed=seed)
        mask = network.mask()
        layer = trace(mask)
        scores = score_graph(network.layer, layer, buffer=2.0, snap=4.0)
        counts = {f"{name}_found": scores["proposed"][name] for name in ("junctions", "dead_ends")}
        true = {name: scores["truth"][name] for name in ("junctions", "dead_ends")}
        say(seed=seed, size=mask.shape[0], buffer_px=2, snap_px=4, **{k: scores[k] for k in SCORES}, **true, **counts)


def mask(path: Path, lines: Path, like: Path | None, options: TraceOptions) -> None:
    """A mask against lines, both within 3 m."""
    layer = trace_file(path, options, like=like)
    truth = read_layer(lines)
    scores = score_graph(truth, layer)
    say(mask=path.name, roads=len(layer.roads), buffer_m=3, snap_m=4, **{k: scores[k] for k in SCORES})


def predicted(run: Path, dataset: Path) -> None:
    """Validation images of a run: their probabilities traced in several ways, against their masks traced in one."""
    opened = open_dataset(dataset)
    stems = {item["stem"] for item in json.loads((run / "split.json").read_text())["val"]}
    samples = [opened.read(k) for k, pair in enumerate(opened.pairs) if pair.stem in stems]
    ways = {
        "defaults": TraceOptions(),
        "without bridges": TraceOptions(bridge=0.0),
        "without pruning": TraceOptions(prune=0.0),
        "without either": TraceOptions(bridge=0.0, prune=0.0),
        "without hysteresis": TraceOptions(low=0.5),
        "without all of these": TraceOptions(bridge=0.0, prune=0.0, low=0.5),
    }
    warnings.simplefilter("ignore", RoadsegWarning)  # an image without any road is no news here
    truths = {s.stem: trace(np.where(s.mask == 1, np.uint8(255), np.uint8(0))) for s in samples}
    for name, options in ways.items():
        parts = {}
        for stem, truth in truths.items():
            probability = np.asarray(Image.open(run / "validation" / f"{stem}.png"))
            parts[stem] = compare_layers(truth, trace(probability, options=options), buffer=10.0, snap=13.0)
        scores = pool_networks(parts, buffer=10.0, snap=13.0)
        shown = {key: scores[key] for key in ("apls", "apls_mean", "relaxed_precision", "relaxed_recall", "relaxed_f1")}
        say(way=name, images=len(parts), buffer_px=10, snap_px=13, **shown)


def bands(rounds: int) -> None:
    """Lines in one piece against lines from tiles and bands of random size; counts networks that differ."""
    rng = np.random.default_rng(0)
    differ = 0
    for seed in range(rounds):
        raster = Raster(made_network(5, seed=seed, spacing=100).mask())
        whole = trace_raster(raster, tile=10_000)
        tile, band = int(rng.integers(40, 400)), int(rng.integers(1, 300))
        differ += not same(whole, trace_raster(raster, tile=tile, halo=96, band=band))
    say(rounds=rounds, differ=differ)


def same(one: RoadLayer, two: RoadLayer) -> bool:
    """Whether all lines are the same, to the last bit."""
    return len(one.roads) == len(two.roads) and all(
        np.array_equal(a.line, b.line) and a.properties == b.properties
        for a, b in zip(one.roads, two.roads, strict=True)
    )


def size(sides: list[int]) -> None:
    """GeoTIFFs of made networks with as many junctions per area as a dense suburb at 0.3 m."""
    import rasterio

    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            pixels = made_network(side // 130 + 1, seed=0).mask()[:side, :side]
            path = Path(folder) / f"{side}.tif"
            place = {"crs": "EPSG:32611", "transform": rasterio.Affine(0.3, 0, 6e5, 0, -0.3, 4e6)}
            options = {"tiled": True, "compress": "deflate", "blockxsize": 256, "blockysize": 256}
            shape = {"height": side, "width": side, "count": 1, "dtype": "uint8"}
            with rasterio.open(path, "w", driver="GTiff", **shape, **place, **options) as target:
                target.write(pixels, 1)
            road = float((pixels > 0).mean())
            del pixels
            done = subprocess.run([sys.executable, __file__, "one", str(path)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            say(side=side, road=road, **json.loads(done.stdout))


def one(path: Path) -> None:
    """Trace one file and say what it took; a process of its own."""
    began, worked = time.perf_counter(), time.process_time()
    layer = trace_file(path)
    km = sum(road.properties["length_m"] for road in layer.roads) / 1000
    took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
    say(**took, peak_mb=peak_memory_mb(), roads=len(layer.roads), km=km)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("made").add_argument("--networks", type=int, default=3)
    parts.add_parser("bands").add_argument("--rounds", type=int, default=20)
    sub = parts.add_parser("mask")
    sub.add_argument("mask", type=Path)
    sub.add_argument("lines", type=Path)
    sub.add_argument("--like", type=Path)
    sub.add_argument("--bridge", type=float)
    sub.add_argument("--prune", type=float, default=1.0)
    sub = parts.add_parser("predicted")
    sub.add_argument("run", type=Path)
    sub.add_argument("dataset", type=Path)
    parts.add_parser("size").add_argument("sides", type=int, nargs="*", default=[5000, 10_000])
    parts.add_parser("one").add_argument("path", type=Path)
    args = parser.parse_args()
    if args.part == "made":
        made(args.networks)
    elif args.part == "bands":
        bands(args.rounds)
    elif args.part == "mask":
        mask(args.mask, args.lines, args.like, TraceOptions(bridge=args.bridge, prune=args.prune))
    elif args.part == "predicted":
        predicted(args.run, args.dataset)
    elif args.part == "size":
        size(args.sides or [5000, 10_000])
    else:
        one(args.path)


if __name__ == "__main__":
    main()
