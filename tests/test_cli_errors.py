"""Bad input and bad surroundings on the command line: exit code 2, one clear message, nothing left behind."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, call, files_in, python, scenes, shared_run, tiny
from PIL import Image

from roadseg.errors import RoadsegError

Capture = pytest.CaptureFixture[str]
Shared = tuple[Path, Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return shared_run(tmp_path_factory)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return blobs(tmp_path / "data", 4)


def refuse(capsys: Capture, root: Path, *words: object, parts: tuple[str, ...] = ()) -> str:
    """Run a command that must be refused with one message that holds `parts`, and that may leave nothing in `root`."""
    before = {name: (root / name).stat().st_mtime_ns for name in files_in(root)}
    folders = {p for p in root.rglob("*") if p.is_dir()}
    answer = call(capsys, *words)
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    messages = [line for line in answer.err.splitlines() if line.startswith(f"roadseg {words[0]}: ")]
    assert len(messages) == 1, answer.err
    assert all(part in answer.err for part in parts), answer.err
    assert {name: (root / name).stat().st_mtime_ns for name in files_in(root)} == before
    assert {p for p in root.rglob("*") if p.is_dir()} == folders
    return answer.err


# --- folders and files ------------------------------------------------------------------------------------------------


def missing(root: Path) -> None:
    shutil.rmtree(root)


def empty(root: Path) -> None:
    missing(root)
    root.mkdir()


def a_file(root: Path) -> None:
    missing(root)
    root.write_text("zip")


def other_suffixes(root: Path) -> None:
    for path in list(root.rglob("*.png")):
        path.rename(path.with_suffix(".gif"))


def unreadable(root: Path) -> None:
    (root / "images" / "site0_02.png").write_text("this is text, not a picture")


def empty_file(root: Path) -> None:
    (root / "images" / "site0_02.png").write_bytes(b"")


def truncated(root: Path) -> None:
    path = root / "masks" / "site0_02.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (48, 40), dtype=np.uint8) * 255).save(path)
    path.write_bytes(path.read_bytes()[:120])


def other_size(root: Path) -> None:
    Image.new("L", (39, 48)).save(root / "masks" / "site0_02.png")


def odd_values(root: Path) -> None:
    mask = np.asarray(Image.open(root / "masks" / "site0_02.png")).copy()
    mask[:3] = 77
    Image.fromarray(mask).save(root / "masks" / "site0_02.png")


def coloured(root: Path) -> None:
    Image.new("RGB", (40, 48), (200, 30, 40)).save(root / "masks" / "site0_02.png")


def orphan_image(root: Path) -> None:
    (root / "masks" / "site0_02.png").unlink()


def orphan_mask(root: Path) -> None:
    (root / "images" / "site0_02.png").unlink()


def one_stem_twice(root: Path) -> None:
    Image.open(root / "images" / "site0_02.png").save(root / "images" / "site0_02.jpg")


def all_background(root: Path) -> None:
    for path in (root / "masks").iterdir():
        Image.new("L", (40, 48)).save(path)


def broken_toml(root: Path) -> None:
    (root / "dataset.toml").write_text("classes = [")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (missing, ("does not exist",)),
        (empty, ("known layout", "Found: nothing")),
        (a_file, ("is a file",)),
        (other_suffixes, ("known layout", ".png")),
        (unreadable, ("site0_02.png",)),
        (empty_file, ("site0_02.png",)),
        (truncated, ("masks/site0_02.png",)),
        (other_size, ("39x48", "40x48", "resize or re-export")),
        (odd_values, ("masks/site0_02.png' holds the value 77", "expected 0, 255")),
        (coloured, ("site0_02.png", "coloured")),
        (orphan_image, ("image", "site0_02.png' has no mask", "--skip-bad")),
        (orphan_mask, ("mask", "site0_02.png' has no image", "--skip-bad")),
        (one_stem_twice, ("2 images are called 'site0_02'", "keep one")),
        (all_background, ("every mask is empty",)),
        (broken_toml, ("dataset.toml", "not TOML")),
    ],
)
def test_a_dataset_that_is_none_is_refused(
    tmp_path: Path, dataset: Path, capsys: Capture, spoil: Callable[[Path], None], parts: tuple[str, ...]
) -> None:
    spoil(dataset)
    words = ["train", dataset, "--out", tmp_path / "run", "--epochs", 1, *tiny()]
    refuse(capsys, tmp_path, *words, parts=(str(dataset), *parts))


def test_one_pair_cannot_be_split(tmp_path: Path, capsys: Capture) -> None:
    words = ["train", blobs(tmp_path / "data", 1), "--out", tmp_path / "run", *tiny()]
    refuse(capsys, tmp_path, *words, parts=("1 pair cannot be split", "--full"))


def test_images_to_predict_that_are_none_are_refused(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "table.csv").write_text("1,2")
    for name, part in (
        ("nowhere", "does not exist"),
        ("empty", "no image"),
        ("text.png", "text.png"),
        ("table.csv", "table.csv' is not an image"),
    ):
        refuse(capsys, tmp_path, "predict", shared[1], tmp_path / name, "--out", tmp_path / "out", parts=(part,))


# --- configuration and options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--set", "network.widht=8"], ("network.widht", "did you mean 'network.width'")),
        (["--set", "networks.width=8"], ("networks", "did you mean 'network'")),
        (["--set", "network.width=wide"], ("network.width", "'wide'", "int")),
        (["--set", "network.width=0"], ("network.width", "0", ">= 1")),
        (["--set", "network.dropout=1.5"], ("network.dropout", "1.5")),
        (["--set", "loss.name=focla"], ("loss.name", "focla", "did you mean 'focal'")),
        (["--set", "network.width"], ("section.key=value",)),
        (["--set", "network=3"], ("network=3", "section.key=value")),
        (["--set", "network.activation=relo"], ("network.activation = 'relo'", "did you mean 'relu'")),
        (["--set", "network.initializer=best"], ("network.initializer = 'best'",)),
        (["--set", "network.name=segnet"], ("network.name = 'segnet'", "unet")),
        (["--set", "train.crop=30"], ("train.crop = 30", "multiple of", "use 32")),
        (["--set", "data.value_range=[5, 1]"], ("data.value_range",)),
        (["--set", "data.classes=['road']"], ("data.classes", "two names")),
        (["--set", "data.bands=7"], ("3 bands, expected 7",)),
        (["--config", "nowhere.toml"], ("nowhere.toml",)),
        (["--fold", "7/5"], ("fold 7/5", "0..4")),
        (["--fold", "a/b"], ("fold 'a/b'", "K/N")),
        (["--fold", "0/9"], ("9 folds need 9 images", "found 4")),
        (["--fold-seed", "3"], ("--fold-seed needs --fold",)),
        (["--fold", "0/2", "--fold-seed", "-1"], ("seed -1",)),
        (["--val", "1.5"], ("--val 1.5",)),
        (["--val", "nan"], ("--val",)),
        (["--val-names", "nowhere.txt"], ("nowhere.txt",)),
        (["--group", "("], ("--group", "regular expression")),
        (["--group", "^site"], ("one group",)),
        (["--seed", "-1"], ("--seed -1",)),
        (["--full", "--seed", "-1"], ("--seed -1",)),
        (["--full", "--seed", "4294967296"], ("--seed 4294967296",)),
        (["--epochs", "0"], ("--epochs 0",)),
        (["--minutes", "0"], ("--minutes 0",)),
        (["--minutes", "inf"], ("--minutes",)),
        (["--init", "nowhere"], ("no model at 'nowhere'",)),
        (["--test", "nowhere"], ("'nowhere' does not exist",)),
        (["--submission", "x.csv"], ("--submission needs --test",)),
        (["--sample", "x.csv"], ("--sample needs --submission",)),
    ],
)
def test_a_wrong_setting_or_option_is_named(
    tmp_path: Path, dataset: Path, capsys: Capture, words: list[str], parts: tuple[str, ...]
) -> None:
    # what a test sets comes last and so wins over the tiny settings
    refuse(capsys, tmp_path, "train", dataset, "--out", tmp_path / "run", *tiny(), *words, parts=parts)


def test_a_wrong_key_in_a_file_is_named_with_the_file(tmp_path: Path, dataset: Path, capsys: Capture) -> None:
    file = tmp_path / "mine.toml"
    words = ["train", dataset, "--out", tmp_path / "run", "--config", file]
    file.write_text("[train]\nbach = 4\n")
    refuse(capsys, tmp_path, *words, parts=(str(file), "train.bach", "did you mean 'train.batch'"))
    file.write_text('[train]\nbatch = "four"\n')
    refuse(capsys, tmp_path, *words, parts=(str(file), "train.batch", "four"))
    file.write_text("[train\n")
    refuse(capsys, tmp_path, *words, parts=(str(file), "not TOML"))
    file.write_bytes(b"\xff\xfe\x00")
    refuse(capsys, tmp_path, *words, parts=(str(file), "not TOML"))


def test_too_few_minutes_say_what_a_step_takes(tmp_path: Path, dataset: Path, capsys: Capture) -> None:
    words = ["train", dataset, "--out", tmp_path / "run", "--minutes", 0.001, *tiny()]
    refuse(capsys, tmp_path, *words, parts=("--minutes 0.001 is too short", "give more minutes"))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "data", "--out", "run", "--colour", "red"],
        ["train", "data"],
        ["train", "data", "--out", "run", "--epochs", "many"],
        ["train", "data", "--out", "run", "--epochs", "1", "--minutes", "1"],
        ["train", "data", "--out", "run", "--val", "0.1", "--full"],
        ["trian", "data"],
        [],
    ],
)
def test_usage_errors_come_with_the_usage(capsys: Capture, words: list[str]) -> None:
    answer = call(capsys, *words)
    assert answer.code == 2 and answer.err.startswith("usage: roadseg") and answer.err.count("error:") == 1


@pytest.mark.parametrize("command", ["demo", "inspect", "train", "evaluate", "compare", "predict", "submit", "report"])
def test_every_command_has_help_with_an_example(capsys: Capture, command: str) -> None:
    answer = call(capsys, command, "--help")
    assert answer.code == 0 and f"example:\n  roadseg {command}" in answer.out and answer.err == ""


# --- what is there already, and where it goes -------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_not_trained_into(
    tmp_path: Path, dataset: Path, shared: Shared, capsys: Capture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(shared[1], run)
    words = ["train", dataset, "--epochs", 1, *tiny()]
    refuse(capsys, tmp_path, *words, "--out", run, parts=("holds a run already", "--resume"))
    refuse(capsys, tmp_path, *words, "--out", dataset, parts=("is not empty",))
    refuse(capsys, tmp_path, *words, "--out", dataset, "--dry-run", parts=("is not empty",))


def test_an_output_that_cannot_be_written_is_named_before_the_work(
    tmp_path: Path, dataset: Path, shared: Shared, capsys: Capture
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    images = dataset / "images"
    words = ["train", dataset, "--epochs", 1, *tiny()]
    for out, part in ((file, "is a file"), (file / "below", "file' is a file")):
        refuse(capsys, tmp_path, *words, "--out", out, parts=(part,))
        refuse(capsys, tmp_path, "predict", shared[1], images, "--out", out, parts=(str(file),))
    refuse(capsys, tmp_path, *words, "--out", "/proc/nowhere/run", parts=("/proc/nowhere/run",))
    refuse(capsys, tmp_path, "inspect", dataset, "--out", file / "sheet.png", parts=(str(file),))
    test = [*words, "--out", tmp_path / "run", "--test", images, "--submission"]
    refuse(capsys, tmp_path, *test, file / "s.csv", parts=("file' is a file",))
    refuse(capsys, tmp_path, *test, dataset, parts=("is a folder",))


def test_a_submission_that_will_not_fit_is_told_before_the_training(
    tmp_path: Path, dataset: Path, capsys: Capture
) -> None:
    words = ["train", dataset, "--out", tmp_path / "run", "--submission", tmp_path / "s.csv", *tiny(), "--test"]
    sample = tmp_path / "sample.csv"
    refuse(capsys, tmp_path, *words, dataset / "images", "--sample", sample, parts=("sample.csv': no such file",))
    sample.write_text("Id,Prediction\n009_0_0,0\n")
    refuse(capsys, tmp_path, *words, dataset / "images", parts=("both are image 0",))
    (tmp_path / "new").mkdir()
    shutil.copy(dataset / "images" / "site0_00.png", tmp_path / "new" / "test_1.png")
    refuse(capsys, tmp_path, *words, tmp_path / "new", "--sample", sample, parts=("sample.csv' lists images", "9"))
    (tmp_path / "new" / "test_1.png").rename(tmp_path / "new" / "test.png")
    refuse(capsys, tmp_path, *words, tmp_path / "new", parts=("has no number in its name",))


# --- models -----------------------------------------------------------------------------------------------------------


def text(path: Path, model: Path) -> None:
    path.write_text("I am no model")


def nothing(path: Path, model: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path, model: Path) -> None:
    whole = model.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def zeros_inside(path: Path, model: Path) -> None:
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, bytes(100) if name.endswith(".h5") else old.read(name))


def without_our_word(path: Path, model: Path) -> None:
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                data = json.dumps({k: v for k, v in json.loads(data).items() if k != "roadseg"}).encode()
            new.writestr(name, data)


def another_version(path: Path, model: Path) -> None:
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                data = data.replace(b'"version": 1', b'"version": 99')
            new.writestr(name, data)


def some_zip(path: Path, model: Path) -> None:
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("notes.txt", "hello")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (text, "is not a Keras model"),
        (nothing, "is not a Keras model"),
        (cut, "is not a Keras model"),
        (some_zip, "is not a Keras model"),
        (zeros_inside, "cannot be loaded as a Keras model"),
        (without_our_word, "roadseg did not write"),
        (another_version, "another version of roadseg"),
    ],
)
def test_a_file_that_is_no_model_of_ours_is_refused(
    tmp_path: Path, dataset: Path, shared: Shared, capsys: Capture, make: Callable[[Path, Path], None], part: str
) -> None:
    path = tmp_path / "other.keras"
    make(path, shared[1] / "model.keras")
    words = ["predict", path, dataset / "images", "--out", tmp_path / "out"]
    refuse(capsys, tmp_path, *words, parts=(part, "other.keras"))
    refuse(capsys, tmp_path, "evaluate", path, dataset, parts=(part, "other.keras"))
    if make in (text, zeros_inside):  # what is left out of other programs' models is not needed to start from them
        words = ["train", dataset, "--out", tmp_path / "run", "--init", path, *tiny()]
        refuse(capsys, tmp_path, *words, parts=("other.keras", "Keras model"))


def test_places_without_a_model_are_named(tmp_path: Path, dataset: Path, capsys: Capture) -> None:
    def predict(model: Path, part: str) -> None:
        words = ["predict", model, dataset / "images", "--out", tmp_path / "out"]
        refuse(capsys, tmp_path, *words, parts=(part, str(model)))
        refuse(capsys, tmp_path, "evaluate", model, dataset, parts=(part, str(model)))

    predict(tmp_path / "nowhere", "no model at")
    predict(dataset, "is a folder without a model.keras")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("")
    predict(tmp_path / "run", "--resume")
    refuse(capsys, tmp_path, "report", dataset, parts=(str(dataset),))


def test_a_damaged_configuration_of_a_run_is_named(tmp_path: Path, shared: Shared, capsys: Capture) -> None:
    shutil.copytree(shared[1], tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.json"
    metrics.unlink()
    (tmp_path / "run" / "config.toml").write_text("[train\n")
    words = ["train", shared[0], "--out", tmp_path / "run", "--resume"]
    refuse(capsys, tmp_path, *words, parts=("config.toml",))
    (tmp_path / "run" / "config.toml").write_text("")
    (tmp_path / "run" / "split.json").unlink()
    refuse(capsys, tmp_path, *words, parts=("split.json",))


# --- how errors are shown ---------------------------------------------------------------------------------------------


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from roadseg.commands import main

    with pytest.raises(RoadsegError, match="does not exist"):
        main(["inspect", str(tmp_path / "nowhere"), "--debug"])


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    dataset = scenes(tmp_path / "data", 2)
    code = "import sys, subprocess\np = subprocess.Popen([sys.executable, '-m', 'roadseg', *sys.argv[1:]], "
    code += "stdout=subprocess.PIPE, stderr=subprocess.PIPE)\np.stdout.close()\nerr = p.stderr.read().decode()\n"
    code += "print(p.wait(), repr(err))"
    done = python("-c", code, "inspect", str(dataset))
    assert done.stdout.strip() == "0 ''", done


# --- without a backend, and before one is loaded ----------------------------------------------------------------------

WITHOUT = """
import importlib.util, json, sys
hidden, find = set(sys.argv[1].split(",")), importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in hidden else find(name, *more)
from roadseg.commands import main
for words in json.loads(sys.argv[2]):
    print("CODE", main(words), flush=True)
    heavy = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    if heavy: print("LOADED", *words, heavy)
"""


def test_without_a_backend_the_extras_are_named(tmp_path: Path, dataset: Path, shared: Shared) -> None:
    commands = [
        ["train", str(dataset), "--out", str(tmp_path / "run")],
        ["predict", str(shared[1]), str(dataset / "images"), "--out", str(tmp_path / "out"), "--engine", "keras"],
        ["demo", "--out", str(tmp_path / "demo")],
    ]
    done = python("-c", WITHOUT, "tensorflow,jax,torch", json.dumps(commands))
    assert done.stdout.count("CODE 2") == 3 and "LOADED" not in done.stdout, done
    assert done.stderr.count("pip install 'roadseg[cpu]'") == 3 and "Traceback" not in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"data"}


def test_a_backend_that_is_none_is_named(tmp_path: Path, dataset: Path) -> None:
    commands = json.dumps([["train", str(dataset), "--out", str(tmp_path / "run")]])
    done = python("-c", WITHOUT, "", commands, KERAS_BACKEND="nonsense")
    assert "CODE 2" in done.stdout and "KERAS_BACKEND=nonsense" in done.stderr and "tensorflow, jax" in done.stderr
    lacking = python("-c", WITHOUT, "torch", commands, KERAS_BACKEND="torch")
    assert "CODE 2" in lacking.stdout and "roadseg[torch]" in lacking.stderr
    assert not (tmp_path / "run").exists()


def test_what_can_be_known_before_is_told_before_keras_is_loaded(tmp_path: Path, dataset: Path, shared: Shared) -> None:
    scenes_, run = shared
    (tmp_path / "text.keras").write_text("no model")
    trained = tmp_path / "trained"
    for kind in ("images", "masks"):
        (trained / kind).mkdir(parents=True)
        for item in json.loads((run / "split.json").read_text())["train"]:
            shutil.copy(scenes_ / kind / f"{item['stem']}.png", trained / kind)
    out = ["--out", str(tmp_path / "out")]
    bad: list[list[object]] = [
        ["train", tmp_path / "nowhere", *out],
        ["train", dataset, "--out", run],
        ["train", dataset, "--out", tmp_path / "text.keras" / "below"],
        ["train", dataset, *out, "--set", "network.widht=3"],
        ["train", dataset, *out, "--set", "train.crop=30"],
        ["train", dataset, *out, "--fold", "7/5"],
        ["train", dataset, *out, "--init", tmp_path / "nowhere"],
        ["train", dataset, *out, "--init", tmp_path / "text.keras"],
        ["train", dataset, *out, "--test", tmp_path / "nowhere"],
        ["train", dataset, *out, "--resume"],
        ["evaluate", tmp_path / "nowhere", dataset],
        ["evaluate", tmp_path / "text.keras", dataset],
        ["evaluate", run, tmp_path / "nowhere"],
        ["evaluate", run, trained],
        ["evaluate", run, dataset, "--threshold", "2"],
        ["predict", tmp_path / "nowhere", dataset / "images", *out],
        ["predict", tmp_path / "text.keras", dataset / "images", *out],
        ["predict", run, tmp_path / "nowhere", *out],
        ["compare", run],
        ["compare", run, dataset],
        ["inspect", tmp_path / "nowhere"],
        ["report", tmp_path / "nowhere"],
        ["submit", tmp_path / "nowhere", "--out", tmp_path / "s.csv"],
    ]
    done = python("-c", WITHOUT, "", json.dumps([[str(word) for word in words] for words in bad]))
    assert done.stdout.count("CODE 2") == len(bad), done
    assert "LOADED" not in done.stdout, done.stdout
    messages = [line for line in done.stderr.splitlines() if re.match(r"roadseg \w+: ", line)]
    assert len(messages) == len(bad) and "Traceback" not in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"data", "text.keras", "trained"}
