"""`roadseg demo`, with few and small scenes and a tiny network."""

from functools import partial
from pathlib import Path

import pytest
from helpers import call, files_in, tiny_config
from PIL import Image

from roadseg import api, demo
from roadseg.imagery import scenes
from roadseg.learning import trainer

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer.Plan.of
    monkeypatch.setattr(demo, "SCENES", 4)
    monkeypatch.setattr(demo, "UNSEEN", 2)
    monkeypatch.setattr(scenes, "write_scenes", partial(scenes.write_scenes, size=64))
    monkeypatch.setattr(api, "Config", tiny_config)
    monkeypatch.setattr(trainer.Plan, "of", lambda steps, coverage: made(min(steps, coverage), coverage))


def test_the_demo_makes_every_file_that_it_names(tmp_path: Path, small: None, capsys: Capture) -> None:
    out = tmp_path / "demo"
    answer = call(capsys, "demo", "--out", out, "--minutes", 1)
    assert answer.code == 0, answer.err
    listed = answer.out.partition("what was made:")[2].split()
    named = [Path(word) for word in listed if word.startswith(str(out))]
    assert len(named) == 6 and all(path.exists() for path in named)
    assert "2 unseen scenes: pixel F1" in answer.out and "roadseg train path/to/dataset" in answer.out
    assert {p.name for p in (out / "masks").iterdir()} >= {"scene_001.png", "scene_001_prob.png", "predict.json"}
    lines = (out / "submission.csv").read_text().splitlines()
    assert lines[0] == "id,prediction" and len(lines) == 1 + 2 * 16
    with Image.open(out / "demo.png") as sheet:
        assert sheet.mode == "RGB"
    learnt = {p.read_bytes() for p in (out / "scenes" / "images").iterdir()}
    assert not learnt & {p.read_bytes() for p in (out / "unseen" / "images").iterdir()}


def test_the_demo_does_not_write_among_other_files(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    answer = call(capsys, "demo", "--out", tmp_path)
    assert answer.code == 2 and "is not empty" in answer.err and "--out" in answer.err
    assert files_in(tmp_path) == {"mine.txt"}
    into = call(capsys, "demo", "--out", tmp_path / "mine.txt")
    assert into.code == 2 and "mine.txt' is a file" in into.err


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes=-1"], ["--minutes", "nan"], ["--seed=-1"]])
def test_options_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: Capture, words: list[str]
) -> None:
    answer = call(capsys, "demo", "--out", tmp_path / "demo", *words)
    assert answer.code == 2 and words[0].split("=")[0] in answer.err
    assert not (tmp_path / "demo").exists()


def test_a_training_that_cannot_be_takes_the_scenes_away_again(
    tmp_path: Path, small: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "Config", partial(tiny_config, "train.crop=30"))
    answer = call(capsys, "demo", "--out", tmp_path / "demo")
    assert answer.code == 2 and "train.crop = 30" in answer.err
    assert not (tmp_path / "demo").exists()
