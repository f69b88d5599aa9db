"""Networks of one's own: what a function "module:function" returns, or a `.keras` file with its weights."""

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ConfigError, ModelError
from .plain import all_layers, plain_copy, training_copy

__all__ = ["from_file", "from_function"]


def from_function(
    name: str,
    *,
    bands: int,
    classes: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    options: Mapping[str, Any],
    multiple: int,
) -> keras.Model:
    """The model that a function of the user's makes, checked by trying it.

    The function is called with `bands`, `classes`, `mean`, `std` and `options` by name. Its model takes
    (N, H, W, bands) of 0..255 and gives (N, H, W, 1) probabilities for two classes, else (N, H, W, classes), at any H
    and W that are multiples of `multiple`. It is a functional model, or has layers that Keras can make anew from their
    `get_config`: what is validated and saved is a copy.

    Args:
        name: "module:function"; modules in the working directory are found as well as installed ones.

    Raises:
        ConfigError: no such module or function, it raised, or what it returns is not such a model.
    """
    where = f"network.name = '{name}'"
    function = _find(name, where)
    try:
        model = function(bands=bands, classes=classes, mean=mean, std=std, **options)
    except Exception as error:
        raise ConfigError(f"{where}: the function raised {_told(error)}") from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"{where}: the function returned {type(model).__name__}, not a keras.Model")
    model = _taking_pixels(model, bands, where)
    _check_answer(model, bands, classes, multiple, where)
    for layer in all_layers(model):
        if isinstance(layer, layers.Lambda):
            raise ConfigError(
                f"{where}: layer '{layer.name}' is a Lambda, which no saved model may load safely: "
                "use a layer of Keras', or a class of your own with get_config"
            )
    try:
        plain_copy(model)
    except Exception as error:
        raise ConfigError(
            f"{where}: the model cannot be copied, which validation and saving do ({_told(error)}): "
            "give its own layers a get_config, or make it of Keras' layers by keras.Model(inputs, outputs)"
        ) from error
    if keras.backend.standardize_dtype(model.output.dtype) != "float32":
        answer = layers.Activation("linear", dtype="float32", name="float32")(model.output)
        model = keras.Model(model.input, answer, name=model.name)
    return model


def from_file(path: Path, *, bands: int, classes: int, multiple: int, policy: str) -> keras.Model:
    """The network of a `.keras` file with its weights, to be trained further. Nothing in the file is run.

    Args:
        policy: dtype policy to compute in; the pixels and the probabilities stay in float32.

    Raises:
        ModelError: the file is not a Keras model, or needs layers that are not Keras' own.
        ConfigError: its bands, classes or sizes are not those of the data.
    """
    where = f"network.name = '{path}'"
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers do
        raise ModelError(
            f"{where}: the file cannot be loaded as a Keras model ({_told(error)}): layers that are not Keras' own are "
            "taken only where their module was imported and registers them; to start from code use 'module:function'"
        ) from error
    model = _taking_pixels(model, bands, where)
    _check_answer(model, bands, classes, multiple, where)
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        return model
    return training_copy(model, policy=policy if policy != "float32" else None)


def _find(name: str, where: str) -> Any:
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{where}: no module '{error.name}' in '{here}' or among the installed packages"
            ) from error
        raise ConfigError(f"{where}: importing '{module_name}' raised {_told(error)}") from error
    except Exception as error:
        raise ConfigError(f"{where}: importing '{module_name}' raised {_told(error)}") from error
    finally:
        sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise ConfigError(
            f"{where}: '{getattr(module, '__file__', module_name)}' has no function '{function_name}'"
            + (f": it has {', '.join(known[:8])}" if known else "")
        )
    return function


def _told(error: Exception) -> str:
    """An error of somebody else's code in a line: kind, message, where."""
    lines = str(error).strip().splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and __file__ != f.filename]
    inside = [f for f in own if "importlib" not in f.filename]
    place = f" ({Path(inside[-1].filename).name}, line {inside[-1].lineno})" if inside else ""
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}{place}"


def _taking_pixels(model: keras.Model, bands: int, where: str) -> keras.Model:
    """The model behind an input of (N, H, W, bands) uint8, which is what training and prediction give."""
    try:
        taken = list(model.inputs or ())
    except (AttributeError, ValueError):
        taken = []
    shape = (None, None, None, bands)  # of a model that is not functional nothing is known until it is called
    if taken:
        shape = taken[0].shape
    if len(taken) > 1 or len(shape) != 4:
        raise ConfigError(
            f"{where}: the model takes {', '.join(str(x.shape) for x in taken)}: give it one input, "
            f"keras.Input((None, None, {bands}))"
        )
    if shape[3] != bands:
        raise ConfigError(
            f"{where}: the model takes {shape[3]} bands and the images have {bands}: "
            f"build it for {bands}, or read the images with data.bands = {shape[3]}"
        )
    if shape[1] is not None or shape[2] is not None:
        raise ConfigError(
            f"{where}: the model takes {shape[1]}x{shape[2]} pixels alone, and predicting needs other sizes: "
            f"use keras.Input((None, None, {bands}))"
        )
    if taken and taken[0].dtype == "uint8" and not isinstance(model, keras.Sequential):
        return model
    inputs = keras.Input((None, None, bands), dtype="uint8", name="pixels")
    try:
        return keras.Model(inputs, model(layers.Rescaling(1.0, dtype="float32", name="as_float")(inputs)))
    except Exception as error:
        raise ConfigError(f"{where}: the model cannot be called on pixels: {_told(error)}") from error


def _check_answer(model: keras.Model, bands: int, classes: int, multiple: int, where: str) -> None:
    """Try a network on noise: shape, numbers, range."""
    channels = 1 if classes == 2 else classes
    side = max(multiple, -(-32 // multiple) * multiple)
    shape = (2, side, 2 * side, bands)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    try:
        found = model(pixels, training=False)
    except Exception as error:
        raise ConfigError(
            f"{where}: the model fails on {side}x{2 * side} pixels: {_told(error)}: set "
            "network.multiple_of to a number whose multiples it takes"
        ) from error
    if isinstance(found, (list, tuple, dict)):
        raise ConfigError(f"{where}: the model gives {len(found)} outputs: one is wanted, the probabilities")
    answer = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(found, "float32")))
    wanted = (*shape[:3], channels)
    if answer.shape != wanted:
        rule = "two classes: one channel, the second one's probability" if classes == 2 else f"{classes} classes"
        raise ConfigError(
            f"{where}: the model turns {shape} pixels into {answer.shape}, and {wanted} is wanted ({rule})"
            + ": "
            + (
                "change its last layer, or data.classes"
                if answer.shape[:3] == wanted[:3]
                else "set network.multiple_of to a number whose multiples it keeps"
            )
        )
    if not np.isfinite(answer).all():
        raise ConfigError(f"{where}: the model gives what is not a number on random pixels: scale them, e.g. by 1/255")
    if answer.min() < 0 or answer.max() > 1:
        raise ConfigError(
            f"{where}: the model gives {answer.min():.3g}..{answer.max():.3g}, and probabilities (0..1) are wanted: "
            f"end it with a {'sigmoid' if channels == 1 else 'softmax'}"
        )
    if channels > 1 and np.abs(answer.sum(-1) - 1).max() > 0.05:
        raise ConfigError(f"{where}: the probabilities of the {classes} classes do not sum to 1: end it with a softmax")
