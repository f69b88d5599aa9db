"""Made scenes: the same from the same seed, of any size, with roads that colour alone does not give away."""

import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadseg.errors import ConfigError, OutputError
from roadseg.imagery.scenes import GROUND_RESOLUTION_M, make_scene, write_scenes


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [make_scene(seed) for seed in range(24)]


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = make_scene(7, 160), make_scene(7, 160)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


def test_other_seeds_give_other_scenes(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for (image, mask), (other, other_mask) in pairwise(scenes):
        assert np.mean(np.abs(image.astype(int) - other)) > 10
        assert np.mean(mask != other_mask) > 0.05


def test_a_scene_is_a_colour_picture_and_a_mask_of_0_and_255(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for image, mask in scenes:
        assert image.shape == (400, 400, 3) and image.dtype == np.uint8
        assert mask.shape == (400, 400) and mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert image.flags.c_contiguous and mask.flags.c_contiguous


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), height=st.integers(32, 230), width=st.integers(32, 230))
def test_every_size_works(seed: int, height: int, width: int) -> None:
    image, mask = make_scene(seed, (height, width))
    assert image.shape == (height, width, 3)
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 255}


def test_small_scenes_mostly_have_both_road_and_ground() -> None:
    both = [0 < np.mean(make_scene(seed, 64)[1]) < 255 for seed in range(20)]
    assert np.mean(both) >= 0.8


def test_about_a_fifth_of_the_pixels_is_road(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    shares = np.array([np.mean(mask) / 255 for _, mask in scenes])
    assert 0.16 < shares.mean() < 0.25
    assert shares.min() > 0.04 and shares.max() < 0.42
    assert shares.std() > 0.03


def test_light_varies_from_scene_to_scene(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    brightness = np.array([image.mean() for image, _ in scenes])
    assert brightness.std() > 5
    assert brightness.min() > 40 and brightness.max() < 190


def test_the_best_threshold_on_colour_does_not_find_the_roads(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    grey_elsewhere, best_iou = [], []
    for image, mask in scenes:
        road, colour = mask > 0, image.astype(float)
        middle = np.median(colour[road], axis=0)
        distance = np.abs(colour - middle).max(axis=-1)
        grey_elsewhere.append(np.mean(distance[~road] < 25))
        alike = [distance < limit for limit in range(5, 60, 5)]  # even with the truth at hand to choose the limit
        best_iou.append(max(np.sum(a & road) / np.sum(a | road) for a in alike))
    assert np.mean(grey_elsewhere) > 0.15
    assert np.mean(best_iou) < 0.6


def test_a_scene_too_small_or_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 px or more"):
        make_scene(0, 31)
    with pytest.raises(ConfigError, match="give 0 or more"):
        make_scene(-1)


def test_a_dataset_folder_is_written_as_promised(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "made", 3, seed=5, size=48, test=2)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [f"{kind}/scene_00{k}.png" for kind in ("images", "masks") for k in (1, 2, 3)]
    names += [f"{kind}/test_{k}.png" for kind in ("test_images", "test_masks") for k in (1, 2)]
    assert files == sorted(["dataset.toml", *names])
    about = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert about["ground_resolution_m"] == GROUND_RESOLUTION_M == 0.3
    assert "Made scenes" in about["notes"]
    with (
        Image.open(folder / "images" / "scene_001.png") as image,
        Image.open(folder / "masks" / "scene_001.png") as mask,
    ):
        assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (48, 48), "L", (48, 48))
        assert set(np.unique(mask)) <= {0, 255}
    contents = {(folder / name).read_bytes() for name in names if "images" in name}
    assert len(contents) == 5


def test_more_scenes_of_a_seed_begin_with_the_same_ones(tmp_path: Path) -> None:
    few, more = write_scenes(tmp_path / "few", 1, size=40), write_scenes(tmp_path / "more", 2, size=40)
    assert not (few / "test_images").exists()
    first = Path("images") / "scene_001.png"
    assert (few / first).read_bytes() == (more / first).read_bytes()


def test_no_scenes_or_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        write_scenes(tmp_path / "none", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        write_scenes(tmp_path / "file", 1, size=40)
