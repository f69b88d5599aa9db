"""The configuration: strict, complete when written, and an error names the key, the value and the source."""

import copy
import tomllib

import msgspec
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.config import Config, Effect, load_config, read_config, save_config
from roadseg.errors import ConfigError
from roadseg.settings import PRESETS


def refuse(*words: str, tables=None, assignments=()) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(tables or {}, assignments)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


def leaves(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


DEFAULTS = dict(leaves(Config().to_dict()))


def test_sections_are_the_contracts():
    assert list(Config().to_dict()) == ["data", "perturb", "network", "loss", "train", "predict"]


def test_the_written_file_has_every_value_and_reads_back_the_same(tmp_path):
    config = read_config(
        {"network": {"width": 7, "activation": "leaky_relu"}, "loss": {"road_weight": 3.5}},
        [
            "data.classes=['a', 'b \"c\"']",
            "train.learning_rate=1e-7",
            "perturb.rotation={strength = 1, probability = 0}",
        ],
    )
    path = tmp_path / "deep" / "config.toml"
    save_config(config, path)
    assert load_config(path) == config
    stored = dict(leaves(tomllib.loads(path.read_text(encoding="utf-8"))))
    assert set(stored) == set(DEFAULTS)
    assert stored["network.width"] == 7 and stored["loss.road_weight"] == 3.5
    assert stored["data.classes"] == ["a", 'b "c"']


def test_no_file_is_the_defaults():
    assert load_config() == Config() == read_config()


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_default_can_be_set_to_itself(key):
    value = tomli_w.dumps({"v": DEFAULTS[key]}).partition("=")[2].strip()
    assert read_config(assignments=[f"{key}={value}"]) == Config()


def test_later_assignments_win_over_earlier_ones_and_over_the_file():
    config = read_config({"network": {"width": 8, "depth": 3}}, ["network.width=16", "network.width=24"])
    assert (config.network.width, config.network.depth) == (24, 3)


def test_setting_one_key_of_a_table_keeps_the_others():
    config = read_config(
        {"perturb": {"rotation": {"strength": 10, "probability": 0.5}}}, ["perturb.rotation.strength=20"]
    )
    assert config.perturb.rotation == Effect(strength=20.0, probability=0.5)
    assert read_config({"perturb": {"rotation": {"probability": 0.1}}}).perturb.rotation.probability == 0.1


def test_the_callers_tables_stay_as_they_were():
    tables = {"network": {"width": 16}, "perturb": {"rotation": {"strength": 5.0}}}
    before = copy.deepcopy(tables)
    read_config(tables, ["network.width=8", "perturb.rotation.strength=1", "network.depth=2"])
    assert tables == before


def test_words_need_no_quotes_in_an_assignment():
    assert read_config(assignments=["network.activation=elu"]).network.activation == "elu"
    assert read_config(assignments=['network.activation="elu"']).network.activation == "elu"
    assert read_config(assignments=[" network.activation = elu "]).network.activation == "elu"


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("network.widht", "network.width"),
        ("netwrk.width", "network"),
        ("perturb.rotation.strenght", "perturb.rotation.strength"),
        ("train.learning_rat", "train.learning_rate"),
        ("train.xyzzy", "epochs"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key, near):
    refuse(f"'{key.split('.')[0] if near == 'network' else key}'", near, assignments=[f"{key}=1"])


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("network.width=0", ["network.width", "0", ">= 1"]),
        ("network.width=2.5", ["network.width", "2.5", "int"]),
        ("network.width=true", ["network.width", "int"]),
        ("network.width=wide", ["network.width", "'wide'", "int"]),
        ("network.width=", ["network.width", "''"]),
        ("network.depth=9", ["network.depth", "9", "<= 8"]),
        ("network.name=3", ["network.name", "3", "str"]),
        ("network.name=2020-01-01", ["network.name", "str"]),
        ("network.normalization=instance", ["network.normalization", "instance"]),
        ("loss.road_weight=-1", ["loss.road_weight", "-1"]),
        ("loss.road_weight=car", ["loss.road_weight", "car"]),
        ("train.crop=-1", ["train.crop", "-1", ">= 0"]),
        ("train.batch=-1", ["train.batch", "-1", ">= 0"]),
        ("train.ema=1", ["train.ema", "1", "< 1"]),
        ("train.learning_rate=0", ["train.learning_rate", "0", "> 0"]),
        ("train.learning_rate=nan", ["train.learning_rate", "nan"]),
        ("train.learning_rate=inf", ["train.learning_rate", "inf"]),
        ("train.seed=-1", ["train.seed", "-1", ">= 0"]),
        ("train.seed=4294967296", ["train.seed", "4294967296"]),
        ("perturb.flip.probability=1.01", ["perturb.flip.probability", "1.01", "<= 1"]),
        ("perturb.rotation.strength=-1", ["perturb.rotation.strength", "-1"]),
        ("perturb.scale.strength=inf", ["perturb.scale.strength", "inf"]),
        ("perturb.scale=0.5", ["perturb.scale", "table", "perturb.scale.strength"]),
        ("perturb.flip.strength=1", ["perturb.flip.strength"]),
        ("data.classes=road", ["data.classes", "'road'"]),
        ("data.classes=['a', 3]", ["data.classes[1]", "= 3", "str"]),
        ("predict.threshold=2", ["predict.threshold", "2"]),
        ("predict.tta=1", ["predict.tta", "1", "bool"]),
        ("predict.tta=yes", ["predict.tta", "yes", "bool"]),
    ],
)
def test_a_wrong_value_is_an_error_with_key_value_and_expectation(assignment, words):
    refuse(f"--set {assignment}", *words, assignments=[assignment])


@pytest.mark.parametrize("text", ["network.width", "width=3", "=3", "network.=3", ".width=3", "network..width=3", ""])
def test_an_assignment_of_another_form_shows_the_form(text):
    refuse("section.key=value", "--set network.width=16", assignments=[text])


def test_a_section_that_is_no_table_is_an_error():
    refuse("'network' is a table", "5", tables={"network": 5})
    refuse("'network' is a table", tables={"network": [1]})


@pytest.mark.parametrize(
    ("section", "word", "key"),
    [("network", "own:build", "network.name"), ("loss", "bce + 0.5 * dice", "loss.name"), ("perturb", "light", "")],
)
def test_one_word_for_a_section_is_its_main_key(section, word, key):
    by_file, by_assignment = read_config({section: word}), read_config(assignments=[f"{section}={word}"])
    assert by_file == by_assignment == read_config({section: {key.partition(".")[2] or "preset": word}})
    assert by_file != Config()
    refuse("section.key=value", assignments=[f"{section}=3"])


def test_a_preset_is_where_the_other_keys_start_from_wherever_it_stands():
    strong = read_config({"perturb": "strong"}).perturb
    assert strong.preset == "strong" and strong.rotation == Config().perturb.rotation
    for name, values in leaves(PRESETS["strong"]):
        effect, _, key = name.partition(".")
        assert getattr(getattr(strong, effect), key) == values
    over = read_config({"perturb": {"blur": {"strength": 3.0}, "preset": "strong"}}).perturb
    assert (over.blur.strength, over.blur.probability) == (3.0, strong.blur.probability)
    assert read_config({"perturb": "strong"}, ["perturb=light"]) == read_config({"perturb": "light"})
    assert read_config({}, ["perturb=light", "perturb.blur.probability=1"]).perturb.blur.probability == 1
    assert not read_config({"perturb": "off"}).perturb.enabled
    refuse("perturb.preset", "'wild'", tables={"perturb": "wild"})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_written_preset_reads_back_the_same(name, tmp_path):
    config = read_config({"perturb": name}, ["perturb.noise.strength=0.5"])
    save_config(config, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config


def test_a_fault_in_the_file_is_not_blamed_on_an_assignment(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[network]\nwidth = -1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["train.batch=4"])
    assert str(path) in str(caught.value) and "--set" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    broken, binary, latin = tmp_path / "broken.toml", tmp_path / "image.toml", tmp_path / "latin.toml"
    broken.write_text("[network\n")
    binary.write_bytes(b"\x89PNG\r\n\xff")
    latin.write_bytes("[network]\nname = 'ünet'\n".encode("latin-1"))
    for path in (broken, binary, latin, tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(path) in str(caught.value)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf[network]\r\nwidth = 5\r\n")
    assert load_config(path).network.width == 5


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        Config().network.width = 3
    first, second = Config(), Config()
    first.data.classes.append("x")
    assert second.data.classes == [] and Config().data.classes == []


def test_whole_numbers_are_taken_where_numbers_are_asked_for():
    config = read_config({"train": {"minutes": 20}, "perturb": {"rotation": {"strength": 45}}})
    assert isinstance(config.train.minutes, float) and isinstance(config.perturb.rotation.strength, float)


numbers = {
    "network.width": st.integers(1, 512),
    "network.depth": st.integers(1, 8),
    "network.dropout": st.floats(0, 1),
    "network.activation": st.text(min_size=0, max_size=20),
    "perturb.rotation.strength": st.floats(0, 1e9),
    "perturb.hue.probability": st.floats(0, 1),
    "train.learning_rate": st.floats(1e-12, 10),
    "train.seed": st.integers(0, 2**32 - 1),
    "data.classes": st.lists(st.text(max_size=12), max_size=5),
    "data.value_range": st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    "predict.tta": st.booleans(),
}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), key=st.sampled_from(sorted(numbers)))
def test_any_allowed_value_survives_the_file(data, key, tmp_path_factory):
    value = data.draw(numbers[key])
    tables = value
    for part in reversed(key.split(".")):
        tables = {part: tables}
    config = read_config(tables)
    path = tmp_path_factory.mktemp("config") / "config.toml"
    save_config(config, path)
    assert load_config(path) == config
    found = config
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_replacing_a_value_keeps_the_rest():
    config = msgspec.structs.replace(Config(), network=msgspec.structs.replace(Config().network, width=3))
    assert dict(leaves(config.to_dict())) == {**DEFAULTS, "network.width": 3}
