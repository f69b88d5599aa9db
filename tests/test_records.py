"""What is kept of a training in a study."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers import shared_run, tiny_config

from roadseg.errors import ConfigError, RunError
from roadseg.studies.records import METRICS, ImageRecord, digest, pooled, read_records, record_of, write_record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_run(tmp_path_factory)[1]


def recorded(run: Path, **more: object):
    known = {"variant": "baseline", "fold": 1, "folds": 3, "fold_seed": 43, "seed": 0, "asked": tiny_config()}
    return record_of(run, **(known | more))


def test_a_record_has_the_scores_of_the_run(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    record = recorded(run)
    for metric in METRICS:
        assert record.score(metric) == pytest.approx(metrics[metric], abs=1e-6)
    for stem, image in record.images.items():
        assert image.scores().to_dict()["pixel_iou"] == pytest.approx(metrics["images"][stem]["pixel_iou"], abs=1e-6)
    assert record.place == (43, 1, 0) and record.n_train == 4 and record.image_s > 0
    assert pooled(record.images.values()).images == 2


def test_patches_of_more_than_two_classes_have_no_score(run: Path) -> None:
    record = recorded(run)
    matrix = np.diag([5, 6, 7]).tolist()
    several = {stem: ImageRecord(image.hash, matrix, [[1, 0], [0, 1]]) for stem, image in record.images.items()}
    three = msgspec.structs.replace(record, images=several)
    assert three.classes == 3 and three.score("pixel_f1") == 1
    for metric in ("patch_f1", "patch_accuracy", "pixel_f2"):
        with pytest.raises(ConfigError, match=rf"metric '{metric}': expected one of pixel_f1, .* \(of 3 classes\)"):
            three.score(metric)


def test_a_record_comes_back_from_its_file(run: Path, tmp_path: Path) -> None:
    record = recorded(run)
    write_record(record, tmp_path / "a.json")
    assert read_records([tmp_path / "a.json"]) == [record]
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert all(any(stem in line and "pixels" in line for line in lines) for stem in record.images)  # a line an image


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fold0_seed0.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"fold0_seed0\.json.*remove it"):
        read_records([path])


def test_a_record_of_another_version_is_refused(run: Path, tmp_path: Path) -> None:
    write_record(msgspec.structs.replace(recorded(run), version=99), tmp_path / "a.json")
    with pytest.raises(RunError, match="another version"):
        read_records([tmp_path / "a.json"])


def test_an_unfinished_run_has_no_record(run: Path, tmp_path: Path) -> None:
    for name in ("config.toml", "split.json"):
        (tmp_path / name).write_text((run / name).read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"complete": False}))
    with pytest.raises(RunError, match="not finished"):
        recorded(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"complete": True}))
    with pytest.raises(RunError, match="no complete record"):
        recorded(tmp_path)


def test_the_digest_leaves_out_the_seed_and_nothing_else() -> None:
    base = digest(tiny_config())
    assert digest(tiny_config("train.seed=7")) == base
    assert digest(tiny_config("train.steps=7")) != base
    assert digest(tiny_config("network.activation=leaky_relu")) != base
