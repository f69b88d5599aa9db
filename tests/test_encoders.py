"""Networks of keras.applications as the way down: shapes, skips, preprocessing, weights."""

import keras
import numpy as np
import pytest
from battery import run_network_test
from keras import ops

from roadseg.config import NetworkConfig
from roadseg.errors import BackendError, ConfigError
from roadseg.network_names import ENCODERS
from roadseg.networks import FastBatchNormalization, build_network, supervised
from roadseg.networks.encoders import IMAGENET

# One of each family, the smallest; with how deep it is tried and whether it begins at full resolution.
FAMILIES = [
    ("DenseNet121", 3),
    ("EfficientNetB0", 5),
    ("EfficientNetV2B0", 5),
    ("MobileNet", 5),
    ("MobileNetV3Small", 5),
    ("ResNet50", 4),
    ("ResNet50V2", 3),
    ("VGG16", 3),
    ("Xception", 5),
]


def encoded(name, **options):
    return NetworkConfig(**{"encoder": name, "width": 2, "depth": 5, **options})


def test_an_encoder_passes_the_battery(tmp_path):
    path = run_network_test(encoded("MobileNetV2", depth=3, width=4), tmp_path, bands=5, classes=3, steps=8)
    assert path.is_file()


@pytest.mark.parametrize(("name", "depth"), FAMILIES)
def test_each_family_keeps_the_size_of_what_goes_in(name, depth):
    config = encoded(name, depth=depth)
    model = build_network(config, bands=4)
    m = config.multiple
    assert m == 2**depth
    for h, w in ((m, 3 * m), (96, 32), (160, 224)):
        assert model.compute_output_spec(keras.KerasTensor((1, h, w, 4), dtype="uint8")).shape == (1, h, w, 1)
    others = {type(layer) for layer in model.layers if not type(layer).__module__.startswith("keras.")}
    assert others <= {FastBatchNormalization}


def test_every_encoder_of_the_list_is_one_of_kerass():
    assert all(callable(getattr(keras.applications, name)) for name in ENCODERS)


def test_skips_are_the_last_tensors_of_their_resolution():
    model = build_network(encoded("ResNet50", depth=4))
    joined = [model.get_layer(f"join{k}").input[0].name for k in range(3)]
    layers = {layer.output.name: layer.name for layer in model.layers if not isinstance(layer.output, list)}
    assert [layers[name] for name in joined] == ["conv1_relu", "conv2_block3_out", "conv3_block4_out"]
    assert "conv5_block1_out" not in layers.values()  # below the bottom: left out


def test_the_encoder_trains_as_our_own_layers_do():
    keras.utils.set_random_seed(1)
    model = build_network(encoded("EfficientNetB0", depth=3))
    assert not any(type(layer) is keras.layers.BatchNormalization for layer in model.layers)
    assert any(isinstance(layer, FastBatchNormalization) for layer in model.layers)
    seeds = [layer.seed for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert seeds and None not in seeds
    assert sum(isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)) for layer in model.layers) == 1


def test_options_of_the_way_up_are_the_unets():
    options = {"attention": True, "dilations": [1], "block": "residual", "head_width": 3, "normalization": "weight"}
    model = build_network(encoded("MobileNetV3Small", depth=3, dropout=0.2, dropout_kind="channel", **options))
    names = {layer.name for layer in model.layers}
    assert {"join_pixels", "up1_gate", "bottom_dilated0_conv", "up0_sum", "drop_bottom"} <= names
    assert supervised(model).output.shape[-1] == 2


# === ImageNet weights ===


@pytest.fixture
def offline(monkeypatch):
    """Keras' downloads fail, as without a network."""

    def refuse(name, origin, **options):
        raise Exception(f"URL fetch failure on {origin}: None -- no network here")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", refuse)


def test_without_a_network_the_file_and_its_folder_are_named(offline):
    with pytest.raises(BackendError) as caught:
        build_network(encoded("MobileNetV2", encoder_weights="imagenet"))
    for word in ("mobilenet_v2_weights", "no_top.h5", "models", "encoder_weights = 'none'"):
        assert word in str(caught.value)
    build_network(encoded("MobileNetV2", encoder_weights="imagenet"), fetch=False)  # a resumed run needs none


def test_imagenet_weights_are_for_three_bands(offline):
    with pytest.raises(ConfigError, match=r"3 bands, and these have 4.*data\.bands"):
        build_network(encoded("MobileNetV2", encoder_weights="imagenet"), bands=4)


@pytest.mark.parametrize("name", ["VGG16", "EfficientNetB0"])
def test_pretrained_weights_see_the_pixels_as_they_were_trained(name, tmp_path, monkeypatch):
    """With stored weights (here: random ones) the encoder's features are those of Keras' own preprocessing."""
    module = {"VGG16": "vgg16", "EfficientNetB0": "efficientnet"}[name]
    build = getattr(keras.applications, name)
    keras.utils.set_random_seed(3)
    source = build(include_top=False, weights=None, input_shape=(None, None, 3))
    if name == "EfficientNetB0":  # its file has the statistics; a last factor is not a weight, and comes with the file
        mean, variance = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        layer = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
        layer.set_weights([np.array(mean), np.array(variance), np.array(0)][: len(layer.weights)])
    source.save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: str(tmp_path / "w.weights.h5"))
    model = build_network(encoded(name, depth=2, encoder_weights="imagenet"))
    stage = {"VGG16": "block2_conv2", "EfficientNetB0": "stem_activation"}[name]
    ours = keras.Model(model.input, model.get_layer(stage).output)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    reference = build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    theirs = keras.Model(reference.input, reference.get_layer(stage).output)
    prepared = getattr(keras.applications, module).preprocess_input(pixels.astype(np.float32))
    full = np.zeros((1, 224, 224, 3), np.float32)
    full[:, :32, :32] = prepared
    expected = ops.convert_to_numpy(theirs(full))[:, :6, :6]  # not what sees the border
    np.testing.assert_allclose(ops.convert_to_numpy(ours(pixels))[:, :6, :6], expected, rtol=1e-3, atol=1e-3)
    assert set(IMAGENET) == set(ENCODERS.values())
