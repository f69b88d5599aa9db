"""The configurations in `examples/`."""

from pathlib import Path

from roadseg.config import Config, load_config

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_default_example_is_the_default_recipe():
    assert load_config(EXAMPLES / "default.toml") == Config()


def test_the_classic_example_is_the_network_without_normalisation_and_with_mild_perturbations():
    classic = load_config(EXAMPLES / "classic.toml")
    assert (classic.network.width, classic.network.depth, classic.network.normalization) == (64, 4, "none")
    assert (classic.train.batch, classic.train.crop, classic.train.learning_rate) == (2, 256, 1e-4)
    assert classic.perturb.elastic.probability == 0 and classic.perturb.rotation.strength == 0.2
