"""Networks of one's own: a function beside the data, or a model file; what is wrong is said before training."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from battery import easy_batch, run_network_test
from helpers import call, scenes, tiny
from keras import ops

import roadseg
from roadseg.config import NetworkConfig
from roadseg.errors import ConfigError, ModelError, RoadsegError
from roadseg.learning.runs import ModelInfo, load_model, read_info, save_model
from roadseg.network_names import check_network
from roadseg.networks import FastBatchNormalization, build_network, plain_copy

STUDENT = """
import keras
from keras import layers

def net(bands, classes, mean, std, width=4):
    x = inputs = keras.Input((None, None, bands), dtype="uint8")
    x = layers.Rescaling(1 / 255)(x)
    x = skip = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", activation="relu")(x))
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(layers.MaxPooling2D(4)(x))
    x = layers.Concatenate()([skip, layers.UpSampling2D(4)(x)])
    return keras.Model(inputs, answer(x, classes))

def answer(x, classes):
    kind = "sigmoid" if classes == 2 else "softmax"
    return layers.Conv2D(1 if classes == 2 else classes, 1, activation=kind)(x)

def plain_input(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, answer(layers.Conv2D(4, 3, padding="same")(inputs / 255), classes))

def sequential(bands, classes, mean, std):
    inner = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()])
    last = layers.Conv2D(1, 1, activation="sigmoid")
    return keras.Sequential([keras.Input((None, None, bands)), layers.Rescaling(1 / 255), inner, last])

@keras.saving.register_keras_serializable(package="student")
class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")
    def call(self, x):
        return x * self.factor

def layer_of_ones_own(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands), dtype="uint8")
    return keras.Model(inputs, answer(Scale()(layers.Rescaling(1 / 255)(inputs)), classes))

def raises(bands, classes, mean, std):
    raise KeyError("no such thing")

def number(bands, classes, mean, std):
    return 3

def wrong_bands(bands, classes, mean, std):
    return plain_input(7, classes, mean, std)

def fixed(bands, classes, mean, std):
    inputs = keras.Input((64, 64, bands))
    return keras.Model(inputs, answer(inputs, classes))

def half(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, answer(layers.MaxPooling2D()(inputs), classes))

def channels(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, layers.Conv2D(5, 1, activation="softmax")(inputs))

def logits(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, layers.Conv2D(1, 1)(inputs))

def not_a_number(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    nothing = keras.initializers.Constant(float("nan"))
    return keras.Model(inputs, layers.Conv2D(1, 1, kernel_initializer=nothing)(inputs))

def sums(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, layers.Conv2D(3, 1, activation="sigmoid")(inputs))

def two(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, [answer(inputs, classes), answer(inputs, classes)])

def anonymous(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands))
    return keras.Model(inputs, answer(layers.Lambda(lambda x: x / 255)(inputs), classes))

class NoConfig(layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def call(self, x):
        return self.inner(x)
    def get_config(self):
        raise TypeError("none here")

def no_config(bands, classes, mean, std):
    inputs = keras.Input((None, None, bands), dtype="uint8")
    x = layers.Rescaling(1 / 255)(inputs)
    return keras.Model(inputs, answer(NoConfig(layers.Conv2D(4, 1))(x), classes))
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The working directory with a student's file in it; the name of its module, another one for every test."""
    module = "net_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{module}.py").write_text(STUDENT)
    monkeypatch.chdir(tmp_path)
    return module


def own(name: str, **options):
    return NetworkConfig(**{"name": name, "depth": 2, "stem": "none", **options})


@pytest.mark.parametrize(
    ("function", "classes"), [("net", 3), ("plain_input", 2), ("sequential", 2)], ids=["uint8", "float32", "nested"]
)
def test_a_function_beside_the_data_makes_the_network(beside, tmp_path, function, classes):
    run_network_test(own(f"{beside}:{function}"), tmp_path, classes=classes)


@pytest.mark.battery
def test_options_are_given_to_the_function(beside):
    widths = [build_network(own(f"{beside}:net", options=options)).layers[2].filters for options in ({}, {"width": 6})]
    assert widths == [4, 6]
    with pytest.raises(ConfigError, match=r"TypeError: .*'wide'"):
        build_network(own(f"{beside}:net", options={"wide": 6}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_at_all:net", ["no module 'nowhere_at_all' in"]),
        ("{}:nett", ["has no function 'nett'", "net"]),
        ("{}:raises", ["KeyError: 'no such thing'", ".py, line"]),
        ("{}:number", ["int, not a keras.Model"]),
        ("{}:wrong_bands", ["7 bands and the images have 3"]),
        ("{}:fixed", ["64x64", "keras.Input((None, None, 3))"]),
        ("{}:half", ["multiple_of"]),
        ("{}:channels", ["(2, 32, 64, 5)", "(2, 32, 64, 1) is wanted", "last layer"]),
        ("{}:logits", ["sigmoid"]),
        ("{}:not_a_number", ["not a number"]),
        ("{}:two", ["2 outputs"]),
        ("{}:anonymous", ["is a Lambda"]),
        ("{}:no_config", ["cannot be copied", "get_config"]),
    ],
)
def test_what_is_wrong_with_a_function_is_said(beside, name, words):
    with pytest.raises(ConfigError) as caught:
        build_network(own(name.format(beside)))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_of_several_classes_must_sum_to_one(beside):
    with pytest.raises(ConfigError, match="softmax"):
        build_network(own(f"{beside}:sums"), classes=3)


def test_a_module_with_an_error_names_the_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_net.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(ConfigError, match=r"ZeroDivisionError: division by zero \(broken_net.py, line 2\)"):
        build_network(own("broken_net:net"))
    (tmp_path / "needing_net.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ConfigError, match="importing 'needing_net' raised ModuleNotFoundError"):
        build_network(own("needing_net:net"))


def test_a_name_is_checked_without_running_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.py").write_text("raise SystemExit('imported')\n")
    check_network(own("bomb:net"))
    check_network(NetworkConfig())
    check_network(NetworkConfig(encoder="ResNet50", depth=5))
    for options, words in (
        ({"name": "nowhere_at_all:net"}, "no module 'nowhere_at_all'"),
        ({"name": "missing.keras"}, "no such file"),
        ({"name": "bomb.py"}, "known are unet"),
        ({"encoder": "mobilenetv2"}, "did you mean 'MobileNetV2'"),
        ({"encoder": "NASNetMobile"}, "these can be encoders"),
        ({"encoder": "VGG16", "depth": 6}, "use 1 to 5"),
        ({"name": "bomb:net", "encoder": "VGG16"}, "use one of them"),
        ({"name": "bomb:net", "deep_supervision": 0.5}, "networks of roadseg"),
        ({"encoder": "ResNet50", "depth": 2, "deep_supervision": 0.5}, "greater depth"),
    ):
        with pytest.raises(RoadsegError, match=words):
            check_network(NetworkConfig(**options))
    (tmp_path / "not.keras").write_text("no zip")
    with pytest.raises(ModelError, match="not a Keras model"):
        check_network(NetworkConfig(name="not.keras"))


def test_a_run_with_a_function_trains_and_predicts(beside, tmp_path, capsys):
    data = scenes(tmp_path / "data", 4)
    words = ["train", data, "--out", tmp_path / "run", "--epochs", 1]
    options = tiny(f"network={beside}:net", "network.options.width=5", "network.multiple_of=4", "train.crop=36")
    answer = call(capsys, *words, *options)
    assert answer.code == 0, answer.err
    assert read_info(tmp_path / "run" / "model.keras").multiple == 4
    found = roadseg.load(tmp_path / "run", engine="keras").probabilities(np.zeros((30, 50, 3), np.uint8))
    assert found.shape == (30, 50, 1)


def test_layers_of_ones_own_load_only_where_they_are_registered(beside, tmp_path, monkeypatch):
    model = plain_copy(build_network(own(f"{beside}:layer_of_ones_own")))
    save_model(model, tmp_path / "m.keras", ModelInfo())
    assert roadseg.load(tmp_path / "m.keras", engine="keras")  # its module was imported above
    known = keras.saving.get_custom_objects()
    kept = known.pop("student>Scale")
    try:
        monkeypatch.delitem(sys.modules, beside)
        with pytest.raises(ModelError, match="import the module that defines"):
            load_model(tmp_path / "m.keras")
    finally:
        known["student>Scale"] = kept


# === A model file ===


def saved(path: Path, **options) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = build_network(NetworkConfig(**{"width": 4, "depth": 2, "stem": "none", **options}))
    pixels, truth = easy_batch(16, 3, 2)
    model.compile("adam", "binary_crossentropy", jit_compile=False)
    for _ in range(3):
        model.train_on_batch(pixels, truth)
    model = plain_copy(model)
    save_model(model, path, ModelInfo())
    return model


def test_training_goes_on_from_a_model_file(tmp_path):
    before = saved(tmp_path / "m.keras", normalization="batch", dropout=0.2)
    pixels = easy_batch(16, 3, 2)[0]
    model = build_network(own(str(tmp_path / "m.keras")))
    np.testing.assert_allclose(ops.convert_to_numpy(model(pixels)), ops.convert_to_numpy(before(pixels)), atol=1e-5)
    assert sum(isinstance(layer, FastBatchNormalization) for layer in model.layers) == 10
    model.compile("adam", "binary_crossentropy", jit_compile=False)
    losses = [float(np.asarray(model.train_on_batch(*easy_batch(16, 3, 2)))) for _ in range(6)]
    assert losses[-1] < losses[0]


def test_a_model_file_is_trained_in_bfloat16_with_exact_probabilities(tmp_path):
    before = saved(tmp_path / "m.keras")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_network(own(str(tmp_path / "m.keras")))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("down0a_conv").compute_dtype == "bfloat16"
    for name in ("normalise", "logits", "probability"):
        assert model.get_layer(name).compute_dtype == "float32"
    pixels = easy_batch(16, 3, 2)[0]
    np.testing.assert_allclose(ops.convert_to_numpy(model(pixels)), ops.convert_to_numpy(before(pixels)), atol=0.05)


def test_a_model_file_that_does_not_fit_the_data_is_refused(tmp_path):
    saved(tmp_path / "m.keras", stem="patch")
    with pytest.raises(ConfigError, match="takes 3 bands and the images have 4"):
        build_network(own(str(tmp_path / "m.keras")), bands=4)
    with pytest.raises(ConfigError, match="5 classes"):
        build_network(own(str(tmp_path / "m.keras")), classes=5)
    with pytest.raises(ConfigError, match="multiple_of"):
        build_network(own(str(tmp_path / "m.keras"), multiple_of=12))


def test_nothing_in_a_model_file_is_run(tmp_path):
    inputs = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x[..., :1] / 255)(inputs))
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="cannot be loaded"):
        build_network(own(str(tmp_path / "m.keras")))
