"""Picture sheets: what a dataset holds, what the network will see, what a model found."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..config import Config
from ..files import write_aside
from ..imagery.dataset import Sample
from ..imagery.masks import IGNORED
from ..learning.augment import Labelled, Perturbation
from ..learning.batches import rescale
from .overlays import contact_sheet, display_rgb, legend, overlay, probability_image

__all__ = ["perturbation_sheet", "prediction_sheet", "save_png"]

Picture = NDArray[np.uint8]

# Okabe and Ito's palette (2008), told apart by colour-blind readers; background is left as it is.
CLASS_COLOURS = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    np.float32,
)


def with_mask(image: Picture, mask: NDArray[np.uint8]) -> Picture:
    """The picture with its classes laid over it in colour, unlabelled pixels dimmed under grey hatching.

    (H, W, C) and (H, W) class positions or `IGNORED` to (H, W, 3).
    """
    rgb = display_rgb(image).astype(np.float32)
    unlabelled = mask == IGNORED
    classes = np.where(unlabelled, 0, mask)
    colour = CLASS_COLOURS[np.where(classes > 0, (classes - 1) % (len(CLASS_COLOURS) - 1) + 1, 0)]
    shown = np.where(classes[..., None] > 0, 0.55 * rgb + 0.45 * colour, rgb)
    if unlabelled.any():
        rows, columns = np.arange(mask.shape[0])[:, None], np.arange(mask.shape[1])
        stripe = max(2, max(mask.shape) // 64)  # seen at whatever size the picture is shown
        hatching = np.where((rows + columns) // stripe % 2, np.float32(150), np.float32(90))[..., None]
        shown = np.where(unlabelled[..., None], 0.3 * rgb + 0.7 * hatching, shown)
    return np.asarray(np.rint(shown), np.uint8)


def _one_of(pairs: Sequence[Labelled], rng: np.random.Generator) -> Labelled:
    return pairs[int(rng.integers(len(pairs)))]


def perturbation_sheet(samples: Sequence[Sample], config: Config, classes: int = 2, draws: int = 5) -> Picture:
    """A row for each sample: the image, the image with its mask, and `draws` crops as the network will see them.

    Parts of other images in the crops are of the other samples.
    """
    perturb = Perturbation(config.perturb, config.train.crop, discrete=classes > 2, last=classes - 1)
    pairs = [Labelled(*rescale(sample, config.data.scale)) for sample in samples]
    rows: list[list[Picture]] = []
    for number, pair in enumerate(pairs):
        others = pairs[:number] + pairs[number + 1 :] or pairs
        row = [display_rgb(pair.image), with_mask(pair.image, pair.mask)]
        for draw in range(draws):
            rng = np.random.default_rng([config.train.seed, 3, number, draw])
            crop = perturb.labelled(pair, rng, partial(_one_of, others))
            row.append(with_mask(crop.image, crop.mask) if draw % 2 else display_rgb(crop.image))
        rows.append(row)
    state = "perturbed" if config.perturb.enabled else "plain (perturb.enabled = false)"
    titles = ["image", "with its mask", *(f"{state} {k + 1}{' + mask' if k % 2 else ''}" for k in range(draws))]
    return contact_sheet(rows, titles=titles, labels=[s.stem for s in samples])


def prediction_sheet(
    items: Sequence[tuple[str, Picture, NDArray[np.floating[Any]], Any]], threshold: float = 0.5
) -> Picture:
    """A row for each (name, image (H, W, C), road probability (H, W), truth (H, W) 0/1 or None)."""
    rows = [
        [display_rgb(image), np.repeat(probability_image(p)[..., None], 3, -1), overlay(image, p, truth, threshold)]
        for _, image, p, truth in items
    ]
    truths = any(truth is not None for *_, truth in items)
    return contact_sheet(
        rows, titles=["image", "probability", "found"], labels=[item[0] for item in items], footer=legend(truths)
    )


def save_png(path: Path, picture: Picture) -> None:
    """Write (H, W, 3) uint8 as PNG, aside and renamed."""
    with write_aside(path) as aside:
        Image.fromarray(picture).save(aside, format="PNG")
