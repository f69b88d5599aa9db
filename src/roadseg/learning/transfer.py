"""Starting from another model's weights."""

from pathlib import Path
from typing import Any

from ..errors import ModelError

__all__ = ["take_weights"]


def take_weights(model: Any, init: Path) -> tuple[int, int]:
    """Give `model` the weights of the model at `init` wherever name and shape agree.

    Returns:
        how many agreed, and how many there are.

    Raises:
        ModelError: no model there, or no layer of it fits.
    """
    from keras import ops

    from .runs import find_model, load_model

    theirs = {w.path: w for w in load_model(find_model(init)).weights}
    taken = kernels = 0
    for weight in model.weights:
        other = theirs.get(weight.path)
        if other is not None and tuple(other.shape) == tuple(weight.shape):
            weight.assign(ops.convert_to_numpy(other))
            taken += 1
            kernels += len(weight.shape) == 4
    if not kernels:  # the bias of the one output agrees between any two networks
        raise ModelError(
            f"--init {init}: no layer of it has the name and shape of one of this network: "
            "use the same network settings"
        )
    return taken, len(model.weights)
