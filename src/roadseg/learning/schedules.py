"""The learning rate over a run, whose length may change: it rises, then falls in one of several ways."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["SHAPES", "RunSchedule"]

SHAPES = ("cosine", "linear", "polynomial", "exponential", "step", "constant")
LOWEST = 0.001  # share of the rate that is left at the end of an exponential fall, which never reaches zero
DROP = 0.1  # of a step


@keras.saving.register_keras_serializable(package="roadseg")
class RunSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up in a line from a 25th of the rate, then a fall over the rest of the run.

    With u, the share of the steps after the warm-up that is done, and f = `final_rate`, the rate is multiplied by

    | shape       |                                                                                                    |
    |-------------|----------------------------------------------------------------------------------------------------|
    | cosine      | f + (1 - f) (1 + cos(pi u)) / 2, `cycles` times over (Loshchilov and Hutter 2017: warm restarts)   |
    | linear      | f + (1 - f) (1 - u)                                                                                |
    | polynomial  | f + (1 - f) (1 - u) ** power                                                                       |
    | exponential | max(f, 0.001) ** u                                                                                 |
    | step        | a tenth for each of `drops`, shares of the whole run, that is reached; f at least                  |
    | constant    | 1                                                                                                  |

    Args:
        learning_rate: the highest.
        steps: of the run; the optimiser that is built with the schedule puts a variable in its place, so that another
            length needs no new compilation (`optimizers.set_run_steps`).
        warmup: share of the steps.
        shape: one of `SHAPES`.
    """

    def __init__(
        self,
        learning_rate: float,
        steps: int,
        warmup: float,
        shape: str = "cosine",
        *,
        final_rate: float = 0.0,
        drops: Sequence[float] = (0.5, 0.75),
        power: float = 0.9,
        cycles: int = 1,
    ) -> None:
        if shape not in SHAPES:
            raise ValueError(f"shape = '{shape}': known are {', '.join(SHAPES)}")
        self.learning_rate = learning_rate
        self.steps: Any = steps
        self.warmup = warmup
        self.shape = shape
        self.final_rate = final_rate
        self.drops = tuple(drops)
        self.power = power
        self.cycles = cycles

    def __call__(self, step: Any) -> Any:
        t, steps = ops.cast(step, "float32"), ops.cast(self.steps, "float32")
        warm = ops.minimum(steps - 1, ops.round(self.warmup * steps))
        first = self.learning_rate / 25
        rising = first + (self.learning_rate - first) * t / ops.maximum(warm, 1.0)
        fallen = ops.clip((t - warm) / ops.maximum(1.0, steps - warm), 0.0, 1.0)
        return ops.where(t < warm, rising, self.learning_rate * self._level(fallen, t, steps))

    def _level(self, fallen: Any, t: Any, steps: Any) -> Any:
        """Share of the highest rate after the warm-up."""
        if self.shape == "constant":
            return 1.0
        if self.shape == "exponential":
            return ops.exp(math.log(max(self.final_rate, LOWEST)) * fallen)
        if self.shape == "step":
            level: Any = ops.ones_like(t)
            for share in self.drops:
                level = ops.where(t >= ops.round(share * steps), DROP * level, level)
            return ops.maximum(level, self.final_rate)
        if self.shape == "cosine":
            turns = self.cycles * fallen
            turn = turns - ops.minimum(ops.floor(turns), self.cycles - 1.0)  # the last one ends at its lowest
            level = 0.5 * (1 + ops.cos(np.pi * turn))
        else:
            level = ops.power(1 - fallen, 1.0 if self.shape == "linear" else self.power)
        return self.final_rate + (1 - self.final_rate) * level

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps": round(float(ops.convert_to_numpy(self.steps))),
            "warmup": self.warmup,
            "shape": self.shape,
            "final_rate": self.final_rate,
            "drops": list(self.drops),
            "power": self.power,
            "cycles": self.cycles,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RunSchedule":
        config = dict(config)
        if "cosine" in config:  # as it was stored when there were two shapes
            config["shape"] = "cosine" if config.pop("cosine") else "constant"
        return cls(**config)
