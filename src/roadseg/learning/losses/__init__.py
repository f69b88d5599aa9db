"""Losses as Keras classes. Each takes truth `(N, H, W, 1)` (class position) and probabilities `(N, H, W, K)`.

Truth of 255 (`roadseg.imagery.masks.IGNORED`) is unlabelled: such a pixel changes no loss and no gradient, and a batch
of nothing else costs 0. K is 1 for two classes (the probability of the second one, the road), else one channel a class.

| `loss.name`    | class                  | binary (K = 1)                   | several classes                     |
|----------------|------------------------|----------------------------------|-------------------------------------|
| `bce`          | `Crossentropy`         | binary cross-entropy             | categorical cross-entropy           |
| `weighted_bce` | `Crossentropy`         | road pixels count more           | a weight for each class             |
| `focal`        | `Focal`                | hard pixels count more           | likewise                            |
| `boundary_bce` | `BoundaryCrossentropy` | gaps between objects count more  | likewise, of all but the background |
| `dice`         | `SoftDice`             | of the road                      | mean over the classes               |
| `tversky`      | `Tversky`              | of the road                      | mean over the classes               |
| `lovasz`       | `Lovasz`               | of the road, mean over images    | mean over the classes that occur    |
| `patch`        | `PatchRule`            | of the patches' labels           | -                                   |
| a sum          | `Sum`                  | weighted terms                   | likewise                            |
"""

from .build import Sum, build_loss, pixel_weights, weighted_shares
from .patches import PatchRule
from .pixels import BoundaryCrossentropy, Crossentropy, Focal
from .regions import Lovasz, SoftDice, Tversky

__all__ = [
    "BoundaryCrossentropy",
    "Crossentropy",
    "Focal",
    "Lovasz",
    "PatchRule",
    "SoftDice",
    "Sum",
    "Tversky",
    "build_loss",
    "pixel_weights",
    "weighted_shares",
]
