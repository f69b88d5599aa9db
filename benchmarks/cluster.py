"""What Dask costs on one machine: the same raster predicted by one process and by workers that share its cores.

    python benchmarks/cluster.py MODEL --size 10000 --workers 2 --turns 3

Both in turns, the commands as a user would call them. One JSON line a turn (seconds of the prediction, and of the whole
command with its start), then one with the median of the ratios; figures above 1 are what the workers cost. The files
have to be the same, byte for byte.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import ROADSEG, json_lines, median_ratio, say

TILE = 1000  # px, what is repeated over the raster


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a run folder or a model.keras")
    parser.add_argument("--size", type=int, default=10_000, help="px, both sides of the raster (10000)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--window", type=int, help="px, for a quick try")
    args = parser.parse_args(words)
    options = ["--engine", args.engine, *(["--window", args.window] if args.window else [])]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        raster = make_raster(place / "raster.tif", args.size)
        warm = make_raster(place / "warm.tif", TILE)  # the engine is chosen and converted before anything is timed
        json_lines([*ROADSEG, "predict", args.model, warm, "--out", place / "warm", *options])
        turns = []
        for _ in range(args.turns):
            one = predict(args.model, raster, place / "one", *options)
            many = predict(args.model, raster, place / "many", "--workers", args.workers, *options)
            same = all((place / "many" / p.name).read_bytes() == p.read_bytes() for p in (place / "one").glob("*.tif"))
            turns.append({"one": one, "workers": many, "same_bytes": same})
            say(**turns[-1])
    say(
        size=args.size,
        workers=args.workers,
        turns=args.turns,
        mpx_s_one=round(args.size**2 / 1e6 / statistics.median(turn["one"]["seconds"] for turn in turns), 3),
        prediction_ratio=ratio(turns, "seconds"),
        command_ratio=ratio(turns, "command_seconds"),
        same_bytes=all(turn["same_bytes"] for turn in turns),
    )
    return 0 if all(turn["same_bytes"] for turn in turns) else 1


def predict(model: str, raster: Path, out: Path, *options: object) -> dict[str, float]:
    """Seconds of one `roadseg predict`."""
    began = time.perf_counter()
    json_lines([*ROADSEG, "predict", model, raster, "--out", out, "--probabilities", *options])
    whole = time.perf_counter() - began
    record = json.loads((out / "predict.json").read_text())
    return {"seconds": record["seconds"], "command_seconds": round(whole, 3)}


def ratio(turns: list[dict[str, Any]], name: str) -> float:
    return round(median_ratio([t["workers"][name] for t in turns], [t["one"][name] for t in turns]), 3)


def make_raster(path: Path, size: int) -> Path:
    """A GeoTIFF of smooth noise, one tile of it again and again: what is in it costs nothing and saves nothing."""
    import cv2
    import numpy as np
    import rasterio

    rng = np.random.default_rng(0)
    tile = cv2.resize(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8), (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    tile = np.moveaxis(tile, -1, 0)
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
    shape = {"height": size, "width": size, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", BIGTIFF="IF_SAFER", **shape, **layout, **place) as target:
        for top in range(0, size, TILE):
            rows = min(TILE, size - top)
            band = np.tile(tile[:, :rows], (1, 1, -(-size // TILE)))[:, :, :size]
            target.write(band, window=((top, top + rows), (0, size)))
    return path


if __name__ == "__main__":
    sys.exit(main())
