"""The study file: what it means, and that every slip in it is named before anything is trained."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.config import Config, read_config
from roadseg.errors import ConfigError
from roadseg.settings import PRESETS
from roadseg.studies.recipes import assignments_of, difference, same_training, shown_difference
from roadseg.studies.study import read_study

HEAD = 'metric = "pixel_f1"\n'
LENGTH = "[length]\nsteps = 4\n"
FACTORS = '[factors]\n"leaky ReLU" = "network.activation=leaky_relu"\n'


def written(folder: Path, head: str = HEAD, factors: str = FACTORS, length: str = LENGTH, more: str = "") -> Path:
    path = folder / "study.toml"
    path.write_text(head + length + factors + more, encoding="utf-8")
    return path


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    for word in (str(path), *words):
        assert word in str(caught.value), str(caught.value)


def test_a_short_study_has_the_contracts_folds_and_one_seed(tmp_path):
    study = read_study(written(tmp_path))
    assert (study.title, study.metric, study.group) == ("study", "pixel_f1", None)
    assert (study.screen.folds, study.screen.hold_out, study.screen.fold_seed) == (5, (0, 1, 2, 3, 4), 43)
    assert study.screen.seeds == (0,) and str(study.screen.length) == "4 steps" and study.confirm is None
    (factor,) = study.factors
    assert factor.config.network.activation == "leaky_relu" and study.baseline.config == Config()
    assert factor.slug == "leaky_relu"


def test_the_length_of_the_study_stands_over_that_of_the_recipe(tmp_path):
    (tmp_path / "base.toml").write_text("[train]\nepochs = 7\nminutes = 3\nbatch = 2\n", encoding="utf-8")
    base = '[baseline]\nconfig = "base.toml"\n'
    for length, wanted in (("steps = 9", (9, 0, 40)), ("epochs = 9", (0, 0, 9)), ("minutes = 1.5", (0, 1.5, 40))):
        study = read_study(written(tmp_path, length=f"[length]\n{length}\n", more=base))
        train = study.recipe(study.baseline, study.screen, 5).train
        assert (train.steps, train.minutes, train.epochs) == wanted
        assert (train.seed, train.batch) == (5, 2)


def test_a_grid_makes_a_factor_of_every_combination_but_the_baselines(tmp_path):
    grid = '[grid]\n"network.width" = [16, 32]\nloss = ["bce", "bce + 0.5 * patch"]\n'
    found = read_study(written(tmp_path, factors=grid)).factors
    assert [factor.name for factor in found] == [
        "network.width=16, loss=bce",
        "network.width=16, loss=bce + 0.5 * patch",
        "network.width=32, loss=bce + 0.5 * patch",
    ]
    assert found[1].config.network.width == 16 and found[1].config.loss.name == "bce + 0.5 * patch"
    assert len({factor.slug for factor in found}) == 3


def test_sections_by_one_word_are_settings_too(tmp_path):
    study = read_study(written(tmp_path, factors='[factors]\na = "perturb=off"\nb = "loss=bce + 0.5 * patch"\n'))
    assert not study.factors[0].config.perturb.enabled
    assert study.factors[1].config.loss.name == "bce + 0.5 * patch"


def test_the_confirmation_has_other_folds_by_default(tmp_path):
    study = read_study(written(tmp_path, more="[confirm]\nbest = 1\nepochs = 3\nseeds = [7]\n"))
    assert study.confirm is not None
    assert (study.confirm.fold_seed, study.confirm.hold_out, study.confirm.seeds) == (44, (0, 1, 2, 3, 4), (7,))
    assert study.recipe(study.factors[0], study.confirm, 7).train.epochs == 3


def test_a_study_may_deal_the_images_out_several_times(tmp_path):
    head = HEAD + "folds = 3\nhold_out = [0, 2]\nfold_seeds = [43, 50]\nseeds = [0, 1]\n"
    study = read_study(written(tmp_path, head=head, more="[confirm]\nbest = 1\nsteps = 3\nseeds = [7]\n"))
    assert study.screen.fold_seeds == (43, 50) and study.screen.fold_seed == 43
    assert study.screen.splits() == [(43, 0), (43, 2), (50, 0), (50, 2)]
    assert study.screen.places()[:5] == [(43, 0, 0), (43, 2, 0), (43, 0, 1), (43, 2, 1), (50, 0, 0)]
    assert study.confirm is not None and study.confirm.fold_seeds == (51,)
    more = "[confirm]\nbest = 1\nsteps = 3\nseeds = [7]\nfold_seeds = [60, 61]\n"
    confirm = read_study(written(tmp_path, head=head, more=more)).confirm
    assert confirm is not None and confirm.fold_seeds == (60, 61)


def test_the_copy_of_a_study_needs_no_other_file(tmp_path):
    (tmp_path / "base.toml").write_text(
        'perturb = "light"\n[network]\nwidth = 8\nactivation = "elu"\n[train]\noptimizer_options = {beta_2 = 0.99}\n',
        encoding="utf-8",
    )
    study = read_study(written(tmp_path, more='[baseline]\nconfig = "base.toml"\nset = ["network.width=4"]\n'))
    (tmp_path / "else").mkdir()
    copy = tmp_path / "else" / "copy.toml"
    copy.write_text(study.text, encoding="utf-8")
    again = read_study(copy)
    assert again.baseline.config == study.baseline.config and again.factors == study.factors
    assert study.baseline.config.network.width == 4 and study.baseline.config.perturb.shear.probability == 0


def test_a_study_without_a_configuration_file_is_copied_with_its_comments(tmp_path):
    path = written(tmp_path, more="# why this is asked\n")
    assert read_study(path).text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"head": 'metrik = "pixel_f1"\n'}, ["unknown key 'metrik'", "did you mean 'metric'"]),
        ({"head": ""}, ["metric"]),
        ({"head": 'metric = "pixel_f2"\n'}, ["metric = 'pixel_f2'", "did you mean 'pixel_f1'"]),
        ({"head": HEAD + "folds = 1\n"}, ["folds", ">= 2"]),
        ({"head": HEAD + "seeds = [0, 0]\n"}, ["seeds = [0, 0]", "each once"]),
        ({"head": HEAD + "seeds = []\n"}, ["seeds is empty"]),
        ({"head": HEAD + "fold_seeds = []\n"}, ["fold_seeds is empty"]),
        ({"head": HEAD + "fold_seeds = [43, 43]\n"}, ["fold_seeds = [43, 43]", "each once"]),
        ({"head": HEAD + "fold_seeds = [-1]\n"}, ["fold_seeds", ">= 0"]),
        ({"head": HEAD + "fold_seed = 43\nfold_seeds = [44]\n"}, ["fold_seed and fold_seeds", "one of them"]),
        ({"head": HEAD + "hold_out = [5]\n"}, ["hold_out has 5", "0..4"]),
        ({"length": ""}, ["length"]),
        ({"length": "[length]\n"}, ["[length] has none of them", "steps, epochs, minutes"]),
        ({"length": "[length]\nsteps = 4\nminutes = 2\n"}, ["steps and minutes"]),
        ({"length": "[length]\nstep = 4\n"}, ["'length.step'", "did you mean 'length.steps'"]),
        ({"length": "[length]\nsteps = 0\n"}, ["length.steps", ">= 1"]),
        ({"factors": ""}, ["has no factor"]),
        ({"factors": '[factors]\nx = "network.widht=4"\n'}, ["factor 'x'", "did you mean 'network.width'"]),
        ({"factors": '[factors]\nx = "network.width=0"\n'}, ["factor 'x'", "network.width", ">= 1"]),
        ({"factors": "[factors]\nx = 3\n"}, ["factors"]),
        ({"factors": '[factors]\nx = "network.width=32"\n'}, ["factor 'x' changes nothing", "network.width=32"]),
        ({"factors": '[factors]\nx = "perturb=default"\n'}, ["factor 'x' changes nothing"]),
        ({"factors": "[factors]\nx = []\n"}, ["factor 'x' changes nothing"]),
        ({"factors": '[factors]\nx = "train.steps=9"\n'}, ["factor 'x'", "train.steps", "[length]"]),
        ({"factors": '[factors]\nx = "train.seed=9"\n'}, ["factor 'x'", "train.seed", "seeds"]),
        ({"factors": '[factors]\nx = "data.invert=true"\n'}, ["factor 'x'", "data.invert", "what is scored"]),
        ({"factors": '[factors]\nx = "predict.tta=true"\n'}, ["factor 'x'", "predict.tta"]),
        ({"factors": '[factors]\nbaseline = "network.width=4"\n'}, ["factor 'baseline'", "another"]),
        (
            {"factors": '[factors]\nx = "perturb=off"\ny = "perturb.enabled=false"\n'},
            ["factor 'y' has the same settings as factor 'x'"],
        ),
        (
            {"factors": '[factors]\n"a b" = "network.width=4"\n"A/b" = "network.width=5"\n'},
            ["'A/b'", "'a b'", "share the folder 'a_b'"],
        ),
        ({"factors": '[grid]\n"network.width" = []\n'}, ["grid.'network.width' is empty"]),
        ({"factors": f'[grid]\n"network.width" = {list(range(1, 202))}\n'}, ["201 combinations"]),
        ({"more": '[baseline]\nset = ["network.width=0"]\n'}, ["the baseline", "network.width"]),
        ({"more": '[baseline]\nset = ["train.epochs=3"]\n'}, ["the baseline", "[length]"]),
        ({"more": '[baseline]\nconfig = "none.toml"\n'}, ["the baseline", "none.toml", "cannot read"]),
        ({"more": "[confirm]\nbest = 1\nsteps = 2\nseeds = [0]\n"}, ["confirm.seeds has 0", "other seeds"]),
        ({"more": "[confirm]\nbest = 2\nsteps = 2\nseeds = [1]\n"}, ["confirm.best = 2", "1 factors"]),
        ({"more": "[confirm]\nbest = 1\nseeds = [1]\n"}, ["[confirm] has none of them"]),
        (
            {"more": "[confirm]\nbest = 1\nsteps = 2\nseeds = [1]\nfold_seed = 43\n"},
            ["confirm.fold_seed = 43", "made on"],
        ),
        (
            {
                "head": HEAD + "fold_seeds = [43, 44]\n",
                "more": "[confirm]\nbest = 1\nsteps = 2\nseeds = [1]\nfold_seeds = [45, 44]\n",
            },
            ["confirm.fold_seed = 44", "made on"],
        ),
    ],
)  # fmt: skip
def test_a_slip_is_named_with_its_place(tmp_path, parts, words):
    refuse(written(tmp_path, **parts), *words)


def test_a_file_that_is_no_toml_or_not_there_is_told(tmp_path):
    (tmp_path / "x.toml").write_text("metric = ", encoding="utf-8")
    refuse(tmp_path / "x.toml", "not TOML")
    refuse(tmp_path / "none.toml", "cannot read")


def test_only_known_factors_can_be_picked(tmp_path):
    study = read_study(written(tmp_path))
    assert study.choose(None) == study.choose(["leaky ReLU"]) == study.factors and study.choose(["baseline"]) == ()
    with pytest.raises(ConfigError, match=r"--only 'leaky relu'.*did you mean 'leaky ReLU'"):
        study.choose(["leaky relu"])


# === Recipes as settings ===

VALUES = {
    "network.width": st.integers(1, 99),
    "network.activation": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "network.dilations": st.lists(st.integers(1, 9), max_size=3),
    "network.attention": st.booleans(),
    "network.options": st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=4), max_size=2),
    "loss.class_weights": st.sampled_from(["auto", "none", [1.0, 2.5]]),
    "train.learning_rate": st.floats(1e-12, 1e3),
    "perturb.scale.strength": st.floats(0, 9),
    "perturb.preset": st.sampled_from(sorted(PRESETS)),
}


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_every_recipe_is_made_again_by_its_settings(chosen):
    tables: dict = {}
    for key, value in chosen.items():
        *above, last = key.split(".")
        at = tables
        for part in above:
            at = at.setdefault(part, {})
        at[last] = value
    config = read_config(tables)
    assert read_config({}, assignments_of(config)) == config


def test_a_difference_names_the_keys_and_both_values():
    before, after = read_config({}, ["network.width=16"]), read_config({}, ["loss.name=dice"])
    assert difference(before, after) == {"network.width": (16, 32), "loss.name": ("bce", "dice")}
    assert shown_difference(before, after, most=1) == "network.width was 16, is now 32; and 1 more"


def test_a_presets_name_is_no_difference_but_its_values_are():
    named = Config(perturb=msgspec.structs.replace(Config().perturb, preset="strong"))
    assert same_training(named, Config())
    assert not same_training(read_config({}, ["perturb=strong"]), Config())
