"""Error analysis of held-out images: distances, shares, worst images, suspected label errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import files_in
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image

from roadseg.errors import DataError
from roadseg.imagery.dataset import Sample
from roadseg.imagery.masks import IGNORED
from roadseg.imagery.scenes import make_scene
from roadseg.studies.label_errors import KINDS, border_distances, find_suspects
from roadseg.studies.mistakes import analyse

Mask = np.ndarray


def sample(stem: str, mask: Mask, image: np.ndarray | None = None) -> Sample:
    shown = np.zeros((*mask.shape, 3), np.uint8) if image is None else image
    known = mask != IGNORED
    return Sample(stem, shown, mask.astype(np.uint8), None if known.all() else known, stem)


def sure(*roads: Mask, p: float = 0.97) -> np.ndarray:
    """Probabilities of trainings that are sure of these roads: (S, H, W)."""
    return np.stack([np.where(road == 1, p, 1 - p) for road in roads]).astype(np.float32)


def stripe(size: int, top: int, bottom: int) -> Mask:
    mask = np.zeros((size, size), np.uint8)
    mask[top:bottom] = 1
    return mask


def test_removed_and_invented_roads_rank_first(tmp_path: Path) -> None:
    """Labels of made scenes damaged on purpose, seen by three seeds that are right but for their borders."""
    items, rng = [], np.random.default_rng(3)
    for number in range(4):
        image, grey = make_scene(40 + number, 160)
        truth = (grey > 0).astype(np.uint8)
        label = truth.copy()
        if number == 1:
            label[:80] = 0  # roads of the upper half forgotten
        if number == 2:
            label[100:120, 10:150] = 1  # a road that is not there
        seeds = [np.roll(truth, shift, axis) for shift, axis in ((0, 0), (1, 0), (1, 1))]
        noise = rng.uniform(-0.02, 0.02, (3, 160, 160)).astype(np.float32)
        items.append((sample(f"s{number}", label, image), sure(*seeds) + noise))
    found = analyse(items, tmp_path, 0.5, seeds=(0, 1, 2))
    ranked = found["label_errors"]["ranked"]
    assert {(entry["stem"], entry["kind"]) for entry in ranked[:2]} == {("s1", KINDS[1]), ("s2", KINDS[0])}
    assert {entry["stem"] for entry in ranked} == {"s1", "s2"}
    x0, y0, x1, y1 = next(entry["box"] for entry in ranked if entry["stem"] == "s2")
    assert 10 <= x0 < x1 <= 150 and 100 <= y0 < y1 <= 120
    assert next(y1 for e in ranked if e["stem"] == "s1" for *_, y1 in [e["box"]]) <= 81
    assert found["errors"]["in_suspected_labels"] > found["errors"]["wrong"] / 3
    for entry in ranked:
        with Image.open(tmp_path / entry["picture"]) as picture:
            assert picture.width > 3 * 200
    assert found == json.loads((tmp_path / "mistakes.json").read_text())
    assert found["seeds"] == [0, 1, 2]


def test_one_seed_that_doubts_clears_a_label() -> None:
    label, seen = np.zeros((64, 64), np.uint8), stripe(64, 20, 40)
    assert [s.kind for s in find_suspects(label, sure(seen, seen))] == [KINDS[1]]
    assert not find_suspects(label, sure(seen, label))
    unsure = sure(seen, seen)
    unsure[1, 20:40] = 0.85
    assert not find_suspects(label, unsure)
    assert not find_suspects(stripe(64, 23, 37), sure(seen))  # within 3 px of the labelled road: a matter of taste
    assert not find_suspects(np.full((64, 64), IGNORED, np.uint8), sure(seen))


def test_the_region_of_a_suspect_is_what_is_doubted() -> None:
    label, seen = stripe(64, 10, 40), np.zeros((64, 64), np.uint8)
    (suspect,) = find_suspects(label, sure(seen, p=0.99))
    assert suspect.kind == KINDS[0]
    assert suspect.box == (0, 13, 64, 37)  # 3 px off both borders; the image's edge is none
    assert suspect.pixels == 64 * 24 and suspect.region.all()
    assert suspect.score == pytest.approx(0.99 * suspect.pixels, rel=1e-5)
    assert not find_suspects(label, sure(seen), smallest=suspect.pixels + 1)


def test_distances_are_measured_to_the_border_line() -> None:
    inside, outside = border_distances(stripe(20, 8, 12))
    assert inside[8:12, 3].tolist() == [0.5, 1.5, 1.5, 0.5]
    assert outside[:8, 3].tolist() == [7.5, 6.5, 5.5, 4.5, 3.5, 2.5, 1.5, 0.5]
    assert np.isinf(border_distances(np.zeros((4, 4), np.uint8))[1]).all()
    beside = stripe(20, 8, 12)
    beside[:8] = IGNORED
    assert border_distances(beside)[0][8:12, 3].tolist() == [3.5, 2.5, 1.5, 0.5]  # what is unlabelled is no border


def test_a_shifted_prediction_is_wrong_at_the_border_only(tmp_path: Path) -> None:
    truth = stripe(64, 20, 40)
    found = analyse([(sample("a", truth), sure(np.roll(truth, 2, 0)))], tmp_path, 0.5)
    rows = {(row["side"], row["from"]): row for row in found["by_distance"]}
    assert {place: row["errors"] for place, row in rows.items() if row["errors"]} == {
        **{("road", 0): 64, ("road", 1): 64, ("background", 0): 64, ("background", 1): 64}
    }
    assert rows["road", 0]["error_share"] == 0.5 and rows["road", 4]["error_share"] == 0
    assert [row["side"] for row in found["by_distance"]] == ["road"] * 6 + ["background"] * 6
    assert [near["errors"] for near in found["near_border"]] == [1, 1]
    assert found["near_border"][0]["pixels"] == pytest.approx(8 / 64)
    assert found["errors"] == {
        **{"pixels": 4096, "wrong": 256, "missed": 128, "false_alarms": 128, "in_suspected_labels": 0}
    }


def test_images_are_grouped_by_road_share_and_scored_together(tmp_path: Path) -> None:
    truths = {
        "none": stripe(100, 0, 0),
        "some": stripe(100, 40, 48),
        "more": stripe(100, 40, 49),
        "most": stripe(100, 0, 90),
    }
    items = [(sample(stem, truth), sure(np.roll(truth, 4, 0))) for stem, truth in truths.items()]
    found = analyse(items, tmp_path, 0.5)
    rows = found["by_road_share"]
    assert [row["images"] for row in rows] == [1, 2, 0, 0, 1]
    assert rows[1]["pixel_f1"] == pytest.approx(2 * 900 / (2 * 900 + 1600)) and rows[2]["pixel_f1"] is None
    assert found["images"]["some"]["road_share"] == pytest.approx(0.08)
    assert found["images"]["some"]["missed"] == found["images"]["some"]["false_alarms"] == 400


def test_the_worst_images_are_ranked_and_drawn(tmp_path: Path) -> None:
    truth = stripe(48, 10, 30)
    items = [(sample(f"n{k:02d}", truth), sure(np.roll(truth, k, 0))) for k in range(15)]
    big = np.zeros((96, 96), np.uint8)
    big[:90] = 1
    items.append((sample("big", big), sure(stripe(96, 0, 70))))
    found = analyse(items[::-1], tmp_path, 0.5)
    worst = found["worst"]
    assert worst["by_iou"] == [f"n{k:02d}" for k in range(14, 2, -1)]
    assert worst["by_wrong_pixels"][0] == "big"
    assert list(worst["overlays"])[:3] == ["n14", "big", "n13"] and len(worst["overlays"]) == 12
    assert files_in(tmp_path) == {"mistakes.json", *worst["overlays"].values(), *labels(found)}
    with Image.open(tmp_path / "mistakes" / "n14_overlay.png") as picture:
        assert picture.size == (48, 48)


def labels(found: dict[str, Any]) -> list[str]:
    return [entry["picture"] for entry in found["label_errors"]["ranked"] if entry["picture"]]


def test_at_most_24_suspects_have_pictures_and_old_ones_go(tmp_path: Path) -> None:
    nothing = np.zeros((64, 64), np.uint8)
    items = [(sample(f"a{k:02d}", nothing), sure(stripe(64, 10, 20 + k))) for k in range(30)]
    found = analyse(items, tmp_path, 0.5)
    ranked = found["label_errors"]["ranked"]
    assert [entry["stem"] for entry in ranked] == [f"a{k:02d}" for k in range(29, -1, -1)]
    assert labels(found) == [f"mistakes/label_{n}.png" for n in range(1, 25)] and ranked[24]["picture"] is None
    (tmp_path / "mistakes" / "note.txt").write_text("mine")
    found = analyse(items[:2], tmp_path, 0.5)
    pictures = {"mistakes/label_1.png", "mistakes/label_2.png", *found["worst"]["overlays"].values()}
    assert files_in(tmp_path) == {"mistakes.json", "mistakes/note.txt", *pictures}


def test_what_is_unlabelled_counts_nowhere(tmp_path: Path) -> None:
    truth = stripe(64, 20, 40)
    seen = truth.copy()
    seen[50:] = 1
    mask = truth.copy()
    mask[45:] = IGNORED
    found = analyse([(sample("a", mask), sure(seen))], tmp_path, 0.5)
    assert found["errors"]["pixels"] == 45 * 64 and found["errors"]["wrong"] == 0
    assert found["label_errors"]["ranked"] == [] and found["near_border"][0]["errors"] is None
    assert sum(row["pixels"] for row in found["by_distance"]) == 45 * 64
    nothing = analyse([(sample("b", np.full((8, 8), IGNORED)), sure(np.zeros((8, 8))))], tmp_path, 0.5)
    assert nothing["errors"]["pixels"] == 0 and nothing["worst"]["overlays"] == {}


def test_of_several_classes_only_scores_are_written(tmp_path: Path) -> None:
    mask = stripe(32, 0, 10)
    mask[20:] = 2
    one_hot = np.eye(3, dtype=np.float32)[np.where(mask == 2, 1, mask)].transpose(2, 0, 1)
    found = analyse([(sample("a", mask), one_hot[None])], tmp_path, 0.5)
    assert "several classes" in found["note"] and "by_distance" not in found
    assert found["images"]["a"]["pixel_accuracy"] == pytest.approx(20 / 32)
    assert files_in(tmp_path) == {"mistakes.json"}


def test_two_classes_may_be_given_as_such(tmp_path: Path) -> None:
    truth = stripe(48, 10, 30)
    road = sure(np.roll(truth, 3, 0), np.roll(truth, 5, 0))
    found = [analyse([(sample("a", truth), p)], tmp_path, 0.5) for p in (road, np.stack([1 - road, road], 1))]
    assert found[0] == found[1] and found[0]["errors"]["wrong"] > 0


def test_probabilities_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    good, three = sample("odd one", stripe(8, 0, 4)), sample("odd one", np.full((8, 8), 3))
    for item, probabilities, words in (
        (good, np.zeros((1, 8, 9), np.float32), "expected \\(seeds, 8, 8\\)"),
        (good, np.zeros((8, 8), np.float32), "have shape"),
        (good, np.zeros((0, 8, 8), np.float32), "have shape"),
        (three, np.zeros((1, 8, 8), np.float32), "class 3"),
    ):
        with pytest.raises(DataError, match=f"'odd one'.*{words}"):
            analyse([(item, probabilities)], tmp_path, 0.5)
    with pytest.raises(DataError, match="2 seeds"):
        analyse([(good, np.zeros((1, 8, 8), np.float32))], tmp_path, 0.5, seeds=(0, 1))
    with pytest.raises(DataError, match="no held-out images"):
        analyse([], tmp_path, 0.5)
    assert not files_in(tmp_path)


def test_an_analysis_that_fails_leaves_the_one_before_whole(tmp_path: Path) -> None:
    truth = stripe(64, 20, 40)
    analyse([(sample("a", truth), sure(np.roll(truth, 9, 0)))], tmp_path, 0.5)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    bad = [(sample("b", truth), sure(truth)), (sample("c", truth), np.zeros((1, 2, 2), np.float32))]
    with pytest.raises(DataError):
        analyse(bad, tmp_path, 0.5)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


SHAPES = nps.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
MASKS = SHAPES.flatmap(lambda shape: nps.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, IGNORED])))


@settings(max_examples=40, deadline=None)
@given(st.lists(MASKS, min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 99), st.floats(0.1, 0.9))
def test_every_way_of_counting_adds_up_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, masks: list[Mask], seeds: int, chance: int, threshold: float
) -> None:
    out = tmp_path_factory.mktemp("m")
    rng = np.random.default_rng(chance)
    items = [(sample(f"i{k}", m), rng.random((seeds, *m.shape), np.float32)) for k, m in enumerate(masks)]
    found = analyse(iter(items), out, threshold)
    labelled = sum(int((m != IGNORED).sum()) for m in masks)
    wrong = sum(
        int((((p.mean(0, dtype=np.float32) > threshold) != (s.mask == 1)) & (s.mask != IGNORED)).sum())
        for s, p in items
    )
    rows, images, errors = found["by_distance"], found["images"].values(), found["errors"]
    assert errors["pixels"] == sum(r["pixels"] for r in rows) == sum(i["pixels"] for i in images) == labelled
    assert errors["wrong"] == sum(r["errors"] for r in rows) == sum(i["wrong"] for i in images) == wrong
    assert errors["wrong"] == errors["missed"] + errors["false_alarms"]
    road = sum(int((m == 1).sum()) for m in masks)
    assert sum(r["pixels"] for r in rows if r["side"] == "road") == road
    assert sum(r["images"] for r in found["by_road_share"]) == sum(bool((m != IGNORED).any()) for m in masks)
    assert analyse(items[::-1], out, threshold) == found  # whatever the order
