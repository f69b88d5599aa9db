"""Losses of whole regions: Dice, Tversky, and the Lovasz extension of intersection over union."""

from typing import Any

import keras
from keras import ops

from ..labelled import as_classes

__all__ = ["Lovasz", "SoftDice", "Tversky"]


@keras.saving.register_keras_serializable(package="roadseg")
class SoftDice(keras.losses.Loss):
    """1 - soft Dice (Milletari et al. 2016, arXiv:1606.04797), pooled over the batch, mean over the classes.

    An empty batch predicted empty costs 0 (`keras.losses.Dice` says 1), and an empty tile beside others costs what is
    wrongly found in it.

    Args:
        smooth: float > 0, in pixels, added above and below the fraction. Defaults to 1.
    """

    def __init__(self, smooth: float = 1.0, name: str = "soft_dice", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.smooth = smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p, counts = as_classes(y_true, y_pred)
        both = ops.sum(truth * p, axis=(0, 1, 2))
        either = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(p * counts[..., None], axis=(0, 1, 2))
        return ops.mean(1 - (2 * both + self.smooth) / (either + self.smooth))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="roadseg")
class Tversky(keras.losses.Loss):
    """1 - TP / (TP + alpha FP + beta FN), pooled over the batch, mean over the classes (Salehi et al. 2017,
    arXiv:1706.05721).

    `alpha = beta = 0.5` is Dice, `alpha = beta = 1` intersection over union; a larger `beta` asks for recall.

    Args:
        alpha: float >= 0, weight of what is wrongly found.
        beta: float >= 0, weight of what is missed.
        smooth: float > 0, in pixels, added above and below the fraction. Defaults to 1.
    """

    def __init__(
        self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0, name: str = "tversky", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.smooth = float(smooth)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p, counts = as_classes(y_true, y_pred)
        hit = ops.sum(truth * p, axis=(0, 1, 2))
        wrong = ops.sum(p * counts[..., None], axis=(0, 1, 2)) - hit
        missed = ops.sum(truth, axis=(0, 1, 2)) - hit
        return ops.mean(1 - (hit + self.smooth) / (hit + self.alpha * wrong + self.beta * missed + self.smooth))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="roadseg")
class Lovasz(keras.losses.Loss):
    """The Lovasz extension of 1 - intersection over union, on probabilities (Berman et al. 2018, arXiv:1705.08790).

    Each image by itself: for 0/1 predictions it is 1 - IoU. Several classes: mean over those that occur in the image's
    truth. Two classes: the road's alone, also where there is none (it then costs the surest false alarm). The mean is
    over the images that have a labelled pixel.
    """

    def __init__(self, name: str = "lovasz", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p, counts = as_classes(y_true, y_pred)
        shape = (-1, truth.shape[-1], ops.shape(truth)[1] * ops.shape(truth)[2])
        truth, p = (ops.reshape(ops.transpose(x, (0, 3, 1, 2)), shape) for x in (truth, p))  # (N, K, pixels)
        counts = ops.reshape(counts, (-1, 1, shape[-1]))
        error = ops.abs(truth - p) * counts

        # The largest errors first, the unlabelled pixels behind all others (section 3, algorithm 1)
        order = ops.argsort(-ops.stop_gradient(ops.where(counts > 0, error, -1.0)), axis=-1)
        error = ops.take_along_axis(error, order, axis=-1)
        ranked = ops.stop_gradient(ops.take_along_axis(truth, order, axis=-1))
        whole = ops.sum(ranked, axis=-1, keepdims=True)
        lost = 1 - (whole - ops.cumsum(ranked, axis=-1)) / (whole + ops.cumsum(1 - ranked, axis=-1))
        slope = ops.concatenate([lost[..., :1], lost[..., 1:] - lost[..., :-1]], axis=-1)
        cost = ops.sum(error * ops.stop_gradient(slope), axis=-1)  # (N, K)

        occurs = ops.cast(whole[..., 0] > 0, "float32") if truth.shape[1] > 1 else ops.ones_like(cost)
        occurs = occurs * ops.cast(ops.max(counts, axis=-1) > 0, "float32")
        each = ops.sum(cost * occurs, axis=-1) / ops.maximum(ops.sum(occurs, axis=-1), 1.0)
        seen = ops.max(occurs, axis=-1)
        return ops.sum(each * seen) / ops.maximum(ops.sum(seen), 1.0)
