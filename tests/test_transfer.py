"""Starting from other weights: what fits is kept, bands and classes are adapted, and the list says so."""

import keras
import numpy as np
import pytest
from battery import easy_batch
from keras import ops

from roadseg.config import NetworkConfig
from roadseg.errors import ModelError
from roadseg.learning.runs import ModelInfo, save_model
from roadseg.learning.transfer import adapt_bands, adapt_classes, take_weights
from roadseg.networks import build_network, plain_copy

CLASSES = ("background", "road", "building", "water")


def network(seed=0, bands=3, classes=2, **options):
    keras.utils.set_random_seed(seed)
    config = NetworkConfig(**{"width": 4, "depth": 1, "stem": "none", **options})
    return build_network(config, bands=bands, classes=classes)


def saved(path, names=("background", "road"), bands=3, **options):
    model = network(1, bands, len(names), **options)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(np.asarray(weight) + rng.normal(0, 0.1, weight.shape))
    plain = plain_copy(model)
    save_model(plain, path, ModelInfo(classes=tuple(names), bands=bands))
    return plain


def answer(model, bands=3):
    return ops.convert_to_numpy(model(easy_batch(16, bands, 2)[0], training=False))


@pytest.mark.battery
@pytest.mark.parametrize("options", [{}, {"normalization": "weight"}], ids=str)
def test_the_same_network_is_taken_whole(tmp_path, options):
    theirs = saved(tmp_path / "m.keras", **options)
    model = network(**options)
    result = take_weights(model, tmp_path / "m.keras", ("background", "road"))
    assert result.kept == result.total and not result.adapted and not result.new
    np.testing.assert_allclose(answer(model), answer(theirs), atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"stem": "patch", "head_width": 3}, {"normalization": "weight"}], ids=str)
def test_more_bands_keep_those_that_both_have(tmp_path, options):
    theirs = saved(tmp_path / "m.keras", **options)
    model = network(bands=5, **options)
    result = take_weights(model, tmp_path / "m.keras", ("background", "road"))
    assert result.kept == result.total
    adapted = [line.partition(":")[0] for line in result.adapted]
    assert adapted == (["stem_conv", "head_conv"] if "stem" in options else ["down0a_conv"])
    assert "3 bands there, 5 here" in result.adapted[0]
    if not options:
        mine, other = model.get_layer("down0a_conv").get_weights()[0], theirs.get_layer("down0a_conv").get_weights()[0]
        np.testing.assert_array_equal(mine[:, :, :3], other)
        np.testing.assert_allclose(mine[:, :, 3], other.mean(2), rtol=1e-6)


def test_one_band_stands_for_all():
    kernel = np.random.default_rng(0).normal(0, 1, (3, 3, 3, 4)).astype(np.float32)
    grey = adapt_bands(kernel, 3, 1)
    np.testing.assert_allclose(grey[:, :, 0], kernel.sum(2), rtol=1e-5)
    back = adapt_bands(grey, 1, 3)
    np.testing.assert_allclose(back.sum(2), grey[:, :, 0], rtol=1e-5)  # a grey picture gives what it gave
    assert adapt_bands(kernel, 3, 2).shape == (3, 3, 2, 4)
    behind = np.concatenate([kernel, kernel], axis=2)
    np.testing.assert_array_equal(adapt_bands(behind, 3, 4)[:, :, 4:], kernel)


@pytest.mark.parametrize("stem", ["none", "patch"])
def test_classes_that_both_have_keep_their_channel(tmp_path, stem):
    theirs = saved(tmp_path / "m.keras", CLASSES[:3], stem=stem)
    names = ("background", "water", "building", "car")
    model = network(classes=4, stem=stem)
    fresh = [np.asarray(w) for w in model.get_layer("logits").get_weights()]
    result = take_weights(model, tmp_path / "m.keras", names)
    assert result.adapted == ["logits: background, building as there, water, car new"]
    assert "kept" in result.lines(tmp_path) and result.lines(tmp_path).count("\n") == 1
    axis = 2 if stem == "patch" else 3
    kernel, bias = (np.moveaxis(w, axis if w.ndim == 4 else 0, 0) for w in model.get_layer("logits").get_weights())
    other, other_bias = (
        np.moveaxis(w, axis if w.ndim == 4 else 0, 0) for w in theirs.get_layer("logits").get_weights()
    )
    np.testing.assert_array_equal(kernel[[0, 2]], other[[0, 2]])
    np.testing.assert_array_equal(bias[[0, 2]], other_bias[[0, 2]])
    np.testing.assert_array_equal(kernel[[1, 3]], np.moveaxis(fresh[0], axis, 0)[[1, 3]])


def test_classes_in_another_order_are_put_in_order(tmp_path):
    theirs = saved(tmp_path / "m.keras", CLASSES)
    model = network(classes=4)
    order = [3, 0, 2, 1]
    take_weights(model, tmp_path / "m.keras", [CLASSES[k] for k in order])
    np.testing.assert_allclose(answer(model), answer(theirs)[..., order], atol=1e-5)


def test_a_road_probability_becomes_a_softmax_and_back(tmp_path):
    theirs = saved(tmp_path / "m.keras")
    model = network(classes=4)
    take_weights(model, tmp_path / "m.keras", CLASSES)
    found = answer(model)
    road = found[..., 1] / (found[..., 0] + found[..., 1])
    np.testing.assert_allclose(road, answer(theirs)[..., 0], atol=1e-5)
    several = saved(tmp_path / "several.keras", CLASSES)
    model = network()
    assert take_weights(model, tmp_path / "several.keras", ("background", "road")).kept
    p = answer(several)
    np.testing.assert_allclose(answer(model)[..., 0], p[..., 1] / (p[..., 0] + p[..., 1]), atol=1e-5)


def test_a_head_without_common_classes_begins_anew(tmp_path):
    saved(tmp_path / "m.keras", ("a", "b", "c"))
    model = network(classes=5)
    result = take_weights(model, tmp_path / "m.keras", ("1", "2", "3", "4", "5"))
    assert result.new == ["logits: 3 channels there, 5 here"]
    assert result.kept == result.total - 1
    fresh = np.zeros((1, 1, 2, 3), np.float32)
    assert adapt_classes(fresh + 1, fresh, ("a", "b", "c"), ("d", "e", "f"), -1)[1] == []


def test_layers_of_another_width_begin_anew_and_are_listed(tmp_path):
    saved(tmp_path / "m.keras")
    model = network(depth=2)
    result = take_weights(model, tmp_path / "m.keras", ("background", "road"))
    assert 0 < result.kept < result.total
    text = result.lines(tmp_path)
    assert f"{result.kept} of {result.total} layers kept" in text
    assert "new: down1a_conv: not there" in text and "more" in text
    head = network(head_width=5)
    found = take_weights(head, tmp_path / "m.keras", ("background", "road"))
    assert any(line.startswith("logits: a kernel of 1x1x4x1 there, 1x1x5x1 here") for line in found.new)


def test_weights_that_fit_nothing_are_refused(tmp_path):
    saved(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="same network settings"):
        take_weights(network(width=6), tmp_path / "m.keras", ("background", "road"))


def test_an_encoder_may_come_from_another_program(tmp_path):
    """A file without our description: names and shapes are all there is."""
    theirs = plain_copy(network(1))
    theirs.save(tmp_path / "m.keras")
    result = take_weights(network(), tmp_path / "m.keras", ("background", "road"))
    assert result.kept == result.total
