"""`roadseg.ablate`: a study's baseline and factors trained on the same folds with the same seeds, and what helps."""

import shutil
import statistics
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import check_place, make_folder, write_json, write_text
from . import jobs as trainings
from . import rehearsal
from .ablation_text import markdown, text_table
from .ledger import Ledger, Run
from .locks import lock_beside, training_lock
from .records import record_of
from .study import Stage, Study, Variant, read_study

__all__ = ["Ablation", "ablate", "describe_ablation"]


@dataclass(frozen=True)
class Ablation:
    """A study's folder and what it has found so far; `tables` is ablation.json."""

    path: Path
    tables: dict[str, Any] = field(repr=False)
    failed: tuple[str, ...] = ()  # trainings that failed, each with its error

    def table(self) -> str:
        """For a terminal."""
        return text_table(self.tables)

    def verdicts(self, stage: str = "screen") -> dict[str, str | None]:
        """What is said of each factor: helps, hurts, cannot tell; None: there is not enough to say anything."""
        found = [s for s in self.tables["stages"] if s["name"] == stage]
        return {factor["name"]: factor["verdict"] for s in found for factor in s["factors"]}


def ablate(
    dataset: Path | str,
    study: Path | str,
    out: Path | str,
    *,
    workers: int = 1,
    dask: str | None = None,
    only: Sequence[str] | None = None,
    keep: bool = False,
    skip_bad: bool = False,
) -> Ablation:
    """Answer a study file: does each factor help, hurt, or can these runs not tell?

    What is finished in `out` is used, what was interrupted goes on. Scores are those of the final weights on the
    held-out images at the threshold of the recipe, differences are paired by fold and seed; see `studies.statistics`.

    Args:
        dataset: a folder in one of the known layouts.
        study: the study file, see `studies.study`.
        out: the folder to write or to go on with: study.toml, runs/, ablation.json, ablation.md, report.html.
        workers: trainings at once, processes on this machine.
        dask: address of a Dask scheduler instead.
        only: train these factors and the baseline now; the runs of others may come from another machine.
        keep: keep the run folders (models, curves) in `out`/work; otherwise their records alone stay.
        skip_bad: leave bad files out with a warning.

    Raises:
        ConfigError: the study file, before anything is trained.
        RunError: finished runs in `out` are of another recipe, metric, fold or image than the study asks for.
        RoadsegError: the dataset, or the place, is not usable.
        KeyboardInterrupt: what is finished is kept and in the tables.
    """
    work = _Work(Path(dataset), read_study(study), Path(out), only, skip_bad, keep)
    stages = {stage.name: work.missing(stage) for stage in work.study.stages}
    first = next((runs for runs in stages.values() if runs), [])
    trainings.check_jobs([work.job(run) for run in first])
    if first:
        opened = work.checked.dataset
        rehearsal.rehearse(work.study, opened.bands, len(opened.classes))
    make_folder(work.out)
    write_text(work.out / "study.toml", work.study.text)
    with training_lock(lock_beside(work.out)):
        work.ledger.refresh()
        try:
            for stage in work.study.stages:
                work.train(stage, workers, dask)
        except BaseException:  # an interruption above all
            with suppress(Exception):  # what stopped the work is the news
                work.report()
            raise
        work.report()
        return Ablation(work.out, work.write(), tuple(work.failed))


def describe_ablation(
    dataset: Path | str,
    study: Path | str,
    out: Path | str,
    *,
    only: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> str:
    """What `ablate` would do with these arguments, everything checked that needs no backend; nothing is written."""
    work = _Work(Path(dataset), read_study(study), Path(out), only, skip_bad)
    lines = [f"{work.study.title}: {work.study.metric} on {work.checked.dataset.root}"]
    total = 0
    for stage in work.study.stages:
        chosen = work.chosen(stage)
        lines.append(work.headline(stage))
        if chosen is None:
            lines.append(f"  the best {stage.best} factors of the screening, once it is finished")
            count = (1 + stage.best) * len(stage.places())
            lines.append(f"  {count} runs wanted")
            total += count
            continue
        names = [work.study.baseline, *chosen]
        width = max(len(variant.name) for variant in names)
        missing = work.missing(stage)
        for variant in names:
            wanted, finished = len(stage.places()), len(work.ledger.records(variant, stage))
            now = sum(run.variant.name == variant.name for run in missing)
            later = "" if now == wanted - finished else "  (left out by --only)"
            lines.append(f"  {variant.name:<{width}}  {finished} of {wanted} runs finished{later}")
        lines.append(f"  {len(missing)} runs to train{work.estimate(stage, len(missing))}")
        total += len(missing)
    return "\n".join([*lines, f"dry run: {total} runs to train, nothing written"])


class _Work:
    """A study on its dataset in its folder: everything is checked when it is made."""

    def __init__(
        self,
        dataset: Path,
        study: Study,
        out: Path,
        only: Sequence[str] | None = None,
        skip_bad: bool = False,
        keep: bool = False,
    ) -> None:
        check_place(out)
        self.dataset, self.study, self.out = dataset.absolute(), study, out
        self.only = {factor.name for factor in study.choose(only)}
        self.skip_bad, self.keep = skip_bad, keep
        self.failed: list[str] = []
        self.intervals: dict[tuple[object, ...], dict[str, float | None]] = {}
        self.ledger = Ledger(out)
        _check_folder(study, out, len(self.ledger))
        self.checked = rehearsal.check_study(study, dataset, skip_bad=skip_bad)
        for stage in study.stages:
            held, trained = self.checked.held[stage.name], self.checked.trained[stage.name]
            self.ledger.check(study, stage, study.variants, held, trained)

    # === What is to be done ===

    def chosen(self, stage: Stage) -> tuple[Variant, ...] | None:
        """The factors of a stage; None while the screening is not finished."""
        if not stage.best:
            return self.study.factors
        return _choice(self.study, self.ledger, self.out, stage)

    def missing(self, stage: Stage) -> list[Run]:
        """The trainings to do now: for each seed, for each fold, the baseline and then every factor."""
        chosen = self.chosen(stage)
        if chosen is None:
            return []
        variants = [self.study.baseline, *(factor for factor in chosen if factor.name in self.only)]
        runs = (Run(variant, stage, place) for place in stage.places() for variant in variants)
        return [run for run in runs if self.ledger.find(run) is None]

    def job(self, run: Run) -> trainings.Job:
        """How a training is asked for."""
        return trainings.Job(
            name=str(run),
            out=(self.out / "work" / run.slug).absolute(),
            dataset=self.dataset,
            config=self.study.recipe(run.variant, run.stage, run.place.seed),
            fold=(run.place.fold, run.stage.folds),
            fold_seed=run.place.fold_seed,
            group=self.study.group,
            skip_bad=self.skip_bad,
        )

    def headline(self, stage: Stage) -> str:
        """What a stage is."""
        folds = f"fold{'s' if len(stage.hold_out) > 1 else ''} {_listed(stage.hold_out)} of {stage.folds}"
        seeds = f"seed{'s' if len(stage.seeds) > 1 else ''} {_listed(stage.seeds)}"
        splits = f"fold seed{'s' if len(stage.fold_seeds) > 1 else ''} {_listed(stage.fold_seeds)}"
        what = "screening" if stage.name == "screen" else "confirmation"
        return f"{what}: {folds} ({splits}), {seeds}, {stage.length} a training"

    def estimate(self, stage: Stage, count: int) -> str:
        """`, about 3.2 hours one after the other`, by the finished ones of the stage."""
        variants = (self.study.baseline, *self.study.factors)
        seconds = [record.total_s for variant in variants for record in self.ledger.records(variant, stage)]
        if not seconds or not count:
            return ""
        return f", about {statistics.median(seconds) * count / 3600:.2g} hours one after the other"

    # === Doing it ===

    def train(self, stage: Stage, workers: int, dask: str | None) -> None:
        """Train what is missing of a stage, and keep each as it ends."""
        chosen = self.chosen(stage)
        if chosen is None:
            print("the confirmation waits until every factor is screened", flush=True)
            return
        if stage.best:
            _keep_choice(self.study, self.ledger, self.out, stage, chosen)
            print(f"confirmation of {', '.join(variant.name for variant in chosen)}", flush=True)
        runs = self.missing(stage)
        count = (len(chosen) + 1) * len(stage.places())
        print(
            f"{self.headline(stage)}: {count} runs, {len(runs)} to train{self.estimate(stage, len(runs))}", flush=True
        )
        self.write()
        if not runs:
            return
        wanted = {run.slug: run for run in runs}
        asked = [self.job(run) for run in runs]
        trainings.check_jobs(asked)
        trainings.run_jobs(
            asked, workers=workers, dask=dask, on_done=lambda outcome: self.done(wanted[outcome.job.out.name], outcome)
        )

    def done(self, run: Run, outcome: trainings.Outcome) -> None:
        """Keep what a training gave: its record, or why there is none; and write the tables anew."""
        message = outcome.message
        if outcome.state != "failed":
            try:
                self.keep_record(run, outcome.job.out)
                self.write()
                return
            except RunError as error:  # a run folder that is damaged: the others go on
                message = str(error)
        self.failed.append(f"{run}: {message}")
        self.ledger.fail(run, message)
        self.write()

    def keep_record(self, run: Run, folder: Path) -> None:
        """Read the record out of a run folder, keep it, and remove the folder."""
        stage = run.stage
        record = record_of(
            folder,
            variant=run.variant.name,
            fold=run.place.fold,
            folds=stage.folds,
            fold_seed=run.place.fold_seed,
            seed=run.place.seed,
            asked=self.study.recipe(run.variant, stage, run.place.seed),
        )
        self.ledger.begin(run)
        self.ledger.add(run, record)
        if self.keep:
            return
        job = self.job(run)
        shutil.rmtree(job.out, ignore_errors=True)  # a model each, 30 MB and more
        for path in (job.asked_file, job.log_file):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # others are still in it
            job.out.parent.rmdir()

    def write(self) -> dict[str, Any]:
        """ablation.json and ablation.md of what there is."""
        from .verdicts import tables_of

        self.ledger.refresh()
        stages = [(stage, chosen) for stage in self.study.stages if (chosen := self.chosen(stage)) is not None]
        command = f"roadseg ablate {self.dataset.name} {self.study.source.name} --out {self.out.name}"
        tables = tables_of(self.study, self.ledger, self.checked.dataset, stages, command, self.intervals)
        write_json(self.out / "ablation.json", tables)
        write_text(self.out / "ablation.md", markdown(tables))
        return tables

    def report(self) -> None:
        """The tables, and the page that is drawn from them."""
        from ..reports.study import write_study_report

        self.write()
        write_study_report(self.out)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _check_folder(study: Study, out: Path, finished: int) -> None:
    """Refuse a folder of something else, and a metric that is declared after the scores are known."""
    copy = out / "study.toml"
    if not copy.is_file():
        if out.is_dir() and not (out / "runs").is_dir() and any(out.iterdir()):
            raise RunError(f"'{out}' is not empty and not a study: give another --out")
        return
    if not finished:
        return
    try:
        before = tomllib.loads(copy.read_text(encoding="utf-8"))["metric"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"'{copy}', the study as it was run, is damaged: {error!r}; mend it, or give another --out"
        ) from error
    if before != study.metric:
        raise RunError(
            f"study '{study.source}' declares metric = '{study.metric}', but {finished} runs in '{out}' were made "
            f"under '{before}': a metric is declared before the scores are known; set it back, or give another --out"
        )


def _choice(study: Study, ledger: Ledger, out: Path, stage: Stage) -> tuple[Variant, ...] | None:
    """The factors to confirm: as they were chosen once; else the best of the screening, once all is done or failed."""
    from .verdicts import read_choice, screened

    kept = read_choice(study, out / "chosen.json", stage.best)
    if kept is not None:
        return kept
    waiting = [
        run
        for variant in study.variants
        for place in study.screen.places()
        if ledger.find(run := Run(variant, study.screen, place)) is None and not ledger.has_failed(run)
    ]
    ranked = screened(study, ledger)
    if waiting or not ranked:
        return None
    before = read_choice(study, out / "chosen.json", stage.best, more=True) or ()
    return (*before, *(variant for variant, _ in ranked if variant not in before))[: stage.best]


def _keep_choice(study: Study, ledger: Ledger, out: Path, stage: Stage, chosen: Sequence[Variant]) -> None:
    """Write down the choice with its reason: runs that are done later do not change it."""
    from .verdicts import read_choice, screened

    if read_choice(study, out / "chosen.json", stage.best) != tuple(chosen):
        found = {variant.name: difference for variant, difference in screened(study, ledger)}
        write_json(
            out / "chosen.json",
            {
                "best": stage.best,
                "by": f"mean difference of {study.metric} in the screening",
                "factors": {variant.name: found.get(variant.name) for variant in chosen},
            },
        )
