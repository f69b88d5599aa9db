"""A model whose engine is there already, made with OpenVINO alone: it predicts in processes that start in a moment."""

import json
import zipfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from roadseg.config import PredictConfig
from roadseg.inference.cache import open_cache
from roadseg.inference.choice import build
from roadseg.inference.plan import Plan
from roadseg.inference.planning import Wanted, make_plan
from roadseg.inference.predictor import Predictor
from roadseg.learning.runs import INFO_KEY, INFO_VERSION, ModelInfo, find_model, read_info

CONFIG = PredictConfig(window=64, overlap=16, batch=4)


def light_model(path: Path, seed: int = 0, width: int = 8, layers: int = 2) -> Path:
    """A `.keras` file that only we can read: random 3x3 convolutions, a sigmoid; its OpenVINO model is in the cache."""
    stored = {"version": INFO_VERSION, **asdict(ModelInfo(multiple=4))}
    del stored["hash"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({INFO_KEY: stored, "seed": [seed, width, layers]}))
    open_cache(read_info(path).hash).keep("model.xml", lambda target: _write(target, seed, width, layers))
    return path


def _write(target: Path, seed: int, width: int, layers: int) -> None:
    import openvino
    from openvino import opset13 as op

    rng = np.random.default_rng(seed)
    pixels = op.parameter([-1, -1, -1, 3], np.uint8, name="pixels")
    x = op.transpose(op.multiply(op.convert(pixels, "f32"), np.float32(1 / 255)), np.array([0, 3, 1, 2]))
    sizes = [3, *[width] * layers, 1]
    for k, (inside, out) in enumerate(pairwise(sizes)):
        kernel = rng.normal(0, (2 / 9 / inside) ** 0.5, (out, inside, 3, 3)).astype(np.float32)
        x = op.convolution(x, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
        x = op.relu(x) if k < layers else op.sigmoid(x)
    found = op.transpose(x, np.array([0, 2, 3, 1]))
    openvino.save_model(openvino.Model([found], [pixels], "light"), target, compress_to_fp16=False)


def light_predictor(model: Path, threads: int | None = None, **more: object) -> Predictor:
    """Its predictor, of small windows."""
    path = find_model(model)
    info = read_info(path)
    run = build("openvino f32", path, open_cache(info.hash), threads)
    return Predictor(run, info, CONFIG, name=str(path), **more)  # type: ignore[arg-type]


def raster(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """A GeoTIFF of noise, tiled."""
    import rasterio

    data = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, dtype="uint8", height=height, width=width, **place, **layout
    ) as target:
        target.write(data)
    return path


def light_plan(source: Path, out: Path, model: Path, **more: object) -> Plan:
    """How `source` is predicted into `out`, probabilities too."""
    out.mkdir(exist_ok=True)
    targets = (out / f"{source.stem}.tif", out / f"{source.stem}_prob.tif", None)
    return make_plan([source], targets, light_predictor(model, **more), Wanted(probabilities=True))
