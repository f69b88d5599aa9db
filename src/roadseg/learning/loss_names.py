"""What `loss.name` may say: the losses by name and sums of them, checked before Keras is loaded or an image is read."""

import difflib
import re
from typing import NamedTuple

from ..config import LossConfig
from ..errors import ConfigError

__all__ = ["LOSSES", "LossTerm", "check_loss", "parse_loss"]

LOSSES = {
    "bce": "cross-entropy: binary for two classes, categorical for several",
    "weighted_bce": "cross-entropy in which the rarer class counts more (loss.road_weight)",
    "focal": "cross-entropy in which pixels that are right already count little (Lin et al. 2017)",
    "boundary_bce": "cross-entropy in which the gaps between objects count more (Ronneberger et al. 2015)",
    "dice": "1 - soft Dice (Milletari et al. 2016)",
    "bce_dice": "bce + loss.dice_share * dice",
    "tversky": "1 - the Tversky index, in which a miss may cost more than a false alarm (Salehi et al. 2017)",
    "lovasz": "the Lovasz extension of 1 - intersection over union (Berman et al. 2018)",
    "patch": "the road contests' rule of 16x16 patches, made smooth; two classes alone",
}

_TERM = re.compile(r"\s*(?:((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*)?([^\W\d]\w*)\s*")
LARGEST = 1e9  # of a weight, as in the settings
HEAVIEST = 1e4  # of a pixel: batches keep pixel weights in half precision


class LossTerm(NamedTuple):
    """`weight * name`, one part of a sum."""

    weight: float
    name: str


def parse_loss(text: str) -> tuple[LossTerm, ...]:
    """`"bce + 0.5 * dice"` as its terms, in their order.

    Raises:
        ConfigError: it is no such sum, a name is unknown (the nearest is suggested), or a weight is not above 0.
    """
    terms, at = [], 0
    while True:
        found = _TERM.match(text, at)
        if found is None:
            raise _no_sum(text)
        number, name = found.groups()
        if name not in LOSSES:
            near = difflib.get_close_matches(name.lower(), LOSSES, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(f"loss.name = \"{text}\": no loss is called '{name}': {hint}known: {', '.join(LOSSES)}")
        weight = 1.0 if number is None else float(number)
        if not 0 < weight <= LARGEST:
            raise ConfigError(f'loss.name = "{text}": the weight {number} of {name}: expected a number above 0')
        terms.append(LossTerm(weight, name))
        at = found.end()
        if at == len(text):
            return tuple(terms)
        if text[at] != "+":
            raise _no_sum(text)
        at += 1


def _no_sum(text: str) -> ConfigError:
    return ConfigError(
        f'loss.name = "{text}": expected a loss or a sum such as "bce + 0.5 * dice", of: {", ".join(LOSSES)}'
    )


def check_loss(config: LossConfig, classes: int | None = None) -> None:
    """Refuse a loss that cannot be built.

    Args:
        classes: how many there are, background included; None: not known yet, and what depends on it is not checked.

    Raises:
        ConfigError: see `parse_loss`; a loss for two classes alone; not one weight a class.
    """
    names = {term.name for term in parse_loss(config.name)}
    if "tversky" in names and not config.tversky_alpha + config.tversky_beta > 0:
        raise ConfigError("loss.tversky_alpha and loss.tversky_beta are both 0: nothing would cost anything")
    if "boundary_bce" in names and config.boundary_weight > HEAVIEST:
        raise ConfigError(f"loss.boundary_weight = {config.boundary_weight:g}: at most {HEAVIEST:g}")
    if classes is None:
        return
    if "patch" in names and classes > 2:
        raise ConfigError(
            f'loss.name = "{config.name}": patch is for two classes, here are {classes}: leave it out of the sum'
        )
    weights = config.class_weights
    if isinstance(weights, list) and len(weights) != classes:
        raise ConfigError(
            f"loss.class_weights has {len(weights)} weights, here are {classes} classes: "
            'give one for each, the background first, or "balanced"'
        )
