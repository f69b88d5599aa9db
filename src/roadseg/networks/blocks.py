"""What networks are made of: convolutions with their normalisation and activation, blocks, gates, the way up."""

import difflib
import math
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ConfigError
from .normalization import FastBatchNormalization, StandardizedConv2D

__all__ = ["Blocks", "probability", "way_up"]

BRANCH_GAIN = 0.2  # Brock et al. 2021, arXiv:2101.08692: alpha of residual branches


class Blocks:
    """Makes the parts of one network, each of the same style; tensors are symbolic (N, H, W, C).

    Args:
        block: "plain": two 3x3 convolutions; "residual": their sum with what went in, before the last activation
            (He et al. 2016, arXiv:1512.03385; in a U-Net: Zhang et al. 2018, arXiv:1711.10684). Where the number of
            channels changes, what went in goes through a 1x1 convolution.
        separable: 3x3 convolutions become a depthwise one and a 1x1 convolution (Chollet 2017, arXiv:1610.02357),
            but for the one that sees the pixels, which are few channels.
        normalization: "batch", "group", "layer" or "none" after each convolution, or "weight": kernels are
            standardised in its place, see `StandardizedConv2D`.
        groups: of group normalisation; as many of them as divide the channels.
        activation: any Keras activation by name; "leaky_relu" takes `negative_slope`.
        upsampling: "transposed", "nearest" or "bilinear".
        initializer: of the kernels, by name.

    Raises:
        ConfigError: an activation or initializer that Keras does not know.
    """

    def __init__(
        self,
        *,
        block: str = "plain",
        separable: bool = False,
        normalization: str = "batch",
        groups: int = 8,
        activation: str = "relu",
        negative_slope: float = 0.1,
        upsampling: str = "transposed",
        initializer: str = "he_normal",
    ) -> None:
        self.residual = block == "residual"
        self.separable = separable
        self.normalization = normalization
        self.groups = groups
        self.activation_name = activation
        self.negative_slope = negative_slope
        self.upsampling = upsampling
        self.initializer = initializer
        _check_activation(activation)
        _check_initializer(initializer)
        self.standardized = normalization == "weight"
        self.bias = normalization in ("none", "weight")
        self._gain = _variance_gain(self.activation("probe")) if self.standardized else 1.0

    def activation(self, label: str) -> Any:
        if self.activation_name == "leaky_relu":
            return layers.LeakyReLU(negative_slope=self.negative_slope, name=label)
        return layers.Activation(self.activation_name, name=label)

    def normalize(self, x: Any, label: str) -> Any:
        if self.bias:
            return x
        if self.normalization == "batch":
            # 0.98: as long a memory as the averaged weights have, and short enough for a run of a few hundred steps
            return FastBatchNormalization(momentum=0.98, epsilon=1e-3, name=label)(x)
        groups = math.gcd(self.groups, x.shape[-1]) if self.normalization == "group" else 1
        return layers.GroupNormalization(groups=groups, name=label)(x)

    def raw(
        self,
        x: Any,
        filters: int,
        label: str,
        *,
        size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        pixels: bool = False,
        branch: bool = False,
    ) -> Any:
        """A convolution with its normalisation and without activation.

        Args:
            pixels: `x` are the (normalised) pixels, not what an activation has given.
            branch: the last of a residual block: standardised kernels begin with a small gain, so that the variance
                of the sum hardly grows from block to block.
        """
        if self.separable and size == 3 and not pixels:
            # He's deviation would count all channels as inputs of each: 1/3 keeps the variance of nine.
            even = keras.initializers.RandomNormal(stddev=1 / size)
            x = layers.DepthwiseConv2D(
                size,
                padding="same",
                dilation_rate=dilation,
                use_bias=False,
                depthwise_initializer=even,
                name=f"{label}_depth",
            )(x)
            size = dilation = 1
        options: dict[str, Any] = {
            "padding": "same",
            "dilation_rate": dilation,
            "use_bias": self.bias,
            "kernel_initializer": self.initializer,
            "name": f"{label}_conv",
        }
        if self.standardized:
            gain = keras.initializers.Constant(BRANCH_GAIN if branch else 1.0)
            scale = 1.0 if pixels else self._gain
            x = StandardizedConv2D(filters, size, stride, scale=scale, gain_initializer=gain, **options)(x)
        else:
            x = layers.Conv2D(filters, size, stride, **options)(x)
        return self.normalize(x, f"{label}_norm")

    def conv(self, x: Any, filters: int, label: str, **options: Any) -> Any:
        """A convolution with normalisation and activation; `options` as in `raw`."""
        return self.activation(f"{label}_act")(self.raw(x, filters, label, **options))

    def block(self, x: Any, filters: int, label: str, pixels: bool = False) -> Any:
        """Two convolutions, with a way around them in residual blocks. The last layer is `{label}b_act`."""
        if not self.residual:
            return self.conv(self.conv(x, filters, f"{label}a", pixels=pixels), filters, f"{label}b")
        around = x
        if x.shape[-1] != filters:
            around = self.raw(x, filters, f"{label}_around", size=1, pixels=pixels)
        inner = self.raw(self.conv(x, filters, f"{label}a", pixels=pixels), filters, f"{label}b", branch=True)
        return self.activation(f"{label}b_act")(layers.Add(name=f"{label}_sum")([inner, around]))

    def dilated(self, x: Any, rates: Sequence[int], label: str) -> Any:
        """`x` and what dilated convolutions make of it one after another, all summed.

        The centre of D-LinkNet (Zhou, Zhang and Wu 2018, CVPR workshops): each convolution takes the result of the one
        before it, so that rates 1, 2, 4, 8 see 3, 7, 15 and 31 cells, and the sum holds every reach.
        """
        if not rates:
            return x
        parts = [x]
        for k, rate in enumerate(rates):
            parts.append(self.conv(parts[-1], x.shape[-1], f"{label}_dilated{k}", dilation=rate))
        return layers.Add(name=f"{label}_dilated_sum")(parts)

    def gate(self, skip: Any, coarse: Any, label: str) -> Any:
        """`skip` weighted pixel by pixel by an additive attention gate (Oktay et al. 2018, arXiv:1804.03999).

        The gating signal is what comes from below after its upsampling, so that the weights, one a pixel in 0..1, have
        the skip connection's own resolution.
        """
        width = max(1, skip.shape[-1] // 2)
        kind: dict[str, Any] = {"kernel_initializer": self.initializer}
        mine = layers.Conv2D(width, 1, use_bias=False, name=f"{label}_gate_skip", **kind)(skip)
        theirs = layers.Conv2D(width, 1, name=f"{label}_gate_signal", **kind)(coarse)
        both = layers.Activation("relu", name=f"{label}_gate_act")(layers.Add(name=f"{label}_gate_sum")([mine, theirs]))
        weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{label}_gate")(both)
        return layers.Multiply(name=f"{label}_gated")([skip, weight])

    def up(self, x: Any, filters: int, label: str) -> Any:
        """Twice the height and width."""
        if self.upsampling == "transposed":
            return layers.Conv2DTranspose(
                filters, 2, strides=2, kernel_initializer=self.initializer, name=f"{label}_up"
            )(x)
        x = layers.UpSampling2D(name=f"{label}_up")(x)
        if self.upsampling == "bilinear":
            # Keras' own (3.15) fails in TensorFlow where sizes are not known beforehand. The same by averages: over
            # pixels that are doubled, (1, 2, 1) / 4 is three times the mean of three and once the pixel.
            for axis, size in (("y", (3, 1)), ("x", (1, 3))):
                mean3 = layers.AveragePooling2D(size, strides=1, padding="same", name=f"{label}_mean_{axis}")(x)
                x = layers.Average(name=f"{label}_linear_{axis}")([mean3, mean3, mean3, x])
        return self.conv(x, filters, f"{label}_up", size=2)

    def drop(self, x: Any, rate: float, label: str, kind: str = "pixel") -> Any:
        """Dropout of single values, or of whole channels (Tompson et al. 2015, arXiv:1411.4280)."""
        if rate <= 0:
            return x
        layer = layers.SpatialDropout2D if kind == "channel" else layers.Dropout
        # A seed, drawn from the run's own: without one Keras on PyTorch takes a state that no checkpoint holds.
        return layer(rate, seed=random.randrange(2**31), name=label)(x)


def way_up(blocks: Blocks, x: Any, skips: Sequence[Any], width: int, attention: bool) -> Any:
    """From the bottom `x` to the first level: at each level up, join with its skip connection, block.

    Args:
        skips: what the way down left at each level, first level first; the level's width is `width * 2 ** level`.
    """
    for level in reversed(range(len(skips))):
        label, filters = f"up{level}", width * 2**level
        x = blocks.up(x, filters, label)
        skip = blocks.gate(skips[level], x, label) if attention else skips[level]
        x = layers.Concatenate(name=f"join{level}")([skip, x])
        x = blocks.block(x, filters, label)
    return x


def probability(blocks: Blocks, x: Any, pixels: Any, classes: int, head_width: int, halved: bool) -> Any:
    """The answer at full resolution: (N, H, W, 1) for two classes, else (N, H, W, classes), float32 in [0, 1].

    Args:
        x: the first level, of half the resolution where `halved`.
        pixels: the normalised pixels, which a head behind half the resolution sees too.
    """
    channels = 1 if classes == 2 else classes
    if halved and head_width:
        x = layers.Concatenate(name="join_pixels")([pixels, blocks.up(x, head_width, "head")])
    if head_width:
        x = blocks.conv(x, head_width, "head")
    if not halved or head_width:
        x = layers.Conv2D(channels, 1, dtype="float32", name="logits")(x)
    else:
        x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", dtype="float32", name="logits")(x)
    return layers.Activation("sigmoid" if classes == 2 else "softmax", dtype="float32", name="probability")(x)


def _check_activation(name: str) -> None:
    other = ("deserialize", "get", "serialize", "glu", "threshold")  # glu halves the channels, threshold wants numbers
    known = [n for n in dir(keras.activations) if not n.startswith("_") and n not in other]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known to Keras: {', '.join(known)}"
        raise ConfigError(f"network.activation = '{name}': {hint}")


def _check_initializer(name: str) -> None:
    try:
        keras.initializers.get(name)((1, 1, 4, 4))
    except Exception as error:  # no such name, or one that wants arguments or another shape
        raise ConfigError(
            f"network.initializer = '{name}': Keras knows no initializer of this name for convolutions: "
            "use he_normal, glorot_uniform, orthogonal, ..."
        ) from error


def _variance_gain(activation: Any) -> float:
    """What an activation of normally distributed values is multiplied by to have variance 1: 1.71 for relu.

    Brock et al. 2021, arXiv:2101.08692; here by summing over the density, for whatever activation.
    """
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    density = np.exp(-(x.astype(np.float64) ** 2) / 2)
    density /= density.sum()
    y = np.asarray(keras.ops.convert_to_numpy(activation(x[:, None])), np.float64)[:, 0]
    variance = float((density * y**2).sum() - (density * y).sum() ** 2)
    return 1 / math.sqrt(variance) if math.isfinite(variance) and variance > 1e-4 else 1.0
