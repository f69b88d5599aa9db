"""Metrics as Keras classes: pooled over all pixels (or 16x16 patches) seen, from thresholded probabilities.

Truth is `(N, H, W, 1)` class positions, predictions `(N, H, W, K)` probabilities. Binary scores (K = 1) are the
road's; with several classes the best class is taken, accuracy is over all pixels and the other scores are means over
the classes that occur. Unlabelled pixels (truth 255) are left out.
"""

from typing import Any

import keras
from keras import ops

from .labelled import labelled, patch_sums

__all__ = ["PatchAccuracy", "PatchF1", "PixelAccuracy", "PixelF1", "PixelIoU", "PixelPrecision", "PixelRecall"]


class _Confusion(keras.metrics.Metric):
    """A pooled confusion matrix `(truth, predicted)` that subclasses turn into a score.

    Args:
        classes: int. 2 for one road probability; else the number of channels.
        threshold: float in [0, 1]. A pixel is road when its probability is above it.
    """

    def __init__(self, classes: int = 2, threshold: float = 0.5, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        self.classes = classes
        self.threshold = threshold
        self.matrix = self.add_weight(shape=(classes, classes), initializer="zeros", dtype="float32", name="matrix")

    def _labels(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Class positions, true and found; -1 as truth is not counted."""
        truth = ops.where(labelled(y_true) > 0, ops.cast(ops.squeeze(y_true, -1), "int32"), -1)
        if y_pred.shape[-1] == 1:
            return truth, ops.cast(ops.squeeze(y_pred, -1) > self.threshold, "int32")
        return truth, ops.cast(ops.argmax(y_pred, axis=-1), "int32")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        truth, found = self._labels(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))
        rows = ops.one_hot(ops.reshape(truth, (-1,)), self.classes, dtype="float32")
        columns = ops.one_hot(ops.reshape(found, (-1,)), self.classes, dtype="float32")
        self.matrix.assign_add(ops.matmul(ops.transpose(rows), columns))

    def _counts(self) -> tuple[Any, Any, Any]:
        """True positives, false positives, false negatives of each class that is scored."""
        m = ops.convert_to_tensor(self.matrix)
        hit = ops.diagonal(m)
        start = 1 if self.classes == 2 else 0
        return hit[start:], (ops.sum(m, axis=0) - hit)[start:], (ops.sum(m, axis=1) - hit)[start:]

    def _mean(self, above: Any, below: Any) -> Any:
        """Mean of the fractions over the classes that occur, in truth or as found: as in `roadseg.scores`.

        1 when none occurs (no road in truth and none found), 0 before anything is seen.
        """
        tp, fp, fn = self._counts()
        occurs = ops.cast(tp + fp + fn > 0, "float32")
        count = ops.sum(occurs)
        mean = ops.sum(above / ops.maximum(below, 1.0) * occurs) / ops.maximum(count, 1.0)
        return ops.where(count > 0, mean, ops.cast(ops.sum(ops.convert_to_tensor(self.matrix)) > 0, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="roadseg")
class PixelAccuracy(_Confusion):
    """Share of pixels of the right class."""

    def result(self) -> Any:
        m = ops.convert_to_tensor(self.matrix)
        return ops.sum(ops.diagonal(m)) / ops.maximum(ops.sum(m), 1.0)


@keras.saving.register_keras_serializable(package="roadseg")
class PixelIoU(_Confusion):
    """Intersection over union: TP / (TP + FP + FN)."""

    def result(self) -> Any:
        tp, fp, fn = self._counts()
        return self._mean(tp, tp + fp + fn)


@keras.saving.register_keras_serializable(package="roadseg")
class PixelF1(_Confusion):
    """F1 (Dice): 2 TP / (2 TP + FP + FN)."""

    def result(self) -> Any:
        tp, fp, fn = self._counts()
        return self._mean(2 * tp, 2 * tp + fp + fn)


@keras.saving.register_keras_serializable(package="roadseg")
class PixelPrecision(_Confusion):
    """TP / (TP + FP): how much of what is found is road."""

    def result(self) -> Any:
        tp, fp, _ = self._counts()
        return self._mean(tp, tp + fp)


@keras.saving.register_keras_serializable(package="roadseg")
class PixelRecall(_Confusion):
    """TP / (TP + FN): how much of the road is found."""

    def result(self) -> Any:
        tp, _, fn = self._counts()
        return self._mean(tp, tp + fn)


class _Patches(_Confusion):
    """The contest's rule: a patch is road when the mean of its binary mask is strictly above `patch_threshold`.

    Means are over the labelled pixels that exist; a patch without any is left out.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        patch_threshold: float = 0.25,
        patch: int = 16,
        name: str | None = None,
        **options: Any,
    ) -> None:
        options.pop("classes", None)
        super().__init__(classes=2, threshold=threshold, name=name, **options)
        self.patch_threshold = patch_threshold
        self.patch = patch

    def _labels(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        counts = labelled(y_true)
        pixels = patch_sums(counts, self.patch)

        def road(mask: Any) -> Any:
            share = patch_sums(ops.cast(ops.squeeze(mask, -1), "float32") * counts, self.patch)
            return ops.cast(share / ops.maximum(pixels, 1.0) > self.patch_threshold, "int32")

        return ops.where(pixels > 0, road(y_true == 1), -1), road(y_pred > self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch_threshold": self.patch_threshold, "patch": self.patch}


@keras.saving.register_keras_serializable(package="roadseg")
class PatchAccuracy(_Patches):
    """Share of 16x16 patches with the right label (what the ETH contest's board shows)."""

    def result(self) -> Any:
        m = ops.convert_to_tensor(self.matrix)
        return ops.sum(ops.diagonal(m)) / ops.maximum(ops.sum(m), 1.0)


@keras.saving.register_keras_serializable(package="roadseg")
class PatchF1(_Patches):
    """F1 of the road patches (what the EPFL contest's board shows)."""

    def result(self) -> Any:
        tp, fp, fn = self._counts()
        return self._mean(2 * tp, 2 * tp + fp + fn)
