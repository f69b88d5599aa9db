"""The configurations and studies in `examples/`, and the rows of `benchmarks/options.toml`."""

import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from roadseg.config import Config, NetworkConfig, TrainConfig, load_config, read_config
from roadseg.learning.loss_names import LOSSES, check_loss
from roadseg.learning.plan import check_crop
from roadseg.network_names import check_network
from roadseg.settings import PRESETS
from roadseg.studies.study import read_study

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
STUDIES = sorted((EXAMPLES / "studies").glob("*.toml"))
ROWS = {
    label: settings
    for group in tomllib.loads((ROOT / "benchmarks" / "options.toml").read_text()).values()
    for label, settings in group.items()
}


def test_the_default_example_is_the_default_recipe():
    assert load_config(EXAMPLES / "default.toml") == Config()


def test_the_classic_example_is_the_network_without_normalisation_and_with_mild_perturbations():
    classic = load_config(EXAMPLES / "classic.toml")
    assert (classic.network.width, classic.network.depth, classic.network.normalization) == (64, 4, "none")
    assert (classic.train.batch, classic.train.crop, classic.train.learning_rate) == (2, 256, 1e-4)
    assert classic.perturb.elastic.probability == 0 and classic.perturb.rotation.strength == 0.2


@pytest.mark.parametrize("label", ROWS)
def test_every_row_of_the_options_benchmark_can_be_trained(label):
    config = read_config({}, ["train.crop=128", "train.batch=4", *ROWS[label]])
    check_network(config.network)
    check_loss(config.loss, 2)
    check_crop(config)
    assert label == "default" or config != read_config({}, ["train.crop=128", "train.batch=4"])


def test_the_options_benchmark_has_every_loss_preset_and_choice():
    assignments = {row for settings in ROWS.values() for row in settings}
    wanted = {f"loss={name}" for name in LOSSES} - {"loss=bce"} | {f"perturb={name}" for name in PRESETS}
    for section, kind in (("network", NetworkConfig), ("train", TrainConfig)):
        for field in msgspec.structs.fields(kind):
            if field.name not in ("precision", "encoder_weights", "dropout_kind"):
                choices = {word for word in get_args(field.type) if isinstance(word, str)} - {field.default}
                wanted |= {f"{section}.{field.name}={word}" for word in choices}
    assert wanted - {"perturb=default"} <= assignments


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_factor_of_a_study_can_be_trained(path):
    study = read_study(path)
    for stage in study.stages:
        for variant in study.variants:
            config = study.recipe(variant, stage, stage.seeds[0])
            check_network(config.network)
            check_loss(config.loss, 2)
            check_crop(config)
    assert path.read_text(encoding="utf-8").startswith("# "), "a study says what it asks"
    if path.stem != "small":  # a network that two cores can pay
        assert study.baseline.config == Config()


def test_the_studies_ask_the_whole_list():
    found = {path.stem: read_study(path) for path in STUDIES}
    assert set(found) == {
        "contest_loss",
        "everything",
        "leaky_relu",
        "model_changes",
        "perturbations",
        "small",
        "unmeasured",
        "weighted_loss",
    }
    everything = found["everything"]
    assert len(everything.factors) >= 16 and everything.confirm is not None and everything.confirm.best == 3
    asked = {text for factor in everything.factors for text in factor.settings}
    assert {"network.activation=leaky_relu", "loss=weighted_bce", "train.ema=0", "loss=bce + 0.5 * patch"} <= asked
    # Every perturbation that the default recipe has is taken out once.
    taken = {text for factor in found["perturbations"].factors for text in factor.settings}
    perturb = Config().to_dict()["perturb"]
    on = {name for name, value in perturb.items() if isinstance(value, dict) and value["probability"] > 0}
    assert {f"perturb.{name}.probability=0" for name in on} <= taken
    assert {f"perturb={name}" for name in PRESETS} - {"perturb=default"} <= taken
