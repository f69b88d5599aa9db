"""One shared test for each kind of part: a new network option, loss, metric or perturbation gets it for one line.

`run_network_test`, `run_loss_test`, `run_metric_test` and `run_perturbation_test` raise an AssertionError where a part
does not keep what all of its kind promise. They use Keras on whatever backend it runs on.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
from keras import ops

from roadseg.config import Chance, Effect, NetworkConfig, PerturbConfig
from roadseg.imagery.masks import IGNORED
from roadseg.learning.augment import Labelled, Perturbation
from roadseg.learning.geometry import coordinate_map
from roadseg.learning.losses import Crossentropy
from roadseg.learning.runs import ModelInfo, save_model
from roadseg.networks import build_network, plain_copy
from roadseg.scores import Scores, score_image

__all__ = [
    "COLOURS",
    "EFFECTS",
    "GEOMETRIC",
    "MIXING",
    "NOTHING",
    "blobs",
    "easy_batch",
    "gradient",
    "only",
    "run_loss_test",
    "run_metric_test",
    "run_network_test",
    "run_perturbation_test",
    "stored_layers",
]

if keras.config.backend() == "jax":  # it would optimise for longer than these networks are trained
    import jax

    jax.config.update("jax_disable_most_optimizations", True)

# === Networks ===


def easy_batch(size: int, bands: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four pictures whose classes are bright by class, with noise: (4, size, size, bands) uint8 and (..., 1) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (4, size // 4, size // 4))
    truth = coarse.repeat(4, axis=1).repeat(4, axis=2)[..., None].astype(np.uint8)
    pixels = truth * (200 / (classes - 1)) + 25 + rng.normal(0, 5, (4, size, size, bands))
    return np.clip(pixels, 0, 255).astype(np.uint8), truth


def stored_layers(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The layers of a `.keras` file as stored, and the whole configuration as text."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode()
    return json.loads(text)["config"]["layers"], text


def _policies(value: Any) -> set[str]:
    """The names of all dtypes and dtype policies in a stored configuration."""
    if isinstance(value, dict):
        found = set().union(*map(_policies, value.values())) if value else set()
        if isinstance(value.get("dtype"), str):
            found.add(value["dtype"])
        if value.get("class_name") == "DTypePolicy":
            found.add(value["config"]["name"])
        return found
    if isinstance(value, list):
        return set().union(*map(_policies, value)) if value else set()
    return set()


def run_network_test(
    config: NetworkConfig, folder: Path, *, bands: int = 3, classes: int = 2, policy: str = "float32", steps: int = 15
) -> Path:
    """Everything a network must do, however it is configured; gives the `.keras` file that was saved on the way.

    It takes uint8 of several sizes and gives float32 probabilities; training lowers the loss of an easy target; its
    plain copy computes the same; the saved file holds Keras' own layers in float32 alone, and comes back as it was.
    """
    keras.utils.set_random_seed(3)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build_network(config, bands=bands, classes=classes, mean=[120.0] * bands, std=[80.0] * bands)
    finally:
        keras.config.set_dtype_policy(before)
    multiple = config.multiple
    channels = 1 if classes == 2 else classes

    # Shapes, types, ranges
    pixels, truth = easy_batch(max(16, 2 * multiple), bands, classes)
    for batch in (pixels, np.full((1, multiple, 2 * multiple, bands), 255, np.uint8)):
        found = np.asarray(model.predict_on_batch(batch))
        assert found.shape == (*batch.shape[:3], channels)
        assert found.dtype == np.float32
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
        if channels > 1:
            np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)

    # Training
    jit = False if keras.config.backend() == "tensorflow" else "auto"  # as the trainer compiles
    model.compile(keras.optimizers.Adam(1e-2), Crossentropy(), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    losses = [float(np.asarray(model.train_on_batch(pixels, truth))) for _ in range(steps)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.9 * losses[0], f"the loss did not fall: {losses}"

    # The plain copy, and the file
    plain = plain_copy(model)
    found, copied = (ops.convert_to_numpy(m(pixels, training=False)) for m in (model, plain))
    assert copied.shape == found.shape and copied.dtype == np.float32
    np.testing.assert_allclose(copied, found, atol=1e-4 if policy == "float32" else 0.1)
    path = folder / "model.keras"
    save_model(plain, path, ModelInfo(bands=bands, multiple=multiple))
    layers, text = stored_layers(path)
    assert "roadseg" not in text
    assert _policies(layers) <= {"float32", "uint8"}
    assert {layer["module"].split(".")[0] for layer in layers} == {"keras"}
    back = keras.saving.load_model(path, compile=False)
    np.testing.assert_allclose(ops.convert_to_numpy(back(pixels, training=False)), copied, atol=1e-6)
    return path


# === Losses ===


def gradient(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """Gradient of a scalar function of one array, on the backend in use."""
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        variable = tf.Variable(x)
        with tf.GradientTape() as tape:
            value = function(variable)
        return np.asarray(tape.gradient(value, variable))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(x))
    import torch

    tensor = torch.tensor(x, requires_grad=True)
    function(tensor).backward()
    return tensor.grad.detach().numpy()


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> np.ndarray:
    if classes == 2:
        return rng.uniform(0.01, 0.99, (*shape, 1)).astype(np.float32)
    raw = rng.uniform(0.05, 1, (*shape, classes))
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


def run_loss_test(
    loss: keras.losses.Loss, reference: Callable[[np.ndarray, np.ndarray], float], classes: int, *, block: int = 1
) -> None:
    """Everything a loss must do.

    Args:
        reference: the same loss by NumPy: truth (N, H, W) class positions or 255, probabilities (N, H, W, K) -> float.
        block: side of the squares of one class that the truth is made of, px.
    """
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, classes, (2, 8 // block, 12 // block))
    truth = coarse.repeat(block, axis=1).repeat(block, axis=2).astype(np.uint8)
    hot = np.eye(classes, dtype=np.float32)[truth] if classes > 2 else truth[..., None].astype(np.float32)
    p = _probabilities(rng, truth.shape, classes)

    def value(y: np.ndarray, q: Any) -> float:
        got = loss(y[..., None], q)
        assert keras.backend.standardize_dtype(got.dtype) == "float32"
        assert tuple(got.shape) == ()
        return float(ops.convert_to_numpy(got))

    def slope(y: np.ndarray, q: np.ndarray) -> np.ndarray:
        found = gradient(lambda z: loss(ops.convert_to_tensor(y[..., None]), z), q)
        assert found.shape == q.shape and np.isfinite(found).all()
        return found

    assert np.isclose(value(truth, p), reference(truth, p), rtol=1e-5)
    assert np.isclose(value(truth.astype(np.int64), p), value(truth, p))  # whatever type the truth has
    assert np.isclose(value(truth, ops.cast(p, "bfloat16")), value(truth, p), rtol=0.02)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert float(ops.convert_to_numpy(again(truth[..., None], p))) == value(truth, p)

    # Certain and right, certain and wrong
    right, wrong = hot, (1 - hot if classes == 2 else np.roll(hot, 1, axis=-1))
    assert np.isfinite([value(truth, right), value(truth, wrong)]).all()
    assert 0 <= value(truth, right) < 1e-5
    assert value(truth, right) < value(truth, p) < value(truth, wrong)
    for q in (right, wrong):
        slope(truth, q)
    assert value(truth, np.clip(p - 1e-2 * slope(truth, p), 0, 1).astype(np.float32)) < value(truth, p)

    # Unlabelled pixels: whatever is predicted there changes neither the loss nor its gradient elsewhere
    unknown = rng.random(truth.shape) < 0.4
    some = np.where(unknown, np.uint8(255), truth)
    other = np.where(unknown[..., None], _probabilities(rng, truth.shape, classes), p)
    assert np.isclose(value(some, p), reference(some, p), rtol=1e-5)
    assert not np.isclose(value(some, p), value(truth, p), rtol=1e-4)
    for q in (other, np.where(unknown[..., None], right, p), np.where(unknown[..., None], wrong, p)):
        assert value(some, q) == value(some, p)
        np.testing.assert_array_equal(slope(some, q), slope(some, p))
        assert not slope(some, q)[unknown].any()
    assert 0 <= value(some, right) < 1e-5
    nothing = np.full_like(truth, 255)
    assert value(nothing, p) == 0 and not slope(nothing, p).any()

    # One class alone
    for c in range(classes):
        flat = np.full_like(truth, c)
        assert np.isfinite([value(flat, p), value(flat, right)]).all()


# === Metrics ===


def run_metric_test(
    kind: type[keras.metrics.Metric],
    score: str,
    classes: int = 2,
    threshold: float = 0.5,
    size: int = 48,
    seed: int = 1,
) -> None:
    """Everything a metric must do: what `roadseg.scores` says under the name `score`, pooled over several updates."""
    rng = np.random.default_rng(seed)
    metric = kind(classes=classes, threshold=threshold)
    for round_ in range(2):  # the second one after a reset
        parts: list[Scores] = []
        for _ in range(3):
            coarse = rng.integers(0, classes, (2, size // 6, size // 8))
            truth = coarse.repeat(6, axis=1).repeat(8, axis=2).astype(np.uint8)
            p = _probabilities(rng, truth.shape, classes)
            truth[rng.random(truth.shape) < 0.2 * round_] = 255  # unlabelled, the second time
            truth[:, :16, :16] = 255 if round_ else truth[:, :16, :16]
            found = (p[..., 0] > np.float32(threshold)) if classes == 2 else p.argmax(-1)
            parts += [score_image(t, f.astype(np.uint8), classes) for t, f in zip(truth, found, strict=True)]
            metric.update_state(truth[..., None], p)
            expected = Scores.pool(parts, classes).to_dict()[score]
            assert abs(float(metric.result()) - expected) < 1e-6
        assert 0 < expected < 1, f"round {round_} shows nothing"
        metric.reset_state()
        assert float(metric.result()) == 0
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is kind and again.get_config() == metric.get_config()
    assert again.threshold == threshold and again.classes == classes


# === Perturbations ===

GEOMETRIC = ("flip", "rotation", "scale", "shear", "translation", "perspective", "elastic")
MIXING = ("cutmix", "copy_paste")  # take parts of another crop, image and mask
EFFECTS = tuple(name for name in PerturbConfig.__struct_fields__ if name not in ("preset", "enabled"))
COLOURS = tuple(name for name in EFFECTS if name not in (*GEOMETRIC, *MIXING))  # leave the mask as it is


def _off(name: str) -> Chance | Effect:
    return Chance(probability=0.0) if isinstance(getattr(PerturbConfig(), name), Chance) else Effect()


NOTHING = PerturbConfig(**{name: _off(name) for name in EFFECTS})


def only(*names: str, strength: float = 1.0, probability: float = 1.0) -> PerturbConfig:
    """Only these effects, each at `strength` times its default (of a tenth where that is 0)."""
    changes: dict[str, Any] = {}
    for name in names:
        default = getattr(PerturbConfig(), name)
        if isinstance(default, Chance):
            changes[name] = Chance(probability=probability)
        else:
            changes[name] = Effect(strength=strength * (default.strength or 0.1), probability=probability)
    return msgspec.structs.replace(NOTHING, **changes)


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width) uint8, 0 and 1 in blobs of some pixels."""
    from cv2 import GaussianBlur

    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = GaussianBlur(noise, (0, 0), 4.0)
    return (smooth > np.median(smooth)).astype(np.uint8)


def run_perturbation_test(config: PerturbConfig, *, crop: int = 64, seeds: Sequence[int] = range(12)) -> None:
    """Everything a perturbation must do, in whatever combination of effects.

    A picture that is its own mask stays its own mask; masks keep their classes; nothing comes from beyond the border;
    the same seed gives the same bytes; any image shape and number of bands is taken.
    """
    act, still = Perturbation(config, crop), Perturbation(NOTHING, crop)
    changed = [name for name in EFFECTS if getattr(config, name) != getattr(NOTHING, name)]
    colours = config.enabled and any(name in COLOURS for name in changed)
    shapes = msgspec.structs.replace(config, **{name: getattr(NOTHING, name) for name in COLOURS})
    geometry = Perturbation(shapes, crop)
    mask = blobs(90, 110)
    other = blobs(75, 80, seed=1)

    def take(
        perturb: Perturbation,
        image: np.ndarray,
        truth: np.ndarray,
        seed: int,
        *,
        white: int = 254,
        names: tuple[int, int] = (0, 1),
        bands: int = 3,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A crop, with parts of another picture that is its own mask where the configuration mixes."""
        shown = np.zeros((*other.shape, 3), np.uint8)
        shown[..., :bands] = (other * np.uint8(white))[..., None]
        second = Labelled(shown, np.asarray(names, np.uint8)[other])
        made = perturb.labelled(Labelled(image, truth), np.random.default_rng(seed), lambda _: second)
        return made.image, made.mask

    picture = np.repeat(mask[..., None] * np.uint8(254), 3, axis=-1)
    outputs = []
    for seed in seeds:
        pixels, truth = take(act, picture, mask, seed)
        outputs.append((pixels.tobytes(), truth.tobytes()))
        assert pixels.shape == (crop, crop, 3) and truth.shape == (crop, crop)
        assert pixels.dtype == truth.dtype == np.uint8
        assert set(np.unique(truth)) <= {0, 1}

        # Its own mask: without colours exactly, and no colour moves a mask
        moved, follows = take(geometry, picture, mask, seed)
        np.testing.assert_array_equal(follows, truth)
        for band in range(3):
            np.testing.assert_array_equal(moved[..., band] > 127, truth == 1)
        if not colours:
            np.testing.assert_array_equal(pixels, moved)
        elif all(name in COLOURS for name in changed):
            np.testing.assert_array_equal(truth, take(still, picture, mask, seed)[1])

        # White at 255: only a tie at one half, which rounds, may fall on the other side
        white = take(geometry, mask[..., None] * np.uint8(255), mask, seed, white=255)[0]
        sure = np.abs(white[..., 0] - 127.5) > 1
        assert sure.mean() > 0.9
        np.testing.assert_array_equal((white[..., 0] > 127)[sure], (truth == 1)[sure])

        # Unlabelled pixels are no class, not even in part: the second band says where they are
        unlabelled = blobs(90, 110, seed=2) == 1
        gaps = np.where(unlabelled, np.uint8(IGNORED), mask)
        told = np.stack([np.where(unlabelled, 0, 254 * mask), 254 * unlabelled, 0 * mask], axis=-1).astype(np.uint8)
        found, holes = take(geometry, told, gaps, seed, bands=1)
        assert set(np.unique(holes)) <= {0, 1, IGNORED}
        assert (holes[found[..., 1] == 254] == IGNORED).all()
        clear = found[..., 1] == 0
        np.testing.assert_array_equal(holes[clear], (found[..., 0] > 127)[clear])

        # Pixel weights lie where the mask lies
        weighed = geometry.labelled(
            Labelled(picture, mask, mask.astype(np.float16)),
            np.random.default_rng(seed),
            lambda _: Labelled(other[..., None].repeat(3, -1) * np.uint8(254), other, other.astype(np.float16)),
        )
        assert weighed.weights.dtype == np.float32 and weighed.weights.shape == truth.shape
        np.testing.assert_array_equal(weighed.mask, truth)
        sure = np.abs(weighed.weights - 0.5) > 0.01
        assert sure.mean() > 0.9
        np.testing.assert_array_equal((weighed.weights > 0.5)[sure], (truth == 1)[sure])

        # Reflected borders: a picture of one value stays it
        flat = geometry(np.full((40, 50, 3), 77, np.uint8), mask[:40, :50], np.random.default_rng(seed))
        assert (flat[0] == 77).all()
        x, y = coordinate_map(config, (40, 50), crop, np.random.default_rng(seed))
        assert x.min() >= 0 and x.max() <= 49 and y.min() >= 0 and y.max() <= 39

        # Class positions: no new ones between two that meet, and the same place as the picture
        index = np.where(mask == 1, np.uint8(7), np.uint8(2))
        shown, classes = take(Perturbation(shapes, crop, discrete=True, last=7), picture, index, seed, names=(2, 7))
        assert set(np.unique(classes)) <= {2, 7}
        clear = (shown[..., 0] == 0) | (shown[..., 0] == 254)
        np.testing.assert_array_equal((classes == 7)[clear], (shown[..., 0] == 254)[clear])

    # The seed is all there is
    for seed, (pixels, truth) in zip(seeds, outputs, strict=True):
        again = take(act, picture, mask, seed)
        assert (again[0].tobytes(), again[1].tobytes()) == (pixels, truth)
    assert len(set(outputs)) >= len(outputs) - 1  # the place at least differs

    # Any shape, any number of bands; the source is not written to
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 5000), (3000, 2), (20, 500), (crop, crop), (crop + 1, crop - 1), (300, 200)):
        for bands in (1, 2, 3, 4, 6):
            source = rng.integers(0, 256, (*shape, bands)).astype(np.uint8)
            source.flags.writeable = False
            truth = (source[..., 0] > 127).astype(np.uint8)
            truth.flags.writeable = False
            for discrete in (False, True):
                pixels, cut = Perturbation(config, crop, discrete)(source, truth, np.random.default_rng(2))
                assert pixels.shape == (crop, crop, bands) and pixels.dtype == np.uint8
                assert cut.shape == (crop, crop) and set(np.unique(cut)) <= {0, 1}
