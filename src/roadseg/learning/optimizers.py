"""Optimisers with averaged weights whose average warms up, so that a short run is not held back by its first steps.

Every optimiser of Keras is here under its name; `schedules` has the learning rate over a run.
"""

import difflib
import inspect
import math
from typing import Any

import keras
from keras import ops

from ..config import TrainConfig
from ..errors import ConfigError
from ..networks import plain_weights
from .schedules import RunSchedule

__all__ = [
    "OPTIMIZERS",
    "RunSchedule",
    "averaged_weights",
    "build_optimizer",
    "check_optimizer",
    "set_run_steps",
]

NOT_DECAYED = ["bias", "gamma", "beta"]  # weight decay is for kernels: names of variables that it spares
DECAYING = ("adamw", "lamb", "lion", "muon", "schedulefreeadamw")  # published with decay apart from the gradient
WRAPPERS = ("LossScaleOptimizer", "MultiOptimizer")  # of other optimisers
SHARES = ("adam_beta_1", "adam_beta_2", "beta_1", "beta_2", "momentum", "rho")  # options in [0, 1)
NUMBERS = ("adam_lr_ratio", "clipnorm", "clipvalue", "loss_scale_factor", "weight_decay")  # whatever their default says
# What has a key of its own in the section, or is not the user's to set.
ELSEWHERE = {
    "learning_rate": "set train.learning_rate",
    "global_clipnorm": "set train.clip",
    "use_ema": "set train.ema",
    "ema_momentum": "set train.ema",
    "ema_overwrite_frequency": "the averaged weights are what is saved and scored",
    "name": "it says nothing",
}


class _WarmAverage:
    """Mixed into a Keras optimiser with `use_ema`: the decay is min(ema_momentum, (1 + t) / (10 + t)) at step t.

    The average reaches back over at most a tenth of the run, whatever `ema_momentum` says: longer would keep what was
    unlearnt. The run's length is a variable of the optimiser where its rate is a `RunSchedule`.
    """

    def build(self, variables: Any) -> None:
        if not self.built:  # type: ignore[attr-defined]
            self.exclude_from_weight_decay(var_names=NOT_DECAYED)  # type: ignore[attr-defined]
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


def _averaged(kind: Any) -> Any:
    """A Keras optimiser with a warming average, e.g. `AveragedAdamW`, which Keras finds again by that name."""
    name = f"Averaged{kind.__name__}"
    made = type(name, (_WarmAverage, kind), {"__doc__": f"`keras.optimizers.{kind.__name__}` with a warming average."})
    return keras.saving.register_keras_serializable(package="roadseg", name=name)(made)


# By name in small letters.
OPTIMIZERS: dict[str, Any] = {
    name.lower(): _averaged(kind)
    for name, kind in sorted(vars(keras.optimizers).items())
    if inspect.isclass(kind)
    and issubclass(kind, keras.optimizers.Optimizer)
    and kind is not keras.optimizers.Optimizer
    and name not in WRAPPERS
}


def _known_options(kind: Any) -> dict[str, Any]:
    """The arguments of an optimiser that are the user's to set, with their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in ELSEWHERE}


def _check_option(key: str, value: Any, default: Any) -> None:
    where = f"train.optimizer_options: '{key}' = {value!r}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: expected true or false")
    elif key == "gradient_accumulation_steps" or (isinstance(default, int) and key not in NUMBERS):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{where}: expected a whole number")
    elif isinstance(default, float) or key in NUMBERS:
        if not number:
            raise ConfigError(f"{where}: expected a number")
        if key in SHARES and not 0 <= value < 1:
            raise ConfigError(f"{where}: expected at least 0 and less than 1")
    elif key == "exclude_layers" and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        raise ConfigError(f"{where}: expected a list of names")


def _as_asked(value: Any, default: Any) -> Any:
    return float(value) if isinstance(default, float) else value  # SGD takes no whole number for its momentum


def check_optimizer(config: TrainConfig) -> None:
    """Whether `train.optimizer` and `train.optimizer_options` are usable, before anything is built.

    Raises:
        ConfigError: no optimiser of that name (the nearest is suggested); an argument that it does not have, of the
            wrong type, or that has a key of its own in the section.
    """
    build_optimizer(config, 1)


def build_optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser for a run of `steps` steps: warm-up and fall of the rate, clipping, averaged weights.

    The average reaches back over at most a tenth of the run, whatever `ema` says: longer would keep what was unlearnt.
    `weight_decay` goes to adamw, lamb, lion, muon and schedulefreeadamw, which were published with it: each step takes
    rate * weight_decay of every kernel, apart from the gradient. The others have none, unless `optimizer_options` gives
    them a `weight_decay`: Keras then does the same for them. sgd has a Nesterov momentum of 0.9 unless the options say
    otherwise. Muon turns only matrices; convolutions go by its AdamW.

    Raises:
        ConfigError: see `check_optimizer`.
    """
    name = config.optimizer.lower()
    if name not in OPTIMIZERS:
        near = difflib.get_close_matches(name, OPTIMIZERS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"train.optimizer = '{config.optimizer}': {hint}known are {', '.join(OPTIMIZERS)}")
    kind = OPTIMIZERS[name]
    known = _known_options(kind)
    decay = [key for key in ("weight_decay", "adam_weight_decay") if key in known and name in DECAYING]
    for key, value in config.optimizer_options.items():
        own = "set train.weight_decay" if key == "weight_decay" and decay else ELSEWHERE.get(key)
        if own:
            raise ConfigError(f"train.optimizer_options: '{key}' is not set here: {own}")
        if key not in known:
            raise ConfigError(f"train.optimizer_options: {name} has no '{key}': known are {', '.join(sorted(known))}")
        _check_option(key, value, known[key])
    options: dict[str, Any] = {
        "learning_rate": RunSchedule(
            config.learning_rate,
            steps,
            config.warmup,
            config.schedule,
            final_rate=config.final_rate,
            drops=config.schedule_drops,
            power=config.schedule_power,
            cycles=config.schedule_cycles,
        ),
        "global_clipnorm": config.clip or None,
        "use_ema": config.ema > 0,
        "ema_momentum": config.ema if config.ema else 0.99,
        **({"momentum": 0.9, "nesterov": True} if name == "sgd" else {}),
        **dict.fromkeys(decay, config.weight_decay),
        **{key: _as_asked(value, known[key]) for key, value in config.optimizer_options.items()},
    }
    if options["global_clipnorm"] and {"clipnorm", "clipvalue"} & options.keys():
        raise ConfigError(
            "train.optimizer_options: 'clipnorm' and 'clipvalue' take the place of train.clip: set it to 0"
        )
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"train.optimizer_options: {name} does not take {config.optimizer_options}: {error}"
        ) from error


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
    return plain_weights(model, averages)
