"""What is known before a run begins: pixel statistics, whether settings fit, how many steps fit into minutes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadseg.config import read_config
from roadseg.errors import ConfigError, DataError
from roadseg.imagery.dataset import Sample
from roadseg.learning import plan
from roadseg.learning.plan import check_batch, check_crop, class_shares, pixel_statistics
from roadseg.learning.probe import Costs


def test_pixel_statistics_are_those_of_all_pixels_together(monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((1, 1), (30, 7), (65, 40))]
    samples = [Sample("", image, image[..., 0], None, "") for image in images]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    whole = pixel_statistics(samples)
    np.testing.assert_allclose(whole, [pixels.mean(0), pixels.std(0)], rtol=1e-12)
    monkeypatch.setattr(plan, "ROWS_AT_ONCE", 4)
    assert pixel_statistics(samples) == whole


class Watched(np.ndarray):
    """Counts the rows that are taken out of it."""

    taken = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        if isinstance(key, slice):
            Watched.taken += len(found)
        return found


def test_pixel_statistics_read_each_image_once():
    image = np.zeros((1000, 3, 1), np.uint8).view(Watched)
    pixel_statistics([Sample("", image, np.zeros((1000, 3), np.uint8), None, "")])
    assert Watched.taken == 1000


@given(batch=st.integers(1, 64), devices=st.integers(1, 16))
def test_a_batch_is_taken_when_it_divides_and_else_the_next_larger_is_named(batch, devices):
    config = read_config({"train": {"batch": batch, "devices": devices}})
    if batch % devices == 0:
        check_batch(config)
        return
    with pytest.raises(ConfigError) as caught:
        check_batch(config)
    named = int(str(caught.value).rpartition("=")[2])
    assert named % devices == 0 and batch < named < batch + devices


@pytest.mark.parametrize(("crop", "part"), [(8, ">= 16"), (40, "use 32")])
def test_a_crop_that_the_network_cannot_take_is_refused(crop, part):
    with pytest.raises(ConfigError, match=part):
        check_crop(read_config({"train": {"crop": crop}}))
    check_crop(read_config({"train": {"crop": 0}}))  # as the data suggests


def test_class_shares_are_of_the_labelled_pixels():
    mask = np.array([[0, 1, 1, 255], [0, 255, 2, 2]], np.uint8)
    valid = np.array([[1, 1, 1, 0], [0, 0, 1, 1]], bool)
    image = np.zeros((2, 4, 3), np.uint8)
    assert class_shares([Sample("", image, mask, None, "")], 3) == pytest.approx([2 / 6, 2 / 6, 2 / 6])
    assert class_shares([Sample("", image, mask, valid, "")], 3) == pytest.approx([1 / 5, 2 / 5, 2 / 5])
    with pytest.raises(DataError, match=r"labelled.*data\.ignore"):
        class_shares([Sample("", image, np.full_like(mask, 255), None, "")], 3)


def test_the_steps_of_a_run_leave_room_for_what_comes_after_them():
    costs = Costs(step=0.5, epoch=5, finish=20)
    steps = costs.steps_in(620, 10)
    assert steps == int(0.95 * 600 / 1.0)
    assert costs.steps_in(630, 100) > steps  # fewer epochs, fewer validations
    assert costs.steps_in(20, 10) < 1
