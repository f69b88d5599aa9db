"""Model files of the package: half precision that plain Keras loads, and graphs without weights."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_config

from roadseg import weights
from roadseg.errors import ModelError
from roadseg.learning.runs import ModelInfo, read_info, save_model
from roadseg.weights import card_of, find_packaged, graph_of, packaged
from roadseg.weights.graph import pack_graph, unpack_graph
from roadseg.weights.half import write_half


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network as training would save it."""
    from roadseg.networks import build_network, plain_copy

    config = tiny_config("network.width=16", "network.depth=2")
    network = build_network(config.network, bands=3, classes=2, mean=[90] * 3, std=[40] * 3, shares=[0.8, 0.2])
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_model(plain_copy(network, "float32"), path, ModelInfo(ground_resolution_m=0.4, trained_on=("a", "b")))
    return path


@pytest.mark.battery
def test_half_precision_loads_in_plain_keras_and_computes_in_float32(model, tmp_path):
    import keras

    lost = write_half(model, tmp_path / "half.keras")
    assert 0 < lost < 1e-3
    full, half = (keras.saving.load_model(path) for path in (model, tmp_path / "half.keras"))
    assert {str(v.dtype) for v in half.weights} <= {"float32", "uint32"} and half.dtype_policy.name == "float32"
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    a, b = (np.asarray(keras.ops.convert_to_numpy(m(pixels))) for m in (full, half))
    assert 0 < np.abs(a - b).max() < 5e-3


def test_half_precision_is_half_as_large_and_the_same_each_time(model, tmp_path):
    for name in ("a", "b"):
        write_half(model, tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(model) as full, zipfile.ZipFile(tmp_path / "a.keras") as half:
        size = [file.getinfo("model.weights.h5").file_size for file in (full, half)]
        assert json.loads(full.read("config.json")) == json.loads(half.read("config.json"))
    assert size[1] < 0.75 * size[0]  # the h5 file's own tables are large beside so small a network


def test_model_information_is_kept_or_replaced(model, tmp_path):
    write_half(model, tmp_path / "kept.keras")
    assert read_info(tmp_path / "kept.keras").trained_on == ("a", "b")
    write_half(model, tmp_path / "new.keras", ModelInfo(threshold=0.4, recipe="abc"))
    found = read_info(tmp_path / "new.keras")
    assert (found.threshold, found.recipe, found.trained_on) == (0.4, "abc", ())


def test_what_float16_does_not_hold_is_refused(model, tmp_path):
    import keras

    network = keras.saving.load_model(model)
    kernel = next(v for v in network.trainable_variables if len(v.shape) == 4)
    kernel.assign(keras.ops.full(kernel.shape, 1e6))
    network.save(tmp_path / "large.keras")
    with pytest.raises(ModelError, match="float16 does not hold"):
        write_half(tmp_path / "large.keras", tmp_path / "half.keras")
    assert not (tmp_path / "half.keras").exists()


def test_no_model_is_refused(tmp_path):
    (tmp_path / "x.keras").write_text("no zip")
    with pytest.raises(ModelError, match="not a Keras model"):
        write_half(tmp_path / "x.keras", tmp_path / "half.keras")


# === Graphs ===


@pytest.fixture(scope="module")
def converted(model, tmp_path_factory):
    """(half precision model, its graph for OpenVINO as the conversion writes it)."""
    from roadseg.inference.convert import convert

    folder = tmp_path_factory.mktemp("converted")
    write_half(model, folder / "half.keras")
    convert(folder / "half.keras", folder / "model.xml")
    return folder / "half.keras", folder / "model.xml"


def test_a_graph_without_weights_is_put_together_to_the_very_bytes(converted, tmp_path):
    half, xml = converted
    pack_graph(half, xml, tmp_path / "x.graph")
    assert (tmp_path / "x.graph").stat().st_size < xml.with_suffix(".bin").stat().st_size / 10
    unpack_graph(tmp_path / "x.graph", half, tmp_path / "again.xml")
    assert (tmp_path / "again.xml").read_bytes() == xml.read_bytes()
    assert (tmp_path / "again.bin").read_bytes() == xml.with_suffix(".bin").read_bytes()


def test_a_graph_of_another_model_or_a_damaged_one_is_told(converted, tmp_path):
    half, xml = converted
    pack_graph(half, xml, tmp_path / "x.graph")
    from roadseg.networks import build_network, plain_copy

    config = tiny_config("network.width=8", "network.depth=2")
    other = build_network(config.network, bands=3, classes=2, mean=[90] * 3, std=[40] * 3, shares=[0.8, 0.2])
    save_model(plain_copy(other, "float32"), tmp_path / "other.keras", ModelInfo())
    with pytest.raises(ModelError, match="do not belong together"):
        unpack_graph(tmp_path / "x.graph", tmp_path / "other.keras", tmp_path / "y.xml")
    (tmp_path / "x.graph").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="do not belong together"):
        unpack_graph(tmp_path / "x.graph", half, tmp_path / "y.xml")
    assert not list(tmp_path.glob("y.*"))


# === The package ===


def test_every_model_of_the_package_has_a_card_a_graph_and_is_small():
    for name in packaged():
        path = find_packaged(name)
        assert path is not None and path.stat().st_size <= 16e6
        card = card_of(name)
        assert card["file"]["hash"] == read_info(path).hash and graph_of(path) is not None


def test_a_damaged_card_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    (tmp_path / "x.keras").write_bytes(b"")
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(ModelError, match="install roadseg again"):
        card_of("x")
    assert packaged() == ["x"] and graph_of(tmp_path / "x.keras") is None and find_packaged("y") is None
