"""Made-up rasters, models and plans for the tests of streaming prediction."""

from pathlib import Path

import numpy as np
import rasterio

from roadseg.config import PredictConfig
from roadseg.inference.planning import Wanted, make_plan
from roadseg.inference.predictor import Predictor
from roadseg.learning.runs import ModelInfo

PLACE = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
INFO = ModelInfo(hash="abc")
CONFIG = PredictConfig(window=64, overlap=16, batch=2)


def smooth(batch):
    """A model with context, deterministic to the last bit whatever the batch: shifted sums, zeros beyond the window."""
    x = batch[..., :1].astype(np.float32) / 255
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return np.sqrt((padded[:, 4:, 2:-2] + 2 * padded[:, 2:-2, 4:] + padded[:, :-4, :-4] + x) / 5)


def shares(batch):
    """Three classes."""
    x = smooth(batch)
    return np.concatenate([x / 2, 1 - x, x / 2], axis=-1)


def raster(path, height=500, width=180, *, bands=3, nodata=None, hole=None, dtype="uint8", seed=0, **place):
    """Write a made-up GeoTIFF; give its pixels (H, W, bands)."""
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, bands)).astype(dtype)
    if hole is not None:
        pixels[hole] = nodata
    profile = {
        "height": height,
        "width": width,
        "count": bands,
        "dtype": dtype,
        "nodata": nodata,
        "compress": "deflate",
    }
    profile |= {"tiled": True, "blockxsize": 64, "blockysize": 64}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **profile, **(PLACE | place)) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return pixels


def predictor(run=smooth, *, info=INFO, config=CONFIG, **more):
    return Predictor(run, info, config, name="", engine="test", **more)


def plan_of(source, out, model=None, **wanted):
    """The plan of one raster."""
    asked = Wanted(**wanted)
    suffix = ".tif" if Path(source).suffix == ".tif" else ".png"
    names = ("x", "x_prob" if asked.probabilities else None, "x_unc" if asked.uncertainty else None)
    targets = tuple(None if name is None else Path(out) / f"{name}{suffix}" for name in names)
    return make_plan([Path(source)], targets, model or predictor(), asked)


def contents(folder):
    """The bytes of every file in a folder but the record, by name."""
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file() and p.name != "predict.json"}
