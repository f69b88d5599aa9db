"""The steps of the job as functions: what the command line, the notebooks and the studies call."""

import os
import time
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .config import Config, PredictConfig
from .errors import ConfigError, DataError, ModelError, OutputError, RoadsegWarning, RunError

if TYPE_CHECKING:
    from .imagery.dataset import Dataset
    from .imagery.splits import Split
    from .inference.outputs import Progress, Summary
    from .inference.predictor import Predictor

__all__ = ["Run", "check_place", "compare", "describe_training", "evaluate", "load", "predict", "resume", "train"]


@dataclass(frozen=True)
class Run:
    """A finished training run.

    >>> run = roadseg.train("path/to/cil", "runs/first", minutes=20)
    >>> run.metrics["pixel_f1"]
    >>> run.predictor().probabilities(image)  # (H, W, 3) uint8 -> (H, W, 1) float32
    """

    path: Path
    metrics: dict[str, Any]

    @property
    def model(self) -> Path:
        """The deliverable, `model.keras`."""
        return self.path / "model.keras"

    def config(self) -> Config:
        """The complete configuration, as the run used it."""
        from .learning.runs import RunFolder

        return RunFolder.open(self.path).read_config()

    def predictor(self, tta: bool = False, threshold: float | None = None) -> "Predictor":
        """The trained model, ready to predict."""
        return load(self.path, tta=tta, threshold=threshold)


def _with_options(config: Config, epochs: int | None, minutes: float | None, seed: int | None) -> Config:
    train = config.train
    if epochs is not None and minutes is not None:
        raise ConfigError("give epochs or minutes, not both")
    if epochs is not None:
        if epochs < 1:
            raise ConfigError(f"--epochs {epochs}: at least 1")
        train = msgspec.structs.replace(train, epochs=epochs, minutes=0.0, steps=0)
    if minutes is not None:
        if not 0 < minutes < 1e6:
            raise ConfigError(f"--minutes {minutes}: a number above 0")
        train = msgspec.structs.replace(train, minutes=float(minutes), steps=0)
    if seed is not None:
        if not 0 <= seed < 2**32:
            raise ConfigError(f"--seed {seed}: expected 0..{2**32 - 1}")
        train = msgspec.structs.replace(train, seed=seed)
    return msgspec.structs.replace(config, train=train)


@dataclass(frozen=True)
class Prepared:
    """What a training run starts from: the opened dataset and who trains and who validates."""

    dataset: "Dataset"
    split: "Split"
    config: Config

    def summary(self) -> str:
        """A few lines for the display."""
        count = f"{len(self.split.train)} images train, {len(self.split.val)} validate ({self.split.rule})"
        return f"{self.dataset.summary()}\nsplit: {count}"


def prepare_training(
    dataset: Path | str,
    config: Config,
    *,
    skip_bad: bool = False,
    **split: Any,
) -> Prepared:
    """Open and check a dataset and split it; see `train` for the arguments."""
    from .imagery.dataset import open_dataset
    from .imagery.splits import split_dataset

    opened = open_dataset(Path(dataset), config.data, skip_bad=skip_bad)
    return Prepared(opened, split_dataset(opened.pairs, seed=config.train.seed, **split), config)


def train(
    dataset: Path | str,
    out: Path | str,
    config: Config | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    val: float | None = None,
    val_names: Path | None = None,
    fold: tuple[int, int] | None = None,
    fold_seed: int = 43,
    full: bool = False,
    group: str | None = None,
    init: Path | str | None = None,
    skip_bad: bool = False,
    started: float | None = None,
) -> Run:
    """Train a network on a dataset folder and write the run folder `out`.

    Args:
        dataset: a folder in one of the known layouts.
        config: the recipe; `Config()` when None.
        epochs, minutes: length of the run, over what `config` says. Minutes cover compiling, validation and saving.
        val: share of the images that validates, drawn by the seed (0.1 when nothing else is said).
        val_names: a text file with the names of the validating images.
        fold: (K, N): block K of N validates, see `roadseg.imagery.splits`.
        full: train on everything.
        group: regular expression; images with the same match stay on one side.
        init: a run or model to start from.
        skip_bad: leave bad files out with a warning.

    Raises:
        RoadsegError: see `roadseg.errors`; nothing that was there is changed.
        KeyboardInterrupt: after keeping the last finished epoch in the run folder.
    """
    from .learning.runs import RunFolder

    started = time.perf_counter() if started is None else started
    config = _with_options(config or Config(), epochs, minutes, seed)
    _check_start(config, Path(out), init)
    prepared = prepare_training(
        dataset,
        config,
        skip_bad=skip_bad,
        val=val,
        names=val_names,
        fold=fold,
        fold_seed=fold_seed,
        full=full,
        group=group,
    )
    print(prepared.summary(), flush=True)
    from .backend import load_keras

    load_keras()  # before anything is written: there may be none
    from .learning.trainer import Trainer

    folder = RunFolder.create(out)
    try:
        trainer = Trainer(folder, config, prepared.dataset, prepared.split, started)
        _report_duplicates(trainer)
        folder.write_split(
            {
                "rule": prepared.split.rule,
                "train": [{"stem": s.stem, "hash": s.hash} for s in trainer.train_samples],
                "val": [{"stem": s.stem, "hash": s.hash} for s in trainer.val_samples],
            }
        )
        folder.write_config(trainer.config)
        return _run(trainer, Path(init) if init is not None else None, resume=False)
    except Exception:
        if not folder.checkpoint.is_file():  # nothing is learnt yet: the mended command may write to the same place
            folder.discard()
        raise


def describe_training(
    dataset: Path | str,
    out: Path | str,
    config: Config,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    val: float | None = None,
    val_names: Path | None = None,
    fold: tuple[int, int] | None = None,
    fold_seed: int = 43,
    full: bool = False,
    group: str | None = None,
    init: Path | str | None = None,
    skip_bad: bool = False,
) -> str:
    """What `train` would do with these arguments, without a backend and without writing anything."""
    config = _with_options(config, epochs, minutes, seed)
    _check_start(config, Path(out), init)
    prepared = prepare_training(
        dataset,
        config,
        skip_bad=skip_bad,
        val=val,
        names=val_names,
        fold=fold,
        fold_seed=fold_seed,
        full=full,
        group=group,
    )
    train, names = config.train, [prepared.dataset.pairs[k].stem for k in prepared.split.val]
    length = (
        f"{train.minutes:g} minutes"
        if train.minutes
        else f"{train.steps} steps"
        if train.steps
        else f"{train.epochs} epochs"
    )
    network = f"{config.network.name}, width {config.network.width}, depth {config.network.depth}"
    return (
        f"{prepared.summary()}\nvalidation: {', '.join(names) or 'none'}\n"
        f"network: {network}; loss {config.loss.name}; {length} of batch {train.batch} x {train.crop}x{train.crop}\n"
        "dry run: nothing written"
    )


def resume(dataset: Path | str, out: Path | str, *, skip_bad: bool = False, started: float | None = None) -> Run:
    """Continue an interrupted run with its own configuration and split; a finished one is left as it is.

    Raises:
        RunError: no run there, or its state is damaged or of other images.
    """
    from .imagery.dataset import open_dataset
    from .imagery.splits import Split
    from .learning.runs import RunFolder
    from .learning.trainer import Trainer, check_resumed_split

    started = time.perf_counter() if started is None else started
    folder = RunFolder.open(out)
    if (folder.path / "metrics.json").is_file() and folder.model.is_file():
        metrics = folder.read_json("metrics.json")
        if metrics.get("complete"):
            print(f"run '{out}' is complete: nothing to do", flush=True)
            return Run(folder.path, metrics)
    config = folder.read_config()
    stored = folder.read_json("split.json")
    opened = open_dataset(Path(dataset), config.data, skip_bad=skip_bad)
    index = {pair.stem: k for k, pair in enumerate(opened.pairs)}
    check_resumed_split(stored, {stem: opened.hashes[k] for stem, k in index.items()})
    parts = [tuple(index[item["stem"]] for item in stored[part]) for part in ("train", "val")]
    trainer = Trainer(folder, config, opened, Split(parts[0], parts[1], stored["rule"]), started)
    return _run(trainer, None, resume=True)


def check_place(path: Path) -> None:
    """Refuse a path that cannot be written, before any work and without making anything.

    Raises:
        OutputError: it lies below a file, or in a folder that may not be written.
    """
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if above != path.absolute() and not above.is_dir():
        raise OutputError(f"cannot write '{path}': '{above}' is a file, not a folder")
    if not os.access(above, os.W_OK):
        raise OutputError(f"cannot write '{path}': '{above}' may not be written")


def _check_start(config: Config, out: Path, init: Path | str | None) -> None:
    """Refuse what can be known to be wrong before an image is read or Keras is loaded."""
    from .learning.runs import RunFolder, find_model
    from .learning.trainer import check_crop

    check_crop(config)
    if init is not None and not zipfile.is_zipfile(find_model(init)):
        raise ModelError(f"--init '{init}' is not a Keras model: give a run folder or a .keras file")
    check_place(out)
    if out.exists():
        RunFolder.create(out)


def _report_duplicates(trainer: Any) -> None:
    from .imagery.duplicates import find_duplicates

    found = find_duplicates(trainer.train_samples, trainer.val_samples)
    if found:
        shown = ", ".join(f"{a} = {b}" if kind == "same" else f"{a} ~ {b}" for a, b, kind in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        warnings.warn(
            f"{len(found)} training images are the same (=) or nearly the same (~) as validation images: "
            f"{shown}{more}. "
            "Scores will be too good: keep them on one side with --group or --val-names",
            RoadsegWarning,
            stacklevel=3,
        )


def _run(trainer: Any, init: Path | None, resume: bool) -> Run:
    from .reports.html import write_report

    folder = trainer.folder
    try:
        trainer.build(init)
        complete = trainer.fit(resume)
    except KeyboardInterrupt:
        kept = "the finished epochs are kept" if folder.checkpoint.is_file() else "no epoch was finished"
        raise KeyboardInterrupt(f"{kept}; go on with --resume, or remove '{folder.path}'") from None
    metrics = trainer.finish(complete)
    write_report(folder.path)
    if not complete:
        raise KeyboardInterrupt(
            f"kept {metrics['epochs']} finished epochs in '{folder.path}' (model.keras is theirs); go on with --resume"
        )
    return Run(folder.path, metrics)


def load(
    model: Path | str, *, tta: bool = False, threshold: float | None = None, config: PredictConfig | None = None
) -> "Predictor":
    """A trained model, ready to predict: `load("runs/first").probabilities(image)`.

    Raises:
        ModelError: no model there.
    """
    from .inference.predictor import load_predictor

    return load_predictor(model, config, tta=tta, threshold=threshold)


def predict(
    model: Path | str,
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    probabilities: bool = False,
    tta: bool = False,
    threshold: float | None = None,
    config: PredictConfig | None = None,
    progress: "Progress | None" = None,
) -> "Summary":
    """Predict image files, or all images of folders, into the folder `out`; see the contract of `roadseg predict`."""
    from .inference.outputs import plan_outputs, run_jobs

    places = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    jobs = plan_outputs([Path(p) for p in places], Path(out), probabilities)
    return run_jobs(load(model, tta=tta, threshold=threshold, config=config), jobs, Path(out), progress)


def evaluate(
    model: Path | str,
    dataset: Path | str,
    *,
    tta: bool = False,
    threshold: float | None = None,
    include_trained: bool = False,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Scores of a model on labelled images, pooled over all pixels and patches, beside the all-background baseline.

    Images that the model was trained on (by content) are left out unless `include_trained`; how many is in the answer.

    Raises:
        ModelError: the model's classes or bands are not the dataset's.
        DataError: no image is left.
    """
    from .config import DataConfig
    from .imagery.dataset import open_dataset
    from .learning.runs import find_model, read_info
    from .learning.validation import validate
    from .scores import Scores

    info = read_info(find_model(model))
    several = list(info.classes) if len(info.classes) > 2 else []  # of two, the dataset says itself how it shows them
    data = DataConfig(bands=info.bands, value_range=list(info.value_range or ()), invert=info.invert, classes=several)
    opened = open_dataset(Path(dataset), data, skip_bad=skip_bad)
    if len(opened.classes) != len(info.classes):
        raise ModelError(f"the model has {len(info.classes)} classes, dataset '{dataset}' has {len(opened.classes)}")
    seen = set(info.trained_on)
    skipped = sum(found in seen for found in opened.hashes)
    chosen = [k for k, found in enumerate(opened.hashes) if include_trained or found not in seen]
    if not chosen:
        raise DataError(
            f"the model was trained on all {skipped} images of '{dataset}': give others, or --all to score these"
        )
    predictor = load(model, tta=tta, threshold=threshold)
    limit = predictor.info.threshold
    parts: dict[str, Any] = {}
    for index in chosen:
        (result,) = validate(predictor, [opened.read(index)], len(info.classes), limit, info.patch_threshold)
        parts[result.sample.stem] = result.scores
    total = Scores.pool(parts.values(), len(info.classes))
    scores = total.to_dict()
    if len(info.classes) > 2:
        scores["class_iou"] = dict(zip(info.classes, total.class_iou(), strict=True))
    return scores | {
        "threshold": limit,
        "tta": predictor.tta,
        "n_trained_on": skipped,
        "trained_on_included": include_trained and skipped > 0,
        "images": {stem: part.to_dict() for stem, part in parts.items()},
    }


def compare(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Two or more runs image by image, on the validation images that all of them have: paired differences to the first.

    Raises:
        RunError: fewer than two runs, or no image in common.
    """
    import statistics

    from .learning.runs import RunFolder

    if len(runs) < 2:
        raise RunError("give at least two runs to compare")
    folders = [RunFolder.open(run) for run in runs]
    tables = [folder.read_json("metrics.json").get("images", {}) for folder in folders]
    splits = [
        {item["stem"]: item["hash"] for item in folder.read_json("split.json").get("val", [])} for folder in folders
    ]
    common = [stem for stem in tables[0] if all(stem in t for t in tables) and len({s.get(stem) for s in splits}) == 1]
    if not common:
        raise RunError(
            "these runs have no validation image in common: train them with the same split (--fold, --val-names)"
        )
    answer: dict[str, Any] = {"images": len(common), "runs": {}}
    for run, table in zip(runs, tables, strict=True):
        entry: dict[str, Any] = {}
        for score in ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1"):
            if any(table[stem].get(score) is None or tables[0][stem].get(score) is None for stem in common):
                continue
            values = [table[stem][score] for stem in common]
            gaps = [table[stem][score] - tables[0][stem][score] for stem in common]
            entry[score] = {
                "mean": statistics.fmean(values),
                "difference": statistics.fmean(gaps),
                "sd_of_difference": statistics.stdev(gaps) if len(gaps) > 1 else None,
                "better": sum(g > 0 for g in gaps),
                "worse": sum(g < 0 for g in gaps),
            }
        answer["runs"][str(run)] = entry
    return answer
