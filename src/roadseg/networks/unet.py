"""The U-Net of Ronneberger, Fischer and Brox (2015, arXiv:1505.04597), with padding, by the Keras functional API."""

import difflib
import math
import random
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from ..errors import ConfigError
from .normalization import FastBatchNormalization

__all__ = ["unet"]


def _activation(name: str, negative_slope: float, label: str) -> Any:
    if name == "leaky_relu":
        return layers.LeakyReLU(negative_slope=negative_slope, name=label)
    other = ("deserialize", "get", "serialize", "glu", "threshold")  # glu halves the channels, threshold wants numbers
    known = [n for n in dir(keras.activations) if not n.startswith("_") and n not in other]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known to Keras: {', '.join(known)}"
        raise ConfigError(f"network.activation = '{name}': {hint}")
    return layers.Activation(name, name=label)


def _normalization(kind: str, width: int, label: str) -> Any:
    if kind == "batch":
        # 0.98: as long a memory as the averaged weights have, and short enough for a run of a few hundred steps
        return FastBatchNormalization(momentum=0.98, epsilon=1e-3, name=label)
    groups = math.gcd(8, width) if kind == "group" else 1
    return layers.GroupNormalization(groups=groups, name=label)


def unet(
    *,
    bands: int = 3,
    classes: int = 2,
    width: int = 32,
    depth: int = 4,
    stem: str = "none",
    normalization: str = "batch",
    activation: str = "relu",
    negative_slope: float = 0.1,
    dropout: float = 0.0,
    dropout_levels: int = 2,
    upsampling: str = "transposed",
    head_width: int = 0,
    initializer: str = "he_normal",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """A U-Net from pixels to probabilities.

    Args:
        bands: channels of the input.
        classes: 2 gives one sigmoid channel (the second class, road); more give a softmax over all of them.
        width: channels of the first level, doubled with each of the `depth` poolings.
        stem: what comes before the first level. "none": it works at full resolution. "patch" (each 2x2 pixels become
            one vector) or "strided" (4x4 pixels at every second one): it works at half resolution, for a quarter of
            the work, and a 4x4 transposed convolution makes the full-resolution answer.
        normalization: "batch", "group", "layer" or "none" after each 3x3 convolution.
        activation: any Keras activation by name; "leaky_relu" takes `negative_slope`.
        dropout: rate after the blocks of the `dropout_levels` lowest levels of the way down (bottom included).
        upsampling: "transposed" (2x2 transposed convolution), or "nearest"/"bilinear" followed by a 2x2 convolution.
        head_width: channels of one more 3x3 convolution at full resolution before the output; 0 for none. After a stem
            it sees the pixels themselves too.
        mean, std: pixel statistics of the training images, one number a band, in 0..255. Defaults to 127.5 each.

    Returns:
        A functional model: `(N, H, W, bands)` uint8 in, `(N, H, W, 1)` or `(N, H, W, classes)` float32 in [0, 1] out.
        H and W are multiples of `2 ** depth`, with a stem of `2 ** (depth + 1)`.

    Raises:
        ConfigError: an activation or initializer that Keras does not know.
    """
    try:
        keras.initializers.get(initializer)((1, 1, 4, 4))
    except Exception as error:  # no such name, or one that wants arguments or another shape
        raise ConfigError(
            f"network.initializer = '{initializer}': Keras knows no initializer of this name for convolutions: "
            "use he_normal, glorot_uniform, orthogonal, ..."
        ) from error
    bias = normalization == "none"

    def conv(x: Any, filters: int, label: str, size: int = 3, stride: int = 1) -> Any:
        x = layers.Conv2D(
            filters, size, stride, padding="same", use_bias=bias, kernel_initializer=initializer, name=f"{label}_conv"
        )(x)
        if not bias:
            x = _normalization(normalization, filters, f"{label}_norm")(x)
        return _activation(activation, negative_slope, f"{label}_act")(x)

    def block(x: Any, filters: int, label: str) -> Any:
        return conv(conv(x, filters, f"{label}a"), filters, f"{label}b")

    def drop(x: Any, level: int) -> Any:
        if dropout > 0 and level > depth - dropout_levels:
            # A seed, drawn from the run's own: without one Keras on PyTorch takes a state that no checkpoint holds.
            x = layers.Dropout(dropout, seed=random.randrange(2**31), name=f"drop{level}")(x)
        return x

    def up(x: Any, filters: int, label: str) -> Any:
        if upsampling == "transposed":
            return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=initializer, name=f"{label}_up")(x)
        x = layers.UpSampling2D(name=f"{label}_up")(x)
        if upsampling == "bilinear":
            # Keras' own (3.15) fails in TensorFlow where sizes are not known beforehand. The same by averages: over
            # pixels that are doubled, (1, 2, 1) / 4 is three times the mean of three and once the pixel.
            for axis, size in (("y", (3, 1)), ("x", (1, 3))):
                mean3 = layers.AveragePooling2D(size, strides=1, padding="same", name=f"{label}_mean_{axis}")(x)
                x = layers.Average(name=f"{label}_linear_{axis}")([mean3, mean3, mean3, x])
        return conv(x, filters, f"{label}_up", size=2)

    # === Pixels ===
    inputs = keras.Input((None, None, bands), dtype="uint8", name="pixels")
    centre = list(mean) if mean is not None else [127.5] * bands
    spread = [max(s, 1.0) for s in std] if std is not None else [127.5] * bands
    x = layers.Rescaling(
        scale=[1 / s for s in spread],
        offset=[-m / s for m, s in zip(centre, spread, strict=True)],
        dtype="float32",
        name="normalise",
    )(inputs)

    pixels = x
    if stem != "none":
        x = conv(x, width, "stem", size=2 if stem == "patch" else 4, stride=2)

    # === Down, bottom, up ===
    skips = []
    for level in range(depth):
        x = drop(block(x, width * 2**level, f"down{level}"), level)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = drop(block(x, width * 2**depth, "bottom"), depth)
    for level in reversed(range(depth)):
        x = up(x, width * 2**level, f"up{level}")
        x = layers.Concatenate(name=f"join{level}")([skips[level], x])
        x = block(x, width * 2**level, f"up{level}")

    # === Probability ===
    channels = 1 if classes == 2 else classes
    if stem != "none" and head_width:
        x = layers.Concatenate(name="join_pixels")([pixels, up(x, head_width, "head")])
    if head_width:
        x = conv(x, head_width, "head")
    if stem == "none" or head_width:
        x = layers.Conv2D(channels, 1, dtype="float32", name="logits")(x)
    else:
        x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", dtype="float32", name="logits")(x)
    outputs = layers.Activation("sigmoid" if classes == 2 else "softmax", dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="unet")
