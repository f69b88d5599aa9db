"""Several models as one file: the mean of their probabilities, on every engine, and what cannot be joined."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import call, shared_run, tiny_config

import roadseg
from roadseg.errors import ConfigError, ModelError
from roadseg.inference.cache import open_cache
from roadseg.inference.choice import build
from roadseg.learning.runs import ModelInfo, load_model, read_info, save_model

Capture = pytest.CaptureFixture[str]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return shared_run(tmp_path_factory)


@pytest.fixture(scope="module")
def second(shared: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared run's model with other weights, as if it was trained on other images."""
    path = tmp_path_factory.mktemp("second") / "model.keras"
    model, info = load_model(shared[1] / "model.keras"), read_info(shared[1] / "model.keras")
    rng = np.random.default_rng(0)
    model.set_weights([w * rng.uniform(0.5, 1.5, w.shape).astype(w.dtype) for w in model.get_weights()])
    save_model(model, path, dataclasses.replace(info, trained_on=(*info.trained_on[:2], "another")))
    return path


@pytest.fixture(scope="module")
def joined(shared: tuple[Path, Path], second: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("joined") / "both.keras"
    assert roadseg.ensemble([shared[1], second], place, threshold=0.37) == place
    return place


def test_it_is_plain_keras_and_answers_with_the_mean(shared: tuple[Path, Path], second: Path, joined: Path) -> None:
    import keras

    model = keras.saving.load_model(joined, compile=False, safe_mode=True)
    batch = noise(2, 32, 48, 3)
    found = np.asarray(model.predict_on_batch(batch))
    parts = [np.asarray(load_model(p).predict_on_batch(batch)) for p in (shared[1] / "model.keras", second)]
    assert found.dtype == np.float32 and found.shape == (2, 32, 48, 1)
    assert np.abs(parts[0] - parts[1]).max() > 0.01  # else nothing is shown
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)
    assert str(model.input.dtype).endswith("uint8")


def test_it_says_what_its_members_say_together(shared: tuple[Path, Path], second: Path, joined: Path) -> None:
    info, first, other = read_info(joined), read_info(shared[1] / "model.keras"), read_info(second)
    assert info.threshold == 0.37 and set(info.trained_on) == set(first.trained_on) | set(other.trained_on)
    assert len(info.trained_on) == len(set(info.trained_on))
    same = dataclasses.replace(info, threshold=first.threshold, trained_on=first.trained_on, hash=first.hash)
    assert same == first


def test_openvino_computes_the_same(joined: Path) -> None:
    batch = noise(1, 64, 48, 3)
    expected = build("keras", joined, open_cache(read_info(joined).hash))(batch)
    found = build("openvino f32", joined, open_cache(read_info(joined).hash))(batch)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_predict_and_evaluate_take_it_as_any_model(
    shared: tuple[Path, Path], joined: Path, tmp_path: Path, capsys: Capture
) -> None:
    dataset = shared[0]
    words = ("--out", tmp_path / "masks", "--engine", "keras")
    answer = call(capsys, "predict", joined, dataset / "images", *words)
    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "masks").glob("*.png"))) == 6
    scores = json.loads(call(capsys, "evaluate", joined, dataset, "--json").out)
    assert (scores["n_images"], scores["n_trained_on"], scores["threshold"]) == (2, 4, 0.37)


def test_members_may_be_of_other_networks(shared: tuple[Path, Path], tmp_path: Path) -> None:
    from roadseg.networks import build_network

    deeper = tiny_config("network.depth=3", "network.width=2").network
    info = dataclasses.replace(read_info(shared[1] / "model.keras"), multiple=24)
    save_model(build_network(deeper), tmp_path / "deep.keras", info)
    place = roadseg.ensemble([shared[1], tmp_path / "deep.keras"], tmp_path / "both.keras")
    assert read_info(place).multiple == np.lcm(24, read_info(shared[1] / "model.keras").multiple)
    probabilities = roadseg.load(place, engine="keras").probabilities(noise(40, 50, 3))
    assert probabilities.shape == (40, 50, 1)
    nested = roadseg.ensemble([place, shared[1]], tmp_path / "nested.keras")  # one of one
    assert roadseg.load(nested, engine="keras").probabilities(noise(40, 50, 3)).shape == (40, 50, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("background", "river")},
        {"bands": 4},
        {"value_range": (0.0, 4095.0)},
        {"scale": 0.5},
        {"patch_threshold": 0.3},
        {"invert": True},
        {"threshold": 0.4},
    ],
)
def test_models_that_do_not_fit_are_refused_by_the_difference(
    shared: tuple[Path, Path], tmp_path: Path, change: dict[str, object]
) -> None:
    path = shared[1] / "model.keras"
    other: ModelInfo = dataclasses.replace(read_info(path), **change)  # type: ignore[arg-type]
    save_model(load_model(path), tmp_path / "other.keras", other)
    with pytest.raises(ModelError, match=f"differ in {next(iter(change))}.*other.keras"):
        roadseg.ensemble([path, tmp_path / "other.keras"], tmp_path / "both.keras")
    assert not (tmp_path / "both.keras").exists()


def test_what_is_no_ensemble_is_refused(shared: tuple[Path, Path], tmp_path: Path) -> None:
    run = shared[1]
    with pytest.raises(ModelError, match="two models or more"):
        roadseg.ensemble([run], tmp_path / "one.keras")
    with pytest.raises(ConfigError, match=r"ends in \.keras"):
        roadseg.ensemble([run, run], tmp_path / "one.h5")
    with pytest.raises(ConfigError, match="from 0 to 1"):
        roadseg.ensemble([run, run], tmp_path / "one.keras", threshold=1.5)
    with pytest.raises(ModelError, match="no model at"):
        roadseg.ensemble([run, tmp_path / "gone"], tmp_path / "one.keras")
    assert not list(tmp_path.iterdir())
