"""Several devices: the curve and the weights of one, on a CPU that counts as four."""

import json
import os
from pathlib import Path

import pytest
from helpers import blobs, call, python, tiny

TESTS = Path(__file__).resolve().parent

SCRIPT = """
import json, sys
from pathlib import Path

import jax
jax.config.update("jax_disable_most_optimizations", True)

import keras
import numpy as np
import roadseg
from helpers import scenes, tiny_config, weights_of
from roadseg.errors import BackendError
from roadseg.inference.engine import KerasEngine
from roadseg.learning import callbacks
from roadseg.learning.devices import data_parallel
from roadseg.learning.trainer import Trainer

root = Path(sys.argv[1])
data = scenes(root / "data", 6)
said = {"spread": [], "windows": [], "after": []}


class Noting(Trainer):
    def finish(self, complete):
        said["spread"].append(len(self.model.trainable_variables[0].value.devices()))
        return super().finish(complete)


compute = KerasEngine.__call__


def noting(engine, batch):
    if isinstance(batch, jax.Array):
        said["windows"].append([len(batch), batch.sharding.shard_shape(batch.shape)[0]])
    return compute(engine, batch)


KerasEngine.__call__ = noting
sys.modules["roadseg.learning.trainer"].Trainer = Noting


def train(name, devices, *more, epochs=2):
    config = tiny_config("train.batch=4", "network.dropout=0.2", *more)
    roadseg.train(data, root / name, config, epochs=epochs, devices=devices, fold=(0, 3))
    said["after"].append(keras.distribution.distribution() is None)


class Interruption(callbacks.Checkpoint):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


for devices in (1, 2, 4):
    train(str(devices), devices)

whole, callbacks.Checkpoint = callbacks.Checkpoint, Interruption
try:
    train("resumed", 4)
except KeyboardInterrupt:
    said["after"].append(keras.distribution.distribution() is None)
callbacks.Checkpoint = whole
roadseg.api.resume(data, root / "resumed", devices=2)

train("three", 3, "train.batch=3", "train.precision=auto", epochs=1)

ours = weights_of(root / "1")
said["difference"] = {
    name: max(float(np.abs(ours[key].astype(float) - value).max()) for key, value in weights_of(root / name).items())
    for name in ("2", "4", "resumed")
}
try:
    train("many", 8, "train.batch=8")
except BackendError as error:
    said["many"] = str(error)
said["left"] = (root / "many").exists()
try:
    with data_parallel(2):
        raise ValueError
except ValueError:
    said["after"].append(keras.distribution.distribution() is None)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Where the runs are, and what was noted of them."""
    root = tmp_path_factory.mktemp("devices")
    path = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    flags = "--xla_force_host_platform_device_count=4"
    ended = python("-c", SCRIPT, str(root), timeout=600, KERAS_BACKEND="jax", XLA_FLAGS=flags, PYTHONPATH=path)
    assert ended.returncode == 0, ended.stderr
    return root, json.loads(ended.stdout.splitlines()[-1])


def history(run: Path) -> list[list[float]]:
    lines = (run / "history.csv").read_text().splitlines()
    kept = [k for k, name in enumerate(lines[0].split(",")) if name in ("loss", "pixel_f1", "val_loss", "val_pixel_f1")]
    return [[float(line.split(",")[k]) for k in kept] for line in lines[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2", "4", "resumed"])
def test_the_curve_and_the_weights_are_those_of_one_device(said, name):
    root, noted = said
    assert noted["difference"][name] < 1e-5
    for ours, theirs in zip(history(root / name), history(root / "1"), strict=True):
        assert ours == pytest.approx(theirs, abs=2e-5)


@pytest.mark.slow
def test_weights_and_windows_are_on_all_devices(said):
    _, noted = said
    assert noted["spread"] == [1, 2, 4, 4, 2, 3]  # the interrupted run is resumed on two
    assert {n // part for n, part in noted["windows"]} == {2, 3, 4}


@pytest.mark.slow
def test_the_arithmetic_is_chosen_on_one_device_and_the_record_says_how_many_there_were(said):
    root, _ = said
    machine = json.loads((root / "three" / "metrics.json").read_text())["machine"]
    assert machine["devices"] == 3 and machine["precision"] in ("float32", "mixed_bfloat16")


@pytest.mark.slow
def test_afterwards_all_is_as_it_was(said):
    assert all(said[1]["after"])


@pytest.mark.slow
def test_more_devices_than_there_are_is_refused_before_anything_is_written(said):
    _, noted = said
    assert "JAX sees 4 (cpu:0, cpu:1" in noted["many"] and "--devices 4" in noted["many"]
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=8" in noted["many"] and not noted["left"]


# --- refused ----------------------------------------------------------------------------------------------------------


def test_several_devices_need_jax(tmp_path, capsys):
    import keras

    if keras.config.backend() == "jax":
        pytest.skip("this is JAX")
    words = ["train", blobs(tmp_path / "data"), "--out", tmp_path / "run", *tiny()]
    answer = call(capsys, *words, "--devices", 2)
    assert answer.code == 2 and "KERAS_BACKEND=jax" in answer.err and not (tmp_path / "run").exists()
    answer = call(capsys, *words, "--set", "train.devices=2")
    assert answer.code == 2 and "KERAS_BACKEND=jax" in answer.err


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does(tmp_path, capsys):
    answer = call(capsys, "train", tmp_path, "--out", tmp_path / "run", "--devices", 3, *tiny("train.batch=8"))
    assert answer.code == 2 and "--set train.batch=9" in answer.err


def test_no_device_is_refused(tmp_path, capsys):
    answer = call(capsys, "train", tmp_path, "--out", tmp_path / "run", "--devices", 0)
    assert answer.code == 2 and "--devices 0: at least 1" in answer.err


def test_one_device_leaves_the_callers_own_arrangement_alone():
    import keras

    from roadseg.learning.devices import DataParallelEngine, data_parallel

    before = keras.distribution.distribution()
    with data_parallel(1):
        assert keras.distribution.distribution() is before
    batch = object()
    assert DataParallelEngine(lambda given: given)(batch) is batch
