"""Prediction of large rasters: memory, seams, speed, and what a kill costs.

    python benchmarks/streaming.py RUN path/to/images
    python benchmarks/streaming.py RUN path/to/images --only seams --only speed --size 6000

Rasters are mosaics of the images of a folder, made in a temporary folder (--folder: in that one; 1.4 bytes a pixel).
Prints a JSON line for each part:

memory: the largest memory that the tree of processes of `roadseg predict` holds for rasters of one width and several
heights, MB; `spread`: the largest over the smallest.
seams: a raster against a crop of it whose offset is a multiple of the stride, as shares of the pixels so many px inside
that are within 1e-3; steps of the probability across tile lines over steps elsewhere, in the raster and, the same lines
in the same image, without any tiles near (a raster whose windows lie elsewhere).
speed: pixels through the network a second, as a share of what the bare engine does with windows of that shape before
and after; how many more they are than the raster has.
kills: a prediction killed at random moments and gone on with, against one that was left alone: whether the bytes are
the same, and how many bands were computed more than once.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from paired import ROADSEG, say
from rasterio.windows import Window

from roadseg.bench.memory import run_watched
from roadseg.imagery.layouts import list_images
from roadseg.imagery.raster import read_picture
from roadseg.inference.int8 import ImageFiles
from roadseg.inference.outputs import plan_outputs, run_jobs
from roadseg.inference.predictor import Predictor, float32_predictor, load_predictor
from roadseg.inference.tiling import Grid
from roadseg.learning.runs import find_model, read_info

PARTS = ("memory", "seams", "speed", "kills")
NEAR = 1e-3
BARE_S = 20.0


class Tiles:
    """Images of one size, laid side by side in a random order that is always the same."""

    def __init__(self, folder: Path) -> None:
        pictures = [read_picture(path).pixels for path in list_images(folder)[:100]]
        self.side = min(min(p.shape[:2]) for p in pictures if p.shape[-1] == 3)
        self.pictures = [p[: self.side, : self.side] for p in pictures if p.shape[-1] == 3]

    def rows(self, height: int, width: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, (n, width, 3) uint8) from top to bottom."""
        rng = np.random.default_rng(0)
        for top in range(0, height, self.side):
            drawn = rng.integers(len(self.pictures), size=-(-width // self.side))
            row = np.concatenate([self.pictures[k] for k in drawn], axis=1)
            yield top, row[: height - top, :width]

    def image(self, height: int, width: int) -> np.ndarray:
        return np.concatenate([rows for _, rows in self.rows(height, width)])

    def write(self, path: Path, height: int, width: int) -> Path:
        profile = {"height": height, "width": width, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
        place = rasterio.Affine(0.3, 0, 5e5, 0, -0.3, 5e6)
        with rasterio.open(path, "w", driver="GTiff", transform=place, **profile) as target:
            for top, rows in self.rows(height, width):
                target.write(np.moveaxis(rows, -1, 0), window=Window(0, top, width, len(rows)))
        return path


def memory(args: argparse.Namespace, tiles: Tiles, folder: Path) -> dict[str, Any]:
    peaks = {}
    for height in args.rows:
        raster = tiles.write(folder / "memory.tif", height, args.width)
        words = ["predict", str(args.model), str(raster), "--out", str(folder / "out"), *engine_words(args)]
        done, peak = run_watched([*ROADSEG, *words])
        if done.returncode:
            sys.exit(f"prediction ended with code {done.returncode}:\n{done.stderr[-3000:]}")
        peaks[height] = peak
        print(f"{args.width}x{height}: {peak} MB, {done.stdout.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
    known = [peak for peak in peaks.values() if peak is not None]
    spread = round(max(known) / min(known), 3) if known else None
    return {"width": args.width, "peak_mb": peaks, "spread": spread}


def seams(args: argparse.Namespace, tiles: Tiles, _: Path) -> dict[str, Any]:
    # float32: roundings of bfloat16 are no seams, and larger than what is looked for
    predictor = load_predictor(args.model, engine="keras") if args.engine == "keras" else float32_predictor(args.model)
    config, multiple = predictor.config, predictor.info.multiple
    grid = Grid(10**6, 10**6, config.window, config.overlap, multiple)
    stride, side = grid.stride, 3 * grid.stride + grid.largest // 2
    image = tiles.image(side, side)
    whole = predictor.probabilities(image)[..., 0]
    extent = side - stride - 100
    crop = predictor.probabilities(np.ascontiguousarray(image[stride:, stride:][:extent, :extent]))[..., 0]
    off = np.abs(crop - whole[stride:, stride:][:extent, :extent])
    inside = {d: round(float((off[d:-d, d:-d] <= NEAR).mean()), 6) for d in (64, 96, 128, 160, 192, 224, 256)}
    lines = [start + k for start in grid.across.starts[1:3] for k in (0, grid.seam // 2, grid.seam)]
    half = stride // 2
    moved = predictor.probabilities(np.ascontiguousarray(image[half:, half:]))[..., 0]
    return {
        "window": grid.largest,
        "overlap": grid.seam,
        "stride": stride,
        "raster": side,
        "crop": extent,
        "within_1e-3": inside,
        "largest_from_128": round(float(off[128:-128, 128:-128].max()), 5),
        "steps_at_lines_over_elsewhere": steps(whole, lines, tiles.side),
        "the_same_lines_without_tiles": steps(moved, [x - half for x in lines], tiles.side, half),
    }


def steps(found: np.ndarray, lines: list[int], side: int, shift: int = 0) -> float:
    """Mean step of the probability across these columns over that across the others, images' own borders left out."""
    across = np.abs(np.diff(found, axis=1)).mean(axis=0)  # [x]: from column x to x + 1
    at = np.zeros(len(across), bool)
    for x in lines:
        at[x - 1 : x + 1] = True
    border = np.array([min((x + 1 + shift) % side, -(x + 1 + shift) % side) < 16 for x in range(len(across))])
    return round(float(across[at & ~border].mean() / across[~at & ~border].mean()), 3)


def speed(args: argparse.Namespace, tiles: Tiles, folder: Path) -> dict[str, Any]:
    raster = tiles.write(folder / "speed.tif", args.size, args.size)
    calibrate = None
    if args.int8:
        calibrate = ImageFiles([raster], read_info(find_model(args.model)))
    engine = "openvino" if args.int8 else args.engine
    predictor = load_predictor(args.model, engine=engine, int8=args.int8, calibrate=calibrate, tell=print)
    grid = Grid(args.size, args.size, predictor.config.window, predictor.config.overlap, predictor.info.multiple)
    sides = grid.down.sizes[0], grid.across.sizes[0]
    windows = np.stack([tiles.image(*sides)] * min(predictor.config.batch, len(grid.across)))
    before = bare(predictor, windows)
    summary = run_jobs(predictor, plan_outputs([raster], folder / "out"), folder / "out")
    after = bare(predictor, windows)
    network = summary.network_pixels / 1e6 / summary.seconds
    return {
        "size": args.size,
        "engine": predictor.engine,
        "mpx_s": round(summary.megapixels_per_second, 3),
        "network_mpx_s": round(network, 3),
        "bare_mpx_s": [round(before, 3), round(after, 3)],
        "share_of_bare": round(network / ((before + after) / 2), 3),
        "overlap_overhead": round(summary.network_pixels / summary.pixels - 1, 4),
    }


def bare(predictor: Predictor, windows: np.ndarray) -> float:
    """Mpx/s of the engine alone."""
    predictor.bare(windows)
    times: list[float] = []
    until = time.perf_counter() + BARE_S
    while len(times) < 5 or time.perf_counter() < until:
        began = time.perf_counter()
        predictor.bare(windows)
        times.append(time.perf_counter() - began)
    return float(windows[..., 0].size / 1e6 / statistics.median(times))


def kills(args: argparse.Namespace, tiles: Tiles, folder: Path) -> dict[str, Any]:
    raster = tiles.write(folder / "kills.tif", args.kill_size, args.kill_size)
    words = [*ROADSEG, "predict", str(args.model), str(raster), "--probabilities", *engine_words(args), "--out"]
    subprocess.run([*words, str(folder / "warm")], check=True, capture_output=True)  # engines are chosen and compiled
    began = time.perf_counter()
    subprocess.run([*words, str(folder / "alone")], check=True, capture_output=True)
    whole = time.perf_counter() - began
    rng = random.Random(0)
    done = finished = different = 0
    out = folder / "killed"
    while done < args.kills:
        process = subprocess.Popen([*words, str(out), "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate(timeout=rng.uniform(0, whole * 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            continue
        if process.returncode:
            sys.exit(f"resuming ended with code {process.returncode}:\n{said.decode()}")
        finished += 1
        different += not same(out, folder / "alone")
        shutil.rmtree(out)  # and from the beginning
    subprocess.run([*words, str(out), "--resume"], check=True, capture_output=True)
    different += not same(out, folder / "alone")
    return {
        "size": args.kill_size,
        "seconds_alone": round(whole, 1),
        "kills": done,
        "finished": finished + 1,
        "different": different,
    }


def same(one: Path, other: Path) -> bool:
    names = ("kills.tif", "kills_prob.tif")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def engine_words(args: argparse.Namespace) -> list[str]:
    return ["--int8"] if args.int8 else ["--engine", args.engine]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a run folder or a model.keras")
    parser.add_argument("images", type=Path, help="a folder of images, to be laid side by side")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated; all of them")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 20_000, 40_000], help="of memory's rasters")
    parser.add_argument("--width", type=int, default=30_000, help="of memory's rasters")
    parser.add_argument("--size", type=int, default=20_000, help="side of the raster whose speed is measured")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kill-size", type=int, default=8_000, help="side of the raster whose prediction is killed")
    parser.add_argument("--engine", default="auto", choices=("auto", "keras", "openvino", "onnx"))
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the rasters, instead of a temporary one; they are removed")
    args = parser.parse_args()
    tiles = Tiles(args.images)
    programs = {"memory": memory, "seams": seams, "speed": speed, "kills": kills}
    for name in args.only or PARTS:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            say(part=name, **programs[name](args, tiles, Path(folder)))


if __name__ == "__main__":
    main()
