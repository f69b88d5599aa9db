"""From the configuration to a loss: sums of losses, class weights, pixel weights."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ...config import LossConfig
from ..loss_names import check_loss, parse_loss
from .patches import PatchRule
from .pixels import BoundaryCrossentropy, Crossentropy, Focal
from .regions import Lovasz, SoftDice, Tversky

__all__ = ["Sum", "build_loss", "pixel_weights", "weighted_shares"]

Weigh = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@keras.saving.register_keras_serializable(package="roadseg")
class Sum(keras.losses.Loss):
    """Weighted sum of losses, each reduced by itself.

    `sample_weight` goes to the terms that make pixel weights (those with a method `weigh`), or to all where there is
    none: a region loss beside `BoundaryCrossentropy` is not weighted.

    Args:
        terms: Keras losses, or their configurations as serialised.
        weights: floats, one a term; None: all 1.

    >>> Sum([Crossentropy(), SoftDice()], [1, 0.5])
    """

    def __init__(
        self, terms: Sequence[Any], weights: Sequence[float] | None = None, name: str = "sum", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.terms = [keras.saving.deserialize_keras_object(t) if isinstance(t, dict) else t for t in terms]
        self.weights = [1.0] * len(self.terms) if weights is None else [float(w) for w in weights]
        if not self.terms or len(self.weights) != len(self.terms):
            raise ValueError(f"{len(self.terms)} terms and {len(self.weights)} weights: give one weight a term")

    @property
    def weigh(self) -> Weigh | None:
        """What makes pixel weights (H, W) float32 of a mask (H, W) uint8: the first such term's; None without one."""
        return next((found for term in self.terms if (found := getattr(term, "weigh", None))), None)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        alone = self.weigh is not None

        def cost(term: Any) -> Any:
            weighted = not alone or getattr(term, "weigh", None) is not None
            return term(y_true, y_pred, sample_weight=sample_weight if weighted else None)

        total = self.weights[0] * cost(self.terms[0])
        for weight, term in zip(self.weights[1:], self.terms[1:], strict=True):
            total = total + weight * cost(term)
        return total

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        terms = [keras.saving.serialize_keras_object(term) for term in self.terms]
        return {**super().get_config(), "terms": terms, "weights": self.weights}


def build_loss(config: LossConfig, class_shares: Sequence[float]) -> keras.losses.Loss:
    """The loss that `config` describes.

    Args:
        class_shares: share of the labelled training pixels of each class, background first; what "balanced" weights
            and `road_weight = "auto"` are made of.

    Raises:
        ConfigError: see `loss_names.check_loss`.
    """
    check_loss(config, len(class_shares))
    terms = parse_loss(config.name)
    losses = [_one(term.name, config, class_shares) for term in terms]
    if len(terms) == 1 and terms[0].weight == 1:
        return losses[0]
    return Sum(losses, [term.weight for term in terms])


def _one(name: str, config: LossConfig, shares: Sequence[float]) -> keras.losses.Loss:
    weights = _class_weights(config, shares)
    smoothing = config.label_smoothing
    match name:
        case "weighted_bce":
            return Crossentropy(_road_weights(config, shares, weights), smoothing)
        case "focal":
            return Focal(config.focal_gamma, weights)
        case "boundary_bce":
            return BoundaryCrossentropy(config.boundary_weight, config.boundary_sigma, weights, smoothing)
        case "dice":
            return SoftDice()
        case "bce_dice":
            return Sum([Crossentropy(weights, smoothing), SoftDice()], [1, config.dice_share])
        case "tversky":
            return Tversky(config.tversky_alpha, config.tversky_beta)
        case "lovasz":
            return Lovasz()
        case "patch":
            return PatchRule(config.patch_size, config.patch_threshold, config.patch_slope)
    return Crossentropy(weights, smoothing)


def _class_weights(config: LossConfig, shares: Sequence[float]) -> list[float] | None:
    """The weights that `class_weights` asks for; None: all count the same ("auto" has been decided before)."""
    if isinstance(config.class_weights, list):
        return [float(w) for w in config.class_weights]
    return _balanced(shares) if config.class_weights == "balanced" else None


def _road_weights(config: LossConfig, shares: Sequence[float], weights: list[float] | None) -> list[float]:
    if config.road_weight != "auto":
        return [1.0] + [float(config.road_weight)] * (len(shares) - 1)
    return _balanced(shares) if weights is None else weights


def _balanced(shares: Sequence[float]) -> list[float]:
    """Weights inverse to the shares: of two classes 1 for the background, of several with the pixels' mean 1."""
    floor = 1e-4  # a class that is hardly there must not drown the others
    if len(shares) == 2:
        return [1.0, max(shares[0], floor) / max(shares[1], floor)]
    inverse = [1 / max(s, floor) for s in shares]
    pixel_mean = sum(w * s for w, s in zip(inverse, shares, strict=True))
    return [w / pixel_mean for w in inverse]


def weighted_shares(config: LossConfig, class_shares: Sequence[float]) -> list[float]:
    """The answer that costs least where nothing is known of a pixel: the classes' shares, by their weights in the loss.

    Args:
        class_shares: share of the labelled training pixels of each class, background first.
    """
    weights = _class_weights(config, class_shares)
    if any(term.name == "weighted_bce" for term in parse_loss(config.name)):
        weights = _road_weights(config, class_shares, weights)
    heavy = [share * (weights[k] if weights else 1.0) for k, share in enumerate(class_shares)]
    return [share / sum(heavy) for share in heavy]


def pixel_weights(config: LossConfig) -> Weigh | None:
    """What makes the batches' pixel weights of a mask: (H, W) uint8 class positions -> (H, W) float32.

    None: the loss asks for none, and batches are images and truth alone.
    """
    if all(term.name != "boundary_bce" for term in parse_loss(config.name)):
        return None
    return BoundaryCrossentropy(config.boundary_weight, config.boundary_sigma).weigh
