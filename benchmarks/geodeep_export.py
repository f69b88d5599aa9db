"""GeoDeep with an exported model beside `roadseg predict`, on the same GeoTIFF: masks, speed, peak memory.

    pip install geodeep        (or --geodeep FOLDER, of `pip install --no-deps --target FOLDER geodeep`)
    python benchmarks/geodeep_export.py RUN [--size 6000] [--images FOLDER] [--rounds 1]

Makes a GeoTIFF of SIZE x SIZE pixels (a mosaic of the images in FOLDER, else made scenes), exports RUN for GeoDeep, and
runs in turns, each in processes of its own: GeoDeep, `roadseg predict`, `roadseg predict --int8`. Then our own network
is run the way that GeoDeep runs it (`geodeep_way.py`): the IoU with GeoDeep's mask is the proof of the exported file.
Seconds are those of whole commands, without conversions that the cache keeps (a small image is predicted before);
memory is that of the tree of processes. Prints JSON lines, the last one the summary.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from geodeep_way import geodeep_mask, iou
from numpy.typing import NDArray
from paired import ROADSEG, say

import roadseg
from roadseg.bench.memory import run_watched
from roadseg.exports.gis import OVERLAP
from roadseg.imagery.dataset import open_image
from roadseg.imagery.layouts import list_images
from roadseg.inference.cache import open_cache
from roadseg.inference.choice import build
from roadseg.learning.runs import ModelInfo, find_model, read_info

METRES = 0.5  # per pixel, of the mosaic and of the exported model
SCENE = 400


def pieces(images: Path | None) -> Iterator[NDArray[np.uint8]]:
    """Images without end."""
    sources = list_images(images) if images is not None else []
    k = 0
    while True:
        if sources:
            yield open_image(sources[k % len(sources)], 3, None)[0]
        else:
            yield roadseg.make_scene(k % 40, SCENE)[0]
        k += 1


def make_raster(path: Path, size: int, images: Path | None) -> None:
    """A tiled, georeferenced mosaic, written a row of images at a time."""
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "photometric": "RGB",
        "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "crs": "EPSG:32632",
        "transform": rasterio.Affine(METRES, 0, 500_000, 0, -METRES, 5_000_000),
    }  # fmt: skip
    source = pieces(images)
    first = next(source)
    height = first.shape[0]
    with rasterio.open(path, "w", **profile) as target:
        for y in range(0, size, height):
            row = []
            while sum(piece.shape[1] for piece in row) < size:
                piece = next(source)
                if piece.shape[0] >= height:
                    row.append(piece[:height])
            band = np.concatenate(row, axis=1)[: min(height, size - y), :size]
            window = rasterio.windows.Window(0, y, size, band.shape[0])
            target.write(np.moveaxis(band, 2, 0), window=window)


def watched(command: list[str], variables: dict[str, str]) -> tuple[float, float | None]:
    """Seconds and peak MB of a program."""
    began = time.perf_counter()
    done, peak = run_watched(command, variables)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with code {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return seconds, peak


def own_masks(model: Path, info: ModelInfo, raster: Path, tile: int, small_segment: int) -> NDArray[np.uint8]:
    """Our network the way GeoDeep runs it, in float32."""
    engine = build("openvino f32", model, open_cache(info.hash))

    def classify(window: NDArray[np.uint8]) -> NDArray[np.uint8]:
        found = engine(window[None])[0]
        decided = found.argmax(axis=-1) if found.shape[-1] > 1 else found[..., 0] > info.threshold
        return np.asarray(decided, np.uint8)

    return geodeep_mask(raster, classify, tile, OVERLAP, METRES * 100, small_segment)


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        found: NDArray[np.uint8] = source.read(1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run folder or a model.keras of three bands")
    parser.add_argument("--size", type=int, default=6000, help="pixels a side of the GeoTIFF")
    parser.add_argument("--raster", type=Path, help=f"a GeoTIFF to use as it is, of {METRES} m per pixel")
    parser.add_argument("--images", type=Path, help="images for the mosaic, of one size")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--geodeep", type=Path, help="a folder that holds the package")
    args = parser.parse_args()
    variables = dict(os.environ)
    if args.geodeep is not None:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(args.geodeep), variables.get("PYTHONPATH")]))
    elif importlib.util.find_spec("geodeep") is None:
        sys.exit("geodeep is not installed: pip install geodeep, or give --geodeep FOLDER")
    model = find_model(args.model)
    info = read_info(model)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        raster, small, exported = place / "raster.tif", place / "small.tif", place / "model.onnx"
        if args.raster is not None:
            raster = args.raster
        else:
            make_raster(raster, args.size, args.images)
        make_raster(small, 1024, args.images)
        made = roadseg.export(model, exported, tile=args.tile, resolution=METRES)
        assert made.check is not None
        say(exported=made.to_dict()["check"])

        words = {
            "geodeep": [
                *(sys.executable, "-m", "geodeep.scripts.main", str(raster), str(exported)),
                *("-t", "mask", "-o", str(place / "geodeep.tif"), "-q"),
            ],
            "predict": [*ROADSEG, "predict", str(model), str(raster), "--out", str(place / "predict")],
            "predict_int8": [*ROADSEG, "predict", str(model), str(raster), "--int8", "--out", str(place / "int8")],
        }
        if args.no_int8:
            del words["predict_int8"]
        say(
            warmed=round(
                watched([*ROADSEG, "predict", str(model), str(small), "--out", str(place / "w")], variables)[0], 1
            )
        )
        if not args.no_int8:  # quantised with this raster: kept for the measured runs
            say(quantised=round(watched(words["predict_int8"], variables)[0], 1))
        seconds: dict[str, list[float]] = {name: [] for name in words}
        peaks: dict[str, list[float]] = {name: [] for name in words}
        for _ in range(args.rounds):
            for name, command in words.items():
                took, peak = watched(command, variables)
                seconds[name].append(took)
                peaks[name].append(peak or float("nan"))
                say(program=name, seconds=round(took, 1), peak_mb=peak)

        theirs = read(place / "geodeep.tif")
        pixels = theirs.size / 1e6
        plain = own_masks(model, info, raster, args.tile, 0)
        ours = read(place / "predict" / f"{raster.stem}.tif")
        summary: dict[str, Any] = {
            "megapixels": round(pixels, 2),
            "iou_geodeep_way": round(iou(theirs, plain), 5),
            "iou_blended": round(iou(theirs, ours), 5),
            "road_share": {
                "geodeep": round(float((theirs > 0).mean()), 4),
                "predict": round(float((ours > 0).mean()), 4),
            },
            "mpx_per_s": {name: round(pixels / statistics.median(s), 3) for name, s in seconds.items()},
            "peak_mb": {name: round(max(p)) for name, p in peaks.items()},
            "times_geodeep": {
                name: round(statistics.median(a / b for a, b in zip(seconds["geodeep"], s, strict=True)), 2)
                for name, s in seconds.items()
                if name != "geodeep"
            },
        }
        if not args.no_int8:
            summary["iou_int8"] = round(iou(ours, read(place / "int8" / f"{raster.stem}.tif")), 5)
        say(**summary)


if __name__ == "__main__":
    main()
