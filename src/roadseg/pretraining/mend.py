"""Roads that nobody drew: where a teacher is sure of road in an incomplete set, its background is no label.

Nothing is added and no road is taken away: a label that says "road" was drawn by somebody, one that says "background"
of an incomplete set may be an omission. What was doubted can be looked at: it is 128 in the masks.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import RunError
from ..files import write_json
from ..preparation.folder import filled_aside
from .gather import UNLABELLED, Gathered, Tell
from .recipe import Mend, Recipe

__all__ = ["doubted", "mend"]

LIST = "mend.json"


class Model(Protocol):
    """What predicts: (H, W, 3) uint8 to (H, W, 1) float32."""

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]: ...


def doubted(mask: NDArray[np.uint8], probability: NDArray[np.float32], rule: Mend) -> NDArray[np.bool_]:
    """(H, W) bool: labelled background that the teacher takes for road, in pieces that are no frayed border.

    Args:
        mask: (H, W) uint8 of 0, 255 and 128.
        probability: (H, W) float32 of road.
    """
    away = cv2.dilate((mask == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0  # a border may be off by a pixel
    sure = ((probability > rule.above) & (mask == 0) & away).astype(np.uint8)
    count, pieces, about, _ = cv2.connectedComponentsWithStats(sure, connectivity=8)
    large = np.zeros(count, bool)
    large[1:] = about[1:, cv2.CC_STAT_AREA] >= rule.pixels
    found = large[pieces].astype(np.uint8)
    if rule.margin and found.any():
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rule.margin + 1, 2 * rule.margin + 1))
        found = np.asarray(cv2.dilate(found, kernel), np.uint8)
    return np.asarray((found > 0) & (mask == 0))


def mend(gathered: Gathered, teacher: Model, recipe: Recipe, out: Path, asked: str, tell: Tell = print) -> Path:
    """Write the gathered folder again as `out`, with doubted labels taken out of the training masks.

    Args:
        asked: what was asked for, as a hash; a folder that was made otherwise is refused.

    Raises:
        RunError: `out` was made otherwise.
        OutputError: it cannot be written.
    """
    if (out / LIST).is_file():
        if json.loads((out / LIST).read_text(encoding="utf-8")).get("asked") != asked:
            raise RunError(f"'{out}' was made by another recipe: remove it, or give another --work")
        return out
    incomplete = {one.name for one in recipe.sets if not one.complete}
    shares: dict[str, list[float]] = {}
    with filled_aside(out) as folder:
        shutil.copytree(gathered.path, folder, copy_function=_link, dirs_exist_ok=True)
        for entry in gathered.trained():
            if entry.set not in incomplete:
                continue
            place = folder / "masks" / f"{entry.name}.png"
            image = np.asarray(Image.open(gathered.path / "images" / f"{entry.name}.png"), np.uint8)
            mask = np.asarray(Image.open(place), np.uint8).copy()
            wrong = doubted(mask, teacher.probabilities(image)[..., 0], recipe.mend)
            shares.setdefault(entry.set, []).append(float(wrong.mean()))
            if wrong.any():
                mask[wrong] = UNLABELLED
                place.unlink()  # a link to the gathered mask, which stays as it is
                Image.fromarray(mask).save(place)
        about: dict[str, Any] = {"asked": asked, "doubted": {name: float(np.mean(v)) for name, v in shares.items()}}
        write_json(folder / LIST, about)
    for name, share in about["doubted"].items():
        tell(f"mended {name}: {share:.2%} of its training pixels are background that the teacher takes for road")
    return out


def _link(source: str, target: str) -> str:
    """A second name for a file; a copy where the disk knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
