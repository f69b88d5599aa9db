"""The loss of patches: what the road contests score, made smooth enough to learn from."""

from typing import Any

import keras
from keras import ops

from ...errors import ConfigError
from ..labelled import as_classes, over_labelled, patch_sums

__all__ = ["PatchRule"]


@keras.saving.register_keras_serializable(package="roadseg")
class PatchRule(keras.losses.Loss):
    """Binary cross-entropy of patches: a patch is road when its share of road is strictly above `threshold`.

    Truth is that hard rule on the mask. Predicted is `sigmoid(slope * (mean probability - threshold))`, which becomes
    the rule as `slope` grows; so even a perfect prediction costs a little where a patch is near the threshold. Patches
    lie on a grid from the corner; means are over the labelled pixels that exist, and a patch without any is left out.

    Args:
        size: side of a patch, pixels of what the network sees.
        threshold: share of road in 0..1.
        slope: float > 0, steepness of the soft threshold.

    Raises:
        ConfigError: in a call, for several classes.
    """

    def __init__(
        self, size: int = 16, threshold: float = 0.25, slope: float = 20.0, name: str = "patch_rule", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.size = int(size)
        self.threshold = float(threshold)
        self.slope = float(slope)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if y_pred.shape[-1] != 1:
            raise ConfigError(f"the patch loss is for two classes, here are {y_pred.shape[-1]} channels")
        truth, p, counts = as_classes(y_true, y_pred)
        pixels = patch_sums(counts, self.size)
        there = ops.maximum(pixels, 1.0)
        road = patch_sums(truth[..., 0], self.size) / there > self.threshold  # whole numbers: exact
        logit = self.slope * (patch_sums(p[..., 0] * counts, self.size) / there - self.threshold)
        cost = ops.softplus(ops.where(road, -logit, logit))
        return over_labelled(cost, ops.cast(pixels > 0, "float32"), self.reduction)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "threshold": self.threshold, "slope": self.slope}
