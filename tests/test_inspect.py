"""`roadseg inspect`: what is said of a dataset, and the sheet."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, call, files_in, scenes
from PIL import Image

Capture = pytest.CaptureFixture[str]


def test_counts_sizes_shares_and_the_baseline_are_said(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 4, test=2)
    before = files_in(dataset)
    answer = call(capsys, "inspect", dataset)
    assert answer.code == 0 and answer.err == ""
    for part in ("4 pairs, 2 images without masks", "64x64, 3 bands, uint8", "masks are 0/255: road is 255", "0.3 m"):
        assert part in answer.out
    masks = [np.asarray(Image.open(p)) > 0 for p in sorted((dataset / "masks").iterdir())]
    shares = [mask.mean() for mask in masks]
    assert f"share of road in one image: {min(shares):.1%} to {max(shares):.1%}" in answer.out
    patches = np.mean(
        [m[y : y + 16, x : x + 16].mean() > 0.25 for m in masks for y in range(0, 64, 16) for x in range(0, 64, 16)]
    )
    assert f"scores {1 - patches:.4f}" in answer.out
    assert files_in(dataset) == before


def test_json_says_the_same_as_one_document(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 3)
    found = json.loads(call(capsys, "inspect", dataset, "--json").out)
    assert (found["images"], found["test_images"], found["sizes"], found["bands"]) == (3, 0, ["64x64"], 3)
    assert sum(found["class_shares"].values()) == pytest.approx(1)
    assert set(found["class_shares"]) == {"background", "road"} and 0 <= found["patch_road_share"] <= 1


@pytest.mark.parametrize("settings", [[], ["--set", "perturb.enabled=false"]])
@pytest.mark.parametrize(("mode", "classes"), [("RGB", 2), ("L", 3), ("16-bit", 2), ("5-band", 2)])
def test_a_sheet_is_drawn_of_any_kind_of_images(
    tmp_path: Path, capsys: Capture, mode: str, classes: int, settings: list[str]
) -> None:
    dataset = blobs(tmp_path / "data", 5, mode=mode, classes=classes)
    answer = call(capsys, "inspect", dataset, "--out", tmp_path / "new" / "sheet.png", "--rows", 2, *settings)
    assert answer.code == 0, answer.err
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.mode == "RGB" and np.asarray(sheet).std() > 0
    if classes == 3:
        assert "16x16 patches" not in answer.out


def test_tiny_images_are_drawn_too(tmp_path: Path, capsys: Capture) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, shape in (("dot", (1, 1)), ("row", (1, 900)), ("whole", (20, 20))):
        Image.fromarray(np.full((*shape, 3), 90, np.uint8)).save(tmp_path / "images" / f"{name}.png")
        mask = np.zeros(shape, np.uint8)
        mask[:, : shape[1] // 2] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    assert call(capsys, "inspect", tmp_path, "--out", tmp_path / "sheet.png").code == 0


def test_copies_are_named(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 3)
    for kind in ("images", "masks"):
        (dataset / kind / "twin.png").write_bytes((dataset / kind / "scene_002.png").read_bytes())
        with Image.open(dataset / kind / "scene_003.png") as image:
            image.transpose(Image.Transpose.ROTATE_90).save(dataset / kind / "turned.png")
    answer = call(capsys, "inspect", dataset)
    assert "the same picture: scene_002, twin" in answer.out
    assert "nearly the same picture: scene_003, turned" in answer.out


def test_problems_are_all_named_and_can_be_left_out(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 5)
    (dataset / "masks" / "scene_001.png").unlink()
    (dataset / "images" / "scene_002.png").write_bytes(b"text")
    Image.new("L", (9, 8)).save(dataset / "masks" / "scene_003.png")
    answer = call(capsys, "inspect", dataset, "--out", tmp_path / "sheet.png")
    assert answer.code == 2 and "3 problems" in answer.err and "--skip-bad" in answer.err
    for part in ("scene_001.png' has no mask", "scene_002.png", "scene_003.png' is 9x8 but its image is 64x64"):
        assert part in answer.err
    assert not (tmp_path / "sheet.png").exists()
    rest = call(capsys, "inspect", dataset, "--skip-bad")
    assert rest.code == 0 and "2 pairs" in rest.out and rest.err.count("warning: left out") == 3
    found = json.loads(call(capsys, "inspect", dataset, "--skip-bad", "--json").out)
    assert len(found["skipped"]) == 3


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--rows", "0"], "--rows 0"),
        (["--out", "sheet.jpg"], "ends in .png"),
        (["--set", "perturb.rotatoin.strength=1"], "perturb.rotation"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, capsys: Capture, words: list[str], part: str) -> None:
    answer = call(capsys, "inspect", tmp_path, *words)
    assert answer.code == 2 and part in answer.err
