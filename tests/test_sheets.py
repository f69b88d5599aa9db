"""The sheet of perturbed crops: what the network will see, unlabelled pixels told apart."""

import numpy as np
import pytest
from battery import NOTHING, blobs, only

from roadseg.config import Config, PerturbConfig, TrainConfig, read_config
from roadseg.imagery.dataset import Sample
from roadseg.imagery.masks import IGNORED
from roadseg.reports.sheets import perturbation_sheet, with_mask
from roadseg.settings import PRESETS


def picture(seed: int, grey: int = 100) -> Sample:
    """Flat grey with a mask."""
    return Sample(f"p{seed}", np.full((60, 60, 3), grey, np.uint8), blobs(60, 60, seed), None, f"{seed:016x}")


def config(perturb: PerturbConfig = NOTHING) -> Config:
    return Config(train=TrainConfig(crop=48, batch=1), perturb=perturb)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sheet_of_any_preset_is_drawn_the_same_again(preset):
    settings = config(read_config({"perturb": preset}).perturb)
    sheets = [perturbation_sheet([picture(0), picture(1)], settings, draws=3) for _ in range(2)]
    assert sheets[0].dtype == np.uint8 and sheets[0].shape[2] == 3
    np.testing.assert_array_equal(*sheets)


def test_parts_of_another_image_are_of_the_other_samples():
    mixing = config(only("cutmix", strength=2))
    together = perturbation_sheet([picture(0, 60), picture(1, 180)], mixing, draws=1)
    alone = perturbation_sheet([picture(0, 60)], mixing, draws=1)
    column = slice(2 * (256 + 6) + 10, 3 * (256 + 6) - 4)  # of the crop, within a row
    row = slice(60, 280)
    assert set(np.unique(alone[row, column])) == {60}
    assert {60, 180} <= set(np.unique(together[row, column]))


def test_unlabelled_pixels_are_hatched_in_grey():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    mask = blobs(64, 80)
    mask[:, 50:] = IGNORED
    shown = with_mask(image, mask)
    np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
    assert not (shown[mask == 1] == image[mask == 1]).all()
    hatched = shown[:, 50:].astype(int)
    assert np.ptp(hatched, axis=2).max() <= 0.31 * 255  # the image's colours are dimmed
    flat = with_mask(np.full((64, 80, 3), 120, np.uint8), mask)[:, 50:]
    assert len(np.unique(flat)) == 2 and (flat[..., 0] == flat[..., 1]).all()
    np.testing.assert_array_equal(flat[0, :8, 0] == flat[0, 0, 0], [True, True, False, False] * 2)


def test_pixels_without_data_are_hatched_on_the_sheet():
    one = picture(0)
    valid = np.ones(one.mask.shape, bool)
    valid[20:40] = False
    gap = Sample(one.stem, one.image, one.mask, valid, one.hash)
    full, holed = (perturbation_sheet([s], config(), draws=2) for s in (one, gap))
    assert not np.array_equal(full, holed)
