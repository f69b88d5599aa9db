"""Resampling whole images and masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.config import PredictConfig
from roadseg.imagery.resample import resample, resample_mask
from roadseg.inference.predictor import Predictor
from roadseg.learning.runs import ModelInfo

SIDE = st.integers(1, 40)


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(1, 7), st.integers(0, 255))
def test_a_constant_image_stays_constant_at_any_size_with_any_number_of_bands(h, w, height, width, bands, value):
    image = np.full((h, w, bands), value, np.uint8)
    assert np.array_equal(resample(image, height, width), np.full((height, width, bands), value, np.uint8))


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 2**32 - 1))
def test_a_mask_never_gets_a_class_that_it_did_not_have(h, w, height, width, seed):
    mask = np.random.default_rng(seed).choice(np.array([0, 3, 7], np.uint8), (h, w))
    smaller = resample_mask(mask, height, width)
    assert smaller.shape == (height, width) and set(np.unique(smaller)) <= set(np.unique(mask))


@pytest.mark.parametrize("bands", [1, 3, 6])
@pytest.mark.parametrize("scale", [0.5, 0.64, 1.7])
def test_a_model_of_another_ground_scale_answers_on_the_grid_of_the_image(bands, scale):
    image = np.full((90, 130, bands), 51, np.uint8)
    predictor = Predictor(
        lambda batch: batch[..., :1].astype(np.float32) / 255, ModelInfo(bands=bands, scale=scale), PredictConfig()
    )
    found = predictor.probabilities(image)
    assert found.shape == (90, 130, 1)
    assert np.allclose(found, 0.2, atol=1e-5)
