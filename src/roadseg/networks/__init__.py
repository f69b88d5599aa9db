"""Networks: ordinary Keras models by name, and the plain copy that is saved."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from ..config import NetworkConfig
from ..errors import ConfigError
from .normalization import FastBatchNormalization
from .unet import unet

__all__ = ["NETWORKS", "FastBatchNormalization", "build_network", "plain_copy", "plain_weights", "unet"]

NETWORKS: dict[str, Callable[..., keras.Model]] = {"unet": unet}


def build_network(
    config: NetworkConfig,
    *,
    bands: int = 3,
    classes: int = 2,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """The network that `config` describes, with fresh weights; see `unet` for what goes in and out.

    Raises:
        ConfigError: no network, activation or initializer of that name.
    """
    if config.name not in NETWORKS:
        raise ConfigError(f"network.name = '{config.name}': known are {', '.join(NETWORKS)}")
    options = {key: getattr(config, key) for key in config.__struct_fields__ if key != "name"}
    return NETWORKS[config.name](bands=bands, classes=classes, mean=mean, std=std, **options)


def plain_copy(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """The same network with the same weights as plain Keras layers, computing in `dtype` ("float32" when None).

    What is saved must load in anybody's Keras: no layer of ours, and no mixed precision that the reader has not chosen.
    In a model that computes in `dtype` already, the layers kept at another precision (the output) stay at it.
    """
    policy = dtype or "float32"
    kept = policy != "float32" and any(layer.dtype_policy.name == policy for layer in model.layers)

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if not kept:
            config["dtype"] = policy
        kind = keras.layers.BatchNormalization if isinstance(layer, FastBatchNormalization) else type(layer)
        return kind.from_config(config)

    bare = keras.Model(model.input, model.output, name=model.name)  # without the optimiser, which would be cloned too
    copy = keras.models.clone_model(bare, clone_function=clone)
    copy.set_weights([keras.ops.convert_to_numpy(w) for w in plain_weights(model)])
    return copy


def plain_weights(model: keras.Model) -> list[Any]:
    """The weight variables that `plain_copy(model)` has too, in its order: all but the layers' own counters."""
    counters = {id(layer.updates) for layer in model.layers if isinstance(layer, FastBatchNormalization)}
    return [weight for weight in model.weights if id(weight) not in counters]
