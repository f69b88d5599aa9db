"""A training that stops by itself at the end of an epoch, and goes on to the very weights of one that did not."""

import numpy as np
import pytest
from helpers import call, scenes, tiny, train, weights_of

LENGTH = ("train.steps=6", "train.steps_per_epoch=2")


def test_pieces_give_the_weights_of_one_training(tmp_path, capsys):
    dataset = scenes(tmp_path / "scenes", 4)
    words = [*tiny(*LENGTH), "--val", "0.25"]
    whole = tmp_path / "whole"
    answer = call(capsys, "train", dataset, "--out", whole, *words)
    assert answer.code == 0, answer.err
    pieces = tmp_path / "pieces"
    first = call(capsys, "train", dataset, "--out", pieces, *words, "--pause", "0.0001")
    assert first.code == 130 and "1 finished epoch" in first.err and "--resume" in first.err
    second = call(capsys, "train", dataset, "--out", pieces, "--resume", "--pause", "0.0001")
    assert second.code == 130 and "2 finished epochs" in second.err
    train(capsys, dataset, pieces, "--resume", "--pause", "1000")
    for name, values in weights_of(whole).items():
        assert np.array_equal(values, weights_of(pieces)[name]), name


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_pause_is_a_number_of_minutes(tmp_path, capsys, minutes):
    dataset = scenes(tmp_path / "scenes", 3)
    answer = call(capsys, "train", dataset, "--out", tmp_path / "run", f"--pause={minutes}", *tiny())
    assert answer.code == 2 and "--pause" in answer.err and not (tmp_path / "run").exists()
