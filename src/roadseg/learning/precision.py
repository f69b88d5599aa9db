"""Which arithmetic trains faster here: float32, or bfloat16 with float32 weights. Measured, not guessed."""

import time
from collections.abc import Callable
from functools import cache

import keras
import numpy as np

__all__ = ["faster_precision"]

ROUNDS = 6


def _stepper(policy: str) -> Callable[[], float]:
    """Three convolutions that train: a function that makes one step and returns its seconds."""
    x = inputs = keras.Input((96, 96, 48))
    for _ in range(3):
        x = keras.layers.Conv2D(48, 3, padding="same", activation="relu", dtype=policy)(x)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, dtype="float32")(x))
    model.compile("sgd", "mse", jit_compile="auto" if keras.config.backend() != "tensorflow" else False)
    pixels, truth = np.ones((4, 96, 96, 48), "float32"), np.ones((4, 96, 96, 1), "float32")

    def step() -> float:
        start = time.perf_counter()
        float(np.asarray(model.train_on_batch(pixels, truth)))
        return time.perf_counter() - start

    return step


@cache
def faster_precision(gain: float = 1.15) -> str:
    """ "mixed_bfloat16" where three convolutions train at least `gain` times as fast in it, else "float32".

    In turns, and by the fastest step of each: other work on the machine makes steps slower, never faster.
    """
    wide, short = _stepper("float32"), _stepper("mixed_bfloat16")
    wide(), short()  # compile
    turns = [(wide(), short()) for _ in range(ROUNDS)]
    return "mixed_bfloat16" if min(w for w, _ in turns) > gain * min(s for _, s in turns) else "float32"
