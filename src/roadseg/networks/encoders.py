"""A U-Net whose way down is a network of `keras.applications`, with ImageNet weights where they are asked for."""

import inspect
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from ..errors import BackendError, ConfigError
from ..network_names import ENCODERS
from .blocks import Blocks, probability, way_up
from .plain import training_copy
from .unet import by_statistics, pixels_in

__all__ = ["encoder_unet"]

# By band, red first; pixels 0..255. Keras' own preprocessing, with the bands left in their order: see `_pretrained`.
IMAGENET: dict[str, tuple[list[float], list[float]]] = {
    "caffe": ([1.0] * 3, [-123.68, -116.779, -103.939]),
    "tf": ([1 / 127.5] * 3, [-1.0] * 3),
    "torch": (
        [1 / (255 * s) for s in (0.229, 0.224, 0.225)],
        [-m / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)],
    ),
}
MARGIN = 4  # cells that convolutions without padding may take off a side


def encoder_unet(
    *,
    encoder: str,
    encoder_weights: str = "none",
    bands: int = 3,
    classes: int = 2,
    width: int = 32,
    depth: int = 4,
    attention: bool = False,
    dilations: Sequence[int] = (),
    dropout: float = 0.0,
    dropout_levels: int = 2,
    dropout_kind: str = "pixel",
    head_width: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fetch: bool = True,
    **style: Any,
) -> keras.Model:
    """A U-Net from pixels to probabilities over the first `depth` stages of an encoder.

    The last tensor of each resolution of the encoder is its skip connection; one that lost cells at its border, where
    the encoder convolves without padding, is filled up with zeros. The first level of the way up works at half
    resolution, as behind a stem, but with VGG16 and VGG19, which begin at full resolution.

    Args:
        encoder: a network of `keras.applications`, see `ENCODERS`.
        encoder_weights: "none", or "imagenet": Keras fetches them, or finds them in its folder. With "imagenet" pixels
            are scaled as the encoder was trained, else by `mean` and `std`.
        width: channels of the first level of the way up, doubled with each below it.
        depth: stages used, 1 to 5: the bottom is at 1 / 2 ** depth of the resolution.
        dropout_levels: the bottom, and as many skip connections above it as are left.
        fetch: False: as for "imagenet", but without its weights.
        style: the further arguments of `Blocks`, for the way up; the others are those of `unet`.

    Returns:
        A functional model as `unet` gives it. H and W are multiples of `2 ** depth`.

    Raises:
        ConfigError: an encoder that this Keras does not have, or ImageNet weights for other than three bands.
        BackendError: ImageNet weights that can neither be found nor fetched.
    """
    build = getattr(keras.applications, encoder, None)
    if build is None:
        raise ConfigError(f"network.encoder = '{encoder}': Keras {keras.__version__} does not have it: update keras")
    blocks = Blocks(**style)
    scale, offset = by_statistics(bands, mean, std)
    weights = None
    if encoder_weights == "imagenet":
        if bands != 3:
            raise ConfigError(
                f"network.encoder_weights = 'imagenet' is for images of 3 bands, and these have {bands}: "
                "read them as three with data.bands = 3, or set network.encoder_weights = 'none'"
            )
        weights = _pretrained(build, encoder) if fetch else None
        scale, offset = IMAGENET[ENCODERS[encoder]]
    inputs, pixels = pixels_in(bands, scale, offset)
    way_down = _without_preprocessing(build, input_tensor=pixels, input_shape=(None, None, bands), weights=None)
    if weights is not None:
        for layer, values in zip(_learning(way_down), weights, strict=True):
            layer.set_weights(values)
    stages = _stages(way_down, inputs, depth)
    halved = 0 not in stages
    levels = [stages[k] for k in range(int(halved), depth)]
    for k, skip in enumerate(levels):
        if k + int(halved) > depth - dropout_levels:
            levels[k] = blocks.drop(skip, dropout, f"drop{k}", dropout_kind)
    x = blocks.dilated(stages[depth], dilations, "bottom")
    x = blocks.drop(x, dropout, "drop_bottom", dropout_kind)
    x = way_up(blocks, x, levels, width, attention)
    answer = probability(blocks, x, pixels, classes, head_width, halved)
    # EfficientNet has its preprocessing built in: the pixels are scaled already
    return training_copy(
        keras.Model(inputs, answer, name=f"unet_{encoder.lower()}"), linear=(layers.Rescaling, layers.Normalization)
    )


def _without_preprocessing(build: Any, **options: Any) -> keras.Model:
    if "include_preprocessing" in inspect.signature(build).parameters:
        options["include_preprocessing"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the network usually has other bands or another size
        return build(include_top=False, **options)


def _learning(model: keras.Model) -> list[Any]:
    """The layers that learn, in an order that is the same for every model that one function builds."""
    return [layer for layer in model.layers if layer.weights and not isinstance(layer, layers.Normalization)]


def _pretrained(build: Any, encoder: str) -> list[list[Any]]:
    """The ImageNet weights of each layer that learns; for pixels with red first."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a plain Exception where it cannot fetch
        address = re.search(r"https?://\S+", str(error))
        file = address.group().rstrip(":.,") if address else "the file with the weights"
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        raise BackendError(
            f"the ImageNet weights of {encoder} cannot be had ({type(error).__name__}): fetch {file} on a machine with "
            f"a network connection and put it in '{folder}', or set network.encoder_weights = 'none'"
        ) from error
    found = [layer.get_weights() for layer in _learning(model)]
    if ENCODERS[encoder] == "caffe":  # blue first: turn the first kernel round instead of the pixels
        found[0][0] = found[0][0][:, :, ::-1].copy()
    return found


def _stages(model: keras.Model, inputs: Any, depth: int) -> dict[int, Any]:
    """The last tensor of each resolution down to `1 / 2 ** depth`, by the number of halvings."""
    first = next(k for k, layer in enumerate(model.layers) if isinstance(layer, layers.Conv2D))
    outputs = [layer.output for layer in model.layers[first:]]
    tensors = [x for x in outputs if not isinstance(x, (list, tuple)) and len(x.shape) == 4]
    several = keras.Model(inputs, tensors)
    sides = ((256, 384), (384, 320))
    specs = [several.compute_output_spec(keras.KerasTensor((1, *s, inputs.shape[-1]), dtype="uint8")) for s in sides]
    found: dict[int, Any] = {}
    for tensor, *shapes in zip(tensors, *specs, strict=True):
        for halvings in range(depth + 1):
            lost = {
                side // 2**halvings - there
                for size, spec in zip(sides, shapes, strict=True)
                for side, there in zip(size, spec.shape[1:3], strict=True)
            }
            if len(lost) == 1 and 0 <= min(lost) <= MARGIN:
                found[halvings] = tensor, min(lost)
    return {
        halvings: tensor
        if not lost
        else layers.ZeroPadding2D(((lost // 2, lost - lost // 2),) * 2, name=f"fill{halvings}")(tensor)
        for halvings, (tensor, lost) in found.items()
    }
