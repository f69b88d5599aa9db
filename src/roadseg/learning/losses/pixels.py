"""Losses of single pixels: the cross-entropies and the focal loss."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ..labelled import as_classes, over_labelled

__all__ = ["BoundaryCrossentropy", "Crossentropy", "Focal"]

EPSILON = 1e-7  # least probability that a logarithm is taken of


def _of_true_class(truth: Any, p: Any) -> Any:
    """(N, H, W) probability of the pixel's own class, at least `EPSILON`."""
    own = ops.squeeze(ops.where(truth > 0, p, 1 - p), -1) if p.shape[-1] == 1 else ops.sum(truth * p, axis=-1)
    return ops.clip(own, EPSILON, 1.0)


def _weights_of(truth: Any, weights: Sequence[float]) -> Any:
    """(N, H, W) weight of the pixel's own class."""
    if truth.shape[-1] == 1:
        background, road = weights
        return ops.squeeze(ops.where(truth > 0, road, background), -1)
    return ops.sum(truth * ops.convert_to_tensor(list(weights), dtype="float32"), axis=-1)


@keras.saving.register_keras_serializable(package="roadseg")
class Crossentropy(keras.losses.Loss):
    """Cross-entropy, mean over the labelled pixels: binary with one channel, else categorical.

    Args:
        weights: floats > 0, one a class, background first: `[1, 4]` makes a missed road pixel count four times. The
            mean is over pixels, not over weights. None: all count the same.
        label_smoothing: share of the truth that is spread evenly over all classes, 0..1 (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
    """

    def __init__(
        self,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str = "crossentropy",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.weights = None if weights is None else [float(w) for w in weights]
        self.label_smoothing = float(label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p, counts = as_classes(y_true, y_pred)
        cost = self._smoothed(truth, p) if self.label_smoothing else -ops.log(_of_true_class(truth, p))
        if self.weights is not None:
            cost = cost * _weights_of(truth, self.weights)
        return over_labelled(cost, counts, self.reduction)

    def _smoothed(self, truth: Any, p: Any) -> Any:
        p = ops.clip(p, EPSILON, 1 - EPSILON)
        classes = max(2, p.shape[-1])
        soft = truth * (1 - self.label_smoothing) + self.label_smoothing / classes
        if p.shape[-1] == 1:
            return -ops.squeeze(soft * ops.log(p) + (1 - soft) * ops.log(1 - p), -1)
        return -ops.sum(soft * ops.log(p), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="roadseg")
class BoundaryCrossentropy(Crossentropy):
    """Cross-entropy for `sample_weight`s that are high between two objects (Ronneberger et al. 2015, section 3).

    The weights are the batches' part, `(N, H, W)` float32; `weigh` makes them of a mask. Without them it is
    `Crossentropy`.

    Args:
        boundary: float, w0: what is added where two objects touch.
        sigma: float > 0, pixels over which that falls.
        weights, label_smoothing: of `Crossentropy`; class weight and pixel weight are multiplied.
    """

    def __init__(
        self,
        boundary: float = 10.0,
        sigma: float = 5.0,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str = "boundary_crossentropy",
        **options: Any,
    ) -> None:
        super().__init__(weights, label_smoothing, name=name, **options)
        self.boundary = float(boundary)
        self.sigma = float(sigma)

    def weigh(self, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W) uint8 class positions -> (H, W) float32 weights; see `boundary.boundary_weights`."""
        from ..boundary import boundary_weights

        return boundary_weights(mask, self.boundary, self.sigma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "boundary": self.boundary, "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="roadseg")
class Focal(keras.losses.Loss):
    """Cross-entropy times `(1 - p) ** gamma`, p the probability of the true class (Lin et al. 2017, arXiv:1708.02002).

    Args:
        gamma: float >= 0. 0 is the cross-entropy. Defaults to the paper's 2.
        weights: floats > 0, one a class, background first (the paper's alpha); None: all count the same.
    """

    def __init__(
        self, gamma: float = 2.0, weights: Sequence[float] | None = None, name: str = "focal", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.gamma = float(gamma)
        self.weights = None if weights is None else [float(w) for w in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p, counts = as_classes(y_true, y_pred)
        own = _of_true_class(truth, p)
        cost = -ops.log(own)
        if self.gamma:
            cost = cost * ops.power(ops.maximum(1 - own, EPSILON), self.gamma)  # 0 ** 0.5 has no finite slope
        if self.weights is not None:
            cost = cost * _weights_of(truth, self.weights)
        return over_labelled(cost, counts, self.reduction)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "weights": self.weights}
