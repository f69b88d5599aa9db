"""Layers of our own that normalise in training, and are saved as plain ones: of the batch, and of the kernels."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["FastBatchNormalization", "StandardizedConv2D"]

EPSILON = 1e-4  # of the squared norm of a kernel: one that is constant stays finite


def _torch_batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalised (N, H, W, C), and mean and variance (C,) of the batch, by PyTorch's own operation."""
    import torch

    first = x.permute(0, 3, 1, 2)  # a view: channels-last memory is what PyTorch computes fastest in
    y, mean, inverse = torch.native_batch_norm(first, gamma, beta, None, None, True, 0.0, epsilon)
    mean, inverse = mean.detach(), inverse.detach()  # they go into the moving statistics alone
    return y.permute(0, 2, 3, 1), mean, inverse**-2 - epsilon


@keras.saving.register_keras_serializable(package="roadseg")
class FastBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis of images, for training.

    Two things differ; `roadseg.networks.plain_copy` turns it into the plain layer before a model is saved.

    - On TensorFlow the fused op is used, on PyTorch its native one. Keras composes the normalisation of single
      operations; TensorFlow's fused op trains the default network 1.5 times faster on a CPU. XLA fuses JAX's by itself.
    - The moving statistics' momentum is min(momentum, (1 + t) / (10 + t)) after t updates, so that they follow the
      network from its first steps on instead of remembering their initial values for hundreds.
    """

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.updates = self.add_weight(
            shape=(),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            autocast=False,  # bfloat16 cannot count beyond 256
            name="updates",
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not self.trainable:
            return super().call(inputs, training=False, mask=mask)
        x = ops.cast(inputs, self.compute_dtype)
        gamma, beta = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            # The variance it returns is the unbiased one: a factor n / (n - 1), n the pixels of the batch.
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=self.epsilon, is_training=True)
        elif keras.config.backend() == "torch":
            y, mean, variance = _torch_batch_norm(x, gamma, beta, self.epsilon)
        else:
            wide = ops.cast(x, "float32")
            mean, variance = ops.moments(wide, axes=(0, 1, 2))
            y = ops.batch_normalization(wide, mean, variance, axis=-1, offset=beta, scale=gamma, epsilon=self.epsilon)
            y = ops.cast(y, self.compute_dtype)
        t = ops.convert_to_tensor(self.updates)
        follow = 1 - ops.minimum(self.momentum, (1 + t) / (10 + t))
        self.moving_mean.assign(self.moving_mean + follow * (mean - self.moving_mean))
        self.moving_variance.assign(self.moving_variance + follow * (variance - self.moving_variance))
        self.updates.assign(t + 1)
        return y


@keras.saving.register_keras_serializable(package="roadseg")
class StandardizedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose kernels are standardised in each step: a network of it needs no normalisation.

    Scaled weight standardisation (Brock, De and Smith 2021, arXiv:2101.08692): of each output channel's kernel the mean
    is taken away and its norm made 1, times a learnt gain, so that inputs of variance 1 give outputs of variance 1.
    `roadseg.networks.plain_copy` puts in its place the plain layer with the kernel that it computes with.

    Args:
        scale: float. What brings the inputs to variance 1; multiplied into the kernel. After relu 1.71.
        gain_initializer: of the gain, one number a channel.
        The others are those of `keras.layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        *others: Any,
        scale: float = 1.0,
        gain_initializer: Any = "ones",
        **options: Any,
    ) -> None:
        super().__init__(filters, kernel_size, *others, **options)
        self.scale = scale
        self.gain_initializer = keras.initializers.get(gain_initializer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        # "gamma" as in normalisations: weight decay spares it by this name
        self.gain = self.add_weight(shape=(self.filters,), initializer=self.gain_initializer, name="gamma")

    def standardized(self, kernel: Any, gain: Any) -> Any:
        """The kernel it computes with: (h, w, in, out) and (out,) float32 -> (h, w, in, out) float32."""
        kernel, gain = ops.cast(kernel, "float32"), ops.cast(gain, "float32")
        fan_in = math.prod(kernel.shape[:-1])
        mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        return (kernel - mean) * (self.scale * gain * ops.rsqrt(ops.maximum(fan_in * variance, EPSILON)))

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernel = ops.cast(self.standardized(kernel, self.gain), self.compute_dtype)
        return super().convolution_op(inputs, kernel)

    def take_plain(self, kernel: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None) -> None:
        """Take the weights of a plain layer that was made from one of these: it then computes the same."""
        fan_in = math.prod(kernel.shape[:-1])
        norm = np.sqrt(fan_in * np.var(kernel, axis=(0, 1, 2)))
        self.kernel.assign(np.where(norm > 0, kernel, ops.convert_to_numpy(self.kernel)))
        norm_here = np.maximum(norm**2, EPSILON) ** 0.5  # as `standardized` divides
        self.gain.assign(np.where(norm > 0, norm_here / self.scale, 0.0))
        if bias is not None:
            self.bias.assign(bias)

    def get_config(self) -> dict[str, Any]:
        gain = keras.initializers.serialize(self.gain_initializer)
        return {**super().get_config(), "scale": self.scale, "gain_initializer": gain}
