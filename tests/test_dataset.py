"""Dataset folders: layouts, checks, reading, and images that are in training and validation at once."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from roadseg.config import DataConfig
from roadseg.errors import ConfigError, DataError, ImageError, RoadsegWarning
from roadseg.imagery.dataset import Dataset, Sample, open_dataset, open_image
from roadseg.imagery.duplicates import find_duplicates
from roadseg.imagery.layouts import find_pairs, list_images
from roadseg.imagery.pixels import content_hash

GRID = {"crs": "EPSG:32611", "transform": from_origin(500_000, 4_000_000, 0.5, 0.5)}


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        stack = pixels[..., None] if pixels.ndim == 2 else pixels
        height, width, count = stack.shape
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=stack.dtype, **GRID
        ) as target:
            target.write(np.moveaxis(stack, -1, 0))
    elif pixels.dtype == np.uint16:
        cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])
    else:
        Image.fromarray(pixels).save(path)
    return path


def noise(*shape: int, seed: int = 0, dtype: str = "uint8", high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def half(height: int = 12, width: int = 16, high: int = 255) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 4] = high
    return mask


def add(
    root: Path, stem: str, folders: tuple[str, str] = ("images", "masks"), suffix: str = ".png", seed: int = 0
) -> None:
    save(root / folders[0] / f"{stem}{suffix}", noise(12, 16, 3, seed=seed))
    save(root / folders[1] / f"{stem}.png", half())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """images/ and masks/ with a, b, c."""
    for seed, stem in enumerate("abc"):
        add(tmp_path / "set", stem, seed=seed)
    return tmp_path / "set"


def open_quietly(folder: Path, config: DataConfig | None = None, *, skip_bad: bool = False) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoadsegWarning)
        return open_dataset(folder, config or DataConfig(), skip_bad=skip_bad)


# --- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "masks", "suffix"),
    [
        ("images", "masks", ".jpg"),
        ("image", "label", ".png"),
        ("images", "labels", ".png"),
        ("imageRaw", "labelRaw", ".png"),
        ("training/images", "training/groundtruth", ".png"),
        ("train/image", "train/label", ".png"),
        ("images", "groundtruth", ".png"),
        ("sat", "map", ".tiff"),
        ("Images", "Masks", ".JPEG"),
    ],
)
def test_known_folders_are_found(tmp_path: Path, images: str, masks: str, suffix: str) -> None:
    for stem in ("10", "9", "1"):
        add(tmp_path, stem, (images, masks), suffix)
    found = find_pairs(tmp_path)
    assert [p.stem for p in found.pairs] == ["1", "10", "9"]
    assert found.layout == f"{images} + {masks}" and not found.problems and not found.tests
    assert all(p.image.is_file() and p.mask.is_file() and p.part is None for p in found.pairs)
    assert len(open_dataset(tmp_path)) == 3


def test_the_flat_layout_of_deepglobe(tmp_path: Path) -> None:
    for stem in ("104", "99"):
        save(tmp_path / f"{stem}_sat.jpg", noise(12, 16, 3))
        save(tmp_path / f"{stem}_mask.png", half())
    save(tmp_path / "7_sat.jpg", noise(12, 16, 3))
    found = find_pairs(tmp_path)
    assert [p.stem for p in found.pairs] == ["104", "99"]
    assert len(found.problems) == 1 and "7_sat.jpg' has no mask: add" in found.problems[0]


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_a_hand_split_keeps_its_parts(tmp_path: Path, valid: str) -> None:
    add(tmp_path, "x", ("train/image", "train/label"))
    add(tmp_path, "y", (f"{valid}/image", f"{valid}/label"))
    found = find_pairs(tmp_path)
    assert [(p.stem, p.part) for p in found.pairs] == [("x", "train"), ("y", "val")]


def test_the_same_stem_in_both_parts_is_told_apart(tmp_path: Path) -> None:
    add(tmp_path, "0", ("train/image", "train/label"))
    add(tmp_path, "0", ("valid/image", "valid/label"))
    assert [p.stem for p in find_pairs(tmp_path).pairs] == ["train_0", "valid_0"]


def test_a_valid_folder_without_masks_is_no_hand_split(tmp_path: Path) -> None:
    save(tmp_path / "train" / "1_sat.jpg", noise(12, 16, 3))
    save(tmp_path / "train" / "1_mask.png", half())
    save(tmp_path / "valid" / "2_sat.jpg", noise(12, 16, 3))
    assert [(p.stem, p.part) for p in find_pairs(tmp_path).pairs] == [("1", None)]


def test_test_images_are_found_flat_nested_and_by_name(root: Path) -> None:
    save(root / "test_set_images" / "test_10" / "test_10.png", noise(4, 4, 3))
    save(root / "test_set_images" / "test_2" / "test_2.png", noise(4, 4, 3))
    assert [p.name for p in find_pairs(root).tests] == ["test_10.png", "test_2.png"]
    save(root / "test_images" / "z.png", noise(4, 4, 3))
    assert [p.name for p in find_pairs(root).tests] == ["z.png"]


def test_masks_called_like_their_image_with_an_ending_are_found(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg", noise(12, 16, 3))
    save(tmp_path / "masks" / "a_mask.png", half())
    assert [p.stem for p in find_pairs(tmp_path).pairs] == ["a"]


def test_of_two_layouts_in_one_folder_the_first_is_read_and_said(tmp_path: Path) -> None:
    add(tmp_path, "raw", ("imageRaw", "labelRaw"))
    add(tmp_path, "made", ("image", "label"))
    with pytest.warns(RoadsegWarning, match="also holds image/ \\+ label/"):
        assert [p.stem for p in find_pairs(tmp_path).pairs] == ["raw"]


def test_hidden_files_and_other_files_are_passed_over(root: Path) -> None:
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "a.png.aux.xml", "notes.txt"):
        (root / "images" / name).write_text("no image")
    (root / "masks" / "folder.png").mkdir()
    assert len(find_pairs(root).pairs) == 3 and not find_pairs(root).problems


def test_folders_in_no_layout_say_what_was_looked_for_and_found(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_pairs(tmp_path / "gone")
    with pytest.raises(DataError, match="is a file"):
        find_pairs(root / "images" / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Found: nothing\. Looked for.*images/ \+ masks/"):
        find_pairs(tmp_path / "empty")
    with pytest.raises(DataError, match=r"did you mean '.*set'\?"):
        find_pairs(tmp_path)
    with pytest.raises(DataError, match=r"Found: a\.png, b\.png, c\.png.*did you mean '.*set'\?"):
        find_pairs(root / "images")


def test_folders_without_a_common_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", noise(12, 16, 3))
    save(tmp_path / "masks" / "z.png", half())
    with pytest.raises(DataError, match=r"no image with a mask of the same name.*a\.png"):
        find_pairs(tmp_path)


def test_images_to_predict(tmp_path: Path, root: Path) -> None:
    save(root / "images" / "a.jpg", noise(4, 4, 3))
    (root / "images" / ".hidden.png").touch()
    assert [p.name for p in list_images(root / "images")] == ["a.jpg", "a.png", "b.png", "c.png"]
    assert list_images(root / "images" / "a.jpg") == [root / "images" / "a.jpg"]
    save(tmp_path / "t" / "test_2" / "test_2.png", noise(4, 4, 3))
    save(tmp_path / "t" / "test_10" / "test_10.png", noise(4, 4, 3))
    assert [p.name for p in list_images(tmp_path / "t")] == ["test_10.png", "test_2.png"]
    for bad, words in (("gone", "does not exist"), ("set", r"has no image.*did you mean '.*images'")):
        with pytest.raises(DataError, match=words):
            list_images(tmp_path / bad)
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match="not an image by its suffix"):
        list_images(tmp_path / "x.txt")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_uint8_image_class_mask_and_hash(root: Path) -> None:
    dataset = open_dataset(root)
    assert len(dataset) == 3 and dataset.bands == 3 and dataset.value_range is None
    assert dataset.classes == ("background", "road") and dataset.ground_resolution_m is None
    sample = dataset.read(1)
    np.testing.assert_array_equal(sample.image, noise(12, 16, 3, seed=1))
    np.testing.assert_array_equal(sample.mask, half() > 0)
    assert sample.stem == "b" and sample.valid is None and sample.mask.dtype == np.uint8
    assert sample.hash == content_hash(sample.image) == dataset.hashes[1]
    assert [s.stem for s in dataset.read_all([2, 0])] == ["c", "a"]
    assert dataset.class_shares == (0.75, 0.25)
    assert dataset.summary().splitlines()[1:] == [
        "images: 16x12, 3 bands, uint8",
        "masks are 0/255: road is 255",
        "classes: background 75.0%, road 25.0%",
    ]


def test_no_data_of_the_image_is_in_the_sample(root: Path) -> None:
    alpha = np.full((12, 16), 255, np.uint8)
    alpha[:3] = 0
    save(root / "images" / "a.png", np.dstack([noise(12, 16, 3), alpha]))
    valid = open_dataset(root).read(0).valid
    assert valid is not None and valid.mean() == 0.75


def test_grey_and_colour_together_are_three_bands(root: Path) -> None:
    save(root / "images" / "a.png", noise(12, 16))
    save(root / "images" / "b.png", noise(12, 16))
    dataset = open_dataset(root)
    assert dataset.bands == 3 and dataset.read(0).image.shape == (12, 16, 3)
    assert open_dataset(root, DataConfig(bands=1)).read(2).image.shape == (12, 16, 1)


def test_grey_alone_is_one_band(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", noise(12, 16))
    save(tmp_path / "masks" / "a.png", half())
    assert open_dataset(tmp_path).read(0).image.shape == (12, 16, 1)


def test_deep_images_are_stretched_by_the_sets_percentiles_or_as_told(tmp_path: Path) -> None:
    for i, stem in enumerate("ab"):
        save(tmp_path / "images" / f"{stem}.tif", noise(40, 40, 4, dtype="uint16", high=2000, seed=i) + np.uint16(1000))
        save(tmp_path / "masks" / f"{stem}.png", half(40, 40))
    dataset = open_dataset(tmp_path)
    assert dataset.bands == 4 and dataset.dtype == "uint16" and dataset.ground_resolution_m == pytest.approx(0.5)
    assert dataset.value_range is not None
    low, high = dataset.value_range
    assert 1000 <= low < 1030 and 2970 < high < 3000
    image = dataset.read(0).image
    assert image.dtype == np.uint8 and image.min() == 0 and image.max() == 255
    told = open_dataset(tmp_path, DataConfig(value_range=[0, 65535]))
    assert told.value_range == (0, 65535) and told.read(0).image.max() < 13
    for wrong in ([1.0], [5.0, 5.0], [9.0, 1.0]):
        with pytest.raises(ConfigError, match="value_range"):
            open_dataset(tmp_path, DataConfig(value_range=wrong))


def test_tiny_and_narrow_images_are_read(tmp_path: Path) -> None:
    save(tmp_path / "images" / "dot.png", noise(1, 1, 3))
    save(tmp_path / "masks" / "dot.png", np.full((1, 1), 255, np.uint8))
    save(tmp_path / "images" / "line.png", noise(1, 5000, 3))
    save(tmp_path / "masks" / "line.png", half(1, 5000))
    dataset = open_dataset(tmp_path)
    assert [s.image.shape for s in dataset.read_all(range(2))] == [(1, 1, 3), (1, 5000, 3)]
    assert "1x1 (1), 5000x1 (1)" in dataset.summary()


def test_an_image_for_prediction_fits_the_model_or_says_why_not(root: Path, tmp_path: Path) -> None:
    image, valid = open_image(root / "images" / "a.png", 1, None)
    assert image.shape == (12, 16, 1) and valid is None
    deep = save(tmp_path / "deep.png", noise(4, 4, dtype="uint16", high=60000))
    assert open_image(deep, 3, (0, 60000))[0].shape == (4, 4, 3)
    with pytest.raises(DataError, match=r"deep\.png' has uint16 pixels, expected uint8"):
        open_image(deep, 3, None)
    with pytest.raises(DataError, match=r"a\.png' has 8-bit pixels, expected values 0\.\.60000"):
        open_image(root / "images" / "a.png", 3, (0, 60000))


# --- classes ---------------------------------------------------------------------------------------------------------


def index_set(root: Path) -> Path:
    save(root / "images" / "a.png", noise(12, 16, 3))
    save(root / "masks" / "a.png", noise(12, 16, high=3))
    return root


def test_class_names_come_from_the_configuration_the_folder_or_the_indices(tmp_path: Path) -> None:
    folder = index_set(tmp_path)
    assert open_dataset(folder).classes == ("class 0", "class 1", "class 2")
    (folder / "classes.json").write_text(json.dumps({"0": "a", "1": "b", "3": "d"}))
    assert open_dataset(folder).classes == ("a", "b", "class 2", "d")
    (folder / "classes.json").write_text(json.dumps(["x", "y", "z"]))
    assert open_dataset(folder).classes == ("x", "y", "z")
    (folder / "dataset.toml").write_text('classes = ["k", "l", "m"]\nground_resolution_m = 0.3\nnotes = "n"\n')
    dataset = open_dataset(folder)
    assert dataset.classes == ("k", "l", "m") and dataset.ground_resolution_m == 0.3
    assert open_dataset(folder, DataConfig(classes=["1", "2", "3", "4"])).coding.classes == (0, 1, 2, 3)


@pytest.mark.parametrize("text", ['{"a": {"0": "x"}}', "[1, 2]", "not json", '["one"]', "{}"])
def test_an_unusable_classes_json_is_ignored_and_said(tmp_path: Path, text: str) -> None:
    folder = index_set(tmp_path)
    (folder / "classes.json").write_text(text)
    with pytest.warns(RoadsegWarning, match=r"classes\.json.*ignored"):
        assert open_dataset(folder).classes == ("class 0", "class 1", "class 2")


def test_a_broken_dataset_toml_is_refused(root: Path) -> None:
    for text, words in (
        ("classes = [", "not TOML"),
        ("classes = 3", "expected a list"),
        ("ground_resolution_m = -1", "metres per pixel"),
    ):
        (root / "dataset.toml").write_text(text)
        with pytest.raises(DataError, match=words):
            open_dataset(root)
    (root / "dataset.toml").unlink()
    with pytest.raises(ConfigError, match=r"data\.classes"):
        open_dataset(root, DataConfig(classes=["road"]))


def test_the_dark_side_can_be_the_class_of_interest(root: Path) -> None:
    dataset = open_dataset(root, DataConfig(invert=True, classes=["cell", "membrane"]))
    np.testing.assert_array_equal(dataset.read(0).mask, half() == 0)
    assert "membrane is 0" in dataset.summary()


def palette(path: Path, indices: np.ndarray, colours: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    image.save(path)


def test_palette_masks_count_by_index_when_coloured_and_by_grey_when_black_and_white(root: Path) -> None:
    road = half() > 0
    for stem in "abc":
        palette(root / "masks" / f"{stem}.png", ~road, [255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(open_dataset(root).read(0).mask, road)
    voc = [0, 0, 0, 128, 0, 0, 0, 128, 0]
    palette(root / "masks" / "a.png", road * 2, voc)
    palette(root / "masks" / "b.png", road, voc)
    palette(root / "masks" / "c.png", np.zeros(road.shape), voc)
    dataset = open_dataset(root)
    assert dataset.coding.kind == "index" and dataset.coding.classes == (0, 1, 2)
    assert [s.mask.max() for s in dataset.read_all(range(3))] == [2, 1, 0]


def test_jpeg_masks_are_cut_in_the_middle_and_warned_of(root: Path) -> None:
    for stem in "abc":
        (root / "masks" / f"{stem}.png").unlink()
        save(root / "masks" / f"{stem}.jpg", half())
    with pytest.warns(RoadsegWarning, match="3 masks are JPEG"):
        dataset = open_dataset(root)
    np.testing.assert_array_equal(dataset.read(0).mask, half() > 0)


def test_16_bit_masks_are_read(root: Path) -> None:
    for stem in "abc":
        save(root / "masks" / f"{stem}.png", half().astype(np.uint16) * 257)
    np.testing.assert_array_equal(open_dataset(root).read(0).mask, half() > 0)


# --- unlabelled pixels -----------------------------------------------------------------------------------------------


def unlabelled(root: Path, value: int = 128) -> np.ndarray:
    """The top rows of all masks get `value`; where they are."""
    for path in sorted((root / "masks").iterdir()):
        mask = half()
        mask[:3] = value
        save(path, mask)
    return np.arange(12)[:, None].repeat(16, axis=1) < 3


def test_unlabelled_pixels_are_255_and_not_valid_and_in_no_share(root: Path) -> None:
    where = unlabelled(root)
    dataset = open_dataset(root, DataConfig(ignore=128))
    sample = dataset.read(0)
    np.testing.assert_array_equal(sample.mask, np.where(where, 255, half() > 0))
    assert sample.valid is not None
    np.testing.assert_array_equal(sample.valid, ~where)
    assert dataset.class_shares == (0.75, 0.25) and dataset.unlabelled == 0.25
    assert dataset.classes == ("background", "road")
    assert "masks are 0/255: road is 255; 128 is unlabelled" in dataset.summary()
    assert "unlabelled: 25.0% of the pixels" in dataset.summary()


def test_the_folder_can_say_which_value_is_unlabelled_and_the_configuration_wins(root: Path) -> None:
    where = unlabelled(root)
    (root / "dataset.toml").write_text("ignore = 128\n")
    np.testing.assert_array_equal(open_dataset(root).read(0).mask == 255, where)
    (root / "dataset.toml").write_text("ignore = 7\n")
    with pytest.raises(DataError, match="holds the values 128, 255"):
        open_dataset(root)
    assert open_dataset(root, DataConfig(ignore=128)).coding.ignore == 128
    for wrong in ('"x"', "256", "-2", "true", "1.0", "[255]"):
        (root / "dataset.toml").write_text(f"ignore = {wrong}\n")
        with pytest.raises(DataError, match=r"ignore = .*expected the mask value of unlabelled pixels, 0\.\.255"):
            open_dataset(root)


def test_pixels_without_data_have_no_label_either(root: Path) -> None:
    alpha = np.full((12, 16), 255, np.uint8)
    alpha[:, 12:] = 0
    save(root / "images" / "a.png", np.dstack([noise(12, 16, 3), alpha]))
    where = unlabelled(root)
    sample = open_dataset(root, DataConfig(ignore=128)).read(0)
    np.testing.assert_array_equal(sample.mask == 255, where | (alpha == 0))
    assert sample.valid is not None
    np.testing.assert_array_equal(sample.valid, sample.mask != 255)


def test_pixels_without_data_are_in_no_share_and_no_percentile(root: Path) -> None:
    pixels = np.full((12, 16), 60_000, np.uint16)
    pixels[:, :8] = noise(12, 8, dtype="uint16", high=100)
    for stem in "abc":
        (root / "images" / f"{stem}.png").unlink()
        with rasterio.open(
            root / "images" / f"{stem}.tif", "w", driver="GTiff", height=12, width=16, count=1, dtype="uint16",
            nodata=60_000, **GRID,
        ) as target:  # fmt: skip
            target.write(pixels, 1)
    dataset = open_dataset(root)
    assert dataset.class_shares == (0.5, 0.5)  # of the left half, of which the left half is road
    assert dataset.unlabelled == 0.5 and dataset.value_range is not None and dataset.value_range[1] < 100


def test_chosen_bands_of_any_file_are_read_in_their_order(root: Path) -> None:
    image = np.asarray(Image.open(root / "images" / "a.png"))
    plain, dataset = open_dataset(root), open_dataset(root, DataConfig(select=[3, 1]))
    assert (dataset.bands, dataset.select) == (2, (3, 1)) and dataset.hashes == plain.hashes
    np.testing.assert_array_equal(dataset.read(0).image, image[..., [2, 0]])
    with pytest.raises(DataError, match=r"a\.png' has no band 4"):
        open_dataset(root, DataConfig(select=[4]))


def test_the_folder_can_say_what_belongs_together(root: Path) -> None:
    (root / "dataset.toml").write_text("group = '[ab]'\n")
    dataset = open_dataset(root)
    assert dataset.group == "[ab]"
    assert [pair.place.name if pair.place else None for pair in dataset.pairs] == ["a", "b", None]


LAND = {str(v): name for v, name in enumerate(["nodata", "background", "building", "road", "water"])}


def land(root: Path, names: object = LAND) -> Path:
    """Masks of 0..4 where 0 is no label, as LoveDA's."""
    save(root / "images" / "a.png", noise(12, 16, 3))
    save(root / "masks" / "a.png", np.resize(np.arange(5, dtype=np.uint8), (12, 16)))
    (root / "classes.json").write_text(json.dumps(names))
    return root


def test_an_unlabelled_index_takes_its_name_along_and_the_others_close_up(tmp_path: Path) -> None:
    dataset = open_dataset(land(tmp_path), DataConfig(ignore=0))
    assert dataset.classes == ("background", "building", "road", "water")
    raw = np.resize(np.arange(5), (12, 16))
    np.testing.assert_array_equal(dataset.read(0).mask, np.where(raw == 0, 255, raw - 1))
    assert dataset.class_shares == pytest.approx((1 / 4,) * 4, abs=0.01) and dataset.unlabelled > 0.19


@pytest.mark.parametrize(
    "names", [LAND, list(LAND.values()), ["", *list(LAND.values())[1:]], dict(list(LAND.items())[1:])]
)
@pytest.mark.parametrize("ignore", [0, 2])
def test_the_names_of_a_dataset_open_it_again_with_the_same_classes(tmp_path: Path, names: object, ignore: int) -> None:
    """What a run writes into its config.toml: names by mask value, so that they are read by the same rule."""
    folder = land(tmp_path, names)
    if ignore == 2:
        names = dict(LAND) | {"0": "ground", "2": "Void"}
        (folder / "classes.json").write_text(json.dumps(names))
    first = open_dataset(folder, DataConfig(ignore=ignore))
    again = open_dataset(folder, DataConfig(ignore=ignore, classes=first.class_setting))
    assert again.classes == first.classes and len(first.classes) == 4
    assert again.coding == first.coding


def test_the_names_of_two_classes_open_the_dataset_again(root: Path) -> None:
    unlabelled(root, 1)  # within the number of names, and yet no index
    first = open_dataset(root, DataConfig(ignore=1, classes=["ground", "street"]))
    assert first.classes == ("ground", "street") and first.class_setting == ["ground", "street"]
    for stem in "abc":
        save(root / "masks" / f"{stem}.png", np.resize(np.arange(3, dtype=np.uint8), (12, 16)))
    two = open_dataset(root, DataConfig(ignore=0, classes=["ignore", "ground", "street"]))
    assert two.classes == ("ground", "street") and two.read(0).mask.max() == 255
    assert open_dataset(root, DataConfig(ignore=0, classes=two.class_setting)).classes == two.classes


def test_a_value_that_is_unlabelled_and_a_class_is_refused(tmp_path: Path) -> None:
    folder = land(tmp_path, list("abcde"))
    with pytest.raises(
        ConfigError, match=r"value 2 is unlabelled \(ignore\) and is also the class 'c' in .*classes\.json"
    ):
        open_dataset(folder, DataConfig(ignore=2))
    with pytest.raises(ConfigError, match=r"the class 'w' in 'data\.classes'"):
        open_dataset(folder, DataConfig(ignore=1, classes=list("vwxyz")))


@pytest.mark.parametrize("name", ["nodata", "No Data", "ignore", "IGNORED", "void", "unlabelled", "no-data", "no_data"])
def test_a_class_that_is_named_as_none_is_warned_of(tmp_path: Path, name: str) -> None:
    folder = land(tmp_path, dict(LAND) | {"0": name})
    with pytest.warns(RoadsegWarning, match=rf"calls the value 0 '{name}'.*--set data\.ignore=0"):
        assert len(open_dataset(folder).classes) == 5


# --- bad input -------------------------------------------------------------------------------------------------------

Breaker = Callable[[Path], object]
BAD: dict[str, tuple[Breaker, str]] = {
    "size": (lambda r: save(r / "masks" / "b.png", half(12, 15)), r"b\.png' is 15x12 but its image is 16x12: resize"),
    "orphan image": (lambda r: (r / "masks" / "b.png").unlink(), r"image '.*b\.png' has no mask"),
    "orphan mask": (lambda r: (r / "images" / "b.png").unlink(), r"mask '.*b\.png' has no image"),
    "double": (lambda r: save(r / "images" / "b.jpg", noise(12, 16, 3)), r"2 images are called 'b'.*keep one"),
    "empty": (lambda r: (r / "images" / "b.png").write_bytes(b""), r"b\.png' is empty"),
    "truncated": (
        lambda r: (r / "images" / "b.png").write_bytes((r / "images" / "b.png").read_bytes()[:200]),
        r"b\.png' is truncated",
    ),
    "text": (lambda r: (r / "masks" / "b.png").write_text("nothing"), r"b\.png' is not an image"),
    "coloured": (lambda r: save(r / "masks" / "b.png", noise(12, 16, 3)), r"b\.png' is coloured"),
    "dtype": (lambda r: save(r / "images" / "b.png", noise(12, 16, 3, dtype="uint16")), "uint16 pixels but most have"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pair_is_named_and_can_be_left_out(root: Path, name: str) -> None:
    breaker, words = BAD[name]
    breaker(root)
    with pytest.raises(
        DataError, match=rf"has 1 problem \(mend them, or leave them out with --skip-bad\)(.|\n)*{words}"
    ):
        open_dataset(root)
    with pytest.warns(RoadsegWarning, match=f"left out: .*{words}"):
        dataset = open_dataset(root, skip_bad=True)
    assert [p.stem for p in dataset.pairs] == ["a", "c"]
    assert len(dataset.skipped) == 1 and "left out: 1" in dataset.summary()


def test_other_numbers_of_bands_must_agree(tmp_path: Path) -> None:
    for stem, bands in (("a", 5), ("b", 5), ("c", 3)):
        save(tmp_path / "images" / f"{stem}.tif", noise(12, 16, bands))
        save(tmp_path / "masks" / f"{stem}.png", half())
    with pytest.raises(DataError, match=r"c\.tif' has 3 bands, expected 5"):
        open_dataset(tmp_path)
    assert open_quietly(tmp_path, skip_bad=True).bands == 5
    with pytest.raises(DataError, match=r"a\.tif' has 5 bands, expected 3"):
        open_dataset(tmp_path, DataConfig(bands=3))


def test_all_problems_come_in_one_message_and_the_rest_is_counted(root: Path) -> None:
    for i in range(14):
        save(root / "images" / f"x{i:02d}.png", noise(4, 4, 3))
    with pytest.raises(DataError, match=r"14 problems") as caught:
        open_dataset(root)
    assert str(caught.value).count("has no mask") == 10 and "and 4 more" in str(caught.value)


def test_nothing_left_is_an_error_even_when_bad_pairs_may_be_skipped(root: Path) -> None:
    for stem in "abc":
        (root / "images" / f"{stem}.png").write_bytes(b"")
    with pytest.raises(DataError, match="nothing is left"):
        open_dataset(root, skip_bad=True)


def test_a_set_of_empty_masks_is_refused(root: Path) -> None:
    for stem in "abc":
        save(root / "masks" / f"{stem}.png", half(high=0))
    with pytest.raises(DataError, match="every mask is empty"):
        open_dataset(root)
    save(root / "masks" / "a.png", half())
    assert open_dataset(root).read(1).mask.max() == 0


def test_a_file_that_goes_after_opening_is_named(root: Path) -> None:
    dataset = open_dataset(root)
    (root / "images" / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png' does not exist"):
        dataset.read(0)


# --- duplicates ------------------------------------------------------------------------------------------------------


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)


def sample_of(stem: str, image: np.ndarray) -> Sample:
    image = np.ascontiguousarray(image)
    return Sample(stem, image, np.zeros(image.shape[:2], np.uint8), None, content_hash(image))


def jpeg(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "compressed": jpeg,
    "halved": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brightened": lambda x: np.clip(x * 1.1 + 10, 0, 255).astype(np.uint8),
    "turned": lambda x: np.rot90(x),
    "mirrored and turned": lambda x: np.rot90(x[:, ::-1], 3),
    "grey": lambda x: x.mean(axis=-1, keepdims=True).astype(np.uint8),
}


def test_equal_pixels_are_the_same() -> None:
    train = [sample_of(f"t{i}", picture(i)) for i in range(4)]
    assert find_duplicates(train, [sample_of("v", picture(2)), sample_of("w", picture(9))]) == [("t2", "v", "same")]
    assert find_duplicates([], train) == [] and find_duplicates(train, []) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near(change: str) -> None:
    train = [sample_of(f"t{i}", picture(i)) for i in range(4)]
    assert find_duplicates(train, [sample_of("v", CHANGES[change](picture(1)))]) == [("t1", "v", "near")]


def test_images_are_not_alike_for_what_they_have_no_data_in() -> None:
    samples = []
    for seed in range(3):
        image, valid = noise(64, 64, 3, seed=seed), np.ones((64, 64), bool)
        image[8:], valid[8:] = 0, False
        samples.append(Sample(str(seed), image, np.where(valid, 0, 255).astype(np.uint8), valid, str(seed)))
    assert find_duplicates(samples[:1], samples[1:]) == []


def test_flat_images_and_unlike_images_are_no_copies() -> None:
    flat = [sample_of(f"f{i}", np.full((40, 40, 3), 100 + i, np.uint8)) for i in range(3)]
    assert find_duplicates(flat, [sample_of("v", np.full((40, 40, 3), 90, np.uint8))]) == []
    many = [sample_of(f"t{i}", picture(i)) for i in range(40)]
    assert find_duplicates(many[:20], many[20:]) == []


# --- real images -----------------------------------------------------------------------------------------------------


def test_the_contest_data(real_data: Path) -> None:
    dataset = open_dataset(real_data / "cil")
    assert (len(dataset), len(dataset.tests), dataset.bands) == (100, 94, 3)
    assert dataset.coding.rule() == "masks are soft grey 0..237: road is > 127"
    assert round(dataset.class_shares[1], 3) == 0.200
    assert dataset.pairs[0].stem == "satImage_001" and set(dataset.sizes) == {(400, 400)}
    assert len(set(dataset.hashes)) == 100
    samples = dataset.read_all(range(100))
    assert round(float(np.mean([s.mask.mean() for s in samples])), 3) == 0.200
    assert find_duplicates(samples[:80], samples[80:]) == []


@pytest.mark.parametrize(
    ("name", "pairs", "kind", "bands"),
    [
        ("massachusetts", 64, "binary", 3),
        ("deepglobe", 4, "binary", 3),
        ("drone_multiclass", 29, "index", 3),
        ("membrane", 30, "binary", 1),
        ("landcover_mini", 3, "index", 3),
    ],
)
def test_other_real_sets(real_data: Path, name: str, pairs: int, kind: str, bands: int) -> None:
    dataset = open_quietly(real_data / name, DataConfig(invert=name == "membrane"))
    assert (len(dataset), dataset.coding.kind, dataset.bands) == (pairs, kind, bands)
    if name == "drone_multiclass":
        assert dataset.classes == ("building", "clutter", "vegetation", "water", "ground", "car")
    if name == "landcover_mini":
        assert dataset.classes == tuple(f"class {i}" for i in range(8))
        seven = open_quietly(real_data / name, DataConfig(ignore=0))  # LoveDA's index 0 is no data
        assert seven.classes == tuple(f"class {i}" for i in range(1, 8)) and seven.coding.classes[0] == 1
    if name == "membrane":
        assert len(dataset.tests) == 30 and 0.2 < dataset.class_shares[1] < 0.25


def test_coloured_labels_are_refused(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(real_data / "map_tiles" / "images")
    (tmp_path / "masks").symlink_to(real_data / "map_tiles" / "raw_labels")
    with pytest.raises(DataError, match=r"32 problems.*\n.*is coloured"):
        open_dataset(tmp_path)
