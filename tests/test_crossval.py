"""`roadseg crossval`: what is trained, what is kept, and that its scores are those of the models on unseen images."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINIEST, blobs, call, files_in, scenes, tiny, tiny_config

import roadseg
from roadseg.config import read_config
from roadseg.errors import ConfigError, DataError, RunError
from roadseg.studies import crossval as crossval_module
from roadseg.studies import out_of_fold
from roadseg.studies.asked import check_jobs, state_of, write_asked
from roadseg.studies.crossval import CrossValidation, describe_crossval
from roadseg.studies.crossval_plan import plan_crossval
from roadseg.studies.jobs import Job, Outcome
from roadseg.studies.out_of_fold import read_map

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
CONFIG = tiny_config("train.steps=6", "train.steps_per_epoch=6")
SEEDS = (3, 5)


_networks: dict[tuple[int, int], Any] = {}


def write_run(job: Job) -> None:
    """What a training leaves behind, with weights that are drawn by its fold and seed: Keras need not compile one."""
    import keras

    from roadseg.learning.evaluator import Evaluator
    from roadseg.learning.job import prepare_training
    from roadseg.learning.record import run_record
    from roadseg.learning.runs import ModelInfo, RunFolder, save_model
    from roadseg.networks import build_network

    options: Any = {"fold": job.fold, "fold_seed": job.fold_seed, "group": job.group}
    prepared = prepare_training(job.dataset, job.out, job.config, **options)
    data, config = prepared.dataset, prepared.config
    train, val = (data.read_all(part) for part in (prepared.split.train, prepared.split.val))
    key = config.network.depth, len(data.classes)
    if key not in _networks:
        keras.utils.set_random_seed(0)
        _networks[key] = build_network(config.network, classes=len(data.classes))
    model, rng = _networks[key], np.random.default_rng([config.train.seed, *job.fold])
    model.set_weights([w * rng.uniform(0.5, 1.5, w.shape) + rng.normal(0, 0.03, w.shape) for w in model.get_weights()])
    info = ModelInfo(classes=data.classes, multiple=config.network.multiple, trained_on=tuple(s.hash for s in train))
    results = [result.scored for result in Evaluator(model, info, config.predict, None)(val)]
    folder = RunFolder.create(job.out)
    sides = {"train": prepared.split.train, "val": prepared.split.val}
    folder.write_split({name: [data.entry(k) for k in part] for name, part in sides.items()})
    folder.write_config(config)
    save_model(model, folder.model, info)
    done = {"complete": True, "epochs": 1, "steps": 6, "parameters": model.count_params(), "n_train": len(train)}
    times = {"training_s": 1.0, "total_s": 2.0}
    machine = {"precision": "float32", "devices": 1}
    folder.write_metrics(run_record(results, data.classes, config.predict.threshold, done, times, machine))


def makes_runs(made: list[str], fails: tuple[str, ...] = ()) -> Callable[..., list[Outcome]]:
    """A stand-in for `run_jobs`."""

    def run(
        jobs: Sequence[Job], *, workers: int, dask: str | None, on_done: Callable[[Outcome], None]
    ) -> list[Outcome]:
        check_jobs(jobs)
        outcomes = []
        for job in jobs:
            if state_of(job) == "finished":
                outcome = Outcome(job, "kept")
            elif job.name in fails:
                outcome = Outcome(job, "failed", "out of memory in training with batch 2")
            else:
                write_asked(job)
                write_run(job)
                made.append(job.name)
                outcome = Outcome(job, "trained", seconds=1.0)
            on_done(outcome)
            outcomes.append(outcome)
        return outcomes

    return run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("data") / "town", 5)


@pytest.fixture(scope="module")
def done(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """Two folds and two seeds of five images, with everything that can be asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval_module, "run_jobs", makes_runs([]))
        return roadseg.crossval(
            dataset, tmp_path_factory.mktemp("out") / "cv", CONFIG, folds=2, seeds=SEEDS, tta=True, ensemble=True
        )


def run_of(found: CrossValidation, fold: int, seed: int) -> Path:
    return found.path / f"fold_{fold}_seed_{seed}"


def test_every_image_is_held_out_once(done: CrossValidation, dataset: Path) -> None:
    stems = sorted(p.stem for p in (dataset / "images").iterdir())
    for seed in SEEDS:
        runs = [r for r in done.content["runs"] if r["seed"] == seed]
        assert sorted(stem for r in runs for stem in r["images"]) == stems
        assert [r["fold"] for r in runs] == [0, 1]
    maps = {f"{stem}.tif" for stem in stems}
    for kind in ("out_of_fold", "out_of_fold_tta"):
        everywhere = {f"seed_{seed}/{name}" for seed in SEEDS for name in maps}
        assert files_in(done.path / kind) == maps | everywhere | {"index.json"}
    for name in ("crossval.json", "calibration.json", "mistakes.json", "report.html", "ensemble.keras"):
        assert (done.path / name).is_file(), name


def test_maps_are_what_the_model_that_has_not_seen_the_image_says(done: CrossValidation, dataset: Path) -> None:
    for tta, kind in ((False, "out_of_fold"), (True, "out_of_fold_tta")):
        run = run_of(done, 1, 5)
        held_out = [item["stem"] for item in json.loads((run / "split.json").read_text())["val"]]
        stem = held_out[0]
        sample = next(s for s in roadseg.open_dataset(dataset).read_all(range(5)) if s.stem == stem)
        expected = roadseg.load(run, engine="keras", tta=tta).probabilities(sample.image)
        found = read_map(done.path / kind / "seed_5" / f"{stem}.tif")
        assert found.dtype == np.uint16 and found.shape == expected.shape
        np.testing.assert_allclose(found / 65535, expected, atol=1e-5)
        other = read_map(done.path / kind / "seed_3" / f"{stem}.tif")
        assert np.abs(other.astype(int) - found).max() > 50  # else the mean shows nothing
        mean = (found.astype(float) + other) / 2
        np.testing.assert_allclose(read_map(done.path / kind / f"{stem}.tif"), mean, atol=0.51)


def test_single_scores_are_those_of_the_runs_and_of_evaluate(done: CrossValidation, dataset: Path) -> None:
    single, tta = done.scores["single"], done.scores["tta"]
    for fold in (0, 1):
        own = [json.loads((run_of(done, fold, seed) / "metrics.json").read_text()) for seed in SEEDS]
        turned = [roadseg.evaluate(run_of(done, fold, seed), dataset, tta=True) for seed in SEEDS]
        for name in ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1"):
            assert single["per_fold"][fold][name] == pytest.approx(np.mean([m[name] for m in own]), abs=2e-6)
            assert tta["per_fold"][fold][name] == pytest.approx(np.mean([m[name] for m in turned]), abs=2e-3)
        assert single["per_fold"][fold]["n_images"] == own[0]["n_images"]
    for scored in done.scores.values():
        values = [row["pixel_f1"] for row in scored["per_fold"]]
        assert scored["mean"]["pixel_f1"] == pytest.approx(np.mean(values))
        assert scored["sd"]["pixel_f1"] == pytest.approx(np.std(values, ddof=1))
        assert scored["pooled"]["n_images"] == 5


def test_scores_of_the_mean_are_counted_anew(done: CrossValidation, dataset: Path) -> None:
    """Pooled over all images, pixel by pixel; the maps of a run give its own scores."""
    opened = roadseg.open_dataset(dataset)
    samples = opened.read_all(range(5))

    def f1(folder: Path) -> float:
        hits = wrong = 0
        for sample in samples:
            found = read_map(folder / f"{sample.stem}.tif")[..., 0] > 0.5 * 65535
            hits += int((found & (sample.mask == 1)).sum())
            wrong += int((found != (sample.mask == 1)).sum())
        return 2 * hits / (2 * hits + wrong)

    maps, turned = done.path / "out_of_fold", done.path / "out_of_fold_tta"
    assert list(done.scores) == ["single", "tta", "seeds", "seeds_tta"]
    assert done.scores["seeds"]["pooled"]["pixel_f1"] == pytest.approx(f1(maps))
    assert done.scores["seeds_tta"]["pooled"]["pixel_f1"] == pytest.approx(f1(turned))
    single = np.mean([f1(maps / f"seed_{seed}") for seed in SEEDS])
    assert done.scores["single"]["pooled"]["pixel_f1"] == pytest.approx(single, abs=1e-3)
    calibration = json.loads((done.path / "calibration.json").read_text())
    assert calibration == done.calibration and calibration["n_pixels"] == 5 * 64 * 64
    assert calibration["thresholds"]["pixel_f1"]["score_at_half"] == pytest.approx(f1(maps))


def test_the_record_says_what_was_done(done: CrossValidation) -> None:
    content = json.loads((done.path / "crossval.json").read_text())
    assert content == done.content and content["kind"] == "crossval"
    assert content["dataset"]["name"] == "town" and content["dataset"]["summary"].startswith("town: 5 pairs")
    assert (content["folds"], content["fold_seed"], content["seeds"]) == (2, 43, [3, 5])
    assert content["length"] == "6 steps a fold"
    assert content["recipe"]["network"]["width"] == 4 and content["recipe"]["train"]["minutes"] == 0
    assert repr(done).startswith(f"CrossValidation('{done.path}': 2 folds, 2 seeds)\n")
    lines = done.table().splitlines()
    row = done.scores["single"]["per_fold"][0]
    assert lines[1].split()[:3] == ["fold", "0", f"{row['pixel_f1']:.4f}"]
    assert "all background" in lines[0] and any(line.startswith("mean ± sd") for line in lines)
    for name in ("pixel F1", "patch accuracy", "over 0.5"):
        assert name in done.advice()


def test_the_ensemble_is_of_all_models_with_the_calibrated_threshold(done: CrossValidation) -> None:
    from roadseg.learning.runs import read_info

    info = read_info(done.path / "ensemble.keras")
    assert info.threshold == done.calibration["thresholds"]["pixel_f1"]["threshold"]
    assert len(info.trained_on) == 5
    with zipfile.ZipFile(done.path / "ensemble.keras") as archive:  # that they are averaged is test_ensemble's
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert [layer["name"] for layer in layers if layer["class_name"] == "Functional"] == [
        f"member{k}" for k in range(4)
    ]


def test_the_same_call_again_trains_and_predicts_nothing(
    done: CrossValidation, dataset: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(crossval_module, "run_jobs", makes_runs(trained))
    monkeypatch.setattr(out_of_fold, "_predictor", lambda *a: pytest.fail("predicted again"))
    sets = [word for s in ("train.steps=6", "train.steps_per_epoch=6") for word in ("--set", s)]
    words = (dataset, "--out", done.path, "--folds", 2, "--seeds", "3,5", "--tta", "--json", *tiny(), *sets)
    answer = call(capsys, "crossval", *words)
    assert answer.code == 0, answer.err
    again = json.loads(answer.out)
    assert again["scores"] == done.scores and again["runs"] == done.content["runs"] and not trained
    assert "mean ± sd" in answer.err and "2 folds of 3 + 2 images" in answer.err

    alone = describe_crossval(dataset, done.path, CONFIG, folds=2, seeds=[5])  # one of the two, where it was trained
    assert alone.count("trained already") == 2 and f"fold 1: trained already -> {run_of(done, 1, 5)}" in alone
    more = describe_crossval(dataset, done.path, CONFIG, folds=2, seeds=[5, 6])
    assert (more.count("trained already"), more.count("to be trained")) == (2, 2)


def test_what_was_asked_otherwise_is_refused_before_anything_is_trained(
    done: CrossValidation, dataset: Path, monkeypatch: Patch
) -> None:
    before = {name: (done.path / name).stat().st_mtime_ns for name in files_in(done.path)}
    for options, named in (
        ({"folds": 3}, "fold"),
        ({"folds": 2, "fold_seed": 1}, "fold_seed"),
        ({"folds": 2, "config": tiny_config("train.steps=7", "train.steps_per_epoch=6")}, "train.steps"),
    ):
        with pytest.raises(RunError, match=named):
            describe_crossval(dataset, done.path, options.pop("config", CONFIG), seeds=SEEDS, **options)  # type: ignore[arg-type]
    assert before == {name: (done.path / name).stat().st_mtime_ns for name in files_in(done.path)}


def test_a_fold_that_fails_does_not_stop_the_others_and_is_trained_when_asked_again(
    dataset: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    trained: list[str] = []
    out = tmp_path / "cv"
    monkeypatch.setattr(crossval_module, "run_jobs", makes_runs(trained, fails=("fold 0",)))
    with pytest.raises(RunError, match=r"1 of 2 trainings failed:\n  fold 0: out of memory.*\n.*same command again"):
        roadseg.crossval(dataset, out, CONFIG, folds=2)
    assert trained == ["fold 1"] and not (out / "crossval.json").exists()
    monkeypatch.setattr(crossval_module, "run_jobs", makes_runs(trained))
    found = roadseg.crossval(dataset, out, CONFIG, folds=2, road_share=0.2)
    assert trained == ["fold 1", "fold 0"] and list(found.scores) == ["single"]
    assert found.calibration["stated_road_share"] == 0.2 and "20% of road patches" in found.advice()
    assert not (out / "ensemble.keras").exists() and not (out / "out_of_fold" / "seed_0").exists()

    # A model that was trained anew: its maps are predicted anew, the other fold's are not.
    maps = {p.stem: p.stat().st_mtime_ns for p in (out / "out_of_fold").glob("*.tif")}
    model = out / "fold_0" / "model.keras"
    model.write_bytes((out / "fold_1" / "model.keras").read_bytes())
    predicted = out_of_fold._predictor
    asked: list[Path] = []
    monkeypatch.setattr(out_of_fold, "_predictor", lambda run, *more: (asked.append(run), predicted(run, *more))[1])
    roadseg.crossval(dataset, out, CONFIG, folds=2)
    assert asked == [out / "fold_0"]
    held_out = {item["stem"] for item in json.loads((out / "fold_0" / "split.json").read_text())["val"]}
    after = {p.stem: p.stat().st_mtime_ns for p in (out / "out_of_fold").glob("*.tif")}
    assert {stem for stem in maps if maps[stem] != after[stem]} == held_out

    # The images are others now: what was held out was not these.
    text = (out / "fold_0" / "split.json").read_text()
    for what in ("hash", "mask"):
        split = json.loads(text)
        split["val"][0][what] = "other"
        (out / "fold_0" / "split.json").write_text(json.dumps(split))
        with pytest.raises(RunError, match=f"did not hold out.*'{split['val'][0]['stem']}' differs"):
            roadseg.crossval(dataset, out, CONFIG, folds=2)


def test_weights_that_have_seen_the_images_are_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    dataset = scenes(tmp_path / "scenes", 4, 32)
    monkeypatch.setattr(crossval_module, "run_jobs", makes_runs([]))
    found = roadseg.crossval(dataset, tmp_path / "cv", CONFIG, folds=2)
    with pytest.raises(DataError, match=r"trained on 2 images of .*'scene_"):
        roadseg.crossval(dataset, tmp_path / "again", CONFIG, folds=2, init=found.path / "fold_0")
    assert not (tmp_path / "again").exists()


def test_several_classes_have_maps_of_each_and_no_threshold(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setattr(crossval_module, "run_jobs", makes_runs([]))
    data = blobs(tmp_path / "data", 4, (32, 32), classes=3)
    config = tiny_config("train.steps=2", "train.steps_per_epoch=2")
    found = roadseg.crossval(data, tmp_path / "cv", config, folds=2)
    levels = read_map(tmp_path / "cv" / "out_of_fold" / "site0_00.tif")
    assert levels.shape == (32, 32, 3)
    np.testing.assert_allclose(levels.sum(-1, dtype=float), 65535, atol=3)
    assert found.calibration["thresholds"] is None and 0 <= found.calibration["ece"] <= 1
    assert found.scores["single"]["pooled"]["patch_f1"] is None and "patch" not in found.table()
    assert "top class" in found.advice()
    answer = call(capsys, "crossval", data, "--out", tmp_path / "cv", "--folds", 2, "--road-share", 0.2, "--dry-run")
    assert answer.code == 2 and "two classes" in answer.err


def test_a_dry_run_says_all_and_writes_nothing(dataset: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("crossval", dataset, "--out", tmp_path / "cv", "--dry-run")
    answer = call(capsys, *words, "--folds", 4, "--seeds", 2, "--minutes", 3, "--set", "train.seed=8")
    assert answer.code == 0, answer.err
    assert "4 folds of 2 + 1 + 1 + 1 images" in answer.out and "seeds 8, 9; 8 trainings, 3 minutes a fold" in answer.out
    assert "fold 3, seed 9: to be trained" in answer.out and "nothing written" in answer.out
    grouped = call(capsys, *words, "--folds", 2, "--group", "([0-3])$")
    assert grouped.code == 0 and "whole groups by" in grouped.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folds", "1"], "two folds or more"),
        (["--folds", "6"], "6 folds need 6 images"),
        (["--seeds", "0"], "at least 1"),
        (["--seeds", "1,1"], "each seed once"),
        (["--seeds", "one"], "give their number"),
        (["--seeds", "1,-2"], "--seed -2"),
        (["--road-share", "26"], "above 0 and below 1"),
        (["--road-share", "nan"], "above 0 and below 1"),
        (["--epochs", "0"], "at least 1"),
        (["--group", "("], "no regular expression"),
        (["--set", "train.stepz=3"], "train.steps"),
        (["--init", "gone"], "gone"),
        (["--workers", "2", "--dask", "here:1"], "not allowed with"),
    ],
)
def test_bad_options_are_told_before_anything_is_written(
    dataset: Path, tmp_path: Path, capsys: Capture, words: list[str], said: str
) -> None:
    answer = call(capsys, "crossval", dataset, "--out", tmp_path / "cv", *words)
    assert answer.code == 2 and said in answer.err, answer.err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a cross-validation"):
        roadseg.crossval(dataset, tmp_path, CONFIG)
    with pytest.raises(DataError):
        roadseg.crossval(tmp_path, tmp_path / "cv", CONFIG)
    with pytest.raises(ConfigError, match="not both"):
        roadseg.crossval(dataset, tmp_path / "cv", CONFIG, epochs=1, minutes=1)
    assert files_in(tmp_path) == {"notes.txt"}


@pytest.mark.slow
def test_folds_are_trained_by_the_command(tmp_path: Path, capsys: Capture) -> None:
    """In a process of its own, as users have it; the first one is there already, which saves a training here."""
    data = scenes(tmp_path / "town", 4, 48)
    words = ("crossval", data, "--out", tmp_path / "cv", "--folds", 2, "--epochs", 1)
    sets = [word for setting in TINIEST for word in ("--set", setting)]
    first = plan_crossval(data, tmp_path / "cv", read_config({}, TINIEST), folds=2, epochs=1).jobs[0].absolute()
    first.out.parent.mkdir()
    write_asked(first)
    write_run(first)
    answer = call(capsys, *words, *sets)
    assert answer.code == 0, answer.err
    assert "fold 0: kept" in answer.out and "fold 1: trained in" in answer.out
    assert "mean ± sd" in answer.out and "gain over 0.5" in answer.out
    content = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    for fold in (0, 1):
        metrics = json.loads((tmp_path / "cv" / f"fold_{fold}" / "metrics.json").read_text())
        assert content["scores"]["single"]["per_fold"][fold]["pixel_f1"] == pytest.approx(metrics["pixel_f1"], abs=2e-6)
    again = call(capsys, *words, *sets, "--json")
    assert again.code == 0 and json.loads(again.out)["scores"] == content["scores"]
    changed = call(capsys, *words[:-1], 2, *sets)
    assert changed.code == 2 and "train.epochs = 1 there, 2 now" in changed.err


@pytest.mark.parametrize("damage", ["truncated", "gone", "another"])
def test_a_map_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    path: Any = tmp_path / "a.tif"
    out_of_fold.write_map(path, np.full((300, 40, 1), 777, np.uint16))
    assert (read_map(path) == 777).all()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "gone":
        path.unlink()
    else:
        import rasterio

        place = {"transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
        with rasterio.open(path, "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8", **place) as target:
            target.write(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"a\.tif.*predicted anew"):
        read_map(path)
