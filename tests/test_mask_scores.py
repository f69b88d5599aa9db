"""Masks scored as networks, and `evaluate --graph`."""

import json

import numpy as np
import pytest
from helpers import call, shared_run

from roadseg.roads.mask_scores import pool_networks, score_masks


def mask(*boxes, size=(200, 200)):
    """A mask with roads: rows and columns from-to of each."""
    found = np.zeros(size, bool)
    for top, bottom, left, right in boxes:
        found[top:bottom, left:right] = True
    return found


ACROSS = (96, 104, 0, 200)
DOWN = (0, 200, 96, 104)


def test_the_same_mask_scores_one_and_a_missing_road_less():
    cross = mask(ACROSS, DOWN)
    assert score_masks(cross, cross).apls.apls == 1
    found = score_masks(cross, mask(ACROSS))
    assert found.relaxed.precision == pytest.approx(1, abs=0.02)
    assert found.relaxed.recall == pytest.approx(0.5, abs=0.03)
    assert found.apls.truth_to_proposed < 0.5 < found.apls.proposed_to_truth


def test_distances_are_metres_where_the_resolution_is_known():
    truth, shifted = mask(ACROSS), mask((101, 109, 0, 200))  # 5 px lower
    assert score_masks(truth, shifted).relaxed.f1 == 0
    found = score_masks(truth, shifted, resolution=0.3)  # 1.5 m
    assert found.relaxed.f1 == 1
    assert found.relaxed.truth == pytest.approx(60, abs=3)


def test_pooling_weighs_by_length_and_says_both_means():
    long, nothing = mask(ACROSS, DOWN), mask()
    parts = {
        "right": score_masks(long, long),
        "wrong": score_masks(mask((96, 104, 60, 160)), nothing),
        "empty": score_masks(nothing, nothing),
    }
    whole = pool_networks(parts)
    right = parts["right"].relaxed
    wrong = parts["wrong"].relaxed
    share = (right.truth + right.proposed) / (right.truth + right.proposed + wrong.truth)
    assert whole["n_images_with_roads"] == 2
    assert whole["apls_mean"] == whole["relaxed_f1_mean"] == 0.5
    assert whole["apls"] == pytest.approx(share)
    assert whole["relaxed_precision"] == 1
    assert whole["relaxed_recall"] == pytest.approx(right.truth / (right.truth + wrong.truth))
    assert (whole["unit"], pool_networks(parts, resolution=0.3)["unit"]) == ("px", "m")
    assert whole["images"]["empty"]["apls"] == 1 and whole["images"]["wrong"]["apls"] == 0
    assert pool_networks({"empty": parts["empty"]})["apls"] == 1


def test_evaluate_scores_the_traced_roads(tmp_path_factory, capsys):
    dataset, run = shared_run(tmp_path_factory)
    answer = call(capsys, "evaluate", run, dataset, "--graph", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)["graph"]
    assert found["unit"] == "m"  # made scenes say their ground resolution
    assert 0 <= found["apls"] <= 1 and 0 <= found["relaxed_f1"] <= 1
    assert len(found["images"]) == json.loads(answer.out)["n_images"]
    told = call(capsys, "evaluate", run, dataset, "--graph")
    assert "traced roads: APLS" in told.out and "lengths pooled" in told.out
    plain = call(capsys, "evaluate", run, dataset, "--json")
    assert "graph" not in json.loads(plain.out)
