"""The models in the package are made from a recipe: gathered, mended, trained in pieces, packed, checked."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import scenes
from PIL import Image

from roadseg.commands import main
from roadseg.config import DataConfig
from roadseg.errors import ConfigError, DataError, ModelError, RunError
from roadseg.imagery.dataset import open_dataset
from roadseg.pretraining.few_shot import draw, few_shot
from roadseg.pretraining.gather import UNLABELLED, gather, list_images, scale_of
from roadseg.pretraining.make import check, make
from roadseg.pretraining.measures import measures_study
from roadseg.pretraining.mend import doubted, mend
from roadseg.pretraining.recipe import MEASURES, Mend, Recipe, load_recipe
from roadseg.pretraining.robustness import CURVES, measure_robustness, robustness_page
from roadseg.pretraining.scoring import HeldOut, choose_threshold, held_out, voting
from roadseg.pretraining.training import Clock, train
from roadseg.studies.calibration import Histogram, to_levels

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TABLE = """
name = "made"
ground_resolution_m = 0.3
tolerance = 1.2
steps = 4

[[sets]]
name = "near"
folder = "near"
resolution_m = 0.3
held_out = "00[12]$"
share = 0.7

[[sets]]
name = "far"
folder = "far"
resolution_m = 0.6
labels = "lines"
complete = false
border = 2
held_out = "003$"
share = 0.3

[mend]
steps = 2
above = 0.51
pixels = 1
margin = 1

[config.network]
width = 4
depth = 2

[config.train]
crop = 32
batch = 2
precision = "float32"
steps_per_epoch = 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    scenes(folder / "near", 6)
    scenes(folder / "far", 4, size=48, seed=1)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "made.toml").write_text(TABLE)
    return load_recipe(tmp_path / "made.toml")


def quiet(line: str) -> None:
    pass


# === Recipe ===


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_the_recipes_in_the_repository_are_read_and_hold_out_a_part_of_every_set(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem and recipe.largest_mb <= 16
    assert all(one.held_out and one.source for one in recipe.sets)
    assert recipe.configuration().train.steps == recipe.steps


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("steps = 4", "stepps = 4", "stepps"),
        ('held_out = "003$"', 'held_out = "(003$"', "no regular expression"),
        ('name = "far"', 'name = "near"', "different names"),
        ('name = "far"', 'name = "Far away"', "small letters"),
        ("share = 0.3", "", "some sets have a share"),
        ("width = 4", "widht = 4", "widht"),
        ('labels = "lines"', 'labels = "dots"', "labels"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path, old, new, told):
    (tmp_path / "x.toml").write_text(TABLE.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        load_recipe(tmp_path / "x.toml")


def test_a_recipe_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot read recipe"):
        load_recipe(tmp_path / "none.toml")


def test_the_digest_changes_with_what_decides_the_weights_and_not_with_words(recipe):
    words = msgspec.structs.replace(recipe, about="another sentence", mistakes=["trees"])
    assert words.digest("data") == recipe.digest("data")
    others = [
        msgspec.structs.replace(recipe, steps=5),
        msgspec.structs.replace(recipe, tolerance=1.3),
        recipe.without(["far"]),
        *(recipe.without_measures([name]) for name in MEASURES),
    ]
    found = {recipe.digest("data"), recipe.digest("other data"), *(other.digest("data") for other in others)}
    assert len(found) == 2 + len(others)


def test_a_set_is_left_out_by_its_name(recipe):
    without = recipe.without(["far"])
    assert without.name == "made-without-far" and [one.name for one in without.sets] == ["near"]
    with pytest.raises(ConfigError, match="no set of the recipe: choose from near, far"):
        recipe.without(["fra"])
    with pytest.raises(ConfigError, match="no set is left"):
        recipe.without(["far", "near"])
    with pytest.raises(ConfigError, match="no measure"):
        recipe.without_measures(["luck"])


# === Gathering ===


def test_sets_become_one_folder_at_one_resolution(data, recipe, tmp_path):
    found = gather(data, recipe, tmp_path / "data", quiet)
    opened = open_dataset(found.path)
    assert opened.ground_resolution_m == 0.3 and opened.coding.ignore == UNLABELLED
    sizes = {pair.stem: size for pair, size in zip(opened.pairs, opened.sizes, strict=True)}
    assert {size for stem, size in sizes.items() if stem.startswith("near__")} == {(64, 64)}
    assert {size for stem, size in sizes.items() if stem.startswith("far__")} == {(96, 96)}  # twice as large
    assert found.held_out.read_text().split() == ["far__scene_003", "near__scene_001", "near__scene_002"]


def test_what_is_within_the_tolerance_keeps_its_pixels(data, recipe, tmp_path):
    found = gather(data, recipe, tmp_path / "data", quiet)
    ours = np.asarray(Image.open(found.path / "images" / "near__scene_004.png"))
    assert np.array_equal(ours, np.asarray(Image.open(data / "near" / "images" / "scene_004.png")))
    by_name = {one.name: one for one in recipe.sets}
    assert scale_of(by_name["near"], recipe) == 1 and scale_of(by_name["far"], recipe) == 2
    assert scale_of(by_name["far"], recipe.without_measures(["resolution"])) == 1


def test_borders_of_drawn_lines_have_no_label_and_the_inside_does(data, recipe, tmp_path):
    found = gather(data, recipe, tmp_path / "data", quiet)
    mask = np.asarray(Image.open(found.path / "masks" / "far__scene_001.png"))
    near = np.asarray(Image.open(found.path / "masks" / "near__scene_004.png"))
    assert set(np.unique(near)) <= {0, 255} and set(np.unique(mask)) == {0, UNLABELLED, 255}
    changes = (mask[:, 1:] == 255) & (mask[:, :-1] == 0)
    assert not changes.any(), "road and background touch nowhere"
    assert 0 < found.unlabelled["far"] < 0.6 and found.unlabelled["near"] == 0


def test_the_shares_of_the_crops_are_as_asked(data, recipe, tmp_path):
    found = gather(data, recipe, tmp_path / "data", quiet)
    areas = {"near": 4 * 64 * 64, "far": 3 * 96 * 96}
    shown = {name: areas[name] * found.sampling[f"^{name}__"] for name in areas}
    assert shown["near"] / sum(shown.values()) == pytest.approx(0.7, abs=1e-3)
    assert gather(data, recipe.without_measures(["sampling"]), tmp_path / "plain", quiet).sampling == {}


def test_the_same_images_give_the_same_bytes_and_are_kept(data, recipe, tmp_path):
    first, second = (gather(data, recipe, tmp_path / name, quiet) for name in ("a", "b"))
    for path in sorted(p for p in first.path.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second.path / path.relative_to(first.path)).read_bytes(), path.name
    assert gather(data, recipe, tmp_path / "a", quiet) == first
    with pytest.raises(RunError, match="other images or by another recipe"):
        gather(data, msgspec.structs.replace(recipe, ground_resolution_m=0.5), tmp_path / "a", quiet)


def test_a_set_must_hold_out_a_part(data, recipe, tmp_path):
    for pattern, told in (("nothing like it", "nothing"), (".", "everything")):
        sets = [msgspec.structs.replace(recipe.sets[0], held_out=pattern)]
        with pytest.raises(DataError, match=f"holds out {told}"):
            gather(data, msgspec.structs.replace(recipe, sets=sets), tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


def test_a_changed_mask_changes_the_hash_of_the_list(data, recipe, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data, other)
    before = list_images(data, recipe)[2]
    assert list_images(other, recipe)[2] == before
    path = other / "near" / "masks" / "scene_004.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[0, 0] = 255 - mask[0, 0]
    Image.fromarray(mask).save(path)
    assert list_images(other, recipe)[2] != before


# === Mending ===


def test_background_that_the_teacher_is_sure_of_is_doubted_and_roads_never_are():
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 2:8] = 255
    p = np.zeros((40, 40), np.float32)
    p[10:20, 20:30] = 0.9  # a road that nobody drew
    p[:, 8] = 0.9  # a border that is off by a pixel
    p[30, 30] = 0.9  # a speck
    found = doubted(mask, p, Mend(steps=1, above=0.8, pixels=20, margin=2))
    assert found[10:20, 20:30].all() and found[9, 22] and not found[:, :10].any() and not found[30, 30]
    assert not doubted(mask, np.zeros_like(p), Mend(steps=1)).any()


class Sure:
    """A teacher that sees road everywhere."""

    def probabilities(self, image):
        return np.ones((*image.shape[:2], 1), np.float32)


def test_only_training_masks_of_incomplete_sets_are_mended(data, recipe, tmp_path):
    found = gather(data, recipe, tmp_path / "data", quiet)
    out = mend(found, Sure(), recipe, tmp_path / "mended", "asked", quiet)

    def same(name: str) -> bool:
        return (out / "masks" / name).read_bytes() == (found.path / "masks" / name).read_bytes()

    assert same("near__scene_004.png") and same("far__scene_003.png") and not same("far__scene_001.png")
    before, after = (np.asarray(Image.open(p / "masks" / "far__scene_001.png")) for p in (found.path, out))
    assert ((before == 255) == (after == 255)).all() and (after[before != after] == UNLABELLED).all()
    with pytest.raises(RunError, match="another recipe"):
        mend(found, Sure(), recipe, tmp_path / "mended", "something else", quiet)


# === Thresholds ===


def test_every_set_counts_alike_for_the_threshold():
    rng = np.random.default_rng(0)
    sets = {}
    for name, size, cut in (("large", 96, 0.3), ("small", 32, 0.7)):
        p = rng.random((size, size, 1)).astype(np.float32)
        histogram = Histogram()
        histogram.add(to_levels(p), (p[..., 0] > cut).astype(np.uint8))
        sets[name] = histogram
    found = choose_threshold(sets)
    assert 0.3 <= found["threshold"] <= 0.7 and found["mean_iou"] >= found["mean_iou_at_half"]
    assert found["nested_mean_iou"] <= found["mean_iou"]


# === Training in pieces ===


def test_a_training_that_has_no_time_left_is_put_off(data, recipe, tmp_path):
    def never(words):
        raise AssertionError("nothing is begun")

    done = train(data, tmp_path / "run", recipe.configuration(), data, asked="x", clock=Clock.start(0.5), roadseg=never)
    assert not done and not (tmp_path / "run").exists()


def test_a_failed_training_says_so(data, recipe, tmp_path):
    with pytest.raises(RunError, match="failed with code 2"):
        train(data, tmp_path / "run", recipe.configuration(), data, asked="x", roadseg=lambda words: 2)


# === The whole way ===


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A model made of scenes in a few steps, and where."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "made.toml").write_text(TABLE)
    recipe = load_recipe(folder / "made.toml")
    files = make(recipe, data, folder / "work", tell=quiet, roadseg=main)
    assert files is not None
    return recipe, files, folder / "work"


@pytest.fixture
def package(made, tmp_path, monkeypatch):
    """The made model as if it were in the package."""
    from roadseg import weights
    from roadseg.pretraining.packing import install

    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    install(made[1], tmp_path / "weights")
    return tmp_path / "weights"


def test_the_card_tells_of_every_set(made, data):
    recipe, files, _ = made
    card = json.loads(files.card.read_text())
    assert set(card["scores"]) == {"near", "far"} and card["scores"]["near"]["n_images"] == 2
    assert card["file"]["recipe"] == recipe.digest(card["data"]["hash"])
    page = files.page.read_text()
    assert "| near |" in page and "0.6" in page and "Half precision" in page
    assert list_images(data, recipe)[2] == card["data"]["hash"]


def test_the_same_call_again_trains_nothing(made, data):
    recipe, files, work = made
    before = files.model.read_bytes()

    def never(words):
        raise AssertionError(f"trained again: {words}")

    again = make(recipe, data, work, tell=quiet, roadseg=never)
    assert again is not None and again.model.read_bytes() == before
    with pytest.raises(RunError, match="another recipe"):
        make(msgspec.structs.replace(recipe, steps=6), data, work, tell=quiet, roadseg=never)


def test_a_model_of_the_package_counts_its_images_as_seen_at_their_own_size_too(made, data):
    from roadseg.learning.runs import read_info

    seen = set(read_info(made[1].model).trained_on)
    entries, _, _ = list_images(data, made[0])
    assert all((entry.image in seen) != entry.held_out for entry in entries)


def test_a_true_card_is_found_true_and_a_false_one_is_not(made, data, package):
    recipe = made[0]
    assert check("made", recipe, data, tell=quiet) == []
    card = json.loads((package / "made.json").read_text())
    card["scores"]["far"]["pixel_iou"] += 0.1
    (package / "made.json").write_text(json.dumps(card))
    (wrong,) = check("made", recipe, data, tell=quiet)
    assert "far: pixel_iou" in wrong
    with pytest.raises(ModelError, match="no model in the package"):
        check("other", recipe, data, tell=quiet)


def test_predicting_by_name_needs_no_training_framework(package, data, tmp_path, capsys):
    out = tmp_path / "masks"
    code = main(["predict", "made", str(data / "near" / "images" / "scene_001.png"), "--out", str(out)])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "openvino" in told.out and "comparing" not in told.out
    assert Image.open(out / "scene_001.png").size == (64, 64)


def test_the_models_command_lists_and_shows_cards(package, capsys):
    assert main(["models"]) == 0
    assert "made" in capsys.readouterr().out
    assert main(["models", "made"]) == 0
    assert capsys.readouterr().out.startswith("# made")
    assert main(["models", "made", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "made"
    assert main(["models", "mad"]) == 2
    assert "there are made" in capsys.readouterr().err


def test_a_model_of_the_package_is_found_by_name_and_a_run_of_that_name_comes_first(package, tmp_path, monkeypatch):
    from roadseg.learning.runs import find_model

    monkeypatch.chdir(tmp_path)
    assert find_model("made") == package / "made.keras" == find_model(Path("made"))
    (tmp_path / "made").mkdir()  # a folder of anything
    assert find_model("made") == package / "made.keras"
    (tmp_path / "made" / "model.keras").write_bytes(b"a run")
    assert find_model("made") == Path("made/model.keras")
    with pytest.raises(ModelError, match=r"no model at 'maed': .*, or made"):
        find_model("maed")


def test_a_training_begins_with_a_model_of_the_package(package, data, tmp_path, capsys):
    from helpers import tiny

    words = ["train", str(data / "near"), "--out", str(tmp_path / "run"), "--epochs", "1", "--init", "made", *tiny()]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "layers kept" in told.out and "was trained on" in told.err


def test_robustness_has_a_score_for_every_level(made, data, tmp_path):
    from roadseg.inference.predictor import load_predictor

    parts, _, _ = held_out(data, made[0], most=1)
    chosen = {name: CURVES[name] for name in ("Resolution", "Rotation", "JPEG", "Season")}
    found = measure_robustness(load_predictor(made[1].model, engine="openvino"), parts, chosen, quiet)
    for name, curve in found["curves"].items():
        for values in (*curve["pixel_iou"].values(), *curve["patch_f1"].values()):
            assert len(values) == len(curve["levels"]) == len(CURVES[name].levels)
    page = robustness_page(tmp_path / "x.html", "made", found)
    assert "Rotation" in page.read_text()


@pytest.mark.parametrize("name", sorted(CURVES))
def test_a_change_keeps_the_form_and_at_one_level_changes_nothing(name, data):
    sample = open_dataset(data / "near", DataConfig()).read(0)
    same = 0
    for level in CURVES[name].levels:
        changed = CURVES[name].change(sample, level)
        assert changed.image.dtype == np.uint8 and changed.image.shape[:2] == changed.mask.shape
        same += bool(changed.image.shape == sample.image.shape and (changed.image == sample.image).all())
    assert same == 1


# === A few images, and measures ===


def test_a_larger_draw_has_the_images_of_a_smaller_one(data, recipe):
    entries = list_images(data, recipe.without(["far"]))[0]
    assert {e.stem for e in draw(entries, 2, 0)} < {e.stem for e in draw(entries, 3, 0)}
    assert not any(entry.held_out for entry in draw(entries, 4, 1))
    with pytest.raises(ConfigError, match="has 4 to train on"):
        draw(entries, 5, 0)


@pytest.mark.slow
def test_few_shot_compares_both_ways_on_the_same_images(data, recipe, tmp_path):
    first = make(recipe.without(["near"]), data, tmp_path / "work", tell=quiet, roadseg=main)
    assert first is not None
    told = few_shot(recipe, data, tmp_path / "few", first.model, "near", steps=2, counts=[2], seeds=1, tell=quiet,
                    roadseg=main)  # fmt: skip
    assert told is not None and set(told["rows"]["2"]) >= {"scratch_mean", "init_mean", "difference"}
    with pytest.raises(ConfigError, match="was trained on"):
        few_shot(recipe, data, tmp_path / "x", first.model, "far", steps=2, counts=[2], tell=quiet, roadseg=main)


@pytest.mark.slow
def test_measures_are_compared_on_the_same_images(data, recipe, tmp_path):
    told = measures_study(
        recipe, data, tmp_path / "m", 2, off=[[], ["borders"], list(MEASURES)], tell=quiet, roadseg=main
    )
    assert told is not None and len(told["rows"]) == 3
    assert all(set(row) == {"near", "far"} for row in told["rows"].values())


def test_a_set_with_few_held_out_images_has_no_say_in_the_threshold(data, recipe):
    parts, _, _ = held_out(data, recipe)
    many = HeldOut("many", 1.0, parts[0].samples * 3)
    assert voting([*parts, many]) == ["many"]
    assert voting(parts) == ["near", "far"]  # none has many
