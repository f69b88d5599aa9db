"""Every option of the network, through one battery; what is saved is plain Keras."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from battery import easy_batch, run_network_test, stored_layers
from keras import ops

from roadseg.config import NetworkConfig
from roadseg.errors import ConfigError
from roadseg.learning.losses import Crossentropy
from roadseg.learning.optimizers import averaged_weights
from roadseg.learning.runs import ModelInfo, save_model
from roadseg.learning.supervision import FirstAnswer, SupervisedLoss
from roadseg.networks import (
    FastBatchNormalization,
    StandardizedConv2D,
    build_network,
    plain_copy,
    plain_weights,
    supervised,
)

JIT = False if keras.config.backend() == "tensorflow" else "auto"  # as the trainer compiles
SMALL = {"width": 4, "depth": 2, "stem": "none"}

# Few networks that have every option among them: small enough for every backend.
COMBINED = [
    ("batch, transposed, relu", {}, 3, 2),
    (
        "group, nearest, leaky relu, head, five bands, four classes",
        {
            "normalization": "group",
            "upsampling": "nearest",
            "activation": "leaky_relu",
            "negative_slope": 0.3,
            "head_width": 6,
        },
        5,
        4,
    ),
    (
        "layer, bilinear, elu, dropout, one band",
        {"normalization": "layer", "upsampling": "bilinear", "activation": "elu", "dropout": 0.2, "dropout_levels": 1},
        1,
        2,
    ),
    ("patch stem", {"stem": "patch"}, 3, 2),
    (
        "residual, attention, dilations, channel dropout",
        {
            "block": "residual",
            "attention": True,
            "dilations": [1, 2],
            "stem": "patch",
            "dropout": 0.1,
            "dropout_kind": "channel",
        },
        3,
        2,
    ),
    ("standardised kernels", {"normalization": "weight"}, 3, 2),
    ("separable, two groups", {"separable": True, "normalization": "group", "groups": 2}, 3, 2),
    ("no normalization, depth 1", {"normalization": "none", "depth": 1, "initializer": "glorot_uniform"}, 3, 4),
]


@pytest.mark.battery
@pytest.mark.parametrize(("options", "bands", "classes"), [c[1:] for c in COMBINED], ids=[c[0] for c in COMBINED])
def test_a_network_of_many_options_passes_the_battery(options, bands, classes, tmp_path):
    run_network_test(
        NetworkConfig(**{"width": 4, "depth": 1, "stem": "none", **options}), tmp_path, bands=bands, classes=classes
    )


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "group"},
        {"normalization": "layer"},
        {"normalization": "none"},
        {"upsampling": "nearest"},
        {"upsampling": "bilinear"},
        {"activation": "leaky_relu", "negative_slope": 0.0},
        {"activation": "swish"},
        {"activation": "tanh"},
        {"dropout": 0.5, "dropout_levels": 9},
        {"head_width": 5},
        {"stem": "strided"},
        {"stem": "patch", "head_width": 5, "upsampling": "bilinear", "normalization": "none"},
        {"stem": "patch", "head_width": 5, "dropout": 0.3},
        {"depth": 3},
        {"width": 6, "normalization": "group"},
        {"normalization": "group", "groups": 3},
        {"normalization": "weight", "block": "residual", "separable": True, "activation": "swish"},
        {"block": "residual"},
        {"block": "residual", "normalization": "none", "stem": "patch", "head_width": 5},
        {"separable": True},
        {"attention": True},
        {"dilations": [1, 2, 4]},
        {"dropout": 0.3, "dropout_kind": "channel"},
    ],
    ids=str,
)
def test_each_option_alone_passes_the_battery(options, tmp_path):
    run_network_test(NetworkConfig(**{"width": 4, "depth": 1, "stem": "none", **options}), tmp_path)


@pytest.mark.parametrize(("bands", "classes"), [(1, 4), (5, 2)])
def test_bands_and_classes_pass_the_battery(bands, classes, tmp_path):
    run_network_test(NetworkConfig(width=4, depth=1, stem="none"), tmp_path, bands=bands, classes=classes)


@pytest.mark.battery
def test_a_network_built_in_bfloat16_is_saved_in_float32(tmp_path):
    run_network_test(NetworkConfig(**SMALL), tmp_path, policy="mixed_bfloat16")


LOAD_ALONE = """
import sys, numpy as np, keras
model = keras.saving.load_model(sys.argv[1])
assert isinstance(model.input, keras.KerasTensor) and isinstance(model.output, keras.KerasTensor)
found = model.predict(np.load(sys.argv[2]), verbose=0)
assert isinstance(found, np.ndarray) and found.dtype == np.float32, type(found)
np.save(sys.argv[3], found)
assert not any(name.split(".")[0] == "roadseg" for name in sys.modules)
"""


def test_what_is_saved_loads_where_roadseg_is_not_known(tmp_path):
    keras.utils.set_random_seed(1)
    model = build_network(NetworkConfig(**SMALL, dropout=0.3))
    pixels, truth = easy_batch(16, 3, 2)
    model.compile("adam", "binary_crossentropy", jit_compile=JIT)
    for _ in range(3):
        model.train_on_batch(pixels, truth)
    plain = plain_copy(model)
    path = tmp_path / "model.keras"
    save_model(plain, path, ModelInfo())
    np.save(tmp_path / "in.npy", pixels)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    arguments = [sys.executable, "-c", LOAD_ALONE, path, tmp_path / "in.npy", tmp_path / "out.npy"]
    done = subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "UserWarning" not in done.stderr  # Keras complains when the structure of the inputs is not what it was
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), np.asarray(plain.predict_on_batch(pixels)), atol=1e-6)


def test_the_classic_network_has_31_million_parameters():
    classic = NetworkConfig(width=64, depth=4, stem="none", normalization="none", upsampling="nearest")
    assert 30.9e6 < build_network(classic).count_params() < 31.1e6


def test_the_width_doubles_with_each_pooling():
    model = build_network(NetworkConfig(width=4, depth=3))
    widths = [model.get_layer(f"{name}b_conv").filters for name in ("down0", "down1", "down2", "bottom", "up2", "up0")]
    assert widths == [4, 8, 16, 32, 16, 4]


@pytest.mark.parametrize("stem", ["patch", "strided"])
def test_behind_a_stem_the_first_level_works_at_half_resolution(stem):
    model = build_network(NetworkConfig(width=4, depth=2, stem=stem))
    inside = keras.Model(model.input, [model.get_layer("down0b_conv").output, model.output])
    first, answer = inside(np.zeros((1, 16, 24, 3), np.uint8))
    assert tuple(first.shape) == (1, 8, 12, 4)
    assert tuple(answer.shape) == (1, 16, 24, 1)


def test_a_head_behind_a_stem_sees_the_pixels():
    model = build_network(NetworkConfig(width=4, depth=1, stem="patch", head_width=5))
    assert model.get_layer("join_pixels").output.shape[-1] == 3 + 5


def test_dropout_lies_on_the_lowest_levels_of_the_way_down():
    def dropped(**options):
        model = build_network(NetworkConfig(width=2, depth=3, **options))
        return [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    assert dropped() == []
    assert dropped(dropout=0.5) == ["drop2", "drop3"]
    assert dropped(dropout=0.5, dropout_levels=1) == ["drop3"]
    assert dropped(dropout=0.5, dropout_levels=7) == ["drop0", "drop1", "drop2", "drop3"]


@pytest.mark.battery
def test_bilinear_upsampling_is_keras_own():
    model = build_network(NetworkConfig(width=2, depth=1, stem="none", upsampling="bilinear"))
    layer = keras.layers.UpSampling2D(interpolation="bilinear")
    x = np.random.default_rng(0).normal(0, 1, (2, 5, 7, 4)).astype(np.float32)
    way = keras.Model(model.get_layer("up0_up").input, model.get_layer("up0_linear_x").output)
    found, expected = (ops.convert_to_numpy(f(x)) for f in (way, layer))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_leaky_relu_takes_the_slope():
    model = build_network(NetworkConfig(**SMALL, activation="leaky_relu", negative_slope=0.25))
    assert {layer.negative_slope for layer in model.layers if isinstance(layer, keras.layers.LeakyReLU)} == {0.25}


def test_pixels_are_normalised_inside_by_band():
    model = build_network(NetworkConfig(**SMALL), bands=2, mean=[100, 10], std=[50, 0])
    inside = keras.Model(model.input, model.get_layer("normalise").output)
    found = np.asarray(inside.predict_on_batch(np.full((1, 4, 4, 2), 150, np.uint8)))
    np.testing.assert_allclose(found[0, 0, 0], [1, 140], rtol=1e-6)  # a band of one value is not divided by 0


def test_every_activation_that_is_let_through_gives_probabilities():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    names = [
        n for n in dir(keras.activations) if not n.startswith("_") and n not in ("deserialize", "get", "serialize")
    ]
    refused = []
    for name in names:
        try:
            model = build_network(NetworkConfig(width=2, depth=1, stem="none", activation=name))
        except ConfigError as error:
            assert f"'{name}'" in str(error)
            refused.append(name)
            continue
        assert tuple(model(pixels).shape) == (1, 4, 4, 1)
    assert refused == ["glu", "threshold"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "unett"}, ["network.name = 'unett'", "unet"]),
        ({"options": {"a": 1}}, ["network.options", "function of your own"]),
        ({"deep_supervision": 0.5, "depth": 1}, ["network.deep_supervision", "greater depth"]),
        ({"encoder_weights": "imagenet"}, ["without network.encoder"]),
        ({"activation": "rellu"}, ["network.activation = 'rellu'", "did you mean 'relu'"]),
        ({"activation": "serialize"}, ["network.activation"]),
        ({"activation": ""}, ["network.activation = ''", "relu"]),
        ({"initializer": "he_norma"}, ["network.initializer = 'he_norma'"]),
        ({"initializer": "identity"}, ["network.initializer = 'identity'"]),
        ({"initializer": "constant"}, ["network.initializer = 'constant'"]),
    ],
    ids=str,
)
def test_an_unknown_name_is_an_error_that_says_the_key(options, words):
    with pytest.raises(ConfigError) as caught:
        build_network(NetworkConfig(**{**SMALL, **options}))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.battery
@pytest.mark.parametrize("stem", ["none", "patch"])
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_the_gradient_is_the_slope_of_the_loss(stem, normalization):
    keras.utils.set_random_seed(5)
    config = NetworkConfig(width=2, depth=1, stem=stem, activation="tanh", normalization=normalization)
    model = build_network(config, mean=[120.0] * 3, std=[80.0] * 3)
    model.compile(keras.optimizers.SGD(1.0), Crossentropy(), jit_compile=False)
    pixels, truth = easy_batch(32, 3, 2)
    start = [ops.convert_to_numpy(w).copy() for w in model.weights]
    trained = {id(w) for w in model.trainable_weights}
    model.train_on_batch(pixels, truth)  # at a rate of one a step is the gradient
    step = [
        a - ops.convert_to_numpy(w) if id(w) in trained else np.zeros_like(a)
        for a, w in zip(start, model.weights, strict=True)
    ]
    steepness = np.sqrt(sum(float((s.astype(np.float64) ** 2).sum()) for s in step))
    model.optimizer.learning_rate = 0.0

    def loss(way):
        for w, a, s in zip(model.weights, start, step, strict=True):
            w.assign(a + (way / steepness * s if s.any() else 0))
        return float(np.asarray(model.train_on_batch(pixels, truth)))

    assert (loss(1e-3) - loss(-1e-3)) / 2e-3 == pytest.approx(steepness, rel=0.03)


@pytest.mark.battery
def test_the_same_seed_gives_the_same_weights():
    def weights(seed):
        keras.utils.set_random_seed(seed)
        return np.concatenate([w.ravel() for w in build_network(NetworkConfig(width=2, depth=1)).get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.battery
def test_dropout_follows_the_seed():
    def outputs(seed):
        keras.utils.set_random_seed(seed)
        model = build_network(NetworkConfig(width=2, depth=1, dropout=0.5, stem="none", initializer="ones"))
        inside = keras.Model(model.input, model.get_layer("drop1").output)
        pixels = np.full((1, 16, 16, 3), 200, np.uint8)
        return [ops.convert_to_numpy(inside(pixels, training=True)) for _ in range(2)]

    first, again, other = outputs(1), outputs(1), outputs(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0] == 0, first[1] == 0)  # anew in each step
    assert not np.array_equal(first[0] == 0, other[0] == 0)


@pytest.mark.battery
def test_a_copy_in_bfloat16_keeps_its_probabilities_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_network(NetworkConfig(**SMALL))
    finally:
        keras.config.set_dtype_policy("float32")
    shadow = plain_copy(model, "mixed_bfloat16")
    assert not any(isinstance(layer, FastBatchNormalization) for layer in shadow.layers)
    for name in ("normalise", "logits", "probability"):
        assert shadow.get_layer(name).dtype_policy.name == "float32"
    assert shadow.get_layer("down0a_conv").dtype_policy.name == "mixed_bfloat16"
    pixels = easy_batch(16, 3, 2)[0]
    found = shadow(pixels)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(model(pixels)), atol=0.02)


@pytest.mark.battery
def test_a_plain_copy_can_be_made_in_another_precision():
    model = build_network(NetworkConfig(**SMALL))
    half = plain_copy(model, "mixed_bfloat16")
    assert half.get_layer("down0a_conv").compute_dtype == "bfloat16"
    assert plain_copy(half).get_layer("down0a_conv").compute_dtype == "float32"


@pytest.mark.battery
def test_training_changes_a_copy_no_more():
    model = build_network(NetworkConfig(**SMALL))
    copy = plain_copy(model)
    before = [w.copy() for w in copy.get_weights()]
    model.compile("sgd", "binary_crossentropy", jit_compile=JIT)
    pixels, truth = easy_batch(16, 3, 2)
    model.train_on_batch(pixels, truth)
    assert any(not np.array_equal(a, b) for a, b in zip(plain_weights(model), copy.get_weights(), strict=True))
    for a, b in zip(before, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_network_is_named_and_holds_its_statistics(tmp_path):
    model = plain_copy(build_network(NetworkConfig(**SMALL), mean=[1, 2, 3], std=[4, 5, 6]))
    save_model(model, tmp_path / "m.keras", ModelInfo())
    layers, _ = stored_layers(Path(tmp_path / "m.keras"))
    rescaling = next(layer for layer in layers if layer["class_name"] == "Rescaling")
    assert rescaling["config"]["scale"] == [1 / 4, 1 / 5, 1 / 6]


# === Batch normalisation ===


def _norm_pair(**options):
    ours = FastBatchNormalization(momentum=0.9, epsilon=1e-3, **options)
    keras_own = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, **options)
    for layer in (ours, keras_own):
        layer.build((None, 8, 8, 5))
        layer.gamma.assign([1.5, 0.5, 1, 2, -1])
        layer.beta.assign([0, 1, 2, 3, 4])
    return ours, keras_own


@pytest.mark.battery
def test_batch_normalisation_trains_as_keras_own():
    ours, keras_own = _norm_pair()
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(3, 2, (2, 8, 8, 5)).astype(np.float32)
        a, b = (ops.convert_to_numpy(layer(x, training=True)) for layer in (ours, keras_own))
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.battery
def test_gradients_of_batch_normalisation_are_keras_own():
    from battery import gradient

    ours, keras_own = _norm_pair()
    rng = np.random.default_rng(1)
    x, weight = (rng.normal(1, 2, (2, 8, 8, 5)).astype(np.float32) for _ in range(2))

    def slope(layer):
        if keras.config.backend() != "jax":
            return gradient(lambda z: ops.sum(layer(z, training=True) * ops.convert_to_tensor(weight)), x)

        def value(z):  # JAX differentiates what has no state
            out, _ = layer.stateless_call(layer.trainable_variables, layer.non_trainable_variables, z, training=True)
            return ops.sum(out * weight)

        return gradient(value, x)

    np.testing.assert_allclose(slope(ours), slope(keras_own), atol=1e-4)


@pytest.mark.battery
def test_batch_normalisation_infers_as_keras_own():
    ours, keras_own = _norm_pair()
    for layer in (ours, keras_own):
        layer.moving_mean.assign([1, 2, 3, 4, 5])
        layer.moving_variance.assign([1, 4, 9, 0.5, 0])
    x = np.random.default_rng(2).normal(3, 2, (2, 8, 8, 5)).astype(np.float32)
    for options in ({}, {"training": False}):
        a, b = (ops.convert_to_numpy(layer(x, **options)) for layer in (ours, keras_own))
        np.testing.assert_allclose(a, b, atol=1e-5)
    ours.trainable = False  # frozen: the moving statistics are used, and stay
    np.testing.assert_allclose(ops.convert_to_numpy(ours(x, training=True)), a, atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(ours.moving_mean), [1, 2, 3, 4, 5])


@pytest.mark.battery
def test_moving_statistics_warm_up_and_then_follow_by_the_momentum():
    ours, _ = _norm_pair()
    rng = np.random.default_rng(3)
    mean, variance = np.zeros(5), np.ones(5)
    for t in range(100):
        x = rng.normal(t % 7, 1 + t % 3, (2, 8, 8, 5)).astype(np.float32)
        ours(x, training=True)
        follow = 1 - min(0.9, (1 + t) / (10 + t))
        mean += follow * (x.mean((0, 1, 2)) - mean)
        variance += follow * (x.var((0, 1, 2)) - variance)
    np.testing.assert_allclose(ops.convert_to_numpy(ours.moving_mean), mean, rtol=1e-4, atol=1e-4)
    # The fused op gives the unbiased variance: 128 pixels
    np.testing.assert_allclose(ops.convert_to_numpy(ours.moving_variance), variance, rtol=1.5 / 128)


@pytest.mark.battery
def test_statistics_in_bfloat16_are_counted_and_kept_in_float32():
    layer = FastBatchNormalization(momentum=0.98, dtype="mixed_bfloat16")
    x = np.random.default_rng(4).normal(0, 1, (1, 2, 2, 3)).astype(np.float32)
    layer(x, training=True)
    layer.updates.assign(600.0)
    for _ in range(3):
        out = layer(x, training=True)
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    assert float(ops.convert_to_numpy(layer.updates)) == 603
    assert keras.backend.standardize_dtype(layer.moving_mean.dtype) == "float32"


# === What the options do ===


def parameters(**options):
    return build_network(NetworkConfig(**{**SMALL, "width": 8, **options})).count_params()


def test_the_options_have_the_parameters_they_should():
    plain = parameters()
    # 1x1 convolutions around each block whose channels change, with their normalisation (4 a channel, 1 counter)
    changes = [(3, 8), (8, 16), (16, 32), (32, 16), (16, 8)]
    assert parameters(block="residual") - plain == sum(a * b + 4 * b + 1 for a, b in changes)
    # a gate: skip and signal to half the channels, one bias there, to one channel with its bias
    assert parameters(attention=True) - plain == sum(2 * c * (c // 2) + c // 2 + c // 2 + 1 for c in (8, 16))
    assert parameters(dilations=[1, 2]) - plain == 2 * (9 * 32 * 32 + 4 * 32 + 1)
    assert parameters(separable=True) < plain / 3
    assert parameters(dropout=0.5, dropout_kind="channel") == parameters(dropout=0.5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block": "residual", "attention": True},
        {"separable": True, "normalization": "weight"},
        {"dilations": [1, 2], "depth": 1},
        {"stem": "patch", "upsampling": "bilinear"},
    ],
    ids=str,
)
def test_a_prediction_does_not_depend_on_what_is_far_away(options):
    keras.utils.set_random_seed(2)
    config = NetworkConfig(**{**SMALL, "depth": 1, **options})
    model = plain_copy(build_network(config))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.uint8)
    whole = np.asarray(model.predict_on_batch(pixels))
    part = np.asarray(model.predict_on_batch(pixels[:, 16:80, 32:112]))
    np.testing.assert_allclose(part[:, 24:40, 24:56], whole[:, 40:56, 56:88], atol=1e-5)


def test_a_network_may_have_eight_poolings():
    config = NetworkConfig(width=1, depth=8, stem="patch")
    spec = build_network(config).compute_output_spec(keras.KerasTensor((1, 512, 1024, 3), dtype="uint8"))
    assert config.multiple == 512 and spec.shape == (1, 512, 1024, 1)


def test_groups_are_as_many_as_divide_the_channels():
    model = build_network(NetworkConfig(width=6, depth=1, normalization="group", groups=4))
    assert {layer.groups for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)} == {2, 4}


@pytest.mark.battery
def test_channel_dropout_drops_whole_channels():
    keras.utils.set_random_seed(1)
    options = {
        "dropout": 0.5,
        "dropout_kind": "channel",
        "stem": "none",
        "initializer": "ones",
        "normalization": "none",
    }
    model = build_network(NetworkConfig(width=4, depth=1, **options))
    inside = keras.Model(model.input, model.get_layer("drop1").output)
    found = ops.convert_to_numpy(inside(np.full((1, 16, 16, 3), 200, np.uint8), training=True))[0]
    dropped = (found == 0).all((0, 1))
    assert 0 < dropped.sum() < 8
    assert (found[..., ~dropped] != 0).all()


# === Standardised kernels ===


def test_standardised_kernels_keep_the_variance_of_what_goes_through():
    rng = np.random.default_rng(0)
    layer = StandardizedConv2D(64, 3, padding="valid", kernel_initializer="glorot_uniform")
    x = rng.normal(0, 1, (2, 20, 20, 32)).astype(np.float32)
    assert np.asarray(layer(x)).var() == pytest.approx(1, abs=0.1)
    after = StandardizedConv2D(64, 3, padding="valid", scale=1.7129)
    assert np.asarray(after(np.maximum(x, 0))).var() == pytest.approx(1, abs=0.15)
    model = build_network(NetworkConfig(width=4, depth=1, normalization="weight"))
    scales = {layer.name: round(layer.scale, 3) for layer in model.layers if isinstance(layer, StandardizedConv2D)}
    assert scales.pop("stem_conv") == 1 and set(scales.values()) == {1.713}


@pytest.mark.battery
def test_standardised_kernels_are_saved_as_they_are_used_and_taken_back():
    rng = np.random.default_rng(1)
    layer = StandardizedConv2D(5, 3, padding="same", scale=1.5, name="conv")
    model = keras.Sequential([keras.Input((None, None, 2)), layer])
    layer.kernel.assign(rng.normal(2, 3, layer.kernel.shape))
    layer.gain.assign([1, -2, 0.5, 0, 3])
    layer.bias.assign(rng.normal(0, 1, 5))
    x = rng.normal(0, 1, (1, 6, 6, 2)).astype(np.float32)
    plain = plain_copy(model)
    assert type(plain.layers[-1]) is keras.layers.Conv2D
    answer = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(ops.convert_to_numpy(plain(x)), answer, atol=1e-5)
    layer.kernel.assign(rng.normal(0, 1, layer.kernel.shape))
    layer.gain.assign(np.ones(5))
    layer.take_plain(*plain.layers[-1].get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), answer, atol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is StandardizedConv2D and again.get_config() == layer.get_config()


def test_averaged_kernels_are_standardised_after_they_are_averaged():
    keras.utils.set_random_seed(4)
    model = build_network(NetworkConfig(**SMALL, normalization="weight"))
    model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), "binary_crossentropy", jit_compile=JIT)
    pixels, truth = easy_batch(16, 3, 2)
    for _ in range(3):
        model.train_on_batch(pixels, truth)
    averages = dict(
        zip((v.path for v in model.trainable_variables), model.optimizer._model_variables_moving_average, strict=True)
    )
    layer = model.get_layer("down0b_conv")
    kernel, gain = (ops.convert_to_numpy(averages[f"down0b_conv/{name}"]) for name in ("kernel", "gamma"))
    expected = ops.convert_to_numpy(layer.standardized(kernel, gain))
    copy = plain_copy(model)
    copy.set_weights(averaged_weights(model))
    found = copy.get_layer("down0b_conv").get_weights()[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not np.allclose(found, plain_copy(model).get_layer("down0b_conv").get_weights()[0], atol=1e-4)
    norms = np.sqrt((found**2).sum((0, 1, 2)))
    np.testing.assert_allclose(norms, np.abs(gain) * layer.scale, rtol=1e-4)


# === Deep supervision ===


@pytest.mark.battery
@pytest.mark.parametrize("classes", [2, 3])
def test_deep_supervision_trains_coarser_answers_and_saves_none(classes):
    keras.utils.set_random_seed(4)
    single = build_network(NetworkConfig(width=2, depth=3, stem="patch"), classes=classes)
    model = supervised(single)
    k = 1 if classes == 2 else classes
    pixels, truth = easy_batch(32, 3, classes)
    answers = ops.convert_to_numpy(model(pixels))
    assert answers.shape == (4, 32, 32, 3 * k)
    np.testing.assert_array_equal(answers[..., :k], ops.convert_to_numpy(single(pixels)))
    for level, cell in ((1, 4), (2, 8)):  # each answer is one number a cell
        part = answers[..., level * k : (level + 1) * k].reshape(4, 32 // cell, cell, 32 // cell, cell, k)
        assert (part == part[:, :, :1, :, :1]).all()
    loss = SupervisedLoss(Crossentropy(), k, [1, 0.5, 0.25])
    each = [float(Crossentropy()(truth, answers[..., i * k : (i + 1) * k])) for i in range(3)]
    assert float(loss(truth, answers)) == pytest.approx(each[0] + 0.5 * each[1] + 0.25 * each[2], rel=1e-5)
    metric = FirstAnswer(keras.metrics.MeanAbsoluteError(name="m"), k)
    model.compile(keras.optimizers.SGD(1.0), loss, metrics=[metric], jit_compile=False)
    before = ops.convert_to_numpy(model.get_layer("logits2").kernel).copy()
    model.train_on_batch(pixels, truth)
    assert not np.array_equal(before, ops.convert_to_numpy(model.get_layer("logits2").kernel))
    plain = plain_copy(model)
    assert plain.count_params() == plain_copy(single).count_params()
    np.testing.assert_allclose(
        ops.convert_to_numpy(plain(pixels)), ops.convert_to_numpy(model(pixels, training=False))[..., :k], atol=1e-5
    )
    assert len(averaged_weights(model)) == len(plain.weights)


def test_the_metric_of_deep_supervision_sees_the_first_answer_alone():
    truth = np.ones((1, 4, 4, 1), np.float32)
    answers = np.concatenate([np.full_like(truth, 0.75), np.zeros_like(truth)], axis=-1)
    metric = FirstAnswer(keras.metrics.MeanAbsoluteError(name="m"), 1)
    metric.update_state(truth, answers)
    assert float(metric.result()) == pytest.approx(0.25) and metric.name == "m"
    metric.reset_state()
    assert float(metric.result()) == 0


@pytest.mark.parametrize("shares", [[0.8, 0.2], [0.7, 0.25, 0.05]])
def test_an_untrained_network_answers_as_often_as_the_classes_occur(shares: list[float]) -> None:
    """The bias of the output alone, that is where no feature speaks."""
    config = NetworkConfig(**{**SMALL, "deep_supervision": 0.5})
    model = build_network(config, classes=len(shares), shares=shares)
    wanted = shares[1:] if len(shares) == 2 else shares
    activate = keras.ops.sigmoid if len(shares) == 2 else keras.ops.softmax
    for layer in supervised(model).layers:
        if layer.name.startswith("logits"):
            layer.kernel.assign(keras.ops.zeros_like(layer.kernel))
            found = keras.ops.convert_to_numpy(activate(keras.ops.convert_to_tensor(layer.bias)))
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    silent = np.asarray(plain_copy(model)(np.zeros((1, 32, 32, 3), np.uint8)))
    np.testing.assert_allclose(silent, np.broadcast_to(np.float32(wanted), silent.shape), atol=1e-6)
