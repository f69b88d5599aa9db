"""Overlays, sheets of pictures and the report of a run."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from page import Page
from PIL import Image

from roadseg.config import read_config, save_config
from roadseg.errors import DataError, RunError
from roadseg.reports.html import write_report
from roadseg.reports.overlays import contact_sheet, display_rgb, legend, overlay, probability_image

rng = np.random.default_rng(7)


@pytest.mark.parametrize(("bands", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (4, [0, 1, 2])])
def test_images_with_any_number_of_bands_are_shown(bands: int, shown: list[int]) -> None:
    image = rng.integers(0, 256, (5, 4, bands), np.uint8)
    assert np.array_equal(display_rgb(image), image[..., shown])
    if bands == 1:
        assert np.array_equal(display_rgb(image[..., 0]), image[..., shown])


def test_what_cannot_be_shown_is_refused() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(DataError, match="expected uint8"):
            display_rgb(wrong)


def test_probability_one_is_255_and_nothing_leaves_the_range() -> None:
    probability = np.array([[0, 1, 0.5, 0.1], [-0.2, 1.7, math.nan, math.inf]], np.float32)
    assert probability_image(probability).tolist() == [[0, 255, 128, 26], [0, 255, 0, 255]]


@given(nps.arrays(np.float32, nps.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(0, 1, width=32)))
def test_a_probability_picture_is_right_to_half_a_level(probability: np.ndarray) -> None:
    picture = probability_image(probability)
    assert picture.dtype == np.uint8
    assert np.abs(picture / 255 - probability).max() <= 0.5 / 255 + 1e-6


def test_hits_misses_and_false_alarms_have_colours_of_their_own() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    drawn = overlay(image, np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[1, 0], [1, 0]]))
    assert len({tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}) == 4
    red, green, blue = drawn[1, 1]
    assert red == green == blue  # nothing found, nothing missed: the image alone
    assert np.array_equal(image, np.full((2, 2, 3), 100))


def test_pixels_whose_truth_is_unknown_show_the_image_alone() -> None:
    drawn = overlay(np.zeros((1, 2), np.uint8), np.array([[1.0, 0.0]]), np.array([[255, 255]]))
    assert not drawn.any()


def test_without_truth_the_road_is_outlined_but_not_along_the_border() -> None:
    probability = np.zeros((9, 9))
    probability[:, 3:7] = 1
    white = (overlay(np.zeros((9, 9), np.uint8), probability) == 255).all(-1)
    assert white[:, [3, 6]].all() and white.sum() == 18


def test_an_overlay_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="truth"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((4, 5)))


def test_a_sheet_takes_pictures_of_any_size_and_captions_of_any_length() -> None:
    sizes = [(400, 300, 3), (20, 64), (1, 900, 4), (608, 608, 1)]
    pictures = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    sheet = contact_sheet([pictures, pictures[:1]], ["a", "überlong " * 30], ["first"], cell=64, footer=legend())
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[1] >= 4 * 64 and sheet.shape[0] >= 2 * 64
    plain = contact_sheet([[np.zeros((64, 64), np.uint8)]], cell=64)
    assert (plain == 0).all(-1).sum() == 64 * 64
    with pytest.raises(DataError, match="at least one picture"):
        contact_sheet([[]])


def test_legends_name_what_is_drawn() -> None:
    assert legend(with_truth=True).shape[1] > legend(with_truth=False).shape[1]


def make_run(folder: Path, epochs: int = 12, images: int = 15) -> Path:
    """A run folder such as training writes, with names that would be markup."""
    run = folder / "run & co"
    (run / "validation").mkdir(parents=True)
    save_config(
        read_config({}, ["network.width=48", "train.learning_rate=0.005", "data.classes=['<b>']"]), run / "config.toml"
    )
    scores = {}
    for index in range(images):
        stem = f"<img>{index:02d}" if index == 3 else f"tile_{index:02d}"
        scores[stem] = {"pixel_f1": 0.5 + index / 50, "pixel_iou": 0.4, "patch_accuracy": 0.9}
        if index not in (1, 3):
            image = rng.integers(0, 256, (96, 96, 3), np.uint8)
            truth = np.zeros((96, 96), np.uint8)
            truth[40:50] = 1
            picture = overlay(image, np.roll(truth, index, 0).astype(np.float32), truth)
            Image.fromarray(picture).save(run / "validation" / f"{stem}_overlay.png")
    scores["no_road"] = {"pixel_f1": None, "pixel_iou": None}  # type: ignore[dict-item]
    (run / "validation" / "tile_00_overlay.png").write_bytes(b"damaged")
    metrics = {
        **{"pixel_accuracy": 0.93, "pixel_iou": 0.71, "pixel_f1": 0.83, "pixel_precision": 0.85, "pixel_recall": 0.81},
        **{"patch_accuracy": 0.912, "patch_f1": 0.83, "all_background_patch_accuracy": 0.741},
        **{"n_images": images, "threshold": 0.5, "images": scores, "times": {"total_seconds": 312.5}},
        **{"machine": {"cpu": "Two <cores>", "memory": {"gib": 8}}, "versions": {"keras": "3.15.1"}},
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    split = {"train": [{"stem": "a"}] * 90, "validation": [{"stem": "b"}] * images, "fold": {"k": 0}}
    (run / "split.json").write_text(json.dumps(split))
    rows = [
        "epoch,step,loss,val_loss,val_pixel_f1,val_patch_accuracy,val_pixel_iou,learning_rate,seconds,images_per_second"
    ]
    for epoch in range(1, epochs + 1):
        late = 1 - math.exp(-epoch / 4)
        missing = "" if epoch == 5 else f"{0.9 - 0.6 * late + (30 if epoch == 1 else 0):.4f}"
        rows.append(f"{epoch},{epoch * 12},{0.7 - 0.5 * late:.4f},{missing},{0.85 * late:.4f},{0.7 + 0.2 * late:.4f},")
        rows[-1] += f"{0.7 * late:.4f},{0.005 * (1 - epoch / 13):.6f},7.5,{12 + epoch % 3}"
    (run / "history.csv").write_text("\n".join(rows) + "\n")
    return run


def test_a_report_is_one_file_that_says_what_the_run_was(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    out = write_report(run)
    assert out == run / "report.html"
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.addresses and all(address.startswith("data:image/jpeg;base64,") for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags
    for words in (
        "0.912",
        "all background 0.741",
        "(+0.171)",
        "train: 90 images",
        "validation: 15 images",
        "12 epochs",
    ):
        assert words in page.words
    for words in ("network.width", "train.learning_rate", "Two <cores>", "memory.gib", "3.15.1", "run & co"):
        assert words in page.words
    assert "network.depth" not in page.words
    assert text.count("<figcaption>") == 12 and page.words.count("no picture") == 3
    assert page.tags.count("img") == 9
    assert page.words.index("tile_14") < page.words.index("Worst") < page.words.index("tile_00")
    assert "Loss by epoch, logarithmic" in page.words
    assert len(text) < 2_000_000


def test_curves_stay_inside_their_charts_and_break_where_a_value_is_missing(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path)).read_text(encoding="utf-8")
    paths = re.findall(r'<path d="([^"]+)"', text)
    assert len(paths) == 8
    assert [path.count("M") for path in paths] == [1, 2, 1, 1, 1, 1, 1, 1]
    for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", "".join(paths)):
        assert 0 <= float(x) <= 560 and 0 <= float(y) <= 240


@pytest.mark.parametrize("loss", ["0", "1e-15", "-3", "nan", "1e300", "x", "inf"])
def test_a_history_of_one_epoch_with_any_value_makes_a_report(tmp_path: Path, loss: str) -> None:
    (tmp_path / "history.csv").write_text(f"epoch,loss\n1,{loss}\n")
    Page(write_report(tmp_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("absent", ["metrics.json", "history.csv", "config.toml", "split.json", "validation"])
def test_a_run_that_lacks_a_part_still_has_a_report(tmp_path: Path, absent: str) -> None:
    run = make_run(tmp_path)
    (run / absent).rename(tmp_path / "away")
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert ("not finished" in page.words) == (absent == "metrics.json")
    assert ("Curves" in page.words) == (absent != "history.csv")
    assert ("Configuration" in page.words) == (absent != "config.toml")


def test_a_run_that_held_nothing_out_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"versions": {"keras": "3"}, "pixel_f1": None}))
    assert "held out no images" in Page(write_report(tmp_path).read_text(encoding="utf-8")).words


def test_few_images_are_shown_once_each(tmp_path: Path) -> None:
    for images in (1, 6, 7, 13):
        text = write_report(make_run(tmp_path / str(images), images=images)).read_text(encoding="utf-8")
        assert text.count("<figcaption>") == min(images, 12)


def test_a_stem_cannot_reach_outside_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "validation").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret_overlay.png")
    (run / "metrics.json").write_text(json.dumps({"images": {"../../secret": {"pixel_f1": 0.5}}}))
    assert "<img" not in write_report(run).read_text(encoding="utf-8")


def test_folders_that_are_no_runs_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"has none of config\.toml"):
        write_report(tmp_path)
    for name, content in (
        ("metrics.json", "[1]"),
        ("metrics.json", "{"),
        ("config.toml", "= 3"),
        ("split.json", "\xff{"),
    ):
        folder = tmp_path / f"{name}{len(content)}"
        folder.mkdir()
        (folder / "history.csv").write_text("epoch,loss\n")
        (folder / name).write_text(content)
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            write_report(folder)


def test_the_command_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from roadseg.commands import report

    run = make_run(tmp_path)
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    report.run(parser.parse_args([str(run)]))
    assert str(run / "report.html") in capsys.readouterr().out
    assert (run / "report.html").is_file()
