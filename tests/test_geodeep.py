"""An exported model in the real GeoDeep: its mask is that of our own network run in GeoDeep's way."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from test_export import in_this_process, needs_onnx, network  # noqa: F401

import roadseg
from roadseg.learning.runs import load_model, read_info

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from geodeep_way import geodeep_mask, iou

# GeoDeep may lie in a folder of its own (pip install --no-deps --target FOLDER geodeep): what it needs is here.
if os.environ.get("ROADSEG_GEODEEP"):
    sys.path.append(os.environ["ROADSEG_GEODEEP"])
SCENE = 5  # the seed
pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("geodeep") is None,
        reason="geodeep is not installed: pip install geodeep, or set ROADSEG_GEODEEP to a folder that holds it",
    ),
    needs_onnx,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, mixed answers, a threshold that is not 0.5."""
    path = network(tmp_path_factory.mktemp("geodeep") / "model.keras", seen=roadseg.make_scene(SCENE, 256)[0])
    assert abs(read_info(path).threshold - 0.5) > 0.01
    return path


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    return roadseg.export(model, model.with_suffix(".onnx"), tile=64, resolution=0.5).path


def with_entries(source: Path, target: Path, **changes: str | None) -> Path:
    """The same ONNX file with other entries in its metadata; None takes one out."""
    import onnx

    changed = onnx.load(source)
    kept = {e.key: e.value for e in changed.metadata_props} | changes
    del changed.metadata_props[:]
    onnx.helper.set_model_props(changed, {k: v for k, v in kept.items() if v is not None})
    onnx.save(changed, target)
    return target


def write_scene(path: Path, height: int, width: int, metres: float, alpha: bool = False) -> Path:
    """A made scene as a georeferenced, tiled GeoTIFF."""
    bands = np.moveaxis(roadseg.make_scene(SCENE, (height, width))[0], 2, 0)
    if alpha:
        bands = np.concatenate([bands, np.full((1, height, width), 255, np.uint8)])
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(metres, 0, 5e5, 0, -metres, 5e6)}
    shape = {"height": height, "width": width, "count": len(bands), "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": 128, "blockysize": 128, "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **layout, **place) as target:
        target.write(bands)
    return path


def own_mask(model: Path, raster: Path, resolution_cm: float | None, small_segment: int = 0) -> np.ndarray:
    exact, info = load_model(model), read_info(model)

    def classify(window: np.ndarray) -> np.ndarray:
        found = np.asarray(exact(window[None], training=False))[0]
        decided = found.argmax(-1) if len(info.classes) > 2 else found[..., 0] > info.threshold
        return decided.astype(np.uint8)

    return geodeep_mask(raster, classify, 64, 20, resolution_cm, small_segment)


@pytest.fixture
def geodeep() -> Iterator[object]:
    import geodeep

    yield geodeep


@pytest.mark.parametrize(
    ("height", "width", "metres", "alpha"),
    [(200, 170, 0.5, False), (140, 260, 0.25, True), (50, 40, 0.5, False)],
    ids=["same scale", "twice as fine, with alpha", "smaller than a tile"],
)
def test_geodeeps_mask_is_our_networks_run_in_its_way(
    geodeep, model: Path, exported: Path, tmp_path: Path, height: int, width: int, metres: float, alpha: bool
) -> None:
    raster = write_scene(tmp_path / "scene.tif", height, width, metres, alpha)
    theirs = geodeep.run(str(raster), str(exported), output_type="raw")
    ours = own_mask(model, raster, 50.0)
    assert theirs.shape == ours.shape == (round(height * metres / 0.5), round(width * metres / 0.5))
    assert 0.02 < (theirs > 0).mean() < 0.98  # a mask of one class would show nothing
    assert iou(theirs, ours) >= 0.98


def test_several_classes_and_a_sieve_too(geodeep, tmp_path: Path) -> None:
    several = network(tmp_path / "several.keras", seen=roadseg.make_scene(SCENE, 256)[0], classes=3)
    plain = roadseg.export(several, tmp_path / "plain.onnx", tile=64).path
    sieved = with_entries(plain, tmp_path / "sieved.onnx", seg_small_segment="3")
    raster = write_scene(tmp_path / "scene.tif", 150, 180, 0.5)
    for path, small in ((plain, 0), (sieved, 3)):
        theirs = geodeep.run(str(raster), str(path), output_type="raw")
        ours = own_mask(several, raster, 50.0, small)
        assert len(np.unique(theirs)) > 1 and (theirs == ours).mean() > 0.98, path.name


def test_a_model_that_does_not_know_its_ground_is_not_resampled(
    geodeep, model: Path, exported: Path, tmp_path: Path
) -> None:
    unknown = with_entries(exported, tmp_path / "unknown.onnx", resolution=None)
    raster = write_scene(tmp_path / "scene.tif", 120, 100, 0.3)
    theirs = geodeep.run(str(raster), str(unknown), output_type="raw")
    assert theirs.shape == (120, 100) and iou(theirs, own_mask(model, raster, None)) >= 0.98
