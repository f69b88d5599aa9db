"""The reference of the configuration: complete, up to date, and TOML that reads back."""

import tomllib
from pathlib import Path

import pytest
from helpers import call
from msgspec import inspect

from roadseg.config import Config, read_config
from roadseg.reports.reference import config_toml, keys, main, reference_page
from roadseg.settings import PRESETS

Capture = pytest.CaptureFixture[str]
DOCS = Path(__file__).resolve().parents[1] / "docs"
ANY_NUMBER = {"data.value_range"}  # pixel values of whatever kind


def test_the_page_in_docs_is_the_page_that_make_docs_writes(tmp_path: Path) -> None:
    main([str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == reference_page()
    assert (DOCS / "configuration.md").read_text() == reference_page(), "run `make docs`"


@pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.section}.{key.name}")
def test_every_key_says_what_it_does_in_one_line(key):
    assert len(key.about) > 8 and "\n" not in key.about, "write a comment on its line in settings.py"
    assert f"`{key.name}`" in reference_page()


def numbers(kind):
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        yield kind
    for inner in getattr(kind, "types", ()):
        yield from numbers(inner)
    if isinstance(kind, inspect.ListType):
        yield from numbers(kind.item_type)
    if isinstance(kind, inspect.StructType):
        for field in inspect.type_info(kind.cls).fields:
            yield from numbers(field.type)


@pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.section}.{key.name}")
def test_every_number_has_a_range(key):
    if f"{key.section}.{key.name}" in ANY_NUMBER:
        return
    for kind in numbers(key.type):
        assert kind.ge is not None or kind.gt is not None, "say its least value with msgspec.Meta in settings.py"
        assert isinstance(kind, inspect.IntType) or kind.le is not None or kind.lt is not None, "infinity is no value"


def test_the_page_has_types_ranges_and_defaults():
    page = reference_page()
    for row in (
        "| `width` | whole number >= 1 | `32` |",
        '| `stem` | one of "none", "patch", "strided" | `"patch"` |',
        "| `ema` | number >= 0 and < 1 | `0.995` |",
        "| `threshold` | number 0 to 1 | `0.5` |",
        '| `class_weights` | list: numbers > 0 or "none" or "auto" or "balanced" | `"auto"` |',
        "| `tta` | true or false | `false` |",
    ):
        assert row in page
    for section in Config().to_dict():
        assert f"\n## `{section}`\n" in page
    for name in PRESETS:
        assert f"`{name}`" in page


def test_the_page_has_every_name_that_the_installed_packages_have():
    from roadseg.learning.loss_names import LOSSES
    from roadseg.learning.optimizers import OPTIMIZERS
    from roadseg.network_names import ENCODERS

    page = reference_page()
    for name in (*OPTIMIZERS, *LOSSES, *ENCODERS):
        assert f"`{name}`" in page, name


CHANGED = [
    "network=own:build",
    "network.options={a = 1, 'b c' = [1.5, 'x']}",
    "perturb=strong",
    "data.classes=['a\"', 'b']",
]


@pytest.mark.parametrize(
    "settings",
    [[], CHANGED, ["perturb=off"], ["perturb.rotation.strength=1"], ["perturb=strong", "perturb.enabled=false"]],
)
def test_the_toml_reads_back_as_it_was(settings):
    config = read_config({}, settings)
    text = config_toml(config)
    assert read_config(tomllib.loads(text)) == config
    assert all(len(line) < 200 for line in text.splitlines())


def test_another_preset_can_be_written_in_the_place_of_the_one_that_is_there():
    text = config_toml().replace('preset = "default"', 'preset = "strong"')
    assert read_config(tomllib.loads(text)) == read_config({"perturb": "strong"})


def test_the_command_prints_the_file_to_start_from(capsys: Capture, tmp_path: Path) -> None:
    whole = call(capsys, "config")
    assert whole.code == 0 and read_config(tomllib.loads(whole.out)) == Config()
    part = call(capsys, "config", "--section", "loss", "--set", "loss=dice")
    assert list(tomllib.loads(part.out)) == ["loss"] and 'name = "dice"' in part.out
    assert "[train]" not in part.out and "focal_gamma" in part.out
    for words, message in ((["--section", "losses"], "choose from data"), (["--set", "loss.nme=x"], "loss.name")):
        answer = call(capsys, "config", *words)
        assert answer.code == 2 and message in answer.err
