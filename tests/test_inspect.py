"""`roadseg inspect`: what is said of a dataset, good or bad, and the page."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, call, files_in, scenes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from roadseg.imagery import dataset as inspection_dataset
from roadseg.inspection import inspect
from roadseg.inspection.values import BandValues

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


def spoil(dataset: Path) -> None:
    (dataset / "masks" / "scene_001.png").unlink()
    (dataset / "images" / "scene_002.png").write_bytes(b"text")
    Image.new("L", (9, 8)).save(dataset / "masks" / "scene_003.png")


BAD = ("scene_001.png' has no mask", "scene_002.png", "scene_003.png' is 9x8 but its image is 64x64")


def test_bad_files_are_all_named_and_the_good_ones_looked_at(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 5)
    spoil(dataset)
    answer = call(capsys, "inspect", dataset, "--out", tmp_path / "page.png")
    assert answer.code == 0 and answer.err == "" and "2 pairs" in answer.out
    _, _, section = answer.out.partition("3 bad files, left out here (training needs --skip-bad):")
    assert all(part in section for part in BAD)
    assert (tmp_path / "page.png").is_file()
    found = json.loads(call(capsys, "inspect", dataset, "--json", "--skip-bad").out)
    assert len(found["skipped"]) == 3 and set(found["per_image"]) == {"scene_004", "scene_005"}


def test_more_bad_files_than_an_error_names_are_all_listed(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 16, size=32)
    for k in range(1, 15):
        (dataset / "images" / f"scene_{k:03d}.png").write_bytes(b"text")
    out = call(capsys, "inspect", dataset).out
    assert all(f"scene_{k:03d}.png" in out for k in range(1, 15))


def test_where_nothing_is_usable_the_error_stays(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 3)
    spoil(dataset)
    answer = call(capsys, "inspect", dataset, "--out", tmp_path / "page.png")
    assert answer.code == 2 and "nothing is left without them" in answer.err
    assert all(part in answer.err for part in BAD)
    assert not (tmp_path / "page.png").exists()


def test_an_image_that_goes_while_it_is_looked_at_is_a_bad_file(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = scenes(tmp_path / "data", 3)
    opened = inspection_dataset.open_dataset

    def then_gone(*args: object, **options: object) -> object:
        found = opened(*args, **options)  # type: ignore[arg-type]
        (dataset / "images" / "scene_002.png").unlink()
        return found

    monkeypatch.setattr(inspection_dataset, "open_dataset", then_gone)
    answer = call(capsys, "inspect", dataset)
    assert answer.code == 0 and "1 bad file, left out" in answer.out and "scene_002.png" in answer.out


def test_the_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        dataset = scenes(tmp_path / str(n), n, size=256)
        inspect(dataset)  # what is loaded once
        tracemalloc.start()
        inspect(dataset)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    image = 256 * 256 * 4
    assert peak(12) - peak(3) < 2 * image


def test_pixel_values_are_those_of_the_files(tmp_path: Path, capsys: Capture) -> None:
    import rasterio

    dataset = blobs(tmp_path / "data", 3, mode="16-bit")
    pixels = []
    for path in sorted((dataset / "images").iterdir()):
        with rasterio.open(path) as source:
            pixels.append(source.read(1).ravel())
    values = np.concatenate(pixels)
    (row,) = json.loads(call(capsys, "inspect", dataset, "--json").out)["values"]
    assert (row["band"], row["min"], row["max"]) == (1, values.min(), values.max())
    assert row["mean"] == pytest.approx(values.mean())
    assert row["median"] == pytest.approx(np.median(values), rel=0.02)
    assert values.min() <= row["p1"] <= row["median"] <= row["p99"] <= values.max()


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))),
    st.integers(1, 3),
)
def test_values_of_8_bits_are_exact_in_whatever_pieces_they_come(pixels: np.ndarray, pieces: int) -> None:
    values = BandValues(pieces)
    for piece in np.array_split(pixels, pieces):
        values.add(piece, None)
    for k, row in enumerate(values.table()):
        band = pixels[..., k].ravel()
        expected = [np.percentile(band, p, method="inverted_cdf") for p in (0, 1, 50, 99, 100)]
        assert [row[key] for key in ("min", "p1", "median", "p99", "max")] == expected
        assert row["mean"] == pytest.approx(band.mean())
    low, high, rows = values.histograms()
    assert (low, high) == (0, 256) and rows.sum(axis=1) == pytest.approx(1)


def test_values_leave_out_what_is_no_number_and_what_has_no_data() -> None:
    values = BandValues(1)
    pixels = np.array([[1.0, np.nan], [3.0, 900.0]], np.float32)[..., None]
    values.add(pixels, np.array([[True, True], [True, False]]))
    (row,) = values.table()
    assert (row["min"], row["max"], row["mean"]) == (1, 3, 2)
    empty = BandValues(1)
    empty.add(pixels, np.zeros((2, 2), bool))
    assert empty.table() == [] and empty.histograms()[2].shape[0] == 0


def test_labels_that_lie_beside_what_they_label_are_suspected(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 8, size=160)
    assert "suspected misalignment" not in call(capsys, "inspect", dataset).out
    for path in (dataset / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.roll(mask, (-4, 7), (0, 1))).save(path)
    found = json.loads(call(capsys, "inspect", dataset, "--json").out)["alignment"]
    assert found["suspicious"] and abs(found["dx"] - 7) <= 1 and abs(found["dy"] + 4) <= 1
    out = call(capsys, "inspect", dataset).out
    assert f"displaced {found['dx']} px to the right and {-found['dy']} px up" in out


def test_what_to_train_with_is_suggested_with_the_reasons(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data", 5, size=(100, 120), classes=3)
    suggestion = json.loads(call(capsys, "inspect", dataset, "--json").out)["suggestion"]
    assert suggestion["crop"] == 96 and suggestion["batch"] == 3 and len(suggestion["class_weights"]) == 3
    out = call(capsys, "inspect", dataset).out
    for key in ("train.crop", "train.batch", "loss.class_weights"):
        assert f"{suggestion['reasons'][key]})" in out
    coarse = call(capsys, "inspect", dataset, "--set", "network.depth=3")
    assert "multiple of 16 in images of 100 px" in coarse.out


def test_real_sets_are_looked_at(real_data: Path, tmp_path: Path) -> None:
    for name in ("massachusetts", "membrane"):
        if not (real_data / name).is_dir():
            pytest.skip(f"no {name}/ in ROADSEG_DATA")
        found = inspect(real_data / name, tmp_path / f"{name}.png", rows=2)
        assert found["skipped"] == [] and found["suggestion"]["crop"] == 256
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


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
