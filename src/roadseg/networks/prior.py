"""Where an untrained network begins: with the answer that is right on average."""

from collections.abc import Sequence

import keras
import numpy as np

__all__ = ["begin_with"]

FLOOR = 1e-3  # share that a class counts with at least: the answer for one that is not there must not be frozen


def begin_with(model: keras.Model, shares: Sequence[float]) -> None:
    """Give the layer "logits" the bias by which the network answers each class as often as it occurs.

    Lin et al. 2017, arXiv:1708.02002, section 3.3. Begun at one half, a network of rare roads learns first of all
    that nothing is road, by features that only ever say no: where they are silent it then answers one half, the bias
    alone, and hardly gets beyond it.

    Args:
        shares: of each class, background first; two classes have one logit.
    """
    logits = np.log(np.maximum(np.asarray(shares, np.float64), FLOOR))
    model.get_layer("logits").bias.assign(logits[1:] - logits[0] if len(logits) == 2 else logits)
