"""`roadseg evaluate` and `roadseg compare`: what is scored, and against what."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, call, scenes, shared_run, tiny, train
from PIL import Image

import roadseg

Capture = pytest.CaptureFixture[str]
Shared = tuple[Path, Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return shared_run(tmp_path_factory)


def split_of(run: Path) -> tuple[list[str], list[str]]:
    split = json.loads((run / "split.json").read_text())
    return tuple([item["stem"] for item in split[part]] for part in ("train", "val"))  # type: ignore[return-value]


def by_hand(masks: Path, truths: Path, names: list[str]) -> dict[str, float]:
    """The contract's scores from mask files, pixel by pixel and patch by patch."""
    tp = fp = fn = tn = same = background = patches = 0
    for name in names:
        found = np.asarray(Image.open(masks / f"{name}.png")) > 127
        truth = np.asarray(Image.open(truths / f"{name}.png")) > 127
        tp, fp = tp + (found & truth).sum(), fp + (found & ~truth).sum()
        fn, tn = fn + (~found & truth).sum(), tn + (~found & ~truth).sum()
        for y in range(0, truth.shape[0], 16):
            for x in range(0, truth.shape[1], 16):
                is_road = truth[y : y + 16, x : x + 16].mean() > 0.25
                same += is_road == (found[y : y + 16, x : x + 16].mean() > 0.25)
                background += not is_road
                patches += 1
    return {
        "pixel_accuracy": (tp + tn) / (tp + tn + fp + fn),
        "pixel_iou": tp / (tp + fp + fn),
        "pixel_f1": 2 * tp / (2 * tp + fp + fn),
        "pixel_precision": tp / (tp + fp),
        "pixel_recall": tp / (tp + fn),
        "patch_accuracy": same / patches,
        "all_background_patch_accuracy": background / patches,
    }


def test_images_that_were_trained_on_are_left_out_whatever_they_are_called(
    shared: Shared, tmp_path: Path, capsys: Capture
) -> None:
    dataset, run = shared
    trained, val = split_of(run)
    for kind in ("images", "masks"):
        (tmp_path / "other" / kind).mkdir(parents=True)
        for name in (*trained[:2], *val):
            with Image.open(dataset / kind / f"{name}.png") as image:
                suffix = ".tif" if name == trained[0] else ".png"  # saved anew, and in another format
                image.save(tmp_path / "other" / kind / f"renamed_{name}{suffix}")
    answer = call(capsys, "evaluate", run, tmp_path / "other")
    assert answer.code == 0 and "2 images that the model was trained on are left out" in answer.out
    assert "2 images: pixel F1" in answer.out and "all background" in answer.out

    found = json.loads(call(capsys, "evaluate", run, tmp_path / "other", "--json").out)
    assert set(found["images"]) == {f"renamed_{name}" for name in val}
    assert (found["n_images"], found["n_trained_on"], found["trained_on_included"]) == (2, 2, False)


def test_all_takes_them_in_and_says_so(shared: Shared, capsys: Capture) -> None:
    dataset, run = shared
    answer = call(capsys, "evaluate", run, dataset, "--all")
    assert answer.code == 0 and "4 images that the model was trained on are taken in" in answer.out
    found = json.loads(call(capsys, "evaluate", run, dataset, "--all", "--json").out)
    assert (found["n_images"], found["n_trained_on"], found["trained_on_included"]) == (6, 4, True)


def test_the_scores_of_a_run_are_those_of_evaluate_and_of_the_predicted_masks(
    shared: Shared, tmp_path: Path, capsys: Capture
) -> None:
    dataset, run = shared
    _, val = split_of(run)
    threshold = 0.4  # the tiny network finds some roads above it
    found = json.loads(call(capsys, "evaluate", run, dataset, "--json", "--threshold", threshold).out)
    roadseg.predict(run, dataset / "images", tmp_path / "masks", threshold=threshold, engine="keras")
    expected = by_hand(tmp_path / "masks", dataset / "masks", val)
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["threshold"] == threshold and found["n_images"] == len(val)

    own = roadseg.evaluate(run, dataset)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {key: own[key] for key in expected} == pytest.approx({key: metrics[key] for key in expected}, abs=2e-6)
    assert own["patch_f1"] == pytest.approx(metrics["patch_f1"], abs=2e-6)


def test_tta_scores_the_mean_of_eight(shared: Shared, capsys: Capture) -> None:
    dataset, run = shared
    plain = json.loads(call(capsys, "evaluate", run, dataset, "--json").out)
    turned = json.loads(call(capsys, "evaluate", run, dataset, "--json", "--tta").out)
    assert (plain["tta"], turned["tta"]) == (False, True)
    assert turned["pixel_f1"] != plain["pixel_f1"]
    assert turned["all_background_patch_accuracy"] == plain["all_background_patch_accuracy"]


def test_nothing_left_to_score_is_an_error(shared: Shared, tmp_path: Path, capsys: Capture) -> None:
    dataset, run = shared
    trained, _ = split_of(run)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in trained:
            shutil.copy(dataset / kind / f"{name}.png", tmp_path / kind)
    answer = call(capsys, "evaluate", run, tmp_path)
    assert answer.code == 2 and "trained on all 4 images" in answer.err and "--all" in answer.err


def test_a_dataset_of_other_classes_or_bands_is_refused(shared: Shared, tmp_path: Path, capsys: Capture) -> None:
    _, run = shared
    several = call(capsys, "evaluate", run, blobs(tmp_path / "several", classes=3))
    assert several.code == 2 and "the model has 2 classes" in several.err and "has 3" in several.err
    many = call(capsys, "evaluate", run, blobs(tmp_path / "many", mode="5-band"))
    assert many.code == 2 and "5 bands" in many.err and "3" in many.err


def test_a_model_of_several_classes_scores_each_and_refuses_roads(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data", classes=3)
    train(capsys, dataset, tmp_path / "run", *tiny())
    answer = call(capsys, "evaluate", tmp_path / "run", dataset)
    assert answer.code == 0 and "IoU class 0" in answer.out and "patch" not in answer.out
    roads = call(capsys, "evaluate", tmp_path / "run", scenes(tmp_path / "roads", 2))
    assert roads.code == 2 and "3 classes" in roads.err


@pytest.mark.parametrize("threshold", ["1.5", "-1", "nan"])
def test_a_threshold_that_is_no_probability_is_refused(shared: Shared, capsys: Capture, threshold: str) -> None:
    answer = call(capsys, "evaluate", shared[1], shared[0], f"--threshold={threshold}")
    assert answer.code == 2 and "from 0 to 1" in answer.err


# --- compare ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def second(shared: Shared, tmp_path: Path) -> Path:
    """A copy of the run with other scores on its two images."""
    run = tmp_path / "second"
    shutil.copytree(shared[1], run)
    metrics = json.loads((run / "metrics.json").read_text())
    for k, scores in enumerate(metrics["images"].values()):
        scores["pixel_f1"] += 0.1 * (k + 1)
        scores["patch_accuracy"] -= 0.25
    (run / "metrics.json").write_text(json.dumps(metrics))
    return run


def test_runs_are_compared_image_by_image(shared: Shared, second: Path, capsys: Capture) -> None:
    answer = call(capsys, "compare", shared[1], second)
    assert answer.code == 0 and answer.out.startswith("2 validation images in common")
    found = json.loads(call(capsys, "compare", shared[1], second, "--json").out)
    assert found["images"] == 2 and list(found["runs"]) == [str(shared[1]), str(second)]
    first, other = found["runs"][str(shared[1])], found["runs"][str(second)]
    gap = other["pixel_f1"]
    assert gap["difference"] == pytest.approx(0.15) and gap["mean"] == pytest.approx(first["pixel_f1"]["mean"] + 0.15)
    assert gap["sd_of_difference"] == pytest.approx(np.std([0.1, 0.2], ddof=1))
    assert (gap["better"], gap["worse"]) == (2, 0)
    assert other["patch_accuracy"]["worse"] == 2
    assert first["pixel_f1"]["difference"] == 0 and other["pixel_iou"]["difference"] == 0
    line = next(line for line in answer.out.splitlines() if str(second) in line and "pixel_f1" in line)
    assert "+0.1500" in line and "better on 2, worse on 0" in line


def test_images_of_one_name_and_other_pixels_are_not_compared(shared: Shared, second: Path, capsys: Capture) -> None:
    split = json.loads((second / "split.json").read_text())
    split["val"][0]["hash"] = "other"
    (second / "split.json").write_text(json.dumps(split))
    found = json.loads(call(capsys, "compare", shared[1], second, "--json").out)
    assert found["images"] == 1
    split["val"][1]["hash"] = "other"
    (second / "split.json").write_text(json.dumps(split))
    answer = call(capsys, "compare", shared[1], second)
    assert answer.code == 2 and "no validation image in common" in answer.err and "--fold" in answer.err


def test_comparing_takes_two_runs(shared: Shared, tmp_path: Path, capsys: Capture) -> None:
    alone = call(capsys, "compare", shared[1])
    assert alone.code == 2 and "two runs" in alone.err
    foreign = call(capsys, "compare", shared[1], tmp_path)
    assert foreign.code == 2 and str(tmp_path) in foreign.err and "not a run folder" in foreign.err
    (tmp_path / "config.toml").write_text("")
    begun = call(capsys, "compare", shared[1], tmp_path)
    assert begun.code == 2 and "no readable metrics.json" in begun.err
