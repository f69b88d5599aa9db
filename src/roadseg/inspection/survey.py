"""One way through a dataset, image by image: what is counted, measured and kept of each. Holds no images."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..imagery.alignment import TELLING, Shift, pooled_shift, shift_surface
from ..imagery.dataset import Dataset, Sample
from ..imagery.duplicates import Thumbnail, thumbnail
from ..roads.patches import patch_means
from .values import BandValues

__all__ = ["Seen", "Survey", "misplaced", "survey"]

# One image says little about where its labels belong. With these, 3 of 353 images of five public sets, which are in
# place as far as one sees, stand out; displaced by 8 px, 3 % (city blocks) to 64 % (Massachusetts) of a set's do.
SURE_ALONE = 0.5  # confidence
BETTER_ALONE = 0.4  # share of the score that is lost where the set's labels are
FAR = 4.0  # px from there


@dataclass(frozen=True)
class Seen:
    """What is kept of one image.

    Attributes:
        counts: (classes,) labelled pixels of each class.
        pixels: of the image.
        patches: road patches and patches with any label, by the contest's rule.
        surface: how well the labels fit the image when shifted, see `alignment`; None: it cannot be told.
    """

    stem: str
    counts: NDArray[np.int64]
    pixels: int
    patches: tuple[int, int]
    thumbnail: Thumbnail
    surface: NDArray[np.float32] | None

    @property
    def labelled(self) -> int:
        """Number of labelled pixels."""
        return int(self.counts.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """(classes,) share of the labelled pixels; zeros where there is none."""
        return np.asarray(self.counts / max(1, self.labelled), np.float64)


@dataclass
class Survey:
    """All images seen, the values of their pixels, the few samples that were asked for, and what went wrong."""

    values: BandValues
    images: list[Seen] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def survey(dataset: Dataset, patch_threshold: float, keep: Collection[int] = ()) -> Survey:
    """Look at every pair of a dataset once, one in memory at a time.

    Args:
        patch_threshold: share of road above which a 16x16 patch is road.
        keep: the pairs whose samples are kept, for the sheet.
    """
    found = Survey(BandValues(len(dataset)))
    classes = len(dataset.classes)
    with dataset.reader() as reader:
        for k in range(len(dataset)):
            try:
                sample, picture = reader.read_both(k)
            except DataError as error:  # it has changed since the dataset was opened
                found.problems.append(str(error))
                continue
            if dataset.dtype == "uint8" and dataset.value_range is None and sample.valid is None:
                found.values.add(sample.image, sample.valid)
            else:  # as in the file, and with the unlabelled pixels, which `valid` leaves out
                found.values.add(picture.pixels, picture.valid)
            found.images.append(_seen(sample, classes, patch_threshold))
            if k in keep:
                found.samples.append(sample)
    return found


def _seen(sample: Sample, classes: int, patch_threshold: float) -> Seen:
    labelled = sample.mask < classes
    if sample.valid is not None:
        labelled &= sample.valid
    counts = np.bincount(sample.mask[labelled], minlength=classes).astype(np.int64)
    patches = (0, 0)
    if classes == 2:
        known = patch_means(labelled)
        road = patch_means(labelled & (sample.mask == 1)) > patch_threshold * known
        patches = (int(road.sum()), int((known > 0).sum()))
    surface = shift_surface(sample.image, sample.mask)
    return Seen(sample.stem, counts, sample.mask.size, patches, thumbnail(sample), surface)


def misplaced(images: Sequence[Seen]) -> tuple[Shift, dict[str, Shift]]:
    """By how much the labels of the set are displaced, and of the images, by stem, that stand out from it."""
    whole = pooled_shift(image.surface for image in images)
    found = {}
    for image in images:
        own = pooled_shift([image.surface])
        if image.surface is None or own.confidence < SURE_ALONE or own.score < TELLING:
            continue
        reach = len(image.surface) // 2
        as_the_set = float(image.surface[reach - whole.dy, reach - whole.dx])
        far = math.hypot(own.dx - whole.dx, own.dy - whole.dy) >= FAR
        far &= max(abs(own.dx), abs(own.dy)) < reach  # at the end of what is looked at there is no peak
        if far and own.score - as_the_set >= BETTER_ALONE * own.score:
            found[image.stem] = own
    return whole, found
