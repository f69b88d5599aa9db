"""Truth as losses and metrics use it: which pixels are labelled, 0/1 by class, sums over patches. On Keras tensors."""

from typing import Any

from keras import ops

from ..imagery.described import IGNORED

__all__ = ["as_classes", "labelled", "over_labelled", "patch_sums"]

TINY = 1e-12  # below the share that a single pixel has in any batch
MEANS = ("sum_over_batch_size", "mean")  # the reductions of Keras that divide by the number of pixels


def labelled(y_true: Any) -> Any:
    """(N, H, W, 1) class positions -> (N, H, W) float32: 1 where the pixel has a class, 0 where it is `IGNORED`."""
    return ops.cast(ops.squeeze(y_true, -1) != IGNORED, "float32")


def as_classes(y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
    """Truth and probabilities with one channel a class (of two classes the second one's alone), and who counts.

    Args:
        y_true: (N, H, W, 1) class positions or `IGNORED`, any number type.
        y_pred: (N, H, W, K) probabilities, K = 1 for two classes.

    Returns:
        (N, H, W, K) float32 0/1, all 0 where unlabelled; (N, H, W, K) float32; (N, H, W) float32 0/1: labelled.
    """
    p = ops.cast(y_pred, "float32")
    counts = labelled(y_true)
    if p.shape[-1] == 1:
        return ops.cast(ops.cast(y_true, "float32") == 1, "float32"), p, counts
    position = ops.cast(ops.squeeze(y_true, -1), "int32")
    # -1 has no channel on any backend; PyTorch refuses one that is too high
    return ops.one_hot(ops.where(counts > 0, position, -1), p.shape[-1], dtype="float32"), p, counts


def over_labelled(values: Any, counts: Any, reduction: str | None) -> Any:
    """`values` with 0 where `counts` (same shape, 0/1) is 0, scaled so that Keras' mean over all is that over the rest.

    Where nothing counts all is 0. Other reductions than a mean are left to themselves.
    """
    values = values * counts
    return values / ops.maximum(ops.mean(counts), TINY) if reduction in MEANS else values


def patch_sums(values: Any, size: int) -> Any:
    """Sum of each `size` x `size` patch of (N, H, W) float32 -> (N, ceil(H / size), ceil(W / size)).

    A partial patch at the border is the sum of the pixels that exist.
    """
    _, height, width = ops.shape(values)
    down, right = -height % size, -width % size
    if not (isinstance(down, int) and isinstance(right, int) and down == right == 0):
        values = ops.pad(values, ((0, 0), (0, down), (0, right)))
    blocks = (-1, (height + down) // size, size, (width + right) // size, size)
    return ops.sum(ops.reshape(values, blocks), axis=(2, 4))
