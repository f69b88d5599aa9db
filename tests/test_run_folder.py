"""The run folder that `roadseg train` leaves behind: its files and their formats."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, files_in, python, scenes, shared_run, tiny, toml, train
from PIL import Image

from roadseg.config import Config, load_config
from roadseg.imagery.pixels import content_hash
from roadseg.learning.runs import RunFolder, read_info

Shared = tuple[Path, Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return shared_run(tmp_path_factory)


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_of_the_contract_is_there_and_no_other(shared: Shared) -> None:
    _, run = shared
    found = files_in(run)
    events = {name for name in found if name.startswith("tensorboard/events.out.tfevents")}
    assert len(events) == 1
    val = [item["stem"] for item in json.loads((run / "split.json").read_text())["val"]]
    pictures = {f"validation/{stem}{end}.png" for stem in val for end in ("", "_overlay")}
    state = {"state/checkpoint.npz"}
    plain = {"config.toml", "split.json", "model.keras", "metrics.json", "history.csv", "report.html"}
    assert found == events | pictures | state | plain


def test_config_toml_is_complete_and_can_be_given_to_train_again(shared: Shared) -> None:
    _, run = shared
    stored = toml(run / "config.toml")

    def keys(table: dict[str, object]) -> set[str]:
        return {
            k for key, v in table.items() for k in ({f"{key}.{x}" for x in keys(v)} if isinstance(v, dict) else {key})
        }

    assert keys(stored) == keys(Config().to_dict())
    config = load_config(run / "config.toml")
    assert config.to_dict() == stored
    assert (config.network.width, config.train.crop, config.train.batch) == (4, 32, 2)
    assert (config.data.bands, config.data.classes) == (3, ["background", "road"])
    assert (config.train.epochs, config.train.minutes, config.train.precision) == (2, 0, "float32")
    assert config.train.steps == 2 * config.train.steps_per_epoch > 0


def test_split_json_names_each_image_once_with_the_hash_of_its_pixels(shared: Shared) -> None:
    dataset, run = shared
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), len(split["val"])) == (4, 2)
    assert split["rule"] == "fold 1 of 3, seed 43"
    assert {item["stem"] for part in ("train", "val") for item in split[part]} == {
        f"scene_{k:03d}" for k in range(1, 7)
    }
    for item in split["train"] + split["val"]:
        assert item["hash"] == content_hash(np.asarray(Image.open(dataset / "images" / f"{item['stem']}.png")))
    order = np.random.RandomState(43).permutation(6)
    held_out = [f"scene_{k + 1:03d}" for k in sorted(np.array_split(order, 3)[1])]
    assert [item["stem"] for item in split["val"]] == held_out


def test_history_csv_has_one_row_an_epoch(shared: Shared) -> None:
    _, run = shared
    rows, config = rows_of(run), load_config(run / "config.toml")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [int(row["step"]) for row in rows] == [config.train.steps_per_epoch, config.train.steps]
    needed = {"loss", "val_loss", "pixel_f1", "val_pixel_f1", "val_pixel_iou", "val_patch_accuracy", "seconds"}
    assert needed | {"images_per_second", "learning_rate"} <= set(rows[0])
    assert all(float(value) >= 0 for row in rows for value in row.values())
    assert b"\r" not in (run / "history.csv").read_bytes()


def test_metrics_json_has_the_contracts_keys_and_agrees_with_the_last_epoch(shared: Shared) -> None:
    _, run = shared
    metrics = json.loads((run / "metrics.json").read_text())
    scores = {"pixel_accuracy", "pixel_iou", "pixel_f1", "pixel_precision", "pixel_recall"}
    scores |= {"patch_accuracy", "patch_f1", "all_background_patch_accuracy"}
    assert scores | {"n_images", "threshold", "times", "machine", "versions"} <= set(metrics)
    assert all(0 <= metrics[score] <= 1 for score in scores)
    assert (metrics["complete"], metrics["epochs"], metrics["n_images"], metrics["n_train"]) == (True, 2, 2, 4)
    assert {"python", "keras", "numpy"} <= set(metrics["versions"])
    assert metrics["machine"]["backend"] and metrics["times"]["total_s"] >= metrics["times"]["training_s"] > 0
    last = rows_of(run)[-1]
    for score in ("pixel_f1", "pixel_accuracy", "patch_accuracy"):  # model.keras is what the last epoch was scored with
        assert metrics[score] == pytest.approx(float(last[f"val_{score}"]), abs=2e-6)
    assert len(metrics["images"]) == 2


def test_model_keras_loads_in_plain_keras_in_float32(shared: Shared) -> None:
    _, run = shared
    code = (
        "import sys, json, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "assert not any('roadseg' in name for name in sys.modules)\n"
        "kinds = {layer.__class__.__module__.split('.')[0] for layer in model.layers}\n"
        "p = np.asarray(model(np.random.default_rng(0).integers(0, 256, (1, 64, 32, 3), dtype='uint8')))\n"
        "print(json.dumps([sorted(kinds), sorted({layer.dtype_policy.name for layer in model.layers}),\n"
        "                  p.shape, str(p.dtype), float(p.min()), float(p.max())]))\n"
    )
    done = python("-c", code, str(run / "model.keras"), TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 0, done.stderr
    kinds, policies, shape, dtype, low, high = json.loads(done.stdout.splitlines()[-1])
    assert kinds == ["keras"] and set(policies) <= {"float32", "uint8"}
    assert (shape, dtype) == ([1, 64, 32, 1], "float32") and 0 <= low < high <= 1


def test_the_model_carries_what_prediction_needs(shared: Shared) -> None:
    _, run = shared
    info = read_info(run / "model.keras")
    split = json.loads((run / "split.json").read_text())
    assert info.classes == ("background", "road") and info.bands == 3 and info.multiple == 4  # a pooling and a stem
    assert (info.threshold, info.patch_threshold, info.ground_resolution_m) == (0.5, 0.25, 0.3)
    assert list(info.trained_on) == [item["hash"] for item in split["train"]]


def test_the_event_file_has_scalars_and_pictures(shared: Shared) -> None:
    _, run = shared
    scalars, pictures = events_of(run)
    assert scalars["training/loss"] == [1, 2] and scalars["validation/pixel_f1"] == [1, 2]
    assert set(pictures) == {f"validation/{p.stem}" for p in (run / "validation").glob("scene_???.png")}


def events_of(run: Path) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Steps of each scalar and of each picture in the event files."""
    import struct

    from tensorboardX.proto.event_pb2 import Event

    scalars: dict[str, list[int]] = {}
    pictures: dict[str, list[int]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # a record: length, its checksum, the message, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                where = pictures if value.HasField("image") else scalars
                where.setdefault(value.tag, []).append(event.step)
    return scalars, pictures


def test_validation_pictures_are_the_probabilities_and_an_overlay(shared: Shared) -> None:
    from roadseg import load

    dataset, run = shared
    metrics = json.loads((run / "metrics.json").read_text())
    predictor = load(run)
    for stem in metrics["images"]:
        with Image.open(run / "validation" / f"{stem}.png") as picture:
            assert (picture.mode, picture.size) == ("L", (64, 64))
            shown = np.asarray(picture)
        image = np.asarray(Image.open(dataset / "images" / f"{stem}.png"))
        expected = np.rint(predictor.probabilities(image)[..., 0] * 255)
        assert np.abs(shown - expected).max() <= 1
        with Image.open(run / "validation" / f"{stem}_overlay.png") as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_the_report_is_one_file_with_the_scores(shared: Shared) -> None:
    _, run = shared
    text = (run / "report.html").read_text()
    assert "<html" in text and "data:image/" in text
    assert "://" not in text.replace("http://www.w3.org/", "")  # nothing is fetched from elsewhere


def test_a_run_folder_can_be_moved(
    shared: Shared, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from roadseg.commands import main

    dataset, run = shared
    shutil.copytree(run, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "elsewhere", str(dataset)]) == 0
    assert main(["report", "elsewhere"]) == 0


def test_several_classes_are_recorded_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = blobs(tmp_path / "data", classes=3)
    (dataset / "dataset.toml").write_text('classes = ["ground", "house", "tree"]\n')
    answer = train(capsys, dataset, tmp_path / "run", *tiny())
    assert "IoU" in answer.out and "patch accuracy" not in answer.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["class_iou"]) == {"ground", "house", "tree"} and metrics["patch_accuracy"] is None
    assert read_info(tmp_path / "run" / "model.keras").classes == ("ground", "house", "tree")
    _, pictures = events_of(tmp_path / "run")
    assert pictures, "several classes have pictures in TensorBoard too"
    (name,) = metrics["images"]
    with Image.open(tmp_path / "run" / "validation" / f"{name}_overlay.png") as picture:
        assert picture.mode == "RGB"


def test_a_run_without_validation_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = scenes(tmp_path / "data", 2)
    train(capsys, dataset, tmp_path / "run", "--full", *tiny())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["n_images"], metrics["n_train"]) == (0, 2) and "pixel_f1" not in metrics
    assert json.loads((tmp_path / "run" / "split.json").read_text())["val"] == []
    assert "val_loss" not in rows_of(tmp_path / "run")[0]
    assert not (tmp_path / "run" / "validation").exists() and (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\x00"])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    from roadseg.errors import RunError

    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=r"metrics\.json"):
        RunFolder(tmp_path).read_json("metrics.json")


def test_what_is_discarded_leaves_the_users_own_files(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config(Config())
    folder.write_split({"train": [], "val": []})
    (folder.path / "notes.txt").write_text("mine")
    folder.discard()
    assert files_in(folder.path) == {"notes.txt"}
    (folder.path / "notes.txt").unlink()
    folder.discard()
    assert not folder.path.exists()
