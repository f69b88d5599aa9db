"""Several sets as one ordinary dataset folder: one ground resolution, one kind of mask, names that say the set.

    DATA/images/SET__NAME.png    DATA/masks/SET__NAME.png    DATA/dataset.toml
    DATA/held_out.txt            names of the images that are never trained on
    DATA/gather.json             where each image comes from, with content hashes; what the folder was made with

Masks hold 0 (no road), 255 (road) and 128 (no label). The same recipe and images give the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w
from numpy.typing import NDArray
from PIL import Image

from ..config import DataConfig
from ..errors import DataError, RunError
from ..files import write_json, write_text
from ..imagery.dataset import Dataset, Sample, open_dataset
from ..imagery.described import IGNORED
from ..imagery.resample import resample
from ..preparation.folder import filled_aside
from .recipe import Recipe, SetRecipe

__all__ = ["UNLABELLED", "Entry", "Gathered", "at_one_scale", "gather", "list_images", "scale_of"]

UNLABELLED = 128  # in the masks
FORMAT = 1
LIST = "gather.json"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """One image of a set, as the recipe takes it.

    Attributes:
        name: in the gathered folder, `SET__NAME`.
        set, stem: where it is from.
        image, mask: content hashes of the set's own image and mask.
        held_out: never trained on.
        height, width: of the set's own image, px.
    """

    name: str
    set: str
    stem: str
    image: str
    mask: str
    held_out: bool
    height: int
    width: int


@dataclass(frozen=True)
class Gathered:
    """A gathered folder.

    Attributes:
        digest: of the list of images, see `list_images`.
        sampling: pattern to factor, for `data.sampling`.
        unlabelled: share of the training pixels without a label, by set.
    """

    path: Path
    entries: tuple[Entry, ...]
    digest: str
    sampling: dict[str, float]
    unlabelled: dict[str, float]

    @property
    def held_out(self) -> Path:
        """Names of the images that are never trained on, one a line."""
        return self.path / "held_out.txt"

    def trained(self) -> list[Entry]:
        return [one for one in self.entries if not one.held_out]


def scale_of(one: SetRecipe, recipe: Recipe) -> float:
    """The factor by which the set's images are resampled; 1 where they are within the recipe's tolerance."""
    factor = one.resolution_m / recipe.ground_resolution_m
    return 1.0 if 1 / recipe.tolerance <= factor <= recipe.tolerance else factor


def list_images(data: Path, recipe: Recipe) -> tuple[tuple[Entry, ...], dict[str, Dataset], str]:
    """Open all sets: their images, the sets by name, and a hash of what is in them and of what is held out.

    Raises:
        DataError: a set is missing or damaged, has several classes, or holds out nothing or everything.
    """
    entries: list[Entry] = []
    opened: dict[str, Dataset] = {}
    for one in recipe.sets:
        found = open_dataset(Path(data) / one.folder, DataConfig())
        if len(found.classes) != 2 or found.bands != 3:
            raise DataError(
                f"'{found.root}' has {len(found.classes)} classes and {found.bands} bands, expected 2 and 3"
            )
        opened[one.name] = found
        held_out = [re.search(one.held_out, pair.stem) is not None for pair in found.pairs]
        if all(held_out) or not any(held_out):
            many = "everything" if all(held_out) else "nothing"
            raise DataError(f"held_out = '{one.held_out}' holds out {many} of '{found.root}': mend the recipe")
        for k, pair in enumerate(found.pairs):
            name = f"{one.name}__{pair.stem}"
            image, mask, (height, width) = found.hashes[k], found.mask_hashes[k], found.sizes[k]
            entries.append(Entry(name, one.name, pair.stem, image, mask, held_out[k], height, width))
    entries.sort(key=lambda entry: entry.name)
    lines = [f"{e.name} {e.image} {e.mask} {'held out' if e.held_out else 'train'}\n" for e in entries]
    return tuple(entries), opened, hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def gather(data: Path, recipe: Recipe, out: Path, tell: Tell = print) -> Gathered:
    """Write the folder `out`, or keep the one that is there when it was made of the same images in the same way.

    Raises:
        DataError: see `list_images`.
        RunError: `out` was made of other images or in another way.
        OutputError: it cannot be written.
    """
    entries, opened, digest = list_images(data, recipe)
    made_with = {"format": FORMAT, "images": digest, "ways": _ways(recipe)}
    if (out / LIST).is_file():
        return _kept(out, entries, digest, made_with)
    shares: dict[str, list[float]] = {}
    with filled_aside(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for one in recipe.sets:
            index = {pair.stem: k for k, pair in enumerate(opened[one.name].pairs)}
            scale = scale_of(one, recipe)
            mine = [entry for entry in entries if entry.set == one.name]
            for entry in mine:
                image, mask = at_one_scale(opened[one.name].read(index[entry.stem]), scale, one.border)
                Image.fromarray(image).save(folder / "images" / f"{entry.name}.png")
                Image.fromarray(mask).save(folder / "masks" / f"{entry.name}.png")
                if not entry.held_out:
                    shares.setdefault(one.name, []).append(float((mask == UNLABELLED).mean()))
            tell(f"gathered {len(mine)} images of {one.name}, resampled by {scale:.3g}")
        unlabelled = {name: float(np.mean(values)) for name, values in shares.items()}
        sampling = _sampling(recipe, entries)
        about = {
            **made_with,
            "sampling": sampling,
            "unlabelled": unlabelled,
            "entries": [vars(entry) for entry in entries],
        }
        write_json(folder / LIST, about)
        write_text(folder / "held_out.txt", "".join(f"{e.name}\n" for e in entries if e.held_out))
        toml = {"ignore": UNLABELLED, "ground_resolution_m": recipe.ground_resolution_m}
        write_text(folder / "dataset.toml", tomli_w.dumps(toml))
    return Gathered(out, entries, digest, sampling, unlabelled)


def _ways(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the folder's bytes."""
    shares = {one.name: one.share for one in recipe.sets}
    told = [{"set": one.name, "scale": scale_of(one, recipe), "border": one.border} for one in recipe.sets]
    return {"sets": told, "shares": shares, "ground_resolution_m": recipe.ground_resolution_m}


def _kept(out: Path, entries: tuple[Entry, ...], digest: str, made_with: dict[str, Any]) -> Gathered:
    try:
        about = json.loads((out / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"'{out / LIST}' is damaged: {error}; remove '{out}'") from error
    same = {key: about.get(key) for key in made_with} == json.loads(json.dumps(made_with))
    if not same:
        raise RunError(f"'{out}' was made of other images or by another recipe: remove it, or give another --work")
    return Gathered(out, entries, digest, about["sampling"], about["unlabelled"])


def _sampling(recipe: Recipe, entries: Sequence[Entry]) -> dict[str, float]:
    """Factors that make the sets' shares of the crops what the recipe says; none where it says nothing."""
    if any(one.share is None for one in recipe.sets):
        return {}
    areas = {
        one.name: scale_of(one, recipe) ** 2
        * sum(e.height * e.width for e in entries if e.set == one.name and not e.held_out)
        for one in recipe.sets
    }
    total, shares = sum(areas.values()), sum(one.share or 0 for one in recipe.sets)
    return {
        f"^{one.name}__": round((one.share or 0) / shares * total / areas[one.name], 4) for one in recipe.sets
    }  # fmt: skip


def at_one_scale(sample: Sample, scale: float, border: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, 3) uint8 and mask (H, W) uint8 of 0, 255 and `UNLABELLED` of a sample, resampled by `scale`.

    Args:
        border: px of the result on both sides of a road's border that get no label.
    """
    image, known = sample.image, sample.mask != IGNORED
    road = ((sample.mask == 1) * np.uint8(255))[..., None]
    if scale != 1:
        height, width = (max(1, round(side * scale)) for side in sample.mask.shape)
        image, road = resample(image, height, width), resample(road, height, width)
        known = resample((known * np.uint8(255))[..., None], height, width)[..., 0] > 127
    mask = np.where(road[..., 0] > 127, np.uint8(255), np.uint8(0))
    if border:
        mask[_near_border(mask, border)] = UNLABELLED
    mask[~known] = UNLABELLED
    return image, mask


def _near_border(mask: NDArray[np.uint8], border: int) -> NDArray[np.bool_]:
    """(H, W) bool: within `border` px of where the mask (H, W) of 0 and 255 changes."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * border + 1, 2 * border + 1))
    return np.asarray(cv2.dilate(mask, kernel) != cv2.erode(mask, kernel))
