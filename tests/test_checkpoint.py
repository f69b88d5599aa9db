"""The state a resumed run starts from: all of it, or an error that names the file."""

import keras
import numpy as np
import pytest
from battery import easy_batch
from keras import ops

from roadseg.config import NetworkConfig, TrainConfig
from roadseg.errors import OutputError, RunError
from roadseg.learning.checkpoint import capture, load_checkpoint, restore, save_checkpoint
from roadseg.learning.losses import Crossentropy
from roadseg.learning.optimizers import averaged_weights, build_optimizer
from roadseg.networks import build_network


def trained(steps: int, seed: int = 0, *, width: int = 2, optimizer: str = "adamw", dropout: float = 0.3):
    """A small compiled network after `steps` steps, its dropout's random state among what changed."""
    keras.utils.set_random_seed(seed)
    model = build_network(NetworkConfig(width=width, depth=1, dropout=dropout))
    jit = False if keras.config.backend() == "tensorflow" else "auto"
    model.compile(build_optimizer(TrainConfig(optimizer=optimizer), 40), Crossentropy(), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    train(model, steps)
    return model


def train(model, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        model.train_on_batch(*easy_batch(16, 3, 2, seed=step))


def same(a, b) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.battery
def test_a_restored_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    whole = trained(5)
    half = trained(3)
    save_checkpoint(tmp_path / "state" / "checkpoint.npz", capture(half), epoch=3)
    resumed = trained(0, seed=9)
    epoch, arrays = load_checkpoint(tmp_path / "state" / "checkpoint.npz")
    assert epoch == 3
    restore(resumed, arrays)
    train(resumed, 2, first=3)
    assert same(capture(resumed), capture(whole))
    assert same(averaged_weights(resumed), averaged_weights(whole))


def test_another_optimiser_is_restored_too(tmp_path):
    whole = trained(4, optimizer="sgd", dropout=0)
    half = trained(2, optimizer="sgd", dropout=0)
    save_checkpoint(tmp_path / "c.npz", capture(half), 1)
    resumed = trained(0, seed=9, optimizer="sgd", dropout=0)
    restore(resumed, load_checkpoint(tmp_path / "c.npz")[1])
    train(resumed, 2, first=2)
    assert same(capture(resumed), capture(whole))


@pytest.mark.battery
def test_what_is_captured_does_not_change_with_the_model():
    model = trained(1)
    arrays = capture(model)
    kept = [a.copy() for a in arrays]
    train(model, 1, first=1)
    assert same(arrays, kept) and not same(capture(model), kept)
    restore(model, arrays)
    assert same(capture(model), kept)


def test_the_state_of_another_network_or_optimiser_is_refused():
    arrays = capture(trained(0))
    for other in (trained(0, width=3), trained(0, optimizer="sgd"), trained(0, dropout=0)):
        before = capture(other)
        with pytest.raises(RunError, match="another network or optimiser"):
            restore(other, arrays)
        assert same(capture(other), before)


def damaged(path, kind: str) -> None:
    data = path.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("epoch 3")
        case "halved":
            path.write_bytes(data[: len(data) // 2])
        case "without its end":
            path.write_bytes(data[:-30])
        case "with a byte changed":
            middle = len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
        case "one array":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "pickled":
            with path.open("wb") as file:
                np.savez(file, format=1, epoch=1, v0=np.array([{"a": 1}], dtype=object))
        case "with an array missing":
            with path.open("wb") as file:
                np.savez(file, format=1, epoch=1, v0=np.zeros(1), v2=np.zeros(1))
        case "without a format":
            with path.open("wb") as file:
                np.savez(file, epoch=1)
        case "missing":
            path.unlink()


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "text",
        "halved",
        "without its end",
        "with a byte changed",
        "one array",
        "pickled",
        "with an array missing",
        "without a format",
        "missing",
    ],
)
def test_a_damaged_state_is_an_error_that_names_the_file(kind, tmp_path):
    path = tmp_path / "checkpoint.npz"
    with path.open("wb") as file:
        np.savez(file, format=1, epoch=2, v0=np.arange(5000.0), v1=np.ones(3))
    damaged(path, kind)
    with pytest.raises(RunError, match=r"checkpoint\.npz"):
        load_checkpoint(path)


def test_another_versions_state_is_said_to_be_that(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with path.open("wb") as file:
        np.savez(file, format=99, epoch=2, v0=np.ones(3))
    with pytest.raises(RunError, match="another version"):
        load_checkpoint(path)


def test_a_state_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.npz"
    model = trained(0)
    save_checkpoint(path, capture(model), 1)

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(path, capture(model), 2)
    assert load_checkpoint(path)[0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]


@pytest.mark.battery
def test_arrays_keep_their_types_through_the_file(tmp_path):
    model = trained(1)
    save_checkpoint(tmp_path / "c.npz", capture(model), 1)
    _, arrays = load_checkpoint(tmp_path / "c.npz")
    for a, b in zip(arrays, capture(model), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert any(np.array_equal(a, ops.convert_to_numpy(model.optimizer.iterations)) for a in arrays)
