"""Optimisers with averaged weights whose average warms up, so that a short run is not held back by its first steps."""

from typing import Any

import keras
from keras import ops

from ..config import TrainConfig
from ..networks import plain_weights

__all__ = ["averaged_weights", "build_optimizer"]


class _WarmAverage:
    """Mixed into a Keras optimiser with `use_ema`: the decay is min(ema_momentum, (1 + t) / (10 + t)) at step t."""

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        if not self.use_ema:  # type: ignore[attr-defined]
            return
        t = ops.cast(self.iterations, "float32")  # type: ignore[attr-defined]
        decay = ops.minimum(self.ema_momentum, (1 + t) / (10 + t))  # type: ignore[attr-defined]
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
    warm = min(steps - 1, round(config.warmup * steps))
    rate: Any = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=config.learning_rate / 25 if warm else config.learning_rate,
        decay_steps=max(1, steps - warm),
        alpha=0.0 if config.schedule == "cosine" else 1.0,
        warmup_target=config.learning_rate if warm else None,
        warmup_steps=warm,
    )
    options: dict[str, Any] = {
        "learning_rate": rate,
        "global_clipnorm": config.clip or None,
        "use_ema": config.ema > 0,
        "ema_momentum": min(config.ema, 1 - 1 / max(2.0, 0.1 * steps)) if config.ema else 0.99,
    }
    if config.optimizer == "sgd":
        return AveragedSGD(momentum=0.9, nesterov=True, **options)
    if config.optimizer == "adam":
        return AveragedAdam(**options)
    optimizer = AveragedAdamW(weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def averaged_weights(model: keras.Model) -> list[Any]:
    """The weights of `plain_copy(model)`, trainable ones replaced by their averages where the optimiser keeps them."""
    optimizer = model.optimizer
    averages = {}
    if getattr(optimizer, "use_ema", False):
        pairs = zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True)
        averages = {id(variable): average for variable, average in pairs if average is not None}
    return [ops.convert_to_numpy(averages.get(id(weight), weight)) for weight in plain_weights(model)]
