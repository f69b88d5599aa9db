"""Ablations: order, going on, a study that changed, failures, several machines, confirmation; and a real one, tiny."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import TINIEST, call, files_in, scenes

import roadseg.studies.ablate as ablation
from roadseg.config import save_config
from roadseg.errors import ConfigError, RunError
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.splits import split_dataset
from roadseg.studies import jobs, rehearsal
from roadseg.studies.jobs import Outcome
from roadseg.studies.locks import lock_beside, training_lock
from roadseg.studies.records import pair_hash, read_records
from roadseg.studies.statistics import corrected_t
from roadseg.studies.study import read_study

STUDY = """title = "Made up"
metric = "pixel_f1"
folds = {folds}
seeds = {seeds}
[length]
steps = {steps}
[baseline]
set = ["network.width=4"]
[factors]
"Better one" = "network.activation=elu"
"worse" = "network.activation=tanh"
{more}"""


def study_file(
    folder: Path, folds: int = 2, seeds: str = "[0, 1]", steps: int = 3, more: str = "", **swap: str
) -> Path:
    text = STUDY.format(folds=folds, seeds=seeds, steps=steps, more=more)
    for old, new in swap.items():
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return scenes(tmp_path_factory.mktemp("ablate") / "set", 6, size=64)


class StandIn:
    """Writes what a training would leave behind; `gain` is the share of the wrong pixels that a factor mends."""

    def __init__(self):
        self.gain = {"better_one": 0.4, "worse": -0.4}
        self.done: list[str] = []
        self.stop_after = 10**6
        self.failing: set[str] = set()
        self.broken: set[str] = set()
        self.options: dict = {}

    def __call__(self, wanted, *, workers=1, dask=None, on_done=None):
        self.options = {"workers": workers, "dask": dask}
        outcomes = []
        for job in wanted:
            if len(self.done) >= self.stop_after:
                raise KeyboardInterrupt("finished runs are kept")
            state = "failed" if job.name in self.failing else "trained"
            if state == "trained":
                self.train(job)
                self.done.append(job.name)
            outcomes.append(Outcome(job, state, "out of memory" if state == "failed" else "", 1.0))
            on_done(outcomes[-1])
        return outcomes

    def train(self, job):
        opened = open_dataset(job.dataset, job.config.data)
        split = split_dataset(opened.pairs, fold=job.fold, fold_seed=job.fold_seed, group=job.group)
        slug = job.out.name.rpartition("_fold")[0]
        rng = np.random.default_rng([job.config.train.seed, *job.fold, job.fold_seed, len(slug)])
        images, hashes = {}, []
        for k in split.val:
            wrong = round((300 + 20 * rng.normal()) * (1 - self.gain.get(slug, 0.0)))
            images[opened.pairs[k].stem] = {
                "pixel_counts": [[3096 - wrong, wrong], [wrong, 1000 - wrong]],
                "patch_counts": [[8, 2], [1, 5]],
            }
            hashes.append(opened.entry(k))
        metrics = {
            "complete": job.name not in self.broken,
            "n_train": len(split.train),
            "epochs": 2,
            "steps": job.config.train.steps,
            "parameters": 100 if slug == "baseline" else 150,
            "times": {"training_s": 3.0 if slug == "worse" else 2.0, "total_s": 4.0, "validation_image_s": 0.01},
            "machine": {"processor": "a made one", "cores": 2, "peak_memory_mb": float(rng.integers(100, 200))},
            "versions": {"roadseg": "0.1.0"},
            "images": images,
        }
        job.out.mkdir(parents=True)
        save_config(job.config, job.out / "config.toml")
        train = [opened.entry(k) for k in split.train]
        (job.out / "split.json").write_text(json.dumps({"train": train, "val": hashes}))
        (job.out / "metrics.json").write_text(json.dumps(metrics))
        (job.out / "model.keras").write_bytes(b"model")
        job.asked_file.write_text("{}")


@pytest.fixture
def trained(monkeypatch):
    """A stand-in for the trainings, and none for Keras' part of the checks."""
    stand_in = StandIn()
    monkeypatch.setattr(jobs, "run_jobs", stand_in)
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: None)
    return stand_in


def stage_of(out: Path, k: int = 0) -> dict:
    return json.loads((out / "ablation.json").read_text())["stages"][k]


def factor(stage: dict, name: str) -> dict:
    return next(f for f in stage["factors"] if f["name"] == name)


def test_whole_blocks_are_trained_seed_by_seed_and_their_records_alone_are_kept(dataset, tmp_path, trained):
    out = tmp_path / "out"
    result = ablation.ablate(dataset, study_file(tmp_path), out, workers=3)
    places = [f"fold {fold}, seed {seed}" for seed in (0, 1) for fold in (0, 1)]
    assert trained.done == [f"{name}, {place}" for place in places for name in ("baseline", "Better one", "worse")]
    assert trained.options == {"workers": 3, "dask": None}
    runs = {f"runs/{slug}/{name}" for slug in ("baseline", "better_one", "worse")
            for name in ("asked.toml", *(f"fold{f}_seed{s}.json" for f in (0, 1) for s in (0, 1)))}  # fmt: skip
    assert files_in(out) == runs | {"study.toml", "ablation.json", "ablation.md", "report.html"}
    stage = result.tables["stages"][0]
    assert stage == stage_of(out)
    assert stage["baseline"]["set"] == ["network.width=4"]
    assert (stage["name"], stage["length"], stage["seeds"], stage["held_out_folds"]) == (
        "screen",
        "3 steps",
        [0, 1],
        [0, 1],
    )
    good, bad = factor(stage, "Better one"), factor(stage, "worse")
    assert good["mean"] > 0.05 and bad["mean"] < -0.05 and len(good["per_fold"]) == 2
    assert good["low"] < good["mean"] < good["high"] and good["p"] <= good["p_holm"] <= 1
    assert good["bootstrap"]["low"] > 0 and bad["bootstrap"]["high"] < 0
    assert good["verdict"] in ("helps", "cannot tell") and bad["verdict"] in ("hurts", "cannot tell")
    assert (good["cost"]["time_ratio"], bad["cost"]["time_ratio"], bad["cost"]["seconds_per_epoch"]) == (1.0, 1.5, 1.5)
    base = stage["baseline"]["scores"]["pixel_f1"]
    assert good["scores"]["pixel_f1"]["mean"] - base["mean"] == pytest.approx(good["mean"])
    assert good["scores"]["patch_f1"]["difference"] == 0 and (good["finished"], good["wanted"]) == (4, 4)
    text = (out / "ablation.md").read_text()
    assert text.startswith("# Made up\n") and "| Better one | +0." in text and "a made one" in text
    assert text.index("| Better one") < text.index("| worse")
    assert "Better one" in result.table() and result.verdicts() == {
        "Better one": good["verdict"],
        "worse": bad["verdict"],
    }


def test_a_clear_effect_on_five_folds_gets_its_verdict(dataset, tmp_path, trained):
    result = ablation.ablate(dataset, study_file(tmp_path, folds=5, seeds="[0]"), tmp_path / "out")
    assert result.verdicts() == {"Better one": "helps", "worse": "hurts"}


def test_an_interrupted_study_shows_what_it_has_and_goes_on(dataset, tmp_path, trained):
    study, out = study_file(tmp_path), tmp_path / "out"
    trained.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        ablation.ablate(dataset, study, out)
    stage = stage_of(out)
    assert factor(stage, "Better one")["finished"] == 2 and factor(stage, "worse")["finished"] == 2
    assert "(2 of 4 runs)" in (out / "ablation.md").read_text() and (out / "report.html").is_file()
    trained.stop_after, before = 10**6, list(trained.done)
    assert "5 runs to train" in ablation.describe_ablation(dataset, study, out)
    ablation.ablate(dataset, study, out)
    assert len(trained.done) == 12 and len(set(trained.done)) == 12 and trained.done[:7] == before
    assert factor(stage_of(out), "worse")["finished"] == 4


def test_a_finished_study_trains_nothing_and_one_fold_gives_no_verdict(dataset, tmp_path, trained):
    study, out = study_file(tmp_path, seeds="[0]\nhold_out = [1]"), tmp_path / "out"
    first = ablation.ablate(dataset, study, out)
    row = factor(first.tables["stages"][0], "worse")
    assert row["verdict"] is None and row["p"] is None and len(row["per_fold"]) == 1
    assert [line.split()[2:5] for line in first.table().splitlines() if line.startswith("worse ")] == [["-", "-", "-"]]
    again = ablation.ablate(dataset, study, out)
    assert len(trained.done) == 3 and again.tables == first.tables


def test_factors_seeds_and_folds_can_be_added_and_the_title_changed(dataset, tmp_path, trained):
    out = tmp_path / "out"
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]\nhold_out = [0]"), out)
    more = '"third" = "network.activation=selu"\n'
    ablation.ablate(dataset, study_file(tmp_path, more=more, **{"Made up": "Renamed"}), out)
    assert len(trained.done) == len(set(trained.done)) == 4 * 4
    tables = json.loads((out / "ablation.json").read_text())
    assert tables["title"] == "Renamed" and tables["not_used"] == []
    ablation.ablate(dataset, study_file(tmp_path), out)
    assert json.loads((out / "ablation.json").read_text())["not_used"] == ["third"]


def test_splits_can_be_added_to_a_finished_study(dataset, tmp_path, trained, capsys):
    out, once, twice = tmp_path / "out", "[0]", "[0]\nfold_seeds = [43, 44]"
    first = ablation.ablate(dataset, study_file(tmp_path, folds=3, seeds=once), out)
    before, count = files_in(out / "runs"), len(trained.done)
    study = study_file(tmp_path, folds=3, seeds=twice)
    plan = ablation.describe_ablation(dataset, study, out)
    assert "fold seeds 43, 44" in plan and "9 runs to train" in plan and "3 of 6 runs finished" in plan
    trained.failing = {"worse, fold 2, seed 0, fold seed 44"}
    answer = call(capsys, "ablate", dataset, study, "--out", out)
    assert answer.code == 2 and "(fold seeds 43, 44)" in answer.out
    assert factor(stage_of(out), "worse")["failed"] == ["fold 2, seed 0, fold seed 44: out of memory"]
    trained.failing = set()
    second = ablation.ablate(dataset, study, out)
    assert len(trained.done) == 2 * count and trained.done[count] == "baseline, fold 0, seed 0, fold seed 44"
    assert files_in(out / "runs") == before | {
        f"{slug}/split44_fold{k}_seed0.json" for slug in ("baseline", "better_one", "worse") for k in range(3)
    }
    stage = second.tables["stages"][0]
    assert (stage["fold_seed"], stage["fold_seeds"], second.tables["fold_seeds"]) == (43, [43, 44], [43, 44])
    row, alone = factor(stage, "worse"), factor(first.tables["stages"][0], "worse")
    assert (row["finished"], row["folds"], row["fold_seeds"]) == (6, [0, 1, 2] * 2, [43] * 3 + [44] * 3)
    assert row["per_fold"][:3] == alone["per_fold"] and row["mean"] == pytest.approx(np.mean(row["per_fold"]))
    t = corrected_t(row["per_fold"], 4, 2)  # 6 images in 3 folds, twice: J = 6, and the images are still shared
    assert (row["low"], row["high"], row["p"]) == (t.low, t.high, t.p) and t.df == 5
    page = (out / "report.html").read_text()
    assert "fold 2 of 44" in page and "fold seeds 43, 44" in page
    assert ablation.ablate(dataset, study, out).tables == second.tables
    # and taken away again
    assert ablation.ablate(dataset, study_file(tmp_path, folds=3, seeds=once), out).tables == first.tables
    later = ablation.ablate(dataset, study_file(tmp_path, folds=3, seeds="[0]\nfold_seeds = [43, 45]"), out)
    assert factor(later.tables["stages"][0], "worse")["fold_seeds"] == [43] * 3 + [45] * 3


def test_a_split_never_takes_the_place_of_another(dataset, tmp_path, trained):
    out = tmp_path / "out"
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]"), out)
    with pytest.raises(RunError, match="fold_seed was 43, is now 44"):
        ablation.ablate(dataset, study_file(tmp_path, seeds="[0]\nfold_seeds = [44, 45]"), out)
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]\nfold_seeds = [43, 44]"), out)
    count = len(trained.done)
    swapped = ablation.ablate(dataset, study_file(tmp_path, seeds="[0]\nfold_seeds = [44, 43]"), out)
    assert len(trained.done) == count and factor(swapped.tables["stages"][0], "worse")["finished"] == 4


def test_a_study_that_changed_under_finished_runs_is_refused_with_the_keys(dataset, tmp_path, trained):
    out = tmp_path / "out"
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]"), out)
    before, count = files_in(out), len(trained.done)

    def refused(*words: str, **swap) -> None:
        with pytest.raises(RunError) as caught:
            ablation.ablate(dataset, study_file(tmp_path, seeds="[0]", **swap), out)
        for word in ("study.toml", *words):
            assert word in str(caught.value), str(caught.value)

    refused("factor 'Better one'", 'network.activation was "elu", is now "relu6"', "another --out", elu="relu6")
    refused("the baseline", "network.width was 4, is now 5", **{"width=4": "width=5"})
    refused("the baseline", "train.steps was 3, is now 4", steps=4)
    refused("fold_seed was 43, is now 42", **{"[length]": "fold_seed = 42\n[length]"})
    refused("metric = 'pixel_iou'", "'pixel_f1'", "declared before", pixel_f1="pixel_iou")
    refused("folds was 2, is now 3", folds=3)
    assert files_in(out) == before and len(trained.done) == count
    shutil.rmtree(out / "runs" / "better_one")
    result = ablation.ablate(dataset, study_file(tmp_path, seeds="[0]", elu="relu6"), out)
    assert len(trained.done) == count + 2 and result.verdicts().keys() == {"Better one", "worse"}


def test_other_images_than_those_that_were_scored_are_refused(dataset, tmp_path, trained):
    study, out, copy = study_file(tmp_path, seeds="[0]"), tmp_path / "out", tmp_path / "copy"
    shutil.copytree(dataset, copy)
    ablation.ablate(copy, study, out)
    pictures = sorted((copy / "images").iterdir())
    changed = f"image or mask '{pictures[1].stem}' of the dataset is not the one that was scored"
    mask = next((copy / "masks").glob(f"{pictures[1].stem}.*"))
    kept = mask.read_bytes()
    shutil.copy(next((copy / "masks").glob(f"{pictures[0].stem}.*")), mask)
    with pytest.raises(RunError, match=changed):  # a label that was mended since
        ablation.ablate(copy, study, out)
    mask.write_bytes(kept)
    shutil.copy(pictures[0], pictures[1])
    with pytest.raises(RunError, match=changed):
        ablation.ablate(copy, study, out)
    pictures[1].unlink()
    next((copy / "masks").glob(f"{pictures[1].stem}.*")).unlink()
    with pytest.raises(RunError, match="the dataset or the group is another"):
        ablation.ablate(copy, study, out)


def test_a_failed_run_is_told_and_the_others_go_on(dataset, tmp_path, trained, capsys):
    study, out = study_file(tmp_path, seeds="[0]"), tmp_path / "out"
    trained.failing, trained.broken = {"worse, fold 1, seed 0"}, {"Better one, fold 0, seed 0"}
    answer = call(capsys, "ablate", dataset, study, "--out", out)
    assert answer.code == 2 and "2 trainings failed" in answer.err and "out of memory" in answer.err
    assert "worse" in answer.out and "(1 of 2 runs)" in answer.out
    bad, good = factor(stage_of(out), "worse"), factor(stage_of(out), "Better one")
    assert bad["failed"] == ["fold 1, seed 0: out of memory"] and bad["verdict"] is None
    assert good["finished"] == 1 and "not finished" in good["failed"][0]
    trained.failing = set()
    trained.broken = set()
    shutil.rmtree(out / "work")
    answer = call(capsys, "ablate", dataset, study, "--out", out, "--json")
    assert answer.code == 0, answer.err
    tables = json.loads(answer.out.splitlines()[-1])
    assert factor(tables["stages"][0], "worse")["failed"] == [] and not list(out.rglob("*.failed"))


def test_the_runs_of_two_machines_can_be_put_together(dataset, tmp_path, trained):
    study, here, there = study_file(tmp_path, seeds="[0]"), tmp_path / "here", tmp_path / "there"
    ablation.ablate(dataset, study, here, only=["worse"])
    assert {name.partition(",")[0] for name in trained.done} == {"baseline", "worse"}
    assert factor(stage_of(here), "Better one")["finished"] == 0
    assert "left out by --only" in ablation.describe_ablation(dataset, study, here, only=["worse"])
    ablation.ablate(dataset, study, there, only=["Better one"])
    shutil.copytree(there / "runs", here / "runs", dirs_exist_ok=True)
    count = len(trained.done)
    merged = ablation.ablate(dataset, study, here)
    assert len(trained.done) == count
    assert [f["finished"] for f in merged.tables["stages"][0]["factors"]] == [2, 2]


CONFIRM = '"third" = "network.activation=selu"\n[confirm]\nbest = 1\nsteps = 9\nseeds = [5]\n'


def test_the_best_of_the_screening_are_confirmed_with_other_seeds_and_folds(dataset, tmp_path, trained):
    study, out = study_file(tmp_path, seeds="[0]", more=CONFIRM), tmp_path / "out"
    plan = ablation.describe_ablation(dataset, study, out)
    assert "8 runs to train" in plan and "best 1" in plan and not out.exists()
    result = ablation.ablate(dataset, study, out)
    late = trained.done[8:]
    assert late == [f"{name}, fold {fold}, seed 5" for fold in (0, 1) for name in ("baseline", "Better one")]
    stage = result.tables["stages"][1]
    assert (stage["name"], stage["length"], stage["fold_seed"]) == ("confirm", "9 steps", 44)
    assert "screening" in stage["chosen_by"] and [f["name"] for f in stage["factors"]] == ["Better one"]
    records = read_records(sorted((out / "runs" / "better_one").glob("*.json")))
    assert {(r.fold_seed, r.seed, r.steps) for r in records} == {(43, 0, 3), (44, 5, 9)}
    assert "Confirmation" in (out / "ablation.md").read_text()
    assert list(json.loads((out / "chosen.json").read_text())["factors"]) == ["Better one"]
    ablation.ablate(dataset, study, out)
    assert len(trained.done) == 12


def test_confirmation_waits_for_the_whole_screening_and_its_choice_stays(dataset, tmp_path, trained):
    study, out = study_file(tmp_path, seeds="[0]", more=CONFIRM), tmp_path / "out"
    ablation.ablate(dataset, study, out, only=["worse"])
    assert len(json.loads((out / "ablation.json").read_text())["stages"]) == 1
    trained.failing = {"Better one, fold 0, seed 0"}
    ablation.ablate(dataset, study, out)  # one that failed does not hold the others up
    chosen = [f["name"] for f in stage_of(out, 1)["factors"]]
    assert chosen == ["third"]
    trained.failing = set()
    result = ablation.ablate(dataset, study, out)
    assert factor(result.tables["stages"][0], "Better one")["finished"] == 2
    assert [f["name"] for f in result.tables["stages"][1]["factors"]] == chosen
    study_without = study_file(tmp_path, seeds="[0]", more=CONFIRM.replace("third", "fourth"))
    with pytest.raises(RunError, match=r"chosen.json' has chosen 'third'"):
        ablation.ablate(dataset, study_without, out)


def test_more_or_fewer_to_confirm_keep_what_was_chosen_before(dataset, tmp_path, trained):
    out, two = tmp_path / "out", CONFIRM.replace("best = 1", "best = 2")
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]", more=CONFIRM.replace("third", "a third")), out)
    result = ablation.ablate(dataset, study_file(tmp_path, seeds="[0]", more=two.replace("third", "a third")), out)
    names = [f["name"] for f in result.tables["stages"][1]["factors"]]
    assert names[0] == "Better one" and len(names) == 2
    assert list(json.loads((out / "chosen.json").read_text())["factors"]) == names
    result = ablation.ablate(dataset, study_file(tmp_path, seeds="[0]", more=CONFIRM.replace("third", "a third")), out)
    assert [f["name"] for f in result.tables["stages"][1]["factors"]] == ["Better one"]


def test_factors_that_were_taken_out_still_count_in_holms_correction(dataset, tmp_path, trained):
    out = tmp_path / "out"
    before = ablation.ablate(
        dataset, study_file(tmp_path, seeds="[0]", more='"third" = "network.activation=selu"'), out
    )
    after = ablation.ablate(dataset, study_file(tmp_path, seeds="[0]"), out)
    for name in ("Better one", "worse"):
        row = factor(after.tables["stages"][0], name)
        assert row["p_holm"] == factor(before.tables["stages"][0], name)["p_holm"] or row["p_holm"] >= min(
            1, 2 * row["p"]
        )
    assert max(f["p_holm"] / f["p"] for f in after.tables["stages"][0]["factors"] if f["p_holm"] < 1) > 2
    assert after.tables["not_used"] == ["third"]


def test_a_second_process_on_the_same_study_is_refused(dataset, tmp_path, trained):
    out = tmp_path / "out"
    with training_lock(lock_beside(out)), pytest.raises(RunError, match="is being trained by process"):
        ablation.ablate(dataset, study_file(tmp_path, seeds="[0]"), out)
    assert not trained.done


def test_labels_that_trained_and_were_mended_are_refused(dataset, tmp_path, trained):
    study, out, copy = study_file(tmp_path, seeds="[0]\nhold_out = [0]"), tmp_path / "out", tmp_path / "copy"
    shutil.copytree(dataset, copy)
    ablation.ablate(copy, study, out)
    held = read_records([out / "runs" / "worse" / "fold0_seed0.json"])[0].images
    masks = sorted(path for path in (copy / "masks").iterdir() if path.stem not in held)
    shutil.copy(masks[0], masks[1])
    with pytest.raises(RunError, match="trained on fold 0 of the dataset is another now"):
        ablation.ablate(copy, study, out)


def test_run_folders_are_kept_on_request(dataset, tmp_path, trained):
    out = tmp_path / "out"
    ablation.ablate(dataset, study_file(tmp_path, seeds="[0]\nhold_out = [0]"), out, keep=True)
    assert (out / "work" / "better_one_fold0_seed0" / "model.keras").is_file()


def test_a_dry_run_writes_nothing_and_checks_everything(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    answer = call(capsys, "ablate", dataset, study_file(tmp_path), "--out", out, "--dry-run")
    assert answer.code == 0 and "baseline" in answer.out and "0 of 4 runs finished" in answer.out
    assert "12 runs to train" in answer.out and not out.exists()
    bad = study_file(tmp_path, **{"activation=tanh": "encoder=ResNet5000"})
    answer = call(capsys, "ablate", dataset, bad, "--out", out, "--dry-run")
    assert answer.code == 2 and "factor 'worse'" in answer.err and "did you mean" in answer.err
    bad = study_file(tmp_path, **{"network.activation=tanh": "train.crop=33"})
    answer = call(capsys, "ablate", dataset, bad, "--out", out, "--dry-run")
    assert answer.code == 2 and "factor 'worse'" in answer.err and "train.crop = 33" in answer.err
    answer = call(capsys, "ablate", dataset, study_file(tmp_path, folds=7), "--out", out, "--dry-run")
    assert answer.code == 2 and "7 folds need 7 images" in answer.err
    answer = call(capsys, "ablate", dataset, study_file(tmp_path), "--out", out, "--only", "wors", "--dry-run")
    assert answer.code == 2 and "did you mean 'worse'" in answer.err and not out.exists()
    answer = call(capsys, "ablate", dataset, study_file(tmp_path), "--out", dataset, "--dry-run")
    assert answer.code == 2 and "not a study" in answer.err


def test_what_keras_alone_knows_is_found_before_the_first_training(dataset, tmp_path, monkeypatch):
    def here(command, *, input, **_):  # what the other process does, in this one: starting one takes seconds
        return SimpleNamespace(stdout=json.dumps(rehearsal._build_all(json.loads(input))), stderr="", returncode=0)

    monkeypatch.setattr(rehearsal, "subprocess", SimpleNamespace(run=here))
    wrong = study_file(tmp_path, **{"activation=tanh": "activation=tahn"})
    with pytest.raises(ConfigError, match=r"factor 'worse': network.activation = 'tahn'.*tanh"):
        rehearsal.rehearse(read_study(wrong))


@pytest.mark.slow
def test_a_tiny_ablation_from_beginning_to_end(dataset, tmp_path, capsys, monkeypatch):
    """A factor is rehearsed and trained for real; the baseline is there already, which saves a training here."""
    tiny = ", ".join(f'"{setting}"' for setting in TINIEST)
    text = f"""metric = "pixel_iou"
folds = 2
hold_out = [1]
[length]
steps = 2
[baseline]
set = [{tiny}]
[factors]
elu = "network.activation=elu"
"""
    study, out = tmp_path / "tiny.toml", tmp_path / "out"
    study.write_text(text, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "run_jobs", StandIn())
        patch.setattr(rehearsal, "rehearse", lambda *_: None)
        ablation.ablate(dataset, study, out, only=["baseline"])
    answer = call(capsys, "ablate", dataset, study, "--out", out)
    assert answer.code == 0, answer.err
    assert "2 runs, 1 to train" in answer.out and "elu, fold 1, seed 0: trained in" in answer.out
    assert not (out / "work").exists() and (out / "report.html").is_file()
    row = factor(stage_of(out), "elu")
    assert (row["finished"], row["set"]) == (1, ["network.activation=elu"]) and row["cost"]["parameters"] > 0
    ours, theirs = (read_records([out / "runs" / slug / "fold1_seed0.json"])[0] for slug in ("elu", "baseline"))
    opened = open_dataset(dataset)
    held = {opened.pairs[k].stem: pair_hash(opened.entry(k)) for k in split_dataset(opened.pairs, fold=(1, 2)).val}
    assert {stem: image.hash for stem, image in ours.images.items()} == held
    assert row["per_fold"] == [pytest.approx(ours.score("pixel_iou") - theirs.score("pixel_iou"))]
    assert (ours.steps, ours.n_train, ours.variant) == (2, 3, "elu") and ours.asked != theirs.asked
    assert call(capsys, "report", out).code == 0
