"""The two forms of a network: as it trains, with layers of ours, and as it is scored and saved: plain Keras."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from .normalization import FastBatchNormalization, StandardizedConv2D

__all__ = ["all_layers", "answer_of", "plain_copy", "plain_weights", "training_copy"]


def all_layers(model: keras.Model) -> Iterator[Any]:
    """The layers of a model and of the models within it; a model within is not itself one of them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.layers:
            yield from all_layers(layer)
        else:
            yield layer


def answer_of(model: keras.Model) -> keras.Model:
    """The part of a network that gives its answer, on the same weights: without what deep supervision adds.

    The optimiser, which cloning would clone too, is left behind as well.
    """
    output = model.outputs[0]
    if any(layer.name == "supervised_answers" for layer in model.layers):
        output = model.get_layer("probability").output
    return keras.Model(model.inputs[0], output, name=model.name)


def plain_copy(model: keras.Model, dtype: str | None = None) -> keras.Model:
    """The same network with the same weights as plain Keras layers, computing in `dtype` ("float32" when None).

    What is saved must load in anybody's Keras: no layer of ours, and no mixed precision that the reader has not chosen.
    In a model that computes in `dtype` already, the layers kept at another precision (the output) stay at it.
    """
    policy = dtype or "float32"
    kept = policy != "float32" and any(layer.dtype_policy.name == policy for layer in model.layers)

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        kind = type(layer)
        if "dtype" in config and not kept:
            config["dtype"] = policy
        if isinstance(layer, FastBatchNormalization):
            kind = layers.BatchNormalization
        elif isinstance(layer, StandardizedConv2D):
            kind = layers.Conv2D
            del config["scale"], config["gain_initializer"]
        return kind.from_config(config)

    bare = answer_of(model)
    copy = keras.models.clone_model(bare, clone_function=clone, recursive=True)
    copy.set_weights(plain_weights(bare))
    return copy


def plain_weights(model: keras.Model, instead: Mapping[int, Any] | None = None) -> list[np.ndarray[Any, Any]]:
    """The weights of `plain_copy(model)` in its order: kernels as they are used, without the layers' own counters.

    Args:
        instead: values to be taken in place of variables, by `id` of the variable; averaged weights are laid in so,
            that kernels are standardised after they are averaged.
    """
    instead = instead or {}

    def value(variable: Any) -> np.ndarray[Any, Any]:
        return np.asarray(keras.ops.convert_to_numpy(instead.get(id(variable), variable)))

    bare = answer_of(model)
    standardized, dropped = {}, set()
    for layer in all_layers(bare):
        if isinstance(layer, FastBatchNormalization):
            dropped.add(id(layer.updates))
        elif isinstance(layer, StandardizedConv2D):
            standardized[id(layer.kernel)] = layer
            dropped.add(id(layer.gain))
    found = []
    for weight in bare.weights:
        if id(weight) in standardized:
            layer = standardized[id(weight)]
            kernel = layer.standardized(value(layer.kernel), value(layer.gain))
            found.append(np.asarray(keras.ops.convert_to_numpy(kernel)))
        elif id(weight) not in dropped:
            found.append(value(weight))
    return found


def training_copy(model: keras.Model, *, policy: str | None = None, linear: tuple[type, ...] = ()) -> keras.Model:
    """The same network with the same weights as it trains best here.

    Batch normalisation becomes `FastBatchNormalization` with the momentum of ours, dropout gets a seed of the run's.

    Args:
        policy: dtype policy to compute in, but for what comes before the first layer with weights, and the last of them
            with what follows it, which give the probabilities: these stay in float32. None: as it is.
        linear: kinds of layers that pass their input on instead; but the layer "normalise" stays.
    """
    named: list[Any] = [layer for layer in model.layers if layer.weights]
    exact: set[str] = set()
    if policy is not None and named:
        order = [layer.name for layer in model.layers]
        first, last = order.index(named[0].name), order.index(named[-1].name)
        exact = {*order[:first], *order[last:]}

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        kind = type(layer)
        if policy is not None and "dtype" in config:
            config["dtype"] = "float32" if layer.name in exact else policy
        silent = isinstance(layer, linear)
        if silent and layer.name != "normalise":
            return layers.Activation("linear", name=layer.name, dtype=config.get("dtype"))
        if kind is layers.BatchNormalization and _on_images(layer):
            kind, config["momentum"] = FastBatchNormalization, min(layer.momentum, 0.98)
        if isinstance(layer, layers.Dropout) and config.get("seed") is None:
            config["seed"] = random.randrange(2**31)
        return kind.from_config(config)

    copy = keras.models.clone_model(answer_of(model), clone_function=clone)
    theirs: dict[str, Any] = {layer.name: layer for layer in model.layers}
    for layer in copy.layers:
        found = theirs[layer.name].get_weights()
        if isinstance(layer, FastBatchNormalization) and len(found) < len(layer.weights):
            found.append(np.zeros((), np.float32))  # its counter
        if layer.weights:
            layer.set_weights(found)
    return copy


def _on_images(layer: Any) -> bool:
    """Whether a batch normalisation is one that `FastBatchNormalization` can stand for."""
    return layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and bool(layer.scale) and bool(layer.center)
