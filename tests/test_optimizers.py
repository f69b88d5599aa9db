"""Optimisers: the schedule, the clipping, and averages that begin with the weights themselves."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from roadseg.config import TrainConfig
from roadseg.learning.optimizers import averaged_weights, build_optimizer


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


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_warms_up_and_then_falls_or_stays(schedule):
    rate = build_optimizer(TrainConfig(learning_rate=0.01, warmup=0.2, schedule=schedule), 100)._learning_rate
    rates = [float(rate(k)) for k in range(101)]
    assert rates[0] == pytest.approx(0.01 / 25)
    assert all(a < b for a, b in pairwise(rates[:21]))
    assert rates[20] == pytest.approx(0.01)
    if schedule == "constant":
        assert rates[20:] == pytest.approx([0.01] * 81)
    else:
        assert rates[100] == pytest.approx(0, abs=1e-9) and rates[60] == pytest.approx(0.005, rel=1e-3)


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


@pytest.mark.battery
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimiser_comes_back_from_its_configuration(name):
    optimizer = build_optimizer(TrainConfig(optimizer=name), 50)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
