"""What the images suggest: crop, batch and class weights, and how they come into a run's configuration."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import blobs, call, scenes, tiny, toml, train
from hypothesis import given
from hypothesis import strategies as st

from roadseg.config import Config, read_config
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.fingerprint import Fingerprint, suggest, take_fingerprint
from roadseg.learning.plan import check_batch, check_crop, settle

Capture = pytest.CaptureFixture[str]
CIL = ((400, 400),) * 90


def seen(sizes: tuple[tuple[int, int], ...] = CIL, shares: tuple[float, ...] = (0.8, 0.2), memory: int = 2**34):
    names = tuple(f"class {k}" for k in range(len(shares)))
    return Fingerprint(sizes, names, shares, 3, memory)


def chosen(found: Fingerprint, *settings: str) -> tuple[int, int]:
    answer = suggest(found, read_config({}, settings))
    return answer.crop, answer.batch


def test_the_contest_gets_the_recipe_that_was_measured():
    found = suggest(seen(), Config())
    assert (found.crop, found.batch, found.class_weights) == (256, 8, "none")
    assert found.reasons["train.crop"] == found.reasons["train.batch"] == "the usual"


@pytest.mark.parametrize(
    ("side", "settings", "crop"),
    [
        (300, (), 256),
        (256, (), 256),
        (250, (), 224),
        (100, (), 96),
        (20, (), 32),  # the least that the network takes
        (20, ("network.stem=none", "network.depth=2"), 20),
        (1500, ("network.depth=8",), 512),
        (400, ("network.depth=8",), 512),
        (400, ("network.stem=none", "network.depth=3"), 256),
        (400, ("data.scale=0.5",), 192),  # of 200 px
    ],
)
def test_a_crop_is_256_px_or_what_fits_the_images_and_the_network(side, settings, crop):
    scale = read_config({}, settings).data.scale
    sizes = ((round(side * scale), round(1.5 * side * scale)),) * 50
    assert chosen(seen(sizes), *settings)[0] == crop


def test_a_few_small_images_do_not_make_the_crops_small():
    assert seen((*CIL, (30, 30), (90, 400))).side == 400
    assert seen(((400, 400),) * 2 + ((100, 100),) * 50).side == 100


def test_a_step_has_about_the_same_number_of_pixels_whatever_the_crop():
    many = ((300, 300),) * 500
    for side in (96, 128, 192, 224, 256, 320, 512):
        batch = chosen(seen(many), f"train.crop={side}")[1]
        assert batch * side**2 == pytest.approx(8 * 256**2, rel=0.12), side
    assert chosen(seen(((64, 64),) * 5000))[1] == 64  # and no more


def test_few_images_and_little_memory_make_small_batches():
    assert chosen(seen(CIL[:2])) == (256, 2)
    assert chosen(seen(CIL[:4])) == (256, 4)
    assert chosen(seen(memory=2**30)) == (256, 4)
    assert "1 GB of memory" in suggest(seen(memory=2**30), Config()).line()
    assert chosen(seen(memory=2**30), "network.stem=none") == (256, 1)


@given(
    side=st.integers(1, 2000),
    images=st.integers(1, 200),
    depth=st.integers(1, 8),
    devices=st.integers(1, 9),
    memory=st.integers(2**20, 2**40),
)
def test_whatever_is_suggested_can_be_trained(side, images, depth, devices, memory):
    config = read_config({"network": {"depth": depth}, "train": {"devices": devices}})
    found = suggest(seen(((side, 2 * side),) * images, memory=memory), config)
    settled = read_config(
        {"network": {"depth": depth}, "train": {"devices": devices, "crop": found.crop, "batch": found.batch}}
    )
    check_crop(settled)
    check_batch(settled)
    assert found.batch >= devices and set(found.reasons) == set(found.values())


@given(st.lists(st.floats(0.001, 1), min_size=3, max_size=9))
def test_weights_are_inverse_roots_with_a_mean_of_one_where_a_class_is_rare(raw):
    shares = tuple(np.asarray(raw) / sum(raw))
    weights = suggest(seen(shares=shares), Config()).class_weights
    if min(shares) >= 0.05:
        assert weights == "none"
        return
    assert np.dot(weights, shares) == pytest.approx(1, abs=1e-3)
    assert weights[0] / weights[1] == pytest.approx((shares[1] / shares[0]) ** 0.5, rel=1e-2)


def test_two_classes_have_no_weights_and_an_absent_class_has_weight_one():
    assert suggest(seen(shares=(0.999, 0.001)), Config()).class_weights == "none"
    weights = suggest(seen(shares=(0.6, 0.38, 0.02, 0.0)), Config()).class_weights
    assert weights[3] == 1 and weights[2] > weights[1] > weights[0]


def test_only_the_pairs_that_train_count_and_they_count_as_they_are_scaled(tmp_path: Path):
    opened = open_dataset(blobs(tmp_path / "a", 4, size=(40, 60)))
    found = take_fingerprint(opened, [0, 2], scale=0.5)
    assert found.sizes == ((20, 30), (20, 30)) and found.pixels == 1200 and found.memory > 0


def test_what_is_given_wins_and_what_is_left_open_is_filled_in(tmp_path: Path):
    opened = open_dataset(scenes(tmp_path / "data", 3))
    settled, line = settle(Config(), opened, [0, 1])
    assert (settled.train.crop, settled.train.batch, settled.loss.class_weights) == (64, 2, "none")
    for key in ("train.crop = 64 (", "train.batch = 2 (", "loss.class_weights = none (two classes)"):
        assert key in line
    own = read_config({}, ["train.crop=128", "train.batch=3", "loss.class_weights=balanced"])
    assert settle(own, opened, [0, 1]) == (own, "")
    half, line = settle(read_config({}, ["train.batch=3"]), opened, [0, 1])
    assert (half.train.crop, half.train.batch) == (64, 3) and "train.batch" not in line
    rest = msgspec.structs.replace(settled, train=Config().train, loss=Config().loss)
    assert rest == Config()


def test_training_says_what_it_chose_and_writes_it_into_the_run(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 4)
    words = ["--set", "network.width=4", "--set", "network.depth=2", "--set", "train.precision=float32"]
    dry = call(capsys, "train", dataset, "--out", tmp_path / "run", "--dry-run", *words)
    answer = train(capsys, dataset, tmp_path / "run", *words)
    line = next(line for line in answer.out.splitlines() if line.startswith("as the data suggests: "))
    assert "train.crop = 64 (" in line and "train.batch = 2 (" in line and line in dry.out.splitlines()
    assert "2 x 64x64" in dry.out
    written = toml(tmp_path / "run" / "config.toml")
    assert (written["train"]["crop"], written["train"]["batch"]) == (64, 2)
    assert written["loss"]["class_weights"] == "none"


def test_nothing_is_said_where_everything_is_given(tmp_path: Path, capsys: Capture) -> None:
    dataset = scenes(tmp_path / "data", 4)
    words = ["--dry-run", *tiny("loss.class_weights=none")]
    answer = call(capsys, "train", dataset, "--out", tmp_path / "run", *words)
    assert answer.code == 0 and "as the data suggests" not in answer.out


def test_several_unequal_classes_are_weighted_in_the_run(tmp_path: Path, capsys: Capture) -> None:
    dataset = blobs(tmp_path / "data", 4, size=(96, 96), classes=3)
    train(capsys, dataset, tmp_path / "run", *tiny())
    weights = toml(tmp_path / "run" / "config.toml")["loss"]["class_weights"]
    assert len(weights) == 3 and min(weights[1:]) > weights[0]


def test_real_sets_are_trained_as_before(real_data: Path, capsys: Capture, tmp_path: Path) -> None:
    if not (real_data / "cil").is_dir():
        pytest.skip("no cil/ in ROADSEG_DATA")
    answer = call(capsys, "train", real_data / "cil", "--out", tmp_path / "run", "--dry-run")
    assert answer.code == 0, answer.err
    assert "train.crop = 256 (the usual), train.batch = 8 (the usual), loss.class_weights = none" in answer.out
