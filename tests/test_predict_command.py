"""Prediction folders and `roadseg predict`, with made-up models and made-up images."""

import argparse
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from roadseg.commands import predict as command
from roadseg.config import PredictConfig
from roadseg.errors import ConfigError, DataError, ImageError, ModelError, OutputError
from roadseg.inference import predictor as predictor_module
from roadseg.inference.outputs import plan_outputs, predict_files
from roadseg.inference.predictor import Predictor, load_predictor
from roadseg.learning.runs import ModelInfo

rasterio = pytest.importorskip("rasterio")


def first_band(batch):
    return batch[..., :1].astype(np.float32) / 255


def three_bands(batch):
    x = batch.astype(np.float32) + 1e-3
    return x / x.sum(-1, keepdims=True)


INFO = ModelInfo(hash="abc")


@pytest.fixture
def predictor():
    return Predictor(first_band, INFO, PredictConfig(window=64, overlap=16), name="RUN/model.keras", engine="keras")


def picture(path, height=50, width=70, bands=3, seed=0):
    """Write a made-up image; give its pixels (H, W, bands)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if bands == 3 else pixels[..., 0]).save(path)
    return pixels


def geotiff(path, height=300, width=280, nodata=None, hole=None):
    pixels = np.random.default_rng(1).integers(1, 256, (height, width, 3), dtype=np.uint8)
    if hole:
        pixels[hole] = nodata
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
    size = {"height": height, "width": width, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **size, **place) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return pixels


def read(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.array(image)


def test_a_png_and_a_jpeg_give_8_bit_masks_of_the_same_size(tmp_path, predictor):
    pixels = picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.jpg", 100, 33)
    summary = predict_files(predictor, [tmp_path / "in"], tmp_path / "out", probabilities=True)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "a.png",
        "a_prob.png",
        "b.png",
        "b_prob.png",
        "predict.json",
    }
    assert (read(tmp_path / "out" / "a.png") == np.where(pixels[..., 0] > 127.5, 255, 0)).all()
    assert (read(tmp_path / "out" / "a_prob.png") == pixels[..., 0]).all()
    assert read(tmp_path / "out" / "b.png").shape == (100, 33)
    assert (summary.images, summary.pixels) == (2, 50 * 70 + 100 * 33)
    assert summary.megapixels_per_second > 0


def test_a_grey_image_is_taken_by_a_colour_model(tmp_path, predictor):
    pixels = picture(tmp_path / "a.png", bands=1)
    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out")
    assert (read(tmp_path / "out" / "a.png") == np.where(pixels[..., 0] > 127.5, 255, 0)).all()


def test_a_geotiff_keeps_its_grid_and_its_holes(tmp_path, predictor):
    pixels = geotiff(tmp_path / "x.tiff", nodata=0, hole=np.s_[:40, :60])
    predict_files(predictor, [tmp_path / "x.tiff"], tmp_path / "out", probabilities=True)
    for name in ("x.tif", "x_prob.tif"):
        with rasterio.open(tmp_path / "out" / name) as found, rasterio.open(tmp_path / "x.tiff") as source:
            assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
            assert found.count == 1 and found.dtypes == ("uint8",)
            assert found.block_shapes == [(256, 256)] and found.compression is not None
            valid = found.dataset_mask() > 0
            assert not valid[:40, :60].any() and valid.sum() == 300 * 280 - 40 * 60
            values = found.read(1)
            assert (values[~valid] == 0).all()
            expected = pixels[..., 0] if "prob" in name else np.where(pixels[..., 0] > 127.5, 255, 0)
            assert (values[valid] == expected[valid]).all()
    assert not list((tmp_path / "out").glob("*.msk"))


def test_a_geotiff_without_holes_gets_no_mask(tmp_path, predictor):
    geotiff(tmp_path / "x.tif")
    predict_files(predictor, [tmp_path / "x.tif"], tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "x.tif") as found:
        assert found.nodata is None and (found.dataset_mask() == 255).all()


def test_several_classes_write_the_index_and_255_where_there_is_nothing(tmp_path):
    predictor = Predictor(three_bands, replace(INFO, classes=("a", "b", "c")))
    pixels = geotiff(tmp_path / "x.tif", nodata=0, hole=np.s_[:10])
    predict_files(predictor, [tmp_path / "x.tif"], tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "x.tif") as found:
        assert found.nodata == 255
        values = found.read(1)
    assert (values[:10] == 255).all()
    ordered = np.sort(pixels[10:], axis=-1)
    clear = ordered[..., 2] > ordered[..., 1]
    assert (values[10:] == pixels[10:].argmax(-1))[clear].all()


def test_the_record_says_what_predicted_and_how(tmp_path, predictor):
    picture(tmp_path / "a.png")
    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out")
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["model"] == "RUN/model.keras" and record["model_hash"] == "abc"
    assert record["options"]["threshold"] == 0.5 and record["options"]["window"] == 64
    assert {"roadseg", "python", "numpy"} <= set(record["versions"])
    (image,) = record["images"]
    expected = {"input": str(tmp_path / "a.png"), "width": 70, "height": 50, "mask": "a.png"}
    assert expected.items() <= image.items() and image["seconds"] > 0
    assert image["grid"] | {"overlap": 16, "stride": 48, "windows": [2, 2]} == image["grid"]


def test_two_inputs_for_one_output_are_refused_before_anything_is_written(tmp_path, predictor):
    picture(tmp_path / "one" / "x.png")
    picture(tmp_path / "two" / "x.jpg")
    with pytest.raises(DataError, match=r"one/x\.png' and '.*two/x\.jpg' would both write '.*out/x\.png'"):
        predict_files(predictor, [tmp_path / "one", tmp_path / "two" / "x.jpg"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    geotiff(tmp_path / "one" / "x.tif")  # x.tif and x.png do not meet
    assert len(plan_outputs([tmp_path / "one"], tmp_path / "out")) == 2


def test_a_probability_that_meets_a_mask_is_refused(tmp_path):
    picture(tmp_path / "x.png")
    picture(tmp_path / "x_prob.png")
    assert len(plan_outputs([tmp_path], tmp_path / "out")) == 2
    with pytest.raises(DataError, match="would both write"):
        plan_outputs([tmp_path], tmp_path / "out", probabilities=True)


def test_an_input_is_never_overwritten(tmp_path, predictor):
    pixels = picture(tmp_path / "x.png")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(OutputError, match="would overwrite the input"):
            predict_files(predictor, [tmp_path / "x.png"], out)
    with Image.open(tmp_path / "x.png") as image:
        assert (np.array(image) == pixels).all()
    picture(tmp_path / "y.jpg")  # its output is y.png, beside it
    predict_files(predictor, [tmp_path / "y.jpg"], tmp_path)
    assert (tmp_path / "y.png").exists()


def test_an_input_that_is_no_image_is_named_before_anything_is_predicted(tmp_path, predictor):
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"not a picture at all, only text")
    with pytest.raises(ImageError, match=r"b\.png"):
        predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_does_not_stop_the_others(tmp_path, predictor):
    for name in "abc":
        picture(tmp_path / "in" / f"{name}.png", seed=ord(name))
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"b\.png.*2 of 3 images are predicted"):
        predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "predict.json"]
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert ["error" in entry for entry in record["images"]] == [False, True, False]


def test_bands_that_the_model_does_not_take_are_named_first(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png' has 3 bands but the model was trained on 5"):
        predict_files(Predictor(first_band, replace(INFO, bands=5)), [tmp_path / "a.png"], tmp_path / "out")


def test_a_missing_input_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png"):
        plan_outputs([tmp_path / "nowhere.png"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images|empty"):
        plan_outputs([tmp_path / "empty"], tmp_path / "out")


def test_progress_goes_on_to_the_last_pixel(tmp_path, predictor):
    picture(tmp_path / "in" / "a.png", 300, 40)
    picture(tmp_path / "in" / "b.png", 20, 20)
    steps = []
    predict_files(predictor, [tmp_path / "in"], tmp_path / "out", progress=steps.append)
    done = [step.done for step in steps]
    assert done == sorted(done) and done[-1] == steps[-1].pixels == 300 * 40 + 20 * 20
    assert len(steps) > 3 and (steps[-1].image, steps[-1].images) == (1, 2)


def run(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def model(tmp_path, monkeypatch, predictor):
    """A file in a model's place, and what `load_predictor` was asked for."""
    asked = {}

    def load(model, config, tta, threshold, engine, **more):
        asked.update(model=model, config=config, tta=tta, threshold=threshold, engine=engine, **more)
        return predictor

    monkeypatch.setattr(predictor_module, "load_predictor", load)
    path = tmp_path / "model.keras"
    path.write_bytes(b"")
    return path, asked


def test_the_command_predicts_and_says_how_fast(tmp_path, capsys, model):
    picture(tmp_path / "a.png")
    assert run(model[0], tmp_path / "a.png", "--out", tmp_path / "out", "--batch", 2, "--tta", "--threshold", 0.3) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "1 image" in last and "Mpx/s" in last and str(tmp_path / "out") in last
    assert read(tmp_path / "out" / "a.png").shape == (50, 70)
    asked = model[1]
    assert (asked["config"].batch, asked["tta"], asked["threshold"], asked["engine"]) == (2, True, 0.3, "auto")


def test_a_log_gets_a_line_a_minute(tmp_path, capsys, model, monkeypatch):
    monkeypatch.setattr(command, "MINUTE", 0.0)
    picture(tmp_path / "a.png", 300, 40)
    run(model[0], tmp_path / "a.png", "--out", tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and lines[-2].startswith("1/1 images, 100%")


def test_a_terminal_gets_a_bar(tmp_path, capsys, model, monkeypatch):
    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    picture(tmp_path / "a.png")
    run(model[0], tmp_path / "a.png", "--out", tmp_path / "out")
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("threshold", ["-0.1", "1.5", "nan"])
def test_a_threshold_outside_0_to_1_is_refused(tmp_path, threshold):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        run("RUN", "a.png", "--out", tmp_path, "--threshold=" + threshold)


def test_a_batch_of_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"predict\.batch"):
        run("RUN", "a.png", "--out", tmp_path, "--batch", 0)


def test_a_small_window_gets_an_overlap_that_fits(tmp_path, model):
    picture(tmp_path / "a.png")
    run(model[0], tmp_path / "a.png", "--out", tmp_path / "out", "--window", 64)
    assert (model[1]["config"].window, model[1]["config"].overlap) == (64, 32)


def test_a_dry_run_says_what_it_takes_and_writes_nothing(tmp_path, capsys, model):
    picture(tmp_path / "a.png")
    assert run(model[0], tmp_path / "a.png", "--out", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("1 image", "Mpx/s", "memory", "disk", "nothing written"))
    assert not (tmp_path / "out").exists()


def test_bands_and_values_are_read_from_words(tmp_path, model):
    geotiff(tmp_path / "x.tif")
    words = ("--bands", "3,2,1", "--value-range", "0,200", "--cog", "--uncertainty")
    with pytest.raises(ConfigError, match="--uncertainty"):
        run(model[0], tmp_path / "x.tif", "--out", tmp_path / "out", *words)
    run(model[0], tmp_path / "x.tif", "--out", tmp_path / "out", *words[:-1], "--mosaic", "all")
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert record["images"][0]["bands"] == [3, 2, 1] and record["images"][0]["value_range"] == [0, 200]
    assert record["options"]["cog"] and (tmp_path / "out" / "all.tif").exists()
    for bad in (("--bands", "red"), ("--value-range", "5"), ("--value-range", "low,high")):
        with pytest.raises(ConfigError, match=bad[0]):
            run(model[0], tmp_path / "x.tif", "--out", tmp_path / "out", *bad)


def test_a_signal_to_end_finishes_the_band_under_way(tmp_path, model, monkeypatch, predictor):
    from roadseg.inference import plan

    monkeypatch.setattr(plan, "SMALL", 0)
    geotiff(tmp_path / "x.tif")
    calls = []

    def ends(batch):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return first_band(batch)

    slow = Predictor(ends, INFO, predictor.config, engine="keras")
    monkeypatch.setattr(predictor_module, "load_predictor", lambda *_, **__: slow)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=r"1 finished band is kept in '.*\.x\.tif\.parts'; .*--resume goes on"):
        run(model[0], tmp_path / "x.tif", "--out", tmp_path / "out")
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(predictor_module, "load_predictor", lambda *_, **__: predictor)
    run(model[0], tmp_path / "x.tif", "--out", tmp_path / "out", "--resume")
    run(model[0], tmp_path / "x.tif", "--out", tmp_path / "whole")
    assert (tmp_path / "out" / "x.tif").read_bytes() == (tmp_path / "whole" / "x.tif").read_bytes()


def test_bad_inputs_are_told_before_the_model_is_loaded(tmp_path, model):
    with pytest.raises(DataError, match=r"nowhere\.png"):
        run(model[0], tmp_path / "nowhere.png", "--out", tmp_path / "out")
    assert not model[1]
    with pytest.raises(ModelError, match="no model at"):
        run(tmp_path / "missing", tmp_path / "nowhere.png", "--out", tmp_path / "out")


@pytest.mark.battery
def test_a_keras_model_predicts_from_its_file(tmp_path):
    keras = pytest.importorskip("keras")
    from roadseg.learning.runs import save_model

    pixels = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 25.5, offset=-5.0)(pixels)
    network = keras.Model(pixels, keras.layers.Conv2D(1, 1, activation="sigmoid", name="road")(scaled))
    network.get_layer("road").set_weights([np.array([1.0, 0, 0]).reshape(1, 1, 3, 1), np.zeros(1)])
    save_model(network, tmp_path / "model.keras", INFO)

    image = picture(tmp_path / "a.png", 90, 150)
    config = PredictConfig(window=64, overlap=16)
    predictor = load_predictor(tmp_path / "model.keras", config, threshold=0.8, engine="keras")
    expected = 1 / (1 + np.exp(-(image[..., 0] / 25.5 - 5)))
    np.testing.assert_allclose(predictor.probabilities(image)[..., 0], expected, atol=1e-5)
    assert (predictor.mask(predictor.probabilities(image)) == np.where(expected > 0.8, 255, 0)).all()
    turned = load_predictor(tmp_path / "model.keras", config, tta=True, engine="keras")
    np.testing.assert_allclose(turned.probabilities(image)[..., 0], expected, atol=1e-5)
    assert len(turned.info.hash) == 16 and turned.name.endswith("model.keras")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        load_predictor(tmp_path / "model.keras", threshold=2)
