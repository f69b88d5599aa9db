"""Submission files, both ways."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image

from roadseg.errors import ConfigError, DataError, ImageError, RoadsegWarning
from roadseg.roads.submission import image_number, read_submission, unsubmit, write_submission


def full(*corners: tuple[int, int], shape: tuple[int, int] = (32, 48)) -> np.ndarray:
    """A mask with whole road patches at the given (row, column) in pixels."""
    mask = np.zeros(shape, np.uint8)
    for row, column in corners:
        mask[row : row + 16, column : column + 16] = 255
    return mask


def test_the_first_run_of_digits_is_the_number() -> None:
    assert image_number(Path("set_2/satImage_012_v3.png")) == 12
    with pytest.raises(DataError, match=r"a2/road\.png"):
        image_number(Path("a2/road.png"))


def test_x_is_the_column_and_runs_outside_y(tmp_path: Path) -> None:
    summary = write_submission([("test_10.png", full((0, 0))), ("test_7.png", full((16, 32)))], tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_bytes() == (
        b"id,prediction\n"
        b"007_0_0,0\n007_0_16,0\n007_16_0,0\n007_16_16,0\n007_32_0,0\n007_32_16,1\n"
        b"010_0_0,1\n010_0_16,0\n010_16_0,0\n010_16_16,0\n010_32_0,0\n010_32_16,0\n"
    )
    assert (summary.images, summary.rows, summary.road_share) == (2, 12, 2 / 12)


@pytest.mark.parametrize("scale", [1, 127.6, 237, 255])
def test_masks_of_every_coding_give_the_same_rows(tmp_path: Path, scale: float) -> None:
    mask = full((0, 16)) // 255
    write_submission([("1", (mask * scale).astype(np.uint8 if scale != 127.6 else np.float32))], tmp_path / "s.csv")
    assert read_submission(tmp_path / "s.csv")[1].tolist() == [[False, True, False], [False, False, False]]


def test_soft_masks_are_made_binary_before_averaging(tmp_path: Path) -> None:
    mask = np.full((16, 16), 120, np.uint8)  # its mean is above a quarter, none of its pixels is road
    mask[:4] = 200  # exactly a quarter is
    write_submission([("1", mask)], tmp_path / "s.csv")
    assert not read_submission(tmp_path / "s.csv")[1].any()


def test_class_indices_are_not_taken_for_masks_in_silence(tmp_path: Path) -> None:
    with pytest.warns(RoadsegWarning, match="values up to 5"):
        write_submission([("1", np.full((16, 16), 5, np.uint8))], tmp_path / "s.csv")


def test_a_folder_gives_its_masks_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(full((0, 0))).save(folder / "a_1.png")
    Image.fromarray(full((0, 0))).convert("1").save(folder / "a_2.png")
    Image.fromarray(full((0, 0))).convert("P").save(folder / "a_3.png")
    Image.fromarray(full((0, 0))).save(folder / "a_4.tif")
    for name in ("a_1_prob.png", "a_1_overlay.png"):
        Image.fromarray(full((0, 16))).save(folder / name)
    (folder / "predict.json").write_text("{}")
    (folder / ".a_9.png").write_bytes(b"half")
    write_submission(folder, tmp_path / "s.csv")
    grids = read_submission(tmp_path / "s.csv")
    assert list(grids) == [1, 2, 3, 4]
    assert all(np.argwhere(grid).tolist() == [[0, 0]] for grid in grids.values())


def test_two_masks_with_one_number_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(full()).save(tmp_path / "a_7.png")
    Image.fromarray(full()).save(tmp_path / "b_007.png")
    with pytest.raises(DataError, match=r"a_7\.png.*b_007\.png.*image 7"):
        write_submission(tmp_path, tmp_path / "s.csv")
    with pytest.raises(DataError, match=r"'1'.*'01'"):
        write_submission([("1", full()), ("01", full())], tmp_path / "s.csv")


def test_an_empty_or_missing_folder_and_a_broken_mask_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no masks in .*empty"):
        write_submission(tmp_path / "empty", tmp_path / "s.csv")
    with pytest.raises(DataError, match="nowhere"):
        write_submission(tmp_path / "nowhere", tmp_path / "s.csv")
    for name in ("m_1.png", "m_1.tif"):
        broken = tmp_path / name[-3:]
        broken.mkdir()
        (broken / name).write_bytes(b"no picture")
        with pytest.raises(ImageError, match=name.replace(".", r"\.")):
            write_submission(broken, tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_its_range_is_refused(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        write_submission([("1", full())], tmp_path / "s.csv", threshold=threshold)


def test_a_sample_gives_header_spelling_and_order(tmp_path: Path) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_bytes(b"\xef\xbb\xbfId,Prediction\r\n12_16_0,0\r\n12_0_0,0\r\n0003_0_0,1\r\n\r\n")
    masks = [("3.png", full(shape=(16, 9))), ("12.png", full((0, 16), shape=(10, 32)))]
    write_submission(masks, tmp_path / "s.csv", sample)
    assert (tmp_path / "s.csv").read_bytes() == b"Id,Prediction\n12_16_0,1\n12_0_0,0\n0003_0_0,0\n"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("001_0_0,0\n002_0_0,0\n", "lacks a mask for: 2"),
        ("id,p\n003_0_0,0\n", "lacks a mask for: 3"),
        ("id,p\n001_0_0,0\n001_16_0,0\n", "line 3 .*001_16_0.*'1.png' has 1 x 1"),
        ("id,p\n001_0_0,0\n001_0_0,0\n", "line 3 .* repeats '001_0_0' of line 2"),
        ("id,p\n001_0_0,0\nrubbish,0\n", "line 3 .*rubbish"),
        ("id,p\n", "no row"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, sample: str, message: str) -> None:
    (tmp_path / "sample.csv").write_text(sample)
    with pytest.raises(DataError, match=message):
        write_submission([("1.png", full(shape=(16, 16)))], tmp_path / "s.csv", tmp_path / "sample.csv")


def test_masks_and_patches_that_a_sample_does_not_list_are_named(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("id,p\n001_0_0,0\n")
    with pytest.raises(DataError, match=r"does not list the images of 'b_2\.png'"):
        write_submission([("1.png", full()), ("b_2.png", full())], tmp_path / "s.csv", tmp_path / "sample.csv")
    with pytest.raises(DataError, match=r"no rows for patches of mask '1\.png': 001_16_0, .* and 2 more"):
        write_submission([("1.png", full())], tmp_path / "s.csv", tmp_path / "sample.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1_0_0,2\n", "line 2 .*'2'"),
        ("1_0_0\n", "line 2 .*''"),
        ("1_0_0,1\n1_0_0,1\n", "line 3 .* repeats"),
        ("1_0_8,1\n", "line 2 .*multiples of 16"),
        ("1_0_0,1\n1_32_0,1\n", "2 of the 3 patches.*missing 001_16_0$"),
        ("1_0_0,1\n1_16_0,1\n1_0_16,1\n", "3 of the 4 patches"),
        ("1_999999984_999999984,1\n", "1 of the"),
        ("1_0_0,1\n1;0;0,1\n", "line 3"),
    ],
)
def test_a_malformed_submission_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "s.csv").write_text("id,prediction\n" + rows)
    with pytest.raises(DataError, match=message):
        read_submission(tmp_path / "s.csv")
    with pytest.raises(DataError):
        unsubmit(tmp_path / "s.csv", tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("s.csv", "none.csv"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read_submission(tmp_path / name)


grids = nps.arrays(bool, nps.array_shapes(min_dims=2, max_dims=2, max_side=4))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 2000), grids, min_size=1, max_size=4), st.randoms())
def test_a_submission_survives_becoming_masks(tmp_path_factory, images, random) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("trip")
    rows = [
        f"{number:03d}_{x * 16}_{y * 16},{int(grid[y, x])}"
        for number, grid in images.items()
        for y, x in np.ndindex(grid.shape)
    ]
    random.shuffle(rows)
    text = "\n".join(["Id,Prediction", *rows]) + "\n"
    (folder / "a.csv").write_text(text)
    assert unsubmit(folder / "a.csv", folder / "masks") == len(images)
    write_submission(folder / "masks", folder / "b.csv", sample=folder / "a.csv")
    assert (folder / "b.csv").read_text() == text


def test_the_contest_s_own_sample_makes_the_round_trip_quickly(real_data: Path, tmp_path: Path) -> None:
    sample = real_data / "cil" / "sample_submission.csv"
    if not sample.is_file():
        pytest.skip("no cil/sample_submission.csv there")
    start = time.perf_counter()
    assert unsubmit(sample, tmp_path / "masks") == 94
    with Image.open(tmp_path / "masks" / "mask_007.png") as mask:
        assert (mask.mode, mask.size) == ("L", (608, 608))
    summary = write_submission(tmp_path / "masks", tmp_path / "s.csv", sample)
    assert summary.rows == 135_736
    assert (tmp_path / "s.csv").read_text() == sample.read_text()
    assert time.perf_counter() - start < 20  # about one second; the bound is for busy machines


def test_the_commands_write_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from roadseg.commands import submit, unsubmit

    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(full((0, 0))).save(folder / "test_7.png")
    parser = argparse.ArgumentParser()
    submit.add_arguments(parser)
    submit.run(parser.parse_args([str(folder), "--out", str(tmp_path / "s.csv")]))
    told = capsys.readouterr().out
    assert "images 1, rows 6, road patches 16.7%" in told and str(tmp_path / "s.csv") in told
    submit.run(parser.parse_args([str(folder), "--out", str(tmp_path / "s.csv"), "--json"]))
    assert json.loads(capsys.readouterr().out)["rows"] == 6

    parser = argparse.ArgumentParser()
    unsubmit.add_arguments(parser)
    unsubmit.run(parser.parse_args([str(tmp_path / "s.csv"), "--out", str(tmp_path / "back"), "--json"]))
    assert json.loads(capsys.readouterr().out)["images"] == 1
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["mask_007.png"]
