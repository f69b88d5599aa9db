"""The spread of several answers: views of a window, members of an ensemble."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import scenes
from PIL import Image
from streams import INFO

import roadseg
from roadseg.errors import ConfigError
from roadseg.inference.cache import open_cache
from roadseg.inference.choice import build
from roadseg.inference.engine import with_tta
from roadseg.inference.members import count_members
from roadseg.inference.outputs import Wanted, predict_files
from roadseg.inference.predictor import load_predictor
from roadseg.inference.spread import with_spread
from roadseg.learning.runs import read_info, save_model


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def left_brighter(batch):
    x = batch[..., :1].astype(np.float32) / 255
    return np.abs(x - np.roll(x, -1, axis=2))


def test_over_the_views_the_mean_is_that_of_test_time_augmentation():
    batch = noise(2, 16, 16, 3)
    found = with_spread(left_brighter, 1, tta=True)(batch)
    assert found.shape == (2, 16, 16, 2) and found.dtype == np.float32
    np.testing.assert_array_equal(found[..., :1], with_tta(left_brighter)(batch))
    assert 0.01 < found[..., 1].max() <= 0.5


def test_a_model_without_direction_has_no_spread():
    found = with_spread(lambda batch: batch[..., :1].astype(np.float32) / 255, 1, tta=True)(noise(1, 16, 16, 3))
    assert found[..., 1].max() < 1 / 1020  # rounds to nothing in 8 bits


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_over_members_it_is_their_standard_deviation(outputs, tta):
    def run(batch):  # two members, and their mean in front
        one = np.repeat(batch[..., :1].astype(np.float32) / 255, outputs, axis=-1)
        other = one**2
        return np.concatenate([(one + other) / 2, one, other], axis=-1)

    batch = noise(1, 8, 8, 3)
    found = with_spread(run, outputs, tta=tta, members=2)(batch)
    x = batch[..., 0].astype(np.float32) / 255
    assert found.shape == (1, 8, 8, outputs + 1)
    np.testing.assert_allclose(found[..., 0], (x + x**2) / 2, atol=1e-6)
    np.testing.assert_allclose(found[..., -1], np.abs(x - x**2) / 2, atol=1e-3)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two one-layer models and their ensemble."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("both")
    for name, weight in (("one", 1.0), ("two", -0.5)):
        pixels = keras.Input((None, None, 3), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 25.5, offset=-5.0)(pixels)
        model = keras.Model(pixels, keras.layers.Conv2D(1, 1, activation="sigmoid", name="road")(scaled))
        model.get_layer("road").set_weights([np.array([weight, 0, 0]).reshape(1, 1, 3, 1), np.zeros(1)])
        save_model(model, folder / f"{name}.keras", replace(INFO, hash=""))
    roadseg.ensemble([folder / "one.keras", folder / "two.keras"], folder / "both.keras")
    return folder


def answers(batch):
    x = batch[..., 0] / 25.5 - 5
    return 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(0.5 * x))


def test_members_are_counted_without_keras(both: Path):
    assert count_members(both / "both.keras") == 2
    assert count_members(both / "one.keras") == 0 and count_members(both / "none.keras") == 0


@pytest.mark.parametrize("engine", ["keras", "openvino f32"])
def test_every_engine_answers_for_each_member(both: Path, engine):
    path = both / "both.keras"
    batch = noise(1, 64, 48, 3)
    found = build(engine, path, open_cache(read_info(path).hash), members=True)(batch)
    one, two = answers(batch)
    np.testing.assert_allclose(found, np.stack([(one + two) / 2, one, two], axis=-1), atol=1e-4)


def test_an_ensemble_tells_how_far_its_members_disagree(both: Path, tmp_path: Path):
    image = noise(90, 70, 3)
    Image.fromarray(image).save(tmp_path / "x.png")
    predictor = load_predictor(both / "both.keras", engine="openvino")
    predict_files(predictor, [tmp_path / "x.png"], tmp_path / "out", wanted=Wanted(uncertainty=True))
    one, two = answers(image)
    with Image.open(tmp_path / "out" / "x_unc.png") as found:
        np.testing.assert_allclose(np.array(found), np.abs(one - two) / 2 * 510, atol=3)
    with Image.open(tmp_path / "out" / "x.png") as found:
        sure = np.abs((one + two) / 2 - 0.5) > 0.02
        np.testing.assert_array_equal(np.array(found)[sure], np.where(one + two > 1, 255, 0)[sure])


def test_a_single_model_has_none(both: Path, tmp_path: Path):
    folder = scenes(tmp_path / "set", 1)
    with pytest.raises(ConfigError, match="no ensemble"):
        roadseg.predict(both / "one.keras", folder / "images", tmp_path / "out", uncertainty=True, engine="openvino")


def test_what_goes_on_with_a_prediction_folder_leaves_the_uncertainty_out(tmp_path: Path):
    mask = np.zeros((64, 64), np.uint8)
    mask[28:36] = 255
    for name in ("7.png", "7_unc.png"):
        Image.fromarray(mask).save(tmp_path / name)
    assert [path.name for path in roadseg.vectorize(tmp_path).sources] == ["7.png"]
    written = roadseg.write_submission(tmp_path, tmp_path / "s.csv")
    assert written.images == 1
    lined = roadseg.vectorize(tmp_path / "7.png", uncertainty=tmp_path / "7_unc.png").layer
    assert lined.roads[0].properties["uncertainty"] > 0.9
