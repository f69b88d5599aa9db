"""Floating-point operations of a Keras network, counted from its kernels. No timing here."""

import math
from typing import Any

__all__ = ["BACKWARD", "forward_flop"]

BACKWARD = 2  # times the forward pass: the gradient of the input and that of the kernel are a convolution each


def forward_flop(model: Any, size: int) -> int:
    """FLOP of one forward pass of one `size` x `size` image: a multiplication and an addition for each weight of a
    convolution (transposed, depthwise and dense ones too) at each pixel it is laid on. Other layers count nothing.

    Args:
        model: a functional `keras.Model` on images (N, H, W, C), H and W open.
        size: height and width, px; a multiple of what the network takes.
    """
    import keras

    bands = model.input.shape[-1]
    fixed = keras.Input((size, size, bands), dtype=model.input.dtype)
    # A clone, for its layers know their shapes; without the optimiser, which would be cloned too.
    clone = keras.models.clone_model(keras.Model(model.input, model.output), input_tensors=fixed)
    return sum(_layer_flop(layer) for layer in clone.layers)


def _layer_flop(layer: Any) -> int:
    import keras

    kernels = [
        kernel
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if (kernel := getattr(layer, name, None)) is not None
    ]
    if not kernels:
        return 0
    # A transposed convolution lays its kernel on the pixels that come in, every other one on those that go out.
    where = layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output
    pixels = math.prod(where.shape[1:-1])
    return sum(2 * pixels * math.prod(kernel.shape) for kernel in kernels)
