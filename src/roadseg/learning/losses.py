"""Losses as Keras classes. Each takes truth `(N, H, W, 1)` (class position) and probabilities `(N, H, W, K)`.

| class                      | binary (K = 1)                 | several classes                          |
|----------------------------|--------------------------------|------------------------------------------|
| `Crossentropy`             | binary cross-entropy           | categorical cross-entropy                |
| `WeightedCrossentropy`     | road pixels count more         | a weight for each class                  |
| `SoftDice`                 | of the road                    | mean over the classes                    |
| `CrossentropyDice`         | sum of cross-entropy and Dice  | likewise                                 |
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ..config import LossConfig

__all__ = ["Crossentropy", "CrossentropyDice", "SoftDice", "WeightedCrossentropy", "build_loss"]

EPSILON = 1e-7


def _classes(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Truth as 0/1 floats and probabilities, with one channel a class (only the road's when there are two)."""
    y_pred = ops.cast(y_pred, "float32")
    count = y_pred.shape[-1]
    if count == 1:
        return ops.cast(y_true, "float32"), y_pred
    return ops.one_hot(ops.cast(ops.squeeze(y_true, -1), "int32"), count, dtype="float32"), y_pred


def _crossentropy(y_true: Any, y_pred: Any, weights: Sequence[float] | None = None) -> Any:
    """(N, H, W) cross-entropy, each pixel weighted by its true class."""
    truth, p = _classes(y_true, y_pred)
    p = ops.clip(p, EPSILON, 1 - EPSILON)
    if p.shape[-1] == 1:
        background, road = weights if weights is not None else (1.0, 1.0)
        return -ops.squeeze(road * truth * ops.log(p) + background * (1 - truth) * ops.log(1 - p), -1)
    scale = ops.convert_to_tensor(list(weights), dtype="float32") if weights is not None else 1.0
    return -ops.sum(scale * truth * ops.log(p), axis=-1)


@keras.saving.register_keras_serializable(package="roadseg")
class Crossentropy(keras.losses.Loss):
    """Cross-entropy of the true class, mean over the pixels: binary with one channel, else categorical."""

    def __init__(self, name: str = "crossentropy", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return _crossentropy(y_true, y_pred)


@keras.saving.register_keras_serializable(package="roadseg")
class WeightedCrossentropy(keras.losses.Loss):
    """Cross-entropy with a weight for each class.

    Args:
        weights: list of floats > 0, one a class, background first: `[1, 4]` makes a missed road pixel count four times.
    """

    def __init__(self, weights: Sequence[float], name: str = "weighted_crossentropy", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.weights = [float(w) for w in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return _crossentropy(y_true, y_pred, self.weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights}


@keras.saving.register_keras_serializable(package="roadseg")
class SoftDice(keras.losses.Loss):
    """1 - soft Dice (Milletari et al. 2016, arXiv:1606.04797), pooled over the batch.

    An empty batch predicted empty costs 0 (`keras.losses.Dice` says 1), and an empty tile beside others costs what is
    wrongly found in it.

    Args:
        smooth: float > 0, in pixels, added above and below the fraction. Defaults to 1.
    """

    def __init__(self, smooth: float = 1.0, name: str = "soft_dice", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.smooth = smooth

    def call(self, y_true: Any, y_pred: Any) -> Any:
        truth, p = _classes(y_true, y_pred)
        both = ops.sum(truth * p, axis=(0, 1, 2))
        either = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(p, axis=(0, 1, 2))
        return ops.mean(1 - (2 * both + self.smooth) / (either + self.smooth))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable(package="roadseg")
class CrossentropyDice(keras.losses.Loss):
    """`Crossentropy + dice_share * SoftDice`."""

    def __init__(self, dice_share: float = 0.5, name: str = "crossentropy_dice", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.dice_share = dice_share
        self._dice = SoftDice()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(_crossentropy(y_true, y_pred)) + self.dice_share * self._dice.call(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dice_share": self.dice_share}


def build_loss(config: LossConfig, class_shares: Sequence[float]) -> keras.losses.Loss:
    """The loss that `config` describes.

    Args:
        class_shares: share of the training pixels of each class, background first; what "auto" weights are made of.
    """
    if config.name == "dice":
        return SoftDice()
    if config.name == "bce_dice":
        return CrossentropyDice(config.dice_share)
    if config.name == "weighted_bce":
        return WeightedCrossentropy(_weights(config, class_shares))
    return Crossentropy()


def _weights(config: LossConfig, shares: Sequence[float]) -> list[float]:
    floor = 1e-4  # a class that is hardly there must not drown the others
    if config.road_weight != "auto":
        return [1.0] + [float(config.road_weight)] * (len(shares) - 1)
    if len(shares) == 2:
        return [1.0, max(shares[0], floor) / max(shares[1], floor)]
    inverse = [1 / max(s, floor) for s in shares]
    pixel_mean = sum(w * s for w, s in zip(inverse, shares, strict=True))
    return [w / pixel_mean for w in inverse]
