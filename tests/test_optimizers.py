"""Optimisers: the schedule, the clipping, and averages that begin with the weights themselves."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from roadseg.config import TrainConfig
from roadseg.errors import ConfigError
from roadseg.learning.checkpoint import capture, restore
from roadseg.learning.optimizers import OPTIMIZERS, averaged_weights, build_optimizer, check_optimizer, set_run_steps
from roadseg.learning.schedules import SHAPES, RunSchedule


def slope(config: TrainConfig, steps: int):
    """A model of two weights w whose loss has the gradient (1, 1), so that plain SGD goes down straight."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    jit = False if keras.config.backend() == "tensorflow" else "auto"
    model.compile(build_optimizer(config, steps), loss=lambda y, p: ops.mean(p), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    return model


def step(model) -> np.ndarray:
    model.train_on_batch(np.ones((1, 2), np.float32), np.ones((1, 1), np.float32))
    return np.array(model.get_weights()[0]).ravel()


@pytest.mark.battery
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_average_begins_with_the_weights_and_warms_up(name):
    model = slope(TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=0, ema=0.9, warmup=0), 1000)
    expected = None
    for t in range(20):
        weight = step(model)
        decay = 0.0 if t == 0 else min(0.9, (1 + t) / (10 + t))
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        np.testing.assert_allclose(averaged_weights(model)[0].ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize(("ema", "steps", "expected"), [(0.999, 20, 0.5), (0.999, 100, 0.9), (0.6, 100, 0.6)])
def test_a_short_run_averages_over_a_tenth_of_it(ema, steps, expected):
    model = slope(TrainConfig(ema=ema, warmup=0, schedule="constant"), steps)
    for _ in range(200):  # far beyond the warm-up of the average
        before, weight = averaged_weights(model)[0].ravel(), step(model)
    after = averaged_weights(model)[0].ravel()
    np.testing.assert_allclose(after, expected * before + (1 - expected) * weight, rtol=1e-4)


def test_without_averaging_the_weights_are_the_weights():
    model = slope(TrainConfig(ema=0.0), 10)
    assert not model.optimizer.use_ema
    weight = step(model)
    np.testing.assert_array_equal(averaged_weights(model)[0].ravel(), weight)


@pytest.mark.battery
def test_fit_leaves_the_averages_in_the_model():
    model = slope(TrainConfig(optimizer="sgd", learning_rate=0.1, ema=0.5, warmup=0), 100)
    model.fit(np.ones((8, 2), np.float32), np.ones((8, 1), np.float32), batch_size=1, epochs=1, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], averaged_weights(model)[0], rtol=1e-6)


# === Schedules ===


def rates(steps: int = 100, **settings) -> list[float]:
    config = TrainConfig(learning_rate=0.01, **{"warmup": 0.2, **settings})
    schedule = build_optimizer(config, steps)._learning_rate
    return [float(schedule(k)) for k in range(steps + 1)]


def test_the_default_curve_is_that_of_the_first_version():
    """To the bit: a resumed run goes on with the rates it would have had."""
    for steps, warmup in ((100, 0.1), (7, 0.5), (1, 0.0), (1000, 0.0)):
        schedule = RunSchedule(2e-3, steps, warmup)
        for k in (0, 1, steps // 3, steps // 2, steps - 1, steps, steps + 5):
            t, n = ops.cast(k, "float32"), ops.cast(steps, "float32")
            warm = ops.minimum(n - 1, ops.round(warmup * n))
            rising = 2e-3 / 25 + (2e-3 - 2e-3 / 25) * t / ops.maximum(warm, 1.0)
            fallen = ops.clip((t - warm) / ops.maximum(1.0, n - warm), 0.0, 1.0)
            expected = ops.where(t < warm, rising, 2e-3 * (0.5 * (1 + ops.cos(np.pi * fallen))))
            assert float(schedule(k)) == float(expected)


@pytest.mark.parametrize("schedule", SHAPES)
def test_every_schedule_warms_up_and_then_falls_or_stays(schedule):
    found = rates(schedule=schedule)
    assert found[0] == pytest.approx(0.01 / 25)
    assert all(a < b for a, b in pairwise(found[:21]))
    assert found[20] == pytest.approx(0.01)
    assert all(a >= b - 1e-9 for a, b in pairwise(found[20:]))
    assert (found[100] == pytest.approx(0.01)) == (schedule == "constant")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "cosine"}, {60: 0.5, 80: 0.1464, 100: 0}),
        ({"schedule": "cosine", "final_rate": 0.2}, {60: 0.6, 100: 0.2}),
        ({"schedule": "cosine", "schedule_cycles": 2}, {40: 0.5, 59: 0.00154, 60: 1, 80: 0.5, 100: 0}),
        ({"schedule": "cosine", "schedule_cycles": 4, "final_rate": 0.1}, {30: 0.55, 40: 1, 80: 1, 90: 0.55, 100: 0.1}),
        ({"schedule": "linear"}, {40: 0.75, 60: 0.5, 100: 0}),
        ({"schedule": "linear", "final_rate": 0.5}, {60: 0.75, 100: 0.5}),
        ({"schedule": "polynomial"}, {60: 0.5**0.9, 100: 0}),
        ({"schedule": "polynomial", "schedule_power": 2.0, "final_rate": 0.1}, {60: 0.325, 100: 0.1}),
        ({"schedule": "exponential"}, {60: 0.001**0.5, 100: 0.001}),
        ({"schedule": "exponential", "final_rate": 0.04}, {60: 0.2, 100: 0.04}),
        ({"schedule": "step"}, {49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 100: 0.01}),
        ({"schedule": "step", "schedule_drops": [0.9, 0.3], "final_rate": 0.05}, {29: 1, 30: 0.1, 90: 0.05}),
        ({"schedule": "step", "schedule_drops": []}, {20: 1, 100: 1}),
        ({"schedule": "constant", "final_rate": 0.3}, {20: 1, 100: 1}),
    ],
)  # fmt: skip
def test_the_rates_at_known_steps(settings, expected):
    found = rates(**settings)
    assert {k: found[k] / 0.01 for k in expected} == pytest.approx(expected, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("schedule", SHAPES)
def test_a_schedule_comes_back_from_its_configuration(schedule):
    config = TrainConfig(
        schedule=schedule, schedule_power=2.0, schedule_drops=[0.4], schedule_cycles=3, final_rate=0.05, warmup=0.3
    )
    made = build_optimizer(config, 50)._learning_rate
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.get_config() == made.get_config()
    assert [float(again(k)) for k in range(51)] == [float(made(k)) for k in range(51)]


@pytest.mark.parametrize(("cosine", "shape"), [(True, "cosine"), (False, "constant")])
def test_a_schedule_stored_by_the_first_version_is_read(cosine, shape):
    old = {"learning_rate": 0.01, "steps": 30, "warmup": 0.1, "cosine": cosine}
    stored = {"module": "roadseg.learning.optimizers", "class_name": "RunSchedule", "config": old}
    found = keras.saving.deserialize_keras_object({**stored, "registered_name": "roadseg>RunSchedule"})
    assert found.shape == shape and float(found(15)) == float(RunSchedule(0.01, 30, 0.1, shape)(15))


@pytest.mark.battery
def test_another_length_of_the_run_is_the_same_compiled_step():
    model = slope(TrainConfig(optimizer="sgd", learning_rate=0.1, ema=0, warmup=0, schedule="step", clip=0), 4)
    traces = []
    schedule = model.optimizer._learning_rate
    levels = schedule._level
    schedule._level = lambda *given: traces.append(0) or levels(*given)
    step(model)
    compiled = len(traces)
    set_run_steps(model.optimizer, 2000)
    before = step(model)
    for _ in range(3):  # with 4 steps the rate would have fallen
        after = step(model)
        assert np.abs(before - after).mean() > 0.01
        before = after
    if keras.config.backend() != "torch":  # nothing is compiled there
        assert compiled == len(traces)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_shortest_runs_have_rates_too(steps, warmup):
    rate = build_optimizer(TrainConfig(learning_rate=0.01, warmup=warmup), steps)._learning_rate
    rates = [float(rate(k)) for k in range(steps)]
    assert np.isfinite(rates).all() and 0 < max(rates) <= 0.01 + 1e-9


@pytest.mark.battery
def test_gradients_are_clipped_by_their_common_norm():
    common = {"optimizer": "sgd", "learning_rate": 1.0, "ema": 0.0, "warmup": 0.0, "schedule": "constant"}
    moved = 1 - step(slope(TrainConfig(clip=0.1, **common), 10))
    free = 1 - step(slope(TrainConfig(clip=0, **common), 10))
    assert np.linalg.norm(free) > 1
    np.testing.assert_allclose(moved / np.linalg.norm(moved), free / np.linalg.norm(free), rtol=1e-5)
    assert np.linalg.norm(moved) == pytest.approx(0.1 * np.linalg.norm(free) / np.sqrt(2), rel=1e-4)


def test_weight_decay_spares_biases_and_normalisation():
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 1), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )
    optimizer = build_optimizer(TrainConfig(weight_decay=0.1), 10)
    optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}
    assert optimizer.weight_decay == 0.1


# === By name ===


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_comes_back_from_its_configuration(name):
    optimizer = build_optimizer(TrainConfig(optimizer=name), 50)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
    variable = keras.Variable(np.ones((2, 2)), name="bias")
    again.build([variable])
    assert not again._use_weight_decay(variable)


# What learns at once on a line of two weights; adadelta and ftrl take larger steps than the others.
RATES = {"sgd": 0.02, "lion": 0.02, "adadelta": 20.0, "ftrl": 0.5, "adagrad": 0.3}


def line(name: str) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A model of y = x @ (1, -2) + 0.5, and data for it."""
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 2)).astype(np.float32)
    y = x @ np.array([[1], [-2]], np.float32) + np.float32(0.5)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    config = TrainConfig(optimizer=name, learning_rate=RATES.get(name, 0.05), warmup=0, schedule="constant")
    jit = False if keras.config.backend() == "tensorflow" else "auto"
    model.compile(build_optimizer(config, 100), loss="mse", jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    return model, x, y


def learn(name: str, steps: int = 20) -> None:
    """Steps lower the loss, of the averaged weights too; a run that is interrupted goes on to the same weights."""
    model, x, y = line(name)
    losses = [float(np.asarray(model.train_on_batch(x, y))) for _ in range(steps)]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0], losses
    half = capture(model)
    for _ in range(2):
        model.train_on_batch(x, y)
    other, *_ = line(name)
    restore(other, half)
    for _ in range(2):
        other.train_on_batch(x, y)
    for one, two in zip(capture(other), capture(model), strict=True):
        np.testing.assert_array_equal(one, two)
    averages = averaged_weights(model)
    model.set_weights(averages)
    found = model.predict_on_batch(x)
    assert float(np.mean((np.asarray(found) - y) ** 2)) < losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_learns_and_resumes(name):
    learn(name)


@pytest.mark.battery
@pytest.mark.parametrize("name", ["lion", "adafactor"])
def test_some_optimisers_learn_on_every_backend(name):
    learn(name, steps=12)


def test_every_optimiser_of_keras_is_there_by_name():
    expected = {
        "adadelta",
        "adafactor",
        "adagrad",
        "adam",
        "adamax",
        "adamw",
        "ftrl",
        "lion",
        "nadam",
        "rmsprop",
        "sgd",
    }
    assert expected <= set(OPTIMIZERS)
    for name in ("adamw", "AdamW", "ADAMW"):
        assert isinstance(build_optimizer(TrainConfig(optimizer=name), 5), keras.optimizers.AdamW)


def test_sgd_has_momentum_unless_the_options_say_otherwise():
    usual = build_optimizer(TrainConfig(optimizer="sgd"), 5)
    assert usual.momentum == 0.9 and usual.nesterov
    other = build_optimizer(TrainConfig(optimizer="sgd", optimizer_options={"momentum": 0, "nesterov": False}), 5)
    assert other.momentum == 0 and not other.nesterov


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_goes_to_those_that_were_published_with_it(name):
    decays = name in ("adamw", "lamb", "lion", "muon", "schedulefreeadamw")
    config = TrainConfig(optimizer=name, weight_decay=0.3)
    optimizer = build_optimizer(config, 5)
    assert optimizer.weight_decay == (0.3 if decays else None)
    assert getattr(optimizer, "adam_weight_decay", 0.3) == 0.3  # muon's, for what is no matrix
    if not decays:
        asked = TrainConfig(optimizer=name, optimizer_options={"weight_decay": 0.2})
        assert build_optimizer(asked, 5).weight_decay == 0.2


def test_options_reach_the_optimiser():
    options = {"beta_1": 0.8, "amsgrad": True, "epsilon": 1e-5, "gradient_accumulation_steps": 2}
    found = build_optimizer(TrainConfig(optimizer_options=options), 5).get_config()
    assert {key: found[key] for key in options} == options
    assert build_optimizer(TrainConfig(clip=0, optimizer_options={"clipnorm": 2}), 5).clipnorm == 2


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"optimizer": "adamv"}, ("'adamv'", "did you mean 'adam")),
        ({"optimizer": "qqqq"}, ("known are", "sgd", "rmsprop")),
        ({"optimizer": "optimizer"}, ("known are",)),
        ({"optimizer": "lossscaleoptimizer"}, ("known are",)),
        ({"optimizer_options": {"beta1": 0.9}}, ("'beta1'", "beta_1", "epsilon")),
        ({"optimizer_options": {"beta_1": "0.9"}}, ("'beta_1' = '0.9'", "a number")),
        ({"optimizer_options": {"beta_1": True}}, ("a number",)),
        ({"optimizer_options": {"epsilon": float("nan")}}, ("a number",)),
        ({"optimizer_options": {"beta_2": 1.5}}, ("beta_2", "less than 1")),
        ({"optimizer_options": {"amsgrad": 1}}, ("amsgrad", "true or false")),
        ({"optimizer_options": {"gradient_accumulation_steps": 2.5}}, ("a whole number",)),
        ({"optimizer_options": {"gradient_accumulation_steps": 1}}, (">= 2",)),
        ({"optimizer_options": {"clipvalue": [1]}}, ("a number",)),
        ({"optimizer_options": {"clipnorm": 1.0}}, ("train.clip",)),
        ({"optimizer_options": {"global_clipnorm": 1.0}}, ("train.clip",)),
        ({"optimizer_options": {"learning_rate": 1.0}}, ("train.learning_rate",)),
        ({"optimizer_options": {"use_ema": False}}, ("train.ema",)),
        ({"optimizer_options": {"weight_decay": 0.1}}, ("train.weight_decay",)),
        ({"optimizer": "sgd", "optimizer_options": {"momentum": 2}}, ("momentum", "less than 1")),
    ],
)
def test_what_an_optimiser_does_not_take_is_an_error_that_says_what_it_takes(settings, parts):
    with pytest.raises(ConfigError) as error:
        check_optimizer(TrainConfig(**settings))
    assert all(part in str(error.value) for part in ("train.optimizer", *parts)), error.value
