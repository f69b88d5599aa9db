"""Rasters of every kind through the whole of prediction: holes, areas, grids, formats, what is asked for beside."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from PIL import Image
from streams import INFO, contents, predictor, raster, shares, smooth

from roadseg.config import PredictConfig
from roadseg.errors import ConfigError, DataError, ImageError, OutputError, RoadsegWarning
from roadseg.imagery.sources import Placing
from roadseg.inference import plan
from roadseg.inference import tiff as tiff_module
from roadseg.inference.engine import with_tta
from roadseg.inference.estimate import estimate
from roadseg.inference.outputs import Wanted, plan_outputs, predict_files, run_jobs
from roadseg.inference.parts import FolderParts
from roadseg.inference.png import PngWriter
from roadseg.inference.strips import never, predict_strip
from roadseg.inference.tiling import Grid


@pytest.fixture(autouse=True)
def parts_of_everything(monkeypatch):
    """Small rasters go the way of large ones."""
    monkeypatch.setattr(plan, "SMALL", 0)


def go(source, out, model=None, progress=None, **wanted):
    return predict_files(model or predictor(), [source], out, progress=progress, wanted=Wanted(**wanted))


def band(path):
    with rasterio.open(path) as found:
        return found.read(1), found.dataset_mask() > 0


def expected_mask(pixels, model=None):
    model = model or predictor()
    return model.mask(model.probabilities(np.ascontiguousarray(pixels)))


def test_a_raster_and_an_array_of_its_pixels_give_the_same(tmp_path):
    pixels = raster(tmp_path / "x.tif")
    go(tmp_path / "x.tif", tmp_path / "out", probabilities=True)
    found = predictor().probabilities(pixels)
    np.testing.assert_array_equal(band(tmp_path / "out" / "x.tif")[0], predictor().mask(found))
    np.testing.assert_array_equal(band(tmp_path / "out" / "x_prob.tif")[0], np.rint(found[..., 0] * 255))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"x.tif", "x_prob.tif", "predict.json"}


@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_so_they_do_at_another_ground_scale(tmp_path, scale):
    model = predictor(info=replace(INFO, scale=scale))
    pixels = raster(tmp_path / "x.tif", 300, 200)
    go(tmp_path / "x.tif", tmp_path / "out", model, probabilities=True)
    found = model.probabilities(pixels)
    np.testing.assert_array_equal(band(tmp_path / "out" / "x.tif")[0], model.mask(found))
    np.testing.assert_array_equal(band(tmp_path / "out" / "x_prob.tif")[0], np.rint(found[..., 0] * 255))


def test_memory_and_folder_give_the_same_bytes(tmp_path, monkeypatch):
    raster(tmp_path / "x.tif", nodata=0, hole=np.s_[100:220, 30:])
    go(tmp_path / "x.tif", tmp_path / "parts", probabilities=True)
    monkeypatch.setattr(plan, "SMALL", 10**9)
    monkeypatch.setattr(FolderParts, "start", None)
    go(tmp_path / "x.tif", tmp_path / "memory", probabilities=True)
    assert contents(tmp_path / "parts") == contents(tmp_path / "memory")


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("late", [False, True])
def test_what_has_no_data_gets_none_to_the_pixel(tmp_path, scale, late):
    hole = np.s_[330:470, 10:90] if late else np.s_[0:60, 100:]
    raster(tmp_path / "x.tif", nodata=0, hole=hole)
    go(tmp_path / "x.tif", tmp_path / "out", predictor(info=replace(INFO, scale=scale)), probabilities=True)
    truth = np.ones((500, 180), bool)
    truth[hole] = False
    for name in ("x.tif", "x_prob.tif"):
        values, valid = band(tmp_path / "out" / name)
        np.testing.assert_array_equal(valid, truth)
        assert (values[~truth] == 0).all()
        with rasterio.open(tmp_path / "out" / name) as found:
            assert found.nodata is None


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_a_map_of_classes_says_no_data_by_value(tmp_path, scale):
    model = predictor(shares, info=replace(INFO, classes=("a", "b", "c"), scale=scale))
    pixels = raster(tmp_path / "x.tif", nodata=0, hole=np.s_[200:260])
    go(tmp_path / "x.tif", tmp_path / "out", model)
    with rasterio.open(tmp_path / "out" / "x.tif") as found:
        assert found.nodata == 255
        values = found.read(1)
    assert (values[200:260] == 255).all() and (np.delete(values, np.s_[200:260], 0) < 3).all()
    if scale == 1:
        np.testing.assert_array_equal(values[:180], expected_mask(pixels, model)[:180])


def test_nothing_but_no_data_gives_an_output_without_any_and_a_warning(tmp_path):
    raster(tmp_path / "x.tif", nodata=0, hole=np.s_[:])

    def run(batch):
        raise AssertionError("the network has nothing to do")

    with pytest.warns(RoadsegWarning, match=r"x\.tif' has no data anywhere"):
        go(tmp_path / "x.tif", tmp_path / "out", predictor(run))
    assert not band(tmp_path / "out" / "x.tif")[1].any()


def test_windows_without_data_cost_nothing(tmp_path):
    raster(tmp_path / "x.tif", nodata=0, hole=np.s_[100:])
    summary = go(tmp_path / "x.tif", tmp_path / "out")
    assert 0 < summary.network_pixels < Grid(500, 180, 64, 16).network_pixels / 3


def test_an_area_of_interest_is_all_that_is_predicted(tmp_path):
    pixels = raster(tmp_path / "x.tif")
    ring = [[5e5 + 0.5 * x, 5e6 - 0.5 * y] for x, y in ((20, 100), (90, 100), (90, 180), (20, 180), (20, 100))]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (tmp_path / "aoi.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}), encoding="utf-8"
    )
    summary = go(tmp_path / "x.tif", tmp_path / "out", aoi=tmp_path / "aoi.geojson")
    values, valid = band(tmp_path / "out" / "x.tif")
    truth = np.zeros_like(valid)
    truth[100:180, 20:90] = True
    np.testing.assert_array_equal(valid, truth)
    np.testing.assert_array_equal(values[truth], expected_mask(pixels)[truth])
    assert summary.network_pixels < 500 * 180 / 2
    with pytest.raises(DataError, match=r"nowhere\.gpkg"):
        go(tmp_path / "x.tif", tmp_path / "out", aoi=tmp_path / "nowhere.gpkg")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_of_any_size_goes_the_same_way(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (420, 310, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"x{suffix}")
    go(tmp_path / f"x{suffix}", tmp_path / "out", probabilities=True)
    with Image.open(tmp_path / f"x{suffix}") as image:
        pixels = np.array(image)
    for name, wanted in (
        ("x.png", expected_mask(pixels)),
        ("x_prob.png", np.rint(predictor().probabilities(pixels)[..., 0] * 255)),
    ):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.array(image), wanted)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 700), (700, 3), (65, 64)])
def test_a_png_is_one_whatever_its_size_and_its_cuts(tmp_path, height, width):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)
    for cut in (1, 7, height):
        with PngWriter(tmp_path / "x.png", height, width) as png:
            for top in range(0, height, cut):
                png.write(pixels[top : top + cut])
        with Image.open(tmp_path / "x.png") as image:
            image.load()
            np.testing.assert_array_equal(np.array(image), pixels)


def test_several_files_are_one_mosaic(tmp_path):
    left = raster(tmp_path / "in" / "a.tif", 200, 150, seed=1)
    right = raster(
        tmp_path / "in" / "b.tif", 200, 100, seed=2, transform=rasterio.Affine(0.5, 0, 5e5 + 75, 0, -0.5, 5e6)
    )
    go(tmp_path / "in", tmp_path / "out", mosaic="city")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"city.tif", "predict.json"}
    np.testing.assert_array_equal(
        band(tmp_path / "out" / "city.tif")[0], expected_mask(np.concatenate([left, right], axis=1))
    )
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert [len(image["mosaic"]) for image in record["images"]] == [2]
    for bad in ("", "a/b", ".hidden"):
        with pytest.raises(ConfigError, match="--mosaic"):
            plan_outputs([tmp_path / "in"], tmp_path / "out", wanted=Wanted(mosaic=bad))


def test_a_virtual_raster_is_one(tmp_path):
    pixels = raster(tmp_path / "in" / "a.tif", 200, 150)
    text = """<VRTDataset rasterXSize="150" rasterYSize="200"><SRS>EPSG:32632</SRS>
        <GeoTransform>500000, 0.5, 0, 5000000, 0, -0.5</GeoTransform>{}</VRTDataset>"""
    one = """<VRTRasterBand dataType="Byte" band="{0}"><SimpleSource><SourceFilename relativeToVRT="1">in/a.tif
        </SourceFilename><SourceBand>{0}</SourceBand></SimpleSource></VRTRasterBand>"""
    one = " ".join(one.split()).replace(" </SourceFilename>", "</SourceFilename>")
    (tmp_path / "x.vrt").write_text(text.format("".join(one.format(n) for n in (1, 2, 3))))
    go(tmp_path / "x.vrt", tmp_path / "out")
    np.testing.assert_array_equal(band(tmp_path / "out" / "x.tif")[0], expected_mask(pixels))


def test_bands_are_chosen_and_values_stretched(tmp_path):
    pixels = raster(tmp_path / "x.tif", 120, 90, bands=5, dtype="uint16")
    with pytest.raises(DataError, match=r"5 bands but the model was trained on 3: --bands"):
        go(tmp_path / "x.tif", tmp_path / "out")
    with pytest.raises(ImageError, match="--value-range"):
        go(tmp_path / "x.tif", tmp_path / "out", bands=(4, 3, 2))
    go(tmp_path / "x.tif", tmp_path / "out", bands=(4, 3, 2), value_range=(0.0, 510.0))
    chosen = np.rint(pixels[..., [3, 2, 1]] / 2).astype(np.uint8)
    np.testing.assert_array_equal(band(tmp_path / "out" / "x.tif")[0], expected_mask(chosen))
    record = json.loads((tmp_path / "out" / "predict.json").read_text())["images"][0]
    assert record["bands"] == [4, 3, 2] and record["value_range"] == [0.0, 510.0]
    go(tmp_path / "x.tif", tmp_path / "auto", bands=(4, 3, 2), value_range="auto")
    low, high = json.loads((tmp_path / "auto" / "predict.json").read_text())["images"][0]["value_range"]
    assert 0 <= low < 5 and 250 < high <= 255
    with pytest.raises(DataError, match="no band 9"):
        go(tmp_path / "x.tif", tmp_path / "out", bands=(9, 1, 2))
    with pytest.raises(ConfigError, match="not below"):
        go(tmp_path / "x.tif", tmp_path / "out", bands=(4, 3, 2), value_range=(5.0, 5.0))


def test_a_raster_of_another_resolution_is_resampled_and_the_result_laid_back(tmp_path):
    model = predictor(info=replace(INFO, ground_resolution_m=1.0))
    raster(tmp_path / "x.tif", 300, 200)  # at 0.5 m
    summary = go(tmp_path / "x.tif", tmp_path / "out", model)
    record = json.loads((tmp_path / "out" / "predict.json").read_text())["images"][0]
    assert record["resampled"] == {"factor": pytest.approx(0.5, rel=0.01), "width": 100, "height": 150}
    assert band(tmp_path / "out" / "x.tif")[0].shape == (300, 200) and summary.network_pixels < 300 * 200
    go(tmp_path / "x.tif", tmp_path / "out", model, resolution_m=1.0)
    record = json.loads((tmp_path / "out" / "predict.json").read_text())["images"][0]
    assert "resampled" not in record
    with pytest.raises(ConfigError, match="does not know"):
        go(tmp_path / "x.tif", tmp_path / "out", resolution_m=1.0)


def test_a_place_that_is_not_known_is_told(tmp_path):
    raster(tmp_path / "x.tif", 70, 90, crs=None)
    with pytest.warns(RoadsegWarning, match=r"no CRS: '.*x\.tif'"):
        go(tmp_path / "x.tif", tmp_path / "out")
    raster(tmp_path / "y.tif", 70, 90, crs="EPSG:4326", transform=rasterio.Affine(1e-5, 0, 8.5, 0, -1e-5, 47))
    with pytest.warns(RoadsegWarning, match="in degrees"):
        go(tmp_path / "y.tif", tmp_path / "out", predictor(info=replace(INFO, ground_resolution_m=1.0)))
    with rasterio.open(tmp_path / "out" / "y.tif") as found:
        assert found.crs.to_epsg() == 4326


def test_a_rotated_grid_is_kept(tmp_path):
    turned = rasterio.Affine(0.433, 0.25, 5e5, 0.25, -0.433, 5e6)
    raster(tmp_path / "x.tif", 70, 90, transform=turned)
    go(tmp_path / "x.tif", tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "x.tif") as found:
        assert found.transform.almost_equals(turned) and found.crs.to_epsg() == 32632


def layout(path):
    """Offsets of a TIFF's directories and of its pixels."""
    with rasterio.open(path) as found:
        structure = found.tags(ns="IMAGE_STRUCTURE")
        first = int(found.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
        return structure.get("LAYOUT"), found.overviews(1), first, found.block_shapes[0]


def test_a_cog_has_overviews_and_its_directory_in_front(tmp_path):
    pixels = raster(tmp_path / "x.tif", 1200, 1100, nodata=0, hole=np.s_[500:560, 300:])
    model = predictor(config=PredictConfig(window=512, overlap=32))
    go(tmp_path / "x.tif", tmp_path / "plain", model, probabilities=True)
    go(tmp_path / "x.tif", tmp_path / "cog", model, probabilities=True, cog=True)
    for name in ("x.tif", "x_prob.tif"):
        kind, overviews, first, block = layout(tmp_path / "cog" / name)
        assert kind == "COG" and overviews == [2, 4] and block == (512, 512) and first > 1000
        for one, other in zip(band(tmp_path / "cog" / name), band(tmp_path / "plain" / name), strict=True):
            np.testing.assert_array_equal(one, other)
    with rasterio.open(tmp_path / "cog" / "x.tif", overview_level=0) as smaller:
        assert set(np.unique(smaller.read(1))) <= {0, 255} and (smaller.dataset_mask() == 0).any()
    assert {p.name for p in (tmp_path / "cog").iterdir()} == {"x.tif", "x_prob.tif", "predict.json"}
    assert pixels.shape == (1200, 1100, 3)


def brighter_to_the_left(batch):
    x = batch[..., :1].astype(np.float32) / 255
    ramp = np.linspace(1, 0, batch.shape[2], dtype=np.float32)[None, None, :, None]
    return np.clip(x * 0 + ramp, 0, 1)


def test_uncertainty_is_the_spread_over_the_views(tmp_path):
    raster(tmp_path / "x.tif", 50, 50)
    model = predictor(brighter_to_the_left, tta=True, config=PredictConfig(window=128, overlap=16))
    go(tmp_path / "x.tif", tmp_path / "out", model, uncertainty=True, probabilities=True)
    values, _ = band(tmp_path / "out" / "x_unc.tif")
    ramp = np.linspace(1, 0, 96)[23:73]
    x, y = np.meshgrid(ramp, ramp)
    answers = np.stack([x, 1 - x, x, 1 - x, y, 1 - y, y, 1 - y])
    np.testing.assert_allclose(values, answers.std(axis=0) * 510, atol=1.01)
    with rasterio.open(tmp_path / "out" / "x_unc.tif") as found:
        assert found.scales == (pytest.approx(0.5 / 255),)
    found, _ = band(tmp_path / "out" / "x_prob.tif")
    np.testing.assert_allclose(found, answers.mean(axis=0) * 255, atol=1.01)


def test_without_several_answers_there_is_no_uncertainty(tmp_path):
    raster(tmp_path / "x.tif", 50, 50)
    with pytest.raises(ConfigError, match=r"--uncertainty.*no ensemble.*--tta"):
        go(tmp_path / "x.tif", tmp_path / "out", uncertainty=True)
    assert not (tmp_path / "out").exists()


def test_uncertainty_of_a_raster_at_another_scale(tmp_path):
    raster(tmp_path / "x.tif", 120, 110)
    model = predictor(tta=True, info=replace(INFO, scale=0.5))
    go(tmp_path / "x.tif", tmp_path / "out", model, uncertainty=True)
    values, _ = band(tmp_path / "out" / "x_unc.tif")
    assert values.shape == (120, 110) and 0 < values.max() < 255
    tta = predictor(with_tta(smooth), info=replace(INFO, scale=0.5))
    with rasterio.open(tmp_path / "x.tif") as source:
        pixels = np.moveaxis(source.read(), 0, -1)
    np.testing.assert_array_equal(band(tmp_path / "out" / "x.tif")[0], expected_mask(pixels, tta))


def test_a_raster_that_is_truncated_names_the_rows_and_keeps_what_was_before(tmp_path):
    raster(tmp_path / "x.tif", 900, 180)
    with rasterio.open(tmp_path / "x.tif") as found:
        end = int(found.get_tag_item("BLOCK_OFFSET_0_9", "TIFF", bidx=1))
    raw = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(raw[: end - 10])
    with pytest.raises(ImageError, match=r"x\.tif'.*rows \d+ to \d+.*finished bands are kept in.*\.x\.tif\.parts"):
        go(tmp_path / "x.tif", tmp_path / "out")
    kept = sorted(p.name for p in (tmp_path / "out" / ".x.tif.parts").glob("*.band"))
    assert len(kept) >= 4 and not (tmp_path / "out" / "x.tif").exists()


def test_an_output_disk_that_fills_up_at_the_end_keeps_the_bands(tmp_path, monkeypatch):
    raster(tmp_path / "x.tif")
    expected = go(tmp_path / "x.tif", tmp_path / "whole") and contents(tmp_path / "whole")

    def full(self, rows, valid=None):
        raise tiff_module._failed(self.path, self.name, "write error")

    with monkeypatch.context() as patch:
        patch.setattr(tiff_module.TiffWriter, "write", full)
        with pytest.raises(OutputError, match=r"cannot write '.*out/x\.tif'"):
            go(tmp_path / "x.tif", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {".x.tif.parts"}
    computed = []

    def run(batch):
        computed.append(1)
        return smooth(batch)

    go(tmp_path / "x.tif", tmp_path / "out", predictor(run), resume=True)
    assert not computed and contents(tmp_path / "out") == expected


def test_a_file_that_does_not_hold_what_was_written_is_noticed(tmp_path, monkeypatch):
    raster(tmp_path / "x.tif")
    monkeypatch.setattr(tiff_module.zlib, "crc32", lambda data, start=0: start + 1 + len(bytes(data)) % 7)
    check = tiff_module.TiffWriter._check
    monkeypatch.setattr(tiff_module.TiffWriter, "_check", lambda self: setattr(self, "_sum", -1) or check(self))
    with pytest.raises(OutputError, match="does not hold what was written"):
        go(tmp_path / "x.tif", tmp_path / "out")


def test_an_input_that_has_changed_is_not_gone_on_with(tmp_path):
    raster(tmp_path / "x.tif", 900, 180)

    def run(batch):
        raise OSError("power is gone")

    with pytest.raises(OSError):
        go(tmp_path / "x.tif", tmp_path / "out", predictor(run))
    raster(tmp_path / "x.tif", 900, 180, seed=5)
    with pytest.raises(ImageError, match=r"\.x\.tif\.parts' was begun with other settings: files"):
        go(tmp_path / "x.tif", tmp_path / "out", resume=True)


def test_finished_images_of_a_folder_are_not_predicted_again(tmp_path):
    for name in "abc":
        raster(tmp_path / "in" / f"{name}.tif", 40, 40, seed=ord(name))
    calls = []

    def run(batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return smooth(batch)

    with pytest.raises(KeyboardInterrupt, match=r"2 of 3 images are finished; .*--resume goes on"):
        go(tmp_path / "in", tmp_path / "out", predictor(run))
    steps = []
    summary = go(tmp_path / "in", tmp_path / "out", predictor(run), steps.append, resume=True)
    assert len(calls) == 4 and summary.kept == 2 * 40 * 40 and steps[-1].done == 3 * 40 * 40
    (tmp_path / "out" / "b.tif").write_bytes(b"not what it was")
    go(tmp_path / "in", tmp_path / "out", predictor(run), resume=True)
    assert len(calls) == 5
    go(tmp_path / "in", tmp_path / "out", predictor(run))
    assert len(calls) == 8  # without --resume all is begun anew


def elsewhere(plan, parts, numbers, advance):
    """What a cluster does, one strip after the other."""
    for number in numbers:
        predict_strip(plan, number, smooth, parts)
        advance(plan.pixels(number))


def spread_out(source, out, stop=never, **wanted):
    asked = Wanted(**wanted)
    jobs = plan_outputs([source], out, wanted=asked)
    return run_jobs(predictor(), jobs, out, wanted=asked, stop=stop, spread=elsewhere)


def test_what_is_computed_elsewhere_stops_when_it_is_asked_to_and_goes_on(tmp_path):
    raster(tmp_path / "x.tif", 900, 200)
    go(tmp_path / "x.tif", tmp_path / "one")
    with pytest.raises(KeyboardInterrupt, match=r"kept in .*--resume goes on"):
        spread_out(tmp_path / "x.tif", tmp_path / "out", stop=lambda: True)
    assert not (tmp_path / "out" / "x.tif").exists()
    spread_out(tmp_path / "x.tif", tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_images_too_small_to_be_shared_out_are_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 10**9)
    raster(tmp_path / "x.tif", 300, 200)
    with pytest.warns(RoadsegWarning, match="no image is large enough"):
        spread_out(tmp_path / "x.tif", tmp_path / "out")


def test_the_step_says_how_fast_and_how_long(tmp_path):
    raster(tmp_path / "x.tif")
    steps = []
    go(tmp_path / "x.tif", tmp_path / "out", progress=steps.append)
    assert [step.done for step in steps][-1] == 500 * 180
    assert all(step.megapixels_per_second > 0 and step.seconds_left >= 0 for step in steps)
    assert replace(steps[0], kept=steps[0].done).seconds_left is None


def test_a_dry_run_reckons_and_writes_nothing(tmp_path):
    raster(tmp_path / "x.tif")
    jobs = plan_outputs([tmp_path / "x.tif"], tmp_path / "out")
    found = estimate(predictor(), jobs, Wanted())
    assert found.pixels == 500 * 180 and found.network_pixels > found.pixels and found.seconds > 0
    assert found.memory_mb > 0 and found.output_mb > 0 and found.parts_mb > 0
    assert "nothing written" in found.text() and "Mpx/s" in found.text()
    assert not (tmp_path / "out").exists()


def peak(folder, height):
    """MB that Python and NumPy hold at most while a raster of that height is predicted."""
    raster(folder / f"{height}.tif", height, 400)
    model = predictor(config=PredictConfig(window=256, overlap=32))
    tracemalloc.start()
    go(folder / f"{height}.tif", folder / "out", model, probabilities=True)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def test_memory_does_not_grow_with_the_raster(tmp_path):
    peak(tmp_path, 600)
    short, tall = peak(tmp_path, 1500), peak(tmp_path, 6000)
    assert tall < 1.5 * short  # threads meet more or less luckily; the raster is four times as high


def test_the_writers_do_not_hold_a_raster(tmp_path):
    def most(write, height):
        tracemalloc.start()
        with write(tmp_path / "x", height) as target:
            for _ in range(height // 100):
                target.write(np.full((100, 2000), 7, np.uint8))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for write in (
        lambda path, height: PngWriter(path.with_suffix(".png"), height, 2000),
        lambda path, height: tiff_module.TiffWriter(path.with_suffix(".tif"), height, 2000, Placing()),
    ):
        most(write, 1000)
        assert most(write, 8000) < 1.2 * most(write, 1000) + 100_000
