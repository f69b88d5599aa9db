"""The U-Net of Ronneberger, Fischer and Brox (2015, arXiv:1505.04597), with padding, by the Keras functional API."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .blocks import Blocks, probability, way_up

__all__ = ["by_statistics", "pixels_in", "unet"]


def pixels_in(bands: int, scale: Sequence[float], offset: Sequence[float]) -> tuple[Any, Any]:
    """The input, (N, H, W, bands) uint8, and `pixels * scale + offset` by band as float32."""
    inputs = keras.Input((None, None, bands), dtype="uint8", name="pixels")
    rescaling = layers.Rescaling(scale=list(scale), offset=list(offset), dtype="float32", name="normalise")
    return inputs, rescaling(inputs)


def by_statistics(
    bands: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[list[float], list[float]]:
    """Scale and offset by band that give pixels of this mean and deviation (in 0..255) mean 0 and deviation 1."""
    centre = list(mean) if mean is not None else [127.5] * bands
    spread = [max(s, 1.0) for s in std] if std is not None else [127.5] * bands
    return [1 / s for s in spread], [-m / s for m, s in zip(centre, spread, strict=True)]


def unet(
    *,
    bands: int = 3,
    classes: int = 2,
    width: int = 32,
    depth: int = 4,
    stem: str = "none",
    block: str = "plain",
    separable: bool = False,
    attention: bool = False,
    dilations: Sequence[int] = (),
    normalization: str = "batch",
    groups: int = 8,
    activation: str = "relu",
    negative_slope: float = 0.1,
    dropout: float = 0.0,
    dropout_levels: int = 2,
    dropout_kind: str = "pixel",
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
        block, separable: what a level is made of, see `Blocks`.
        attention: gates on the skip connections, see `Blocks.gate`.
        dilations: rates of convolutions at the bottom, see `Blocks.dilated`.
        normalization: "batch", "group", "layer" or "none" after each 3x3 convolution, or "weight": standardised
            kernels in its place.
        groups: of group normalisation; as many of them as divide the channels.
        activation: any Keras activation by name; "leaky_relu" takes `negative_slope`.
        dropout: rate after the blocks of the `dropout_levels` lowest levels of the way down (bottom included).
        dropout_kind: "pixel" drops single values, "channel" whole channels.
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
    blocks = Blocks(
        block=block,
        separable=separable,
        normalization=normalization,
        groups=groups,
        activation=activation,
        negative_slope=negative_slope,
        upsampling=upsampling,
        initializer=initializer,
    )

    def drop(x: Any, level: int) -> Any:
        return blocks.drop(x, dropout if level > depth - dropout_levels else 0.0, f"drop{level}", dropout_kind)

    inputs, pixels = pixels_in(bands, *by_statistics(bands, mean, std))
    x = pixels
    if stem != "none":
        x = blocks.conv(x, width, "stem", size=2 if stem == "patch" else 4, stride=2, pixels=True)

    # === Down, bottom, up ===
    skips = []
    for level in range(depth):
        x = drop(blocks.block(x, width * 2**level, f"down{level}", pixels=x is pixels), level)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = blocks.block(x, width * 2**depth, "bottom")
    x = drop(blocks.dilated(x, dilations, "bottom"), depth)
    x = way_up(blocks, x, skips, width, attention)

    return keras.Model(inputs, probability(blocks, x, pixels, classes, head_width, stem != "none"), name="unet")
