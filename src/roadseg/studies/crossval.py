"""Cross-validation: a recipe trained on every fold of a dataset, its out-of-fold probabilities, and its honest scores.

OUT/fold_K/                     ordinary run folders; OUT/fold_K_seed_S/ with several seeds
OUT/out_of_fold/                the probabilities of each image by the models that have not seen it, as TIFF
OUT/out_of_fold_tta/            likewise with test-time augmentation
OUT/crossval.json               scores of each fold, mean, deviation and pooled; the records of all runs
OUT/calibration.json            thresholds, temperature, reliability
OUT/mistakes.json, mistakes/    where it is wrong
OUT/ensemble.keras              all models as one, on request
OUT/report.html
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from ..config import Config
from ..errors import RunError
from ..files import make_folder, write_json
from .asked import state_of
from .crossval_plan import Plan, PlanOptions, plan_crossval
from .fold_scores import SHOWN, Scored, score_maps, score_runs, score_table
from .jobs import Job, Outcome, run_jobs
from .locks import lock_beside, training_lock
from .records import RunRecord, pooled, record_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..imagery.dataset import Sample
    from .out_of_fold import Maps, Trained

__all__ = ["CrossValidation", "crossval", "describe_crossval"]

STATES = {  # of a run folder, see `asked.state_of`
    "finished": "trained already",
    "begun": "to be continued",
    "nothing": "to be trained",
}


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """A finished cross-validation.

    >>> found = roadseg.crossval("path/to/cil", "runs/crossval", minutes=20)
    >>> found.scores["single"]["mean"]["pixel_f1"], found.calibration["thresholds"]["pixel_f1"]["threshold"]
    >>> print(found.table())

    Attributes:
        path: the folder.
        content: of `crossval.json`.
        calibration: of `calibration.json`.
    """

    path: Path
    content: dict[str, Any]
    calibration: dict[str, Any]

    @property
    def scores(self) -> dict[str, Scored]:
        """By row ("single", "tta", "seeds", "seeds_tta"): `per_fold`, and over the folds `mean`, `sd`; `pooled`."""
        return dict(self.content["scores"])

    def table(self) -> str:
        """Scores of each fold, mean ± standard deviation over the folds, and pooled over all images."""
        return score_table(self.scores)

    def advice(self) -> str:
        """Which thresholds the out-of-fold probabilities suggest, and what they may be hoped to gain."""
        share, thresholds = self.calibration["stated_road_share"], self.calibration["thresholds"]
        if not thresholds:
            return f"calibration error of the top class {self.calibration['ece']:.4f}"
        stated = "" if share is None else f", weighted for {share:.0%} of road patches"
        lines = [
            f"calibration error {self.calibration['ece']:.4f} (temperature {self.calibration['temperature']:.2f}: "
            f"{self.calibration['ece_after']:.4f})",
            f"thresholds from the out-of-fold probabilities{stated}; gain over 0.5 on folds they were not chosen on:",
        ]
        for name, found in thresholds.items():
            gain = found["score_nested"] - found["score_at_half"]
            lines.append(
                f"  {SHOWN[name]:<14}  {found['threshold']:.3f}  {found['score_at_half']:.4f} -> "
                f"{found['score_nested']:.4f} ({gain:+.4f})"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        content = self.content
        seeds = f", {len(content['seeds'])} seeds" if len(content["seeds"]) > 1 else ""
        return f"CrossValidation('{self.path}': {content['folds']} folds{seeds})\n{self.table()}"


def crossval(
    dataset: Path | str,
    out: Path | str,
    config: Config | None = None,
    *,
    folds: int = 5,
    fold_seed: int = 43,
    seeds: int | Sequence[int] = 1,
    epochs: int | None = None,
    minutes: float | None = None,
    group: str | None = None,
    init: Path | str | None = None,
    skip_bad: bool = False,
    workers: int = 1,
    dask: str | None = None,
    tta: bool = False,
    ensemble: bool = False,
    road_share: float | None = None,
) -> CrossValidation:
    """Train a recipe on every fold of a dataset, and score each image by the models that have not seen it.

    All scores are of final weights at the recipe's own threshold. The same call again goes on where it was interrupted
    or where a fold failed; what is finished is kept.

    Args:
        dataset: a folder in one of the known layouts.
        out: the folder to write.
        config: the recipe; `Config()` when None.
        folds: number of them, at least 2; see `roadseg.imagery.splits` for how they are drawn by `fold_seed`.
        seeds: how many trainings of each fold (from the recipe's `train.seed` up), or their seeds.
        epochs, minutes: length of each training, over what `config` says.
        group: regular expression; images with the same match are in one fold.
        init: a run or model that each training starts from.
        skip_bad: leave bad files out with a warning.
        workers: trainings at once, on this machine.
        dask: address of a Dask scheduler whose workers train.
        tta: score the mean over 8 rotations and reflections too.
        ensemble: write all models as one `ensemble.keras`, with the threshold that is best for pixel F1.
        road_share: share of 16x16 patches that are road in the images to come, for the thresholds; see
            `studies.calibration.calibrate`.

    Raises:
        RoadsegError: see `roadseg.errors`. Nothing is trained where it can be known before; a `RunError` names the
            folds that failed, when the others are finished.
    """
    from ..backend import choose_backend

    plan = plan_crossval(
        dataset,
        out,
        config or Config(),
        folds=folds,
        fold_seed=fold_seed,
        seeds=seeds,
        epochs=epochs,
        minutes=minutes,
        group=group,
        init=init,
        skip_bad=skip_bad,
        road_share=road_share,
    )
    choose_backend()  # before anything is trained: there may be none
    place = make_folder(Path(out))
    print(plan, flush=True)
    with training_lock(lock_beside(place)):
        _train(plan, workers, dask)
        try:
            return _finish(plan, place, tta, ensemble)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("what is trained and predicted is kept; the same command again goes on") from None


def describe_crossval(
    dataset: Path | str, out: Path | str, config: Config | None = None, **options: Unpack[PlanOptions]
) -> str:
    """What `crossval` would do with these arguments (`options` are `crossval`'s), writing nothing.

    Raises:
        RoadsegError: as `crossval`, for what can be known before.
    """
    plan = plan_crossval(dataset, out, config or Config(), **options)
    lines = [f"  {job.name}: {STATES[state_of(job)]} -> {job.out}" for job in plan.jobs]
    return "\n".join([str(plan), *lines, "dry run: nothing written"])


# --- training --------------------------------------------------------------------------------------------------------


def _train(plan: Plan, workers: int, dask: str | None) -> None:
    """Run the jobs.

    Raises:
        RunError: some failed; the others are finished.
    """

    def say(outcome: Outcome) -> None:
        if outcome.state != "failed":
            scores = pooled(_record(outcome.job).images.values()).to_dict()
            shown = ", ".join(f"{SHOWN[name]} {scores[name]:.4f}" for name in SHOWN if scores[name] is not None)
            print(f"  {shown}", flush=True)

    from .out_of_fold import check_held_out

    for one, job in zip(_trained(plan), plan.jobs, strict=True):
        if state_of(job) == "finished":  # before others are trained: its labels may have been mended since
            check_held_out(one, plan.dataset)
    outcomes = run_jobs(plan.jobs, workers=workers, dask=dask, on_done=say)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        reasons = "\n".join(f"  {outcome.job.name}: {outcome.message}" for outcome in failed)
        raise RunError(
            f"{len(failed)} of {len(outcomes)} trainings failed:\n{reasons}\n"
            "What is finished is kept: mend this and give the same command again, which trains the rest alone"
        )


def _trained(plan: Plan) -> "list[Trained]":
    from .out_of_fold import Trained

    return [Trained(job.fold[0], job.config.train.seed, job.out, plan.splits[job.fold[0]].val) for job in plan.jobs]


def _record(job: Job) -> RunRecord:
    return record_of(
        job.out,
        variant="baseline",
        fold=job.fold[0],
        folds=job.fold[1],
        fold_seed=job.fold_seed,
        seed=job.config.train.seed,
        asked=job.config,
    )


# --- afterwards ------------------------------------------------------------------------------------------------------


def _finish(plan: Plan, place: Path, tta: bool, ensemble: bool) -> CrossValidation:
    """Predict, score, calibrate, and write all of it."""
    from ..machine import describe_machine, versions
    from ..reports.study import write_study_report
    from .calibration import calibrate
    from .mistakes import analyse
    from .out_of_fold import predict_folds

    predict = plan.config.predict
    maps, turned = predict_folds(place, plan.dataset, _trained(plan), predict, tta=tta, tell=_tell)
    records = [_record(job) for job in plan.jobs]
    held_out = [split.val for split in plan.splits]
    more, histograms = score_maps(plan.dataset, held_out, maps, turned, predict)
    content = {
        "version": 1,
        "kind": "crossval",
        "dataset": {
            "name": plan.dataset.root.resolve().name,
            "pairs": len(plan.dataset),
            "classes": list(plan.dataset.classes),
            "summary": plan.summary,
        },
        "folds": len(plan.splits),
        "fold_seed": plan.fold_seed,
        "group": plan.group,
        "seeds": list(plan.seeds),
        "recipe": plan.config.to_dict(),
        "length": plan.length,
        "scores": {"single": score_runs(records), **more},
        "runs": [msgspec.to_builtins(record) for record in records],
        "machine": describe_machine(),
        "versions": versions(),
    }
    write_json(place / "crossval.json", content)
    calibration = calibrate(histograms, classes=len(plan.dataset.classes), road_share=plan.road_share)
    write_json(place / "calibration.json", calibration)
    answers = _answers(plan, maps)
    analyse(answers, place, predict.threshold, patch_threshold=predict.patch_threshold, seeds=plan.seeds)
    write_study_report(place)
    if ensemble:
        _write_ensemble(plan, place / "ensemble.keras", calibration)
    return CrossValidation(place, content, calibration)


def _tell(line: str) -> None:
    print(f"predicting {line}", flush=True)


def _answers(plan: Plan, maps: "Maps") -> "Iterator[tuple[Sample, NDArray[np.float32]]]":
    """Each image with what the models of each seed say of it: (S, H, W), or (S, K, H, W) of several classes."""
    import numpy as np

    with plan.dataset.reader() as reader:
        for index in sorted(k for split in plan.splits for k in split.val):
            sample = reader.read(index)
            found = np.stack([np.moveaxis(maps.probabilities(sample.stem, seed), -1, 0) for seed in maps.seeds])
            yield sample, found[:, 0] if found.shape[1] == 1 else found


def _write_ensemble(plan: Plan, path: Path, calibration: dict[str, Any]) -> None:
    from ..learning.ensemble import ensemble

    threshold = None  # that of one model of each fold: no image is left to choose one for all of them together on
    if calibration["thresholds"]:
        threshold = calibration["thresholds"]["pixel_f1"]["threshold"]
    ensemble([job.out for job in plan.jobs], path, threshold=threshold)
    said = "" if threshold is None else f"; road above {threshold:g}, best for pixel F1 (--threshold T for another)"
    print(f"{len(plan.jobs)} models as one -> {path}{said}; it was trained on every image here", flush=True)
