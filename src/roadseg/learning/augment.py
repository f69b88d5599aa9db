"""Perturbation of training images at run time: where a crop lies, its colours, and what of other images is in it.

NumPy and OpenCV only: it runs beside the network's step. `geometry`, `colours` and `mixing` hold the effects.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import PerturbConfig
from .colours import compress, perturb_colours
from .geometry import coordinate_map, sample, sample_mask, sample_weights
from .mixing import Labelled, copy_paste, cutmix, erase

__all__ = ["Labelled", "Perturbation"]

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Perturbation:
    """Random crops of one size out of images, perturbed as `config` says.

    >>> crop, mask = Perturbation(config.perturb, crop=256)(image, mask, np.random.default_rng(0))

    Args:
        crop: side of the crops, px.
        discrete: masks of more than two classes take the nearest pixel; road masks are sampled linearly and cut at
            one half.
        last: the class that `copy_paste` takes from other images.
    """

    config: PerturbConfig
    crop: int
    discrete: bool = False
    last: int = 1

    def __call__(self, image: Bytes, mask: Bytes, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
        """(H, W, C) uint8 image and (H, W) uint8 mask of class positions -> (crop, crop, C) and (crop, crop) uint8.

        Effects that take parts of another crop take them from the same image.
        """
        made = self.labelled(Labelled(image, mask), rng)
        return made.image, made.mask

    def labelled(
        self,
        source: Labelled,
        rng: np.random.Generator,
        another: Callable[[np.random.Generator], Labelled] | None = None,
    ) -> Labelled:
        """A perturbed crop of a labelled image: image and mask uint8, weights float32 where the source has any.

        Args:
            another: gives a whole other image, chosen by the generator it gets, for the effects that take parts of
                one; None: the source itself.
        """
        config = self.config
        erasing, mixing, pasting = self._aside(rng, 3)
        crop = self._perturbed(source, rng)
        if not config.enabled:
            return crop

        def other(chosen_by: np.random.Generator) -> Labelled:
            return self._perturbed(another(chosen_by) if another else source, chosen_by)

        if config.copy_paste.probability:
            crop = copy_paste(crop, other, config.copy_paste, self.last, pasting)
        if config.cutmix.probability:
            crop = cutmix(crop, other, config.cutmix, mixing)
        if config.erasing.probability:
            crop = crop._replace(image=erase(crop.image, config.erasing, erasing))
        return crop

    def _aside(self, rng: np.random.Generator, count: int) -> list[np.random.Generator]:
        """Generators of their own for the effects that are not always drawn, so that no other draw depends on them.

        They take 15 us each: none is made where no such effect is on.
        """
        config = self.config
        chances = (config.jpeg, config.erasing, config.cutmix, config.copy_paste)
        on = config.enabled and any(effect.probability for effect in chances)
        return rng.spawn(count) if on else [rng] * count

    def _perturbed(self, source: Labelled, rng: np.random.Generator) -> Labelled:
        """A crop of one image alone, with its geometry and colours changed."""
        config = self.config
        (compression,) = self._aside(rng, 1)
        x, y = coordinate_map(config, (source.image.shape[0], source.image.shape[1]), self.crop, rng)
        pixels = sample(source.image, x, y, discrete=False)
        truth = sample_mask(source.mask, x, y, discrete=self.discrete)
        weights = None if source.weights is None else sample_weights(source.weights, x, y)
        image = perturb_colours(pixels, config, rng)
        if config.enabled and config.jpeg.probability:
            image = compress(image, config.jpeg, compression)
        return Labelled(image, truth, weights)
