"""Which arithmetic trains faster here: float32, or bfloat16 with float32 weights. Measured, not guessed."""

import statistics
import time
from functools import cache

import keras
import numpy as np

__all__ = ["faster_precision"]


def _step_seconds(policy: str) -> float:
    x = inputs = keras.Input((96, 96, 48))
    for _ in range(3):
        x = keras.layers.Conv2D(48, 3, padding="same", activation="relu", dtype=policy)(x)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, dtype="float32")(x))
    model.compile("sgd", "mse", jit_compile="auto" if keras.config.backend() != "tensorflow" else False)
    pixels, truth = np.ones((4, 96, 96, 48), "float32"), np.ones((4, 96, 96, 1), "float32")
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        float(np.asarray(model.train_on_batch(pixels, truth)))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


@cache
def faster_precision(gain: float = 1.15) -> str:
    """ "mixed_bfloat16" where three convolutions train at least `gain` times as fast in it, else "float32"."""
    return "mixed_bfloat16" if _step_seconds("float32") > gain * _step_seconds("mixed_bfloat16") else "float32"
