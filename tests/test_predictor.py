"""Engines, test-time augmentation and the predictor, with made-up models."""

import numpy as np
import pytest

from roadseg.config import PredictConfig
from roadseg.errors import BackendError, ConfigError, ModelError
from roadseg.inference.engine import KerasEngine, open_engine, with_tta
from roadseg.inference.predictor import Predictor
from roadseg.learning.runs import ModelInfo


def first_band(batch):
    return batch[..., :1].astype(np.float32) / 255


def left_brighter(batch):
    """Depends on direction: a pixel minus its right neighbour."""
    x = first_band(batch)
    return np.abs(x - np.roll(x, -1, axis=2))


def spread(batch):
    """Does not depend on direction: the mean of a pixel's four neighbours."""
    x = first_band(batch)
    return sum(np.roll(x, step, axis=axis) for step in (-1, 1) for axis in (1, 2)) / 4


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(32, 32), (32, 64)])
def test_tta_leaves_a_model_without_direction_as_it_is(shape):
    batch = np.stack([noise(*shape, seed=i) for i in range(3)])
    np.testing.assert_allclose(with_tta(spread)(batch), spread(batch), atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (32, 64)])
def test_tta_makes_any_model_turn_with_its_image(shape):
    run = with_tta(left_brighter)
    batch = noise(*shape)[None]
    turned = np.ascontiguousarray(np.rot90(batch, 1, axes=(1, 2)))
    np.testing.assert_allclose(run(turned), np.rot90(run(batch), 1, axes=(1, 2)), atol=1e-6)
    mirrored = np.ascontiguousarray(batch[:, :, ::-1])
    np.testing.assert_allclose(run(mirrored), run(batch)[:, :, ::-1], atol=1e-6)
    assert np.abs(run(batch) - left_brighter(batch)).max() > 0.1


def test_tta_calls_the_model_eight_times_with_contiguous_windows():
    calls = []

    def run(batch):
        assert batch.flags.c_contiguous
        calls.append(batch.tobytes())
        return first_band(batch)

    with_tta(run)(noise(16, 16)[None])
    assert len(set(calls)) == 8


class FakeModel:
    def __init__(self):
        self.sizes = []

    def predict_on_batch(self, batch):
        self.sizes.append(len(batch))
        return first_band(batch).astype(np.float64)


def test_the_last_batch_is_filled_up_so_that_nothing_is_compiled_anew():
    model = FakeModel()
    engine = KerasEngine(model)
    batch = np.stack([noise(16, 16, seed=i) for i in range(4)])
    assert engine(batch).dtype == np.float32
    np.testing.assert_array_equal(engine(batch[:3]), first_band(batch[:3]))
    engine(batch[:1, :8])  # another shape has its own sizes
    assert model.sizes == [4, 4, 1]


def test_running_out_of_memory_says_what_to_make_smaller():
    class ResourceExhaustedError(Exception):
        pass

    class Model:
        def predict_on_batch(self, batch):
            raise ResourceExhaustedError("OOM when allocating tensor")

    with pytest.raises(BackendError, match=r"2 windows of 32x16.*--batch"):
        KerasEngine(Model())(np.zeros((2, 16, 32, 3), np.uint8))


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="choose from auto, keras"):
        open_engine(tmp_path / "model.keras", "abacus")


def test_probabilities_have_the_images_size_and_one_channel():
    image = noise(123, 77)
    found = Predictor(first_band, ModelInfo()).probabilities(image)
    assert found.shape == (123, 77, 1) and found.dtype == np.float32
    assert (np.rint(found * 255)[..., 0] == image[..., 0]).all()


def test_bands_are_the_same_predictions_in_pieces():
    image = noise(500, 90)
    predictor = Predictor(spread, ModelInfo(), PredictConfig(window=128, overlap=32))
    bands = list(predictor.bands(image))
    assert len(bands) > 3
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in bands]), predictor.probabilities(image))


def test_the_mask_is_255_strictly_above_the_models_threshold():
    predictor = Predictor(first_band, ModelInfo(threshold=0.25))
    probabilities = np.array([[[0.0], [0.25], [0.2500001], [1.0]]], np.float32)
    assert predictor.mask(probabilities).tolist() == [[0, 0, 255, 255]]
    assert predictor.mask(probabilities).dtype == np.uint8


def test_several_classes_give_the_index_of_the_most_probable():
    def run(batch):
        x = batch.astype(np.float32)
        return x / np.maximum(x.sum(-1, keepdims=True), 1)

    image = noise(100, 100)
    predictor = Predictor(run, ModelInfo(classes=("a", "b", "c")), PredictConfig(window=64, overlap=16))
    mask = predictor.mask(predictor.probabilities(image))
    clear = np.sort(image, axis=-1)[..., 2] > np.sort(image, axis=-1)[..., 1] + 1
    assert (mask == image.argmax(-1))[clear].all()


@pytest.mark.parametrize("scale", [0.5, 0.3, 1.7])
def test_another_ground_scale_is_laid_back_on_the_images_grid(scale):
    y, x = np.mgrid[:150, :210]
    smooth = np.clip(127 + 100 * np.sin(y / 30) * np.cos(x / 40), 0, 255).astype(np.uint8)
    image = np.repeat(smooth[..., None], 3, axis=2)
    seen = []

    def run(batch):
        seen.append(batch.shape)
        return first_band(batch)

    found = Predictor(run, ModelInfo(scale=scale)).probabilities(image)
    assert found.shape == (150, 210, 1)
    np.testing.assert_allclose(found[..., 0], smooth / 255, atol=0.03)
    assert seen[0][1] >= round(150 * scale)


def test_a_tiny_image_survives_a_small_scale():
    found = Predictor(first_band, ModelInfo(scale=0.1)).probabilities(np.full((1, 3, 3), 51, np.uint8))
    np.testing.assert_allclose(found, np.full((1, 3, 1), 0.2), atol=1e-6)


def test_an_image_with_other_bands_or_values_is_refused():
    predictor = Predictor(first_band, ModelInfo(bands=4))
    with pytest.raises(ModelError, match=r"\(height, width, 4\) of uint8, not \(10, 10, 3\)"):
        predictor.probabilities(noise(10, 10))
    with pytest.raises(ModelError, match="float64"):
        Predictor(first_band, ModelInfo()).probabilities(noise(10, 10) / 255)


def test_a_model_that_contradicts_its_description_is_refused():
    with pytest.raises(ModelError, match="1 outputs a pixel, but its classes need 3"):
        Predictor(first_band, ModelInfo(classes=("a", "b", "c"))).probabilities(noise(10, 10))


def test_the_configuration_can_switch_tta_on():
    assert Predictor(first_band, ModelInfo(), PredictConfig(tta=True)).tta
    assert not Predictor(first_band, ModelInfo()).tta
