"""Losses and metrics of a network that gives several answers at once, as `networks.supervised` makes it."""

from collections.abc import Sequence
from typing import Any

import keras

__all__ = ["FirstAnswer", "SupervisedLoss"]


class SupervisedLoss(keras.losses.Loss):
    """The loss of every answer, weighted.

    Args:
        loss: of one answer: truth (N, H, W, 1), probabilities (N, H, W, K).
        channels: K.
        weights: one number an answer, the network's own first (1).
    """

    def __init__(self, loss: keras.losses.Loss, channels: int, weights: Sequence[float]) -> None:
        super().__init__(name=loss.name)
        self.loss = loss
        self.channels = channels
        self.weights = [float(w) for w in weights]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        total: Any = 0.0
        for k, weight in enumerate(self.weights):
            answer = y_pred[..., k * self.channels : (k + 1) * self.channels]
            total = total + weight * self.loss(y_true, answer, sample_weight)
        return total

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self(y_true, y_pred)


class FirstAnswer(keras.metrics.Metric):
    """A metric of the network's own answer.

    Args:
        metric: sees truth (N, H, W, 1) and the first `channels` channels of what the network gives.
    """

    def __init__(self, metric: keras.metrics.Metric, channels: int) -> None:
        super().__init__(name=metric.name)
        self.metric = metric
        self.channels = channels

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.metric.update_state(y_true, y_pred[..., : self.channels], sample_weight)

    def reset_state(self) -> None:
        self.metric.reset_state()

    def result(self) -> Any:
        return self.metric.result()
