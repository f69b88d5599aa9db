"""A set with unlabelled pixels from the folder to the scores: they are not learnt, not scored and no class."""

from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, tiny, toml, train
from PIL import Image

from roadseg.evaluation import evaluate
from roadseg.learning.runs import RunFolder, read_info

Capture = pytest.CaptureFixture[str]


def mark(folder: Path, value: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Write `value` into a part of every mask of a set; the raw masks by name."""
    rng = np.random.default_rng(seed)
    found = {}
    for path in sorted((folder / "masks").iterdir()):
        mask = np.asarray(Image.open(path)).copy()
        mask[: int(rng.integers(4, 20))] = value
        Image.fromarray(mask).save(path)
        found[path.stem] = mask
    return found


def test_a_run_on_index_masks_whose_first_value_is_no_label(tmp_path: Path, capsys: Capture) -> None:
    """Background is unlabelled: three classes are left, three outputs, and the names are as in the folder."""
    dataset = blobs(tmp_path / "set", classes=4)
    (dataset / "dataset.toml").write_text('classes = ["nodata", "roof", "road", "water"]\n')
    loss = ("loss.name=boundary_bce + 0.5 * dice", "loss.class_weights=balanced", "loss.label_smoothing=0.1")
    train(capsys, dataset, tmp_path / "run", *tiny("data.ignore=0", *loss))
    run = RunFolder.open(tmp_path / "run")
    assert read_info(run.model).classes == ("roof", "road", "water")
    config = toml(run.path / "config.toml")
    assert config["data"]["classes"] == ["ignore", "roof", "road", "water"] and config["data"]["ignore"] == 0
    rows = run.read_history()
    assert all(np.isfinite(float(rows[0][key])) for key in ("loss", "val_loss", "val_pixel_f1"))
    metrics = run.read_json("metrics.json")
    assert metrics["complete"] and set(metrics["class_iou"]) == {"roof", "road", "water"}
    # Scored as it was read in training, though the folder does not say that 0 is no label
    scored = evaluate(tmp_path / "run", dataset, include_trained=True)
    assert set(scored["class_iou"]) == {"roof", "road", "water"}
    # It goes on with the configuration that was written
    (run.path / "metrics.json").unlink()
    train(capsys, dataset, tmp_path / "run", "--resume")
    assert RunFolder.open(tmp_path / "run").read_json("metrics.json")["complete"]


def test_scores_of_a_run_count_the_labelled_pixels_alone(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "set")
    raw = mark(dataset, 128)
    (dataset / "dataset.toml").write_text("ignore = 128\n")
    train(capsys, dataset, tmp_path / "run", *tiny("loss.name=bce + 0.5 * patch"))
    found = evaluate(tmp_path / "run", dataset, include_trained=True, threshold=1.0)  # nothing is found
    labelled = np.concatenate([mask[mask != 128] for mask in raw.values()])
    assert found["pixel_accuracy"] == pytest.approx(float(np.mean(labelled == 0)))
    assert found["pixel_recall"] == 0
    for stem, scores in found["images"].items():
        known = raw[stem][raw[stem] != 128]
        assert scores["pixel_accuracy"] == pytest.approx(float(np.mean(known == 0)))
    (dataset / "dataset.toml").unlink()  # the model knows which value was no label
    again = evaluate(tmp_path / "run", dataset, include_trained=True, threshold=1.0)
    assert again["pixel_accuracy"] == found["pixel_accuracy"]
