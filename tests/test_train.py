"""`roadseg train`: its options, kinds of images, repeatability, interruption and resumption."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED, SRC, blobs, call, files_in, scenes, shared_run, tiny, tiny_config, toml, train, weights_of
from PIL import Image

import roadseg
from roadseg.commands import main
from roadseg.errors import BackendError, RunError
from roadseg.learning import callbacks
from roadseg.learning.runs import read_info

Capture = pytest.CaptureFixture[str]
Shared = tuple[Path, Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return shared_run(tmp_path_factory)


def val_of(run: Path) -> list[str]:
    return [item["stem"] for item in json.loads((run / "split.json").read_text())["val"]]


def history_of(run: Path) -> list[dict[str, str]]:
    """history.csv without the times."""
    timed = ("seconds", "train_seconds", "images_per_second", "data_wait")
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]


# --- who validates, how long, from where ------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 4)
    (tmp_path / "names.txt").write_text("scene_002\nscene_004.png\n")
    words = ["train", dataset, "--out", tmp_path / "run", "--dry-run", "--epochs", 3, *tiny()]
    answer = call(capsys, *words, "--val-names", tmp_path / "names.txt")
    assert answer.code == 0 and "validation: scene_002, scene_004\n" in answer.out
    assert "width 4, depth 1" in answer.out and "3 epochs of batch 2 x 32x32" in answer.out
    assert not (tmp_path / "run").exists()
    grouped = call(capsys, *words, "--val", 0.5, "--group", r"_00(\d)")
    assert grouped.code == 0 and "whole groups by" in grouped.out
    assert call(capsys, *words, "--full").out.count("validation: none") == 1


def test_named_images_validate(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data")
    (tmp_path / "names.txt").write_text("site0_02\nsite1_03\n")
    train(capsys, dataset, tmp_path / "run", "--val-names", tmp_path / "names.txt", *tiny())
    assert val_of(tmp_path / "run") == ["site0_02", "site1_03"]


def test_a_group_stays_on_one_side(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data", 6)
    train(capsys, dataset, tmp_path / "run", "--fold", "0/2", "--group", "^(site.)_", *tiny())
    assert len({stem[:5] for stem in val_of(tmp_path / "run")}) == 1 and len(val_of(tmp_path / "run")) == 3


def test_minutes_become_a_number_of_steps(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from roadseg.learning import trainer

    made = trainer.Plan.of
    monkeypatch.setattr(trainer.Plan, "of", lambda steps, coverage: made(min(steps, 3 * coverage), coverage))
    dataset = scenes(tmp_path / "data")
    train(capsys, dataset, tmp_path / "run", "--minutes", 1, *tiny())
    stored = toml(tmp_path / "run" / "config.toml")["train"]
    assert stored["minutes"] == 1 and stored["steps"] == stored["epochs"] * stored["steps_per_epoch"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["steps"] == stored["steps"] and 1 <= stored["epochs"] <= 3
    assert metrics["times"]["probe_step_s"] > 0
    rows = history_of(tmp_path / "run")
    assert float(rows[0]["learning_rate"]) > float(rows[-1]["learning_rate"])  # the schedule ends with the steps


def test_training_starts_from_another_runs_weights(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    dataset, run = shared
    nothing_learnt = ("train.learning_rate=1e-30", "train.weight_decay=0", "train.ema=0")
    answer = train(capsys, dataset, tmp_path / "run", "--init", run, *tiny(*nothing_learnt))
    assert "weights from" in answer.out
    theirs, ours = weights_of(run), weights_of(tmp_path / "run")
    kernels = [name for name, value in theirs.items() if value.ndim == 4]
    assert kernels and all(np.allclose(theirs[name], ours[name], atol=1e-6) for name in kernels)


def test_training_does_not_start_from_another_networks_weights(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    dataset, run = shared
    words = ["train", dataset, "--out", tmp_path / "run", "--epochs", 1, "--init", run, *tiny("network.width=6")]
    answer = call(capsys, *words)
    assert answer.code == 2 and "same network settings" in answer.err
    assert not (tmp_path / "run").exists()


def test_one_command_trains_tests_and_writes_the_submission(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 3, test=2)
    ids = [f"{n:03d}_{x}_{y}" for n in (2, 1) for x in range(0, 64, 16) for y in range(0, 64, 16)]
    (tmp_path / "sample.csv").write_text("Id,Prediction\n" + "".join(f"{i},0\n" for i in ids))
    out = tmp_path / "new" / "mine.csv"
    words = ["--full", "--test", dataset / "test_images", "--submission", out, "--sample", tmp_path / "sample.csv"]
    answer = train(capsys, dataset, tmp_path / "run", *words, *tiny())
    assert "2 test images" in answer.out and "32 patches of 2 images" in answer.out
    lines = out.read_text().splitlines()
    assert lines[0] == "Id,Prediction" and [line.split(",")[0] for line in lines[1:]] == ids
    assert {line[-1] for line in lines[1:]} <= {"0", "1"}
    assert files_in(tmp_path / "run" / "test") == {"test_1.png", "test_2.png", "predict.json"}


# --- kinds of images and masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("L", ("data.invert=true",)),
        ("16-bit", ("data.scale=0.5",)),
        ("5-band", ("predict.tta=true",)),
    ],
)
def test_other_images_than_rgb_are_trained_on_and_predicted(
    tmp_path: Path, capsys: Capture, mode: str, settings: tuple[str, ...]
) -> None:
    dataset = blobs(tmp_path / "data", 3, mode=mode)
    train(capsys, dataset, tmp_path / "run", "--test", dataset / "images", *tiny(*settings))
    info = read_info(tmp_path / "run" / "model.keras")
    assert info.bands == {"L": 1, "16-bit": 1, "5-band": 5}[mode]
    assert (info.value_range is not None) == (mode == "16-bit")
    assert info.invert == (mode == "L") and info.scale == (0.5 if mode == "16-bit" else 1)
    suffix = ".png" if mode == "L" else ".tif"
    masks = sorted((tmp_path / "run" / "test").glob(f"*{suffix}"))
    assert len(masks) == 3
    for mask in masks:
        with Image.open(mask) as found:
            assert found.size == (40, 48) and set(np.unique(np.asarray(found))) <= {0, 255}


def test_images_of_one_pixel_and_of_one_row_are_trained_on_and_predicted(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    shapes = {"dot": (1, 1), "row": (1, 5000), "column": (300, 1), "odd": (37, 41)}
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for name, shape in shapes.items():
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray(np.where(image[..., 0] > 127, 255, 0).astype(np.uint8)).save(
            tmp_path / "data" / "masks" / f"{name}.png"
        )
    (tmp_path / "names.txt").write_text("dot\nrow\n")
    words = ["--val-names", tmp_path / "names.txt", "--test", tmp_path / "data" / "images"]
    train(capsys, tmp_path / "data", tmp_path / "run", *words, *tiny())
    for name, shape in shapes.items():
        with Image.open(tmp_path / "run" / "test" / f"{name}.png") as mask:
            assert mask.size == shape[::-1]


@pytest.mark.parametrize("loss", ["weighted_bce", "dice", "bce_dice"])  # bce: everywhere else
def test_every_loss_trains(tmp_path: Path, capsys: Capture, loss: str) -> None:
    classes = 3 if loss == "bce_dice" else 2
    dataset = blobs(tmp_path / "data", 3, classes=classes)
    train(capsys, dataset, tmp_path / "run", *tiny(f"loss.name={loss}"))
    (row,) = history_of(tmp_path / "run")
    assert np.isfinite(float(row["loss"])) and np.isfinite(float(row["val_loss"]))
    assert all(np.isfinite(value).all() for value in weights_of(tmp_path / "run").values())


def test_bad_files_can_be_left_out(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data", 4)
    (dataset / "images" / "site0_00.png").write_text("no picture")
    train(capsys, dataset, tmp_path / "run", "--skip-bad", *tiny())
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert "site0_00" not in {item["stem"] for part in ("train", "val") for item in split[part]}


def test_a_copy_of_a_training_image_in_validation_is_warned_of(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 2)
    for kind in ("images", "masks"):
        (dataset / kind / "twin.png").write_bytes((dataset / kind / "scene_001.png").read_bytes())
    (tmp_path / "names.txt").write_text("twin")
    words = ["--val-names", tmp_path / "names.txt", *tiny()]
    answer = train(capsys, dataset, tmp_path / "run", *words)
    assert "training and validation share 1 picture" in answer.err and "scene_001 = twin" in answer.err


def test_a_set_beyond_its_share_of_memory_is_trained_on_from_a_file_that_goes_with_the_run(
    tmp_path: Path, capsys: Capture
) -> None:
    dataset = blobs(tmp_path / "data", 4)
    words = tiny("data.scale=0.75")
    said = train(capsys, dataset, tmp_path / "mapped", *words, "--set", "data.memory_share=0").out
    train(capsys, dataset, tmp_path / "whole", *words)
    assert "of decoded images in a file in" in said
    assert files_in(tmp_path / "mapped" / "state") == {"checkpoint.npz"}
    ours, theirs = history_of(tmp_path / "mapped"), history_of(tmp_path / "whole")
    assert [float(row["loss"]) for row in ours] == pytest.approx([float(row["loss"]) for row in theirs], abs=1e-5)


def test_a_disk_without_room_for_the_decoded_images_is_said_and_nothing_is_left(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadseg.imagery import store

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    dataset = blobs(tmp_path / "data", 3)
    monkeypatch.setattr(store, "_append", full)
    answer = call(capsys, "train", dataset, "--out", tmp_path / "run", *tiny("data.memory_share=0"))
    assert answer.code == 2 and "No space left on device" in answer.err and "data.memory_share" in answer.err
    assert not (tmp_path / "run").exists()


def test_the_record_says_how_long_training_waited_for_its_batches(shared: Shared) -> None:
    with (shared[1] / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 <= float(row["data_wait"]) <= 1 for row in rows)
    times = json.loads((shared[1] / "metrics.json").read_text())["times"]
    waited = sum(float(row["data_wait"]) * float(row["train_seconds"]) for row in rows)
    assert times["data_wait_s"] == pytest.approx(waited, rel=0.2, abs=0.05)


# --- the same again ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, shared: Shared, capsys: Capture
) -> None:
    dataset, first = shared
    for name, seed in (("same", 0), ("other", 6)):
        train(capsys, dataset, tmp_path / name, *SHARED, "--seed", seed)
    one, same, other = (weights_of(run) for run in (first, tmp_path / "same", tmp_path / "other"))
    # TensorFlow on a CPU may add in another order from run to run when it has several threads.
    assert all(np.allclose(one[name], same[name], rtol=0, atol=1e-5) for name in one)
    assert val_of(first) == val_of(tmp_path / "same")
    assert not all(np.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_the_seed_draws_the_validation_share(tmp_path: Path, shared: Shared) -> None:
    from roadseg.learning.job import prepare_training

    def held_out(seed: int) -> tuple[int, ...]:
        return prepare_training(shared[0], tmp_path / "run", tiny_config(), seed=seed, val=0.34).split.val

    assert held_out(5) == held_out(5) != held_out(6)


class Interruption(callbacks.Checkpoint):
    """Ctrl-C right after the state of epoch `AFTER` is written, or before anything is."""

    AFTER = 1

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self.AFTER == 0:
            raise KeyboardInterrupt
        super().on_epoch_end(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if self.finished == self.AFTER and self.AFTER and batch == 1:
            raise KeyboardInterrupt


def test_an_interrupted_run_that_is_resumed_ends_as_if_it_had_never_stopped(
    tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = shared
    words = ["--fold", "0/3", "--epochs", 3, "--seed", 1, *tiny("network.dropout=0.2")]
    train(capsys, dataset, tmp_path / "whole", *words)
    run = tmp_path / "halves"
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "Checkpoint", Interruption)
        stopped = call(capsys, "train", dataset, "--out", run, *words)
    assert stopped.code == 130 and "1 finished epoch learnt" in stopped.err and "--resume" in stopped.err
    assert "Traceback" not in stopped.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["complete"], metrics["epochs"]) == (False, 1)
    assert history_of(run) == history_of(tmp_path / "whole")[:1]
    assert metrics["pixel_f1"] == pytest.approx(float(history_of(run)[0]["val_pixel_f1"]), abs=2e-6)

    train(capsys, dataset, run, "--resume")
    assert history_of(run) == history_of(tmp_path / "whole")
    theirs, ours = weights_of(tmp_path / "whole"), weights_of(run)
    assert all(np.allclose(theirs[name], ours[name], rtol=0, atol=1e-5) for name in theirs)
    assert json.loads((run / "metrics.json").read_text())["complete"]

    before = {p: (run / p).read_bytes() for p in files_in(run)}
    again = call(capsys, "train", dataset, "--out", run, "--resume")
    assert again.code == 0 and "nothing to do" in again.out
    assert before == {p: (run / p).read_bytes() for p in files_in(run)}


def test_an_interruption_while_the_next_batch_is_being_made_is_one(
    tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadseg.learning.batches import TrainingBatches

    make = TrainingBatches.__call__

    def slowly(batches: TrainingBatches, step: int) -> tuple[np.ndarray, np.ndarray]:
        if step > 3:
            time.sleep(0.3)
        return make(batches, step)

    class Early(Interruption):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(TrainingBatches, "__call__", slowly)
    monkeypatch.setattr(callbacks, "Checkpoint", Early)
    words = ["train", shared[0], "--out", tmp_path / "run", "--full", "--epochs", 1, *tiny()]
    stopped = call(capsys, *words)
    assert stopped.code == 130 and "no epoch was finished" in stopped.err


@pytest.mark.parametrize("in_study", [False, True])
def test_only_who_called_it_is_told_to_resume(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, in_study: bool
) -> None:
    from roadseg.studies import child

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("kept what 1 finished epoch learnt in 'run'")

    monkeypatch.setattr(roadseg.api, "train", interrupted)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("ROADSEG_IN_STUDY", "")
    words = ["train", str(tmp_path), "--out", str(tmp_path / "run")]
    code = child._roadseg(words) if in_study else main(words)  # as a study's own process does
    said = capsys.readouterr().err
    assert code == 130 and "kept what 1 finished epoch learnt" in said and ("--resume" in said) is not in_study


def test_an_interruption_before_the_first_epoch_is_said_and_can_be_resumed(
    tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = shared
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "Checkpoint", Interruption)
        patched.setattr(Interruption, "AFTER", 0)
        words = ["--epochs", 1, *tiny()]
        stopped = call(capsys, "train", dataset, "--out", tmp_path / "run", *words)
    assert stopped.code == 130 and "no epoch was finished" in stopped.err
    wanting = call(capsys, "predict", tmp_path / "run", dataset / "images", "--out", tmp_path / "masks")
    assert wanting.code == 2 and "has no model.keras yet" in wanting.err and "--resume" in wanting.err
    train(capsys, dataset, tmp_path / "run", "--resume")
    assert [row["epoch"] for row in history_of(tmp_path / "run")] == ["1"]


@pytest.fixture
def stopped(tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has finished one of its two epochs, made from the whole one."""
    import shutil

    shutil.copytree(shared[1], tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics | {"complete": False}))
    return tmp_path / "run"


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "foreign"])
def test_a_damaged_state_is_named(stopped: Path, shared: Shared, capsys: Capture, damage: str) -> None:
    state = stopped / "state" / "checkpoint.npz"
    whole = state.read_bytes()
    if damage == "foreign":
        with np.load(state) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        np.savez(state, **(kept | {"v0": np.zeros(3)}))
    elif damage == "pickle":
        np.savez(state, format=1, epoch=1, v0=np.array([{}], dtype=object))
    else:
        state.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"not an archive")
    answer = call(capsys, "train", shared[0], "--out", stopped, "--resume")
    assert answer.code == 2 and "state" in answer.err and "Traceback" not in answer.err
    assert (stopped / "model.keras").is_file() and (stopped / "history.csv").is_file()


def test_a_dataset_that_changed_meanwhile_is_refused(
    stopped: Path, shared: Shared, tmp_path: Path, capsys: Capture
) -> None:
    dataset = scenes(tmp_path / "data")
    for kind, what in (("masks", "the mask of"), ("images", "image")):
        path = dataset / kind / "scene_003.png"
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        changed = call(capsys, "train", dataset, "--out", stopped, "--resume")
        assert changed.code == 2 and f"{what} 'scene_003' is not the one" in changed.err
    for kind in ("images", "masks"):
        (dataset / kind / "scene_003.png").unlink()
    gone = call(capsys, "train", dataset, "--out", stopped, "--resume")
    assert gone.code == 2 and "'scene_003', which the dataset no longer has" in gone.err


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "3"],
        ["--minutes", "1"],
        ["--seed", "0"],
        ["--val", "0.2"],
        ["--fold", "0/2"],
        ["--full"],
        ["--group", "x"],
        ["--set", "train.batch=1"],
        ["--init", "x"],
        ["--dry-run"],
    ],
)
def test_a_resumed_run_takes_no_other_settings(tmp_path: Path, capsys: Capture, words: list[str]) -> None:
    answer = call(capsys, "train", tmp_path, "--out", tmp_path / "run", "--resume", *words)
    assert answer.code == 2 and f"leave out {words[0]}" in answer.err


def test_a_run_may_be_resumed_on_another_number_of_devices(stopped: Path, shared: Shared, capsys: Capture) -> None:
    """Which JAX alone can; tests/test_devices.py does it."""
    before = {name: (stopped / name).read_bytes() for name in files_in(stopped)}
    several = call(capsys, "train", shared[0], "--out", stopped, "--resume", "--devices", 2)
    assert several.code == 2 and "KERAS_BACKEND=jax" in several.err
    uneven = call(capsys, "train", shared[0], "--out", stopped, "--resume", "--devices", 3)
    assert uneven.code == 2 and "--set train.batch=3" in uneven.err
    assert before == {name: (stopped / name).read_bytes() for name in files_in(stopped)}


def test_resuming_what_is_no_run_is_refused(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    answer = call(capsys, "train", shared[0], "--out", tmp_path / "nowhere", "--resume")
    assert answer.code == 2 and "is not a run folder" in answer.err and not (tmp_path / "nowhere").exists()


@pytest.mark.filterwarnings("ignore:JAX trains:roadseg.errors.RoadsegWarning")
def test_running_out_of_memory_names_a_smaller_batch_and_leaves_nothing(
    tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    class ResourceExhaustedError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise ResourceExhaustedError("RESOURCE_EXHAUSTED: OOM when allocating tensor with shape[8,32,256,256]")

    monkeypatch.setattr(keras.Model, "fit", fail)
    words = ["train", shared[0], "--out", tmp_path / "run", "--epochs", 1]
    for batch, advice in ((4, "--set train.batch=2"), (1, "--set train.crop=16")):
        answer = call(capsys, *words, *tiny(f"train.batch={batch}"))
        assert answer.code == 2 and advice in answer.err and "OOM" not in answer.err
        assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match=r"train\.batch=1"):
        roadseg.train(shared[0], tmp_path / "run", tiny_config(), epochs=1)


def test_running_out_of_memory_in_validation_names_smaller_windows(
    tmp_path: Path, shared: Shared, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(keras.Model, "predict_on_batch", fail)
    words = ["train", shared[0], "--out", tmp_path / "run", "--epochs", 1, *tiny()]
    answer = call(capsys, *words)
    assert answer.code == 2 and "--set predict.batch=1 or --set predict.window=512" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:JAX trains:roadseg.errors.RoadsegWarning")
def test_an_error_in_training_keeps_the_finished_epochs(
    tmp_path: Path, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadseg.learning.trainer import Trainer

    def fail(*_: object) -> None:
        raise RuntimeError("the last moment")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "finish", fail)
        with pytest.raises(RuntimeError, match="the last moment"):
            roadseg.train(shared[0], tmp_path / "run", tiny_config(), epochs=1)
    assert (tmp_path / "run" / "state" / "checkpoint.npz").is_file()
    with pytest.raises(RunError, match="--resume"):
        roadseg.train(shared[0], tmp_path / "run", tiny_config(), epochs=1)
    train_again = roadseg.api.resume(shared[0], tmp_path / "run")
    assert train_again.metrics["complete"] and train_again.model.is_file()


# --- Ctrl-C, in processes of their own --------------------------------------------------------------------------------


def start(*words: object) -> "subprocess.Popen[str]":
    variables = os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "roadseg", *(str(word) for word in words)]
    return subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and its children with it: not here, where it is what is tested.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, err


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter on Windows")
def test_ctrl_c_keeps_the_last_finished_epoch(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    dataset, _ = shared
    process = start("train", dataset, "--out", tmp_path / "run", "--epochs", 400, "--full", *tiny())
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            process.send_signal(signal.SIGINT)
            break
    code, err = end(process)
    assert code == 130, err
    assert "finished epochs learnt" in err and "--resume" in err and "Traceback" not in err
    rows = history_of(tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 2 <= len(rows) < 400 and metrics["epochs"] == len(rows) and not metrics["complete"]
    assert roadseg.load(tmp_path / "run", engine="keras").probabilities(np.zeros((8, 8, 3), np.uint8)).shape == (
        8,
        8,
        1,
    )
    assert not [name for name in files_in(tmp_path / "run") if Path(name).name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter on Windows")
def test_ctrl_c_while_predicting_leaves_whole_files_alone(tmp_path: Path, shared: Shared) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(40):
        Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{k:02d}.png")
    out = tmp_path / "out"
    process = start(
        "predict", shared[1], tmp_path / "in", "--out", out, "--tta", "--probabilities", "--engine", "keras"
    )
    stop = time.monotonic() + 60
    while time.monotonic() < stop and process.poll() is None and not (out / "01.png").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, err = end(process)
    assert code == 130 and "interrupted" in err and "Traceback" not in err
    found = files_in(out)
    assert {"00.png", "01.png"} <= found and len(found) < 80
    assert [name for name in found if name.startswith(".")] == [".predict.journal"]  # what --resume goes on from
    for name in found - {".predict.journal"}:
        with Image.open(out / name) as mask:
            assert np.asarray(mask).shape == (300, 300)


def test_weights_that_have_seen_the_validation_images_are_told(shared: Shared, tmp_path: Path, capsys: Capture) -> None:
    dataset, before = shared  # fold 1 of 3 validated there
    answer = train(capsys, dataset, tmp_path / "run", "--fold", "0/3", "--init", before, *tiny())
    assert "was trained on 2 of the 2 validation images" in answer.err
    seen = {item["hash"] for item in json.loads((before / "split.json").read_text())["train"]}
    assert seen < set(read_info(tmp_path / "run" / "model.keras").trained_on)
    unseen = train(capsys, dataset, tmp_path / "same", "--fold", "1/3", "--init", before, *tiny())
    assert "was trained on" not in unseen.err
