"""Optimisers with averaged weights whose average warms up, so that a short run is not held back by its first steps."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..config import TrainConfig
from ..networks import plain_weights

__all__ = ["RunSchedule", "averaged_weights", "build_optimizer", "set_run_steps"]


@keras.saving.register_keras_serializable(package="roadseg")
class RunSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up from a 25th of the rate, then a cosine to zero, or constant, over the steps of a run.

    Args:
        steps: of the run; the optimiser that is built with the schedule puts a variable in its place, so that another
            length needs no new compilation (`set_run_steps`).
        warmup: share of the steps.
        cosine: fall to zero; else stay.
    """

    def __init__(self, learning_rate: float, steps: int, warmup: float, cosine: bool = True) -> None:
        self.learning_rate = learning_rate
        self.steps: Any = steps
        self.warmup = warmup
        self.cosine = cosine

    def __call__(self, step: Any) -> Any:
        t, steps = ops.cast(step, "float32"), ops.cast(self.steps, "float32")
        warm = ops.minimum(steps - 1, ops.round(self.warmup * steps))
        first = self.learning_rate / 25
        rising = first + (self.learning_rate - first) * t / ops.maximum(warm, 1.0)
        fallen = ops.clip((t - warm) / ops.maximum(1.0, steps - warm), 0.0, 1.0)
        level = 0.5 * (1 + ops.cos(np.pi * fallen)) if self.cosine else 1.0
        return ops.where(t < warm, rising, self.learning_rate * level)

    def get_config(self) -> dict[str, Any]:
        steps = round(float(ops.convert_to_numpy(self.steps)))
        return {
            "learning_rate": self.learning_rate, "steps": steps, "warmup": self.warmup, "cosine": self.cosine,
        }  # fmt: skip


class _WarmAverage:
    """Mixed into a Keras optimiser with `use_ema`: the decay is min(ema_momentum, (1 + t) / (10 + t)) at step t.

    The average reaches back over at most a tenth of the run, whatever `ema_momentum` says: longer would keep what was
    unlearnt. The run's length is a variable of the optimiser where its rate is a `RunSchedule`.
    """

    def build(self, variables: Any) -> None:
        super().build(variables)  # type: ignore[misc]
        schedule = self._learning_rate  # type: ignore[attr-defined]
        if isinstance(schedule, RunSchedule) and not hasattr(self, "run_steps"):
            start = keras.initializers.Constant(schedule.steps)
            self.run_steps = self.add_variable((), initializer=start, dtype="float32", name="run_steps")  # type: ignore[attr-defined]
            schedule.steps = self.run_steps

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        if not self.use_ema:  # type: ignore[attr-defined]
            return
        t = ops.cast(self.iterations, "float32")  # type: ignore[attr-defined]
        longest = self.ema_momentum  # type: ignore[attr-defined]
        if hasattr(self, "run_steps"):
            longest = ops.minimum(longest, 1 - 1 / ops.maximum(2.0, 0.1 * ops.convert_to_tensor(self.run_steps)))
        decay = ops.minimum(longest, (1 + t) / (10 + t))
        decay = ops.where(t > 0, decay, 0.0)  # the average begins as zeros: the first step replaces them
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):  # type: ignore[attr-defined]
            if average is not None:
                average.assign(average + ops.cast(1 - decay, average.dtype) * (variable - average))


@keras.saving.register_keras_serializable(package="roadseg")
class AveragedAdamW(_WarmAverage, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with a warming average."""


@keras.saving.register_keras_serializable(package="roadseg")
class AveragedAdam(_WarmAverage, keras.optimizers.Adam):
    """`keras.optimizers.Adam` with a warming average."""


@keras.saving.register_keras_serializable(package="roadseg")
class AveragedSGD(_WarmAverage, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with a warming average."""


def build_optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser for a run of `steps` steps: warm-up, cosine to zero (or constant), clipping, averaged weights.

    The average reaches back over at most a tenth of the run, whatever `ema` says: longer would keep what was unlearnt.
    """
    rate = RunSchedule(config.learning_rate, steps, config.warmup, cosine=config.schedule == "cosine")
    options: dict[str, Any] = {
        "learning_rate": rate,
        "global_clipnorm": config.clip or None,
        "use_ema": config.ema > 0,
        "ema_momentum": config.ema if config.ema else 0.99,
    }
    if config.optimizer == "sgd":
        return AveragedSGD(momentum=0.9, nesterov=True, **options)
    if config.optimizer == "adam":
        return AveragedAdam(**options)
    optimizer = AveragedAdamW(weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def set_run_steps(optimizer: keras.optimizers.Optimizer, steps: int) -> None:
    """Give a built optimiser of `build_optimizer` another length of the run; what is compiled stays valid."""
    optimizer.run_steps.assign(steps)


def averaged_weights(model: keras.Model) -> list[Any]:
    """The weights of `plain_copy(model)`, trainable ones replaced by their averages where the optimiser keeps them."""
    optimizer = model.optimizer
    averages = {}
    if getattr(optimizer, "use_ema", False):
        pairs = zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True)
        averages = {id(variable): average for variable, average in pairs if average is not None}
    return [ops.convert_to_numpy(averages.get(id(weight), weight)) for weight in plain_weights(model)]
