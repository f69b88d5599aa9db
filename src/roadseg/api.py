"""The steps of the job as functions: what the command line, the notebooks and the studies call."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from .config import Config, PredictConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .inference.engine import EngineKind
    from .inference.outputs import Progress, Summary
    from .inference.predictor import Predictor
    from .learning.job import TrainingOptions

__all__ = ["Run", "describe_training", "load", "predict", "resume", "train"]


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


def train(
    dataset: Path | str,
    out: Path | str,
    config: Config | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    devices: int | None = None,
    val: float | None = None,
    val_names: Path | None = None,
    fold: tuple[int, int] | None = None,
    fold_seed: int = 43,
    full: bool = False,
    group: str | None = None,
    init: Path | str | None = None,
    skip_bad: bool = False,
    pause: float | None = None,
    started: float | None = None,
) -> Run:
    """Train a network on a dataset folder and write the run folder `out`.

    Args:
        dataset: a folder in one of the known layouts.
        config: the recipe; `Config()` when None.
        epochs, minutes: length of the run, over what `config` says. Minutes cover compiling, validation and saving.
        devices: each computes an equal part of every batch; more than one: on JAX. Over what `config` says.
        val: share of the images that validates, drawn by the seed (0.1 when nothing else is said).
        val_names: a text file with the names of the validating images.
        fold: (K, N): block K of N validates, see `roadseg.imagery.splits`.
        full: train on everything.
        group: regular expression; images with the same match stay on one side.
        init: a run or model to start from.
        skip_bad: leave bad files out with a warning.
        pause: minutes after which to stop at the end of an epoch, as if interrupted; `resume` goes on.

    Raises:
        RoadsegError: see `roadseg.errors`; nothing that was there is changed.
        KeyboardInterrupt: after keeping the last finished epoch in the run folder.
    """
    from .learning.job import check_pause, prepare_training, report_duplicates, trained_before
    from .learning.runs import RunFolder

    check_pause(pause)
    started = time.perf_counter() if started is None else started
    prepared = prepare_training(
        dataset,
        out,
        config or Config(),
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        devices=devices,
        val=val,
        val_names=val_names,
        fold=fold,
        fold_seed=fold_seed,
        full=full,
        group=group,
        init=init,
        skip_bad=skip_bad,
    )
    config = prepared.config
    print(prepared.summary(), flush=True)
    from .backend import load_keras
    from .learning.devices import check_devices

    load_keras()  # before anything is written: there may be none
    check_devices(config.train.devices)
    from .learning.optimizers import check_optimizer
    from .learning.trainer import Trainer

    check_optimizer(config.train)
    folder = RunFolder.create(out)
    try:
        trainer = Trainer(folder, config, prepared.dataset, prepared.split, started)
        trainer.trained_before = trained_before(init)
        trainer.pause = pause
        report_duplicates(trainer.train_samples, trainer.val_samples)
        folder.write_split(
            {
                "rule": prepared.split.rule,
                "train": [prepared.dataset.entry(k) for k in prepared.split.train],
                "val": [prepared.dataset.entry(k) for k in prepared.split.val],
                "trained_before": list(trainer.trained_before),
            }
        )
        folder.write_config(trainer.config)
        return _run(trainer, Path(init) if init is not None else None, resume=False)
    except Exception:
        if not folder.checkpoint.is_file():  # nothing is learnt yet: the mended command may write to the same place
            folder.discard()
        raise


def describe_training(
    dataset: Path | str, out: Path | str, config: Config | None = None, **options: "Unpack[TrainingOptions]"
) -> str:
    """What `train` would do with these arguments (`options` are `train`'s), without a backend and without writing."""
    from .learning.job import prepare_training

    prepared = prepare_training(dataset, out, config or Config(), **options)
    return f"{prepared.plan()}\ndry run: nothing written"


def resume(
    dataset: Path | str,
    out: Path | str,
    *,
    devices: int | None = None,
    skip_bad: bool = False,
    pause: float | None = None,
    started: float | None = None,
) -> Run:
    """Continue an interrupted run with its own configuration and split; a finished one is left as it is.

    Args:
        devices: another number of them than the run began with; the curve is the same within rounding.
        pause: minutes after which to stop again, as in `train`.

    Raises:
        RunError: no run there, or its state is damaged or of other images.
        BackendError: fewer devices here than the run was begun on.
    """
    from .imagery.dataset import open_dataset
    from .imagery.splits import Split
    from .learning.devices import check_devices
    from .learning.job import check_pause, with_options
    from .learning.plan import check_batch, check_resumed_split
    from .learning.runs import RunFolder
    from .learning.trainer import Trainer

    check_pause(pause)
    started = time.perf_counter() if started is None else started
    folder = RunFolder.open(out)
    if (folder.path / "metrics.json").is_file() and folder.model.is_file():
        metrics = folder.read_json("metrics.json")
        if metrics.get("complete"):
            print(f"run '{out}' is complete: nothing to do", flush=True)
            return Run(folder.path, metrics)
    config = with_options(folder.read_config(), devices=devices)
    check_batch(config)
    check_devices(config.train.devices)
    stored = folder.read_json("split.json")
    opened = open_dataset(Path(dataset), config.data, skip_bad=skip_bad)
    index = {pair.stem: k for k, pair in enumerate(opened.pairs)}
    check_resumed_split(stored, {stem: opened.entry(k) for stem, k in index.items()})
    parts = [tuple(index[item["stem"]] for item in stored[part]) for part in ("train", "val")]
    trainer = Trainer(folder, config, opened, Split(parts[0], parts[1], stored["rule"]), started)
    trainer.trained_before = tuple(stored.get("trained_before", ()))
    trainer.pause = pause
    return _run(trainer, None, resume=True)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n != 1 else "")


def _run(trainer: Any, init: Path | None, resume: bool) -> Run:
    from .learning.devices import data_parallel
    from .reports.html import write_report

    folder = trainer.folder
    with data_parallel(trainer.config.train.devices):
        try:
            trainer.build(init)
            complete = trainer.fit(resume)
        except KeyboardInterrupt:
            kept = "the finished epochs are kept" if folder.checkpoint.is_file() else "no epoch was finished"
            raise KeyboardInterrupt(f"{kept} in '{folder.path}'") from None
        metrics = trainer.finish(complete)
    write_report(folder.path)
    if not complete:
        raise KeyboardInterrupt(f"kept what {_count(metrics['epochs'], 'finished epoch')} learnt in '{folder.path}'")
    return Run(folder.path, metrics)


def load(
    model: Path | str,
    *,
    tta: bool = False,
    threshold: float | None = None,
    config: PredictConfig | None = None,
    engine: "EngineKind" = "auto",
    int8: bool = False,
    calibrate: "Iterable[NDArray[np.uint8]] | None" = None,
) -> "Predictor":
    """A trained model, ready to predict: `load("runs/first").probabilities(image)`.

    Args:
        engine: "auto" (the fastest there is whose answer is Keras' own), "keras", "openvino" or "onnx".
        int8: compute in 8 bits, faster and slightly different; the model is quantised with windows of `calibrate`.
        calibrate: images like those to predict, (H, W, C) uint8 each.

    Raises:
        ModelError: no model there, or one that the engine cannot take.
        BackendError: what the engine needs is not installed.
    """
    from .inference.predictor import load_predictor

    return load_predictor(model, config, tta, threshold, engine, int8=int8, calibrate=calibrate)


def predict(
    model: Path | str,
    inputs: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    tta: bool = False,
    threshold: float | None = None,
    config: PredictConfig | None = None,
    engine: "EngineKind" = "auto",
    int8: bool = False,
    resolution_m: float | None = None,
    aoi: Path | str | None = None,
    bands: Sequence[int] | None = None,
    value_range: "tuple[float, float] | Literal['auto'] | None" = None,
    mosaic: str | None = None,
    cog: bool = False,
    resume: bool = False,
    workers: int | None = None,
    dask: str | None = None,
    progress: "Progress | None" = None,
) -> "Summary":
    """Predict images and rasters of any size, or all images of folders, into the folder `out`, in bounded memory.

    >>> roadseg.predict("runs/first", "city.tif", "masks", probabilities=True, aoi="district.gpkg")

    See the contract of `roadseg predict`. With `int8` the model is quantised with windows of these images; how far the
    masks differ is in `predict.json`.

    Args:
        probabilities: also `x_prob.tif|png`: 255 where the road's probability is 1.
        uncertainty: also `x_unc.tif|png`: the standard deviation over the views of `tta` or the members of an ensemble,
            255 where it is 0.5.
        resolution_m: metres per pixel of the images, whatever their files say.
        aoi: a vector file; outside its polygons there is no data.
        bands: numbers from 1 of the bands that are read, in this order; None: as in training.
        value_range: pixel values that become 0 and 255; "auto": as found; None: as in training.
        mosaic: all inputs are one raster, with this name.
        cog: write cloud-optimised GeoTIFFs.
        resume: go on where the same prediction was interrupted.
        workers: processes on this machine that share the strips of large rasters.
        dask: the address of a Dask scheduler whose workers do; they see the same folders.
        progress: is called after every band.

    Raises:
        RoadsegError: see `roadseg.errors`; finished bands of a large raster stay, `resume` goes on from them.
        KeyboardInterrupt: likewise.
    """
    from contextlib import ExitStack

    from .inference.outputs import plan_outputs, run_jobs
    from .inference.planning import Wanted

    places = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    wanted = Wanted(
        probabilities=probabilities,
        uncertainty=uncertainty,
        resolution_m=resolution_m,
        aoi=None if aoi is None else Path(aoi),
        bands=None if bands is None else tuple(bands),
        value_range=value_range,
        mosaic=mosaic,
        cog=cog,
        resume=resume,
    )
    jobs = plan_outputs([Path(p) for p in places], Path(out), wanted=wanted)
    images = None
    if int8:
        from .inference.int8 import ImageFiles
        from .learning.runs import find_model, read_info

        info = read_info(find_model(model))
        images = ImageFiles([job.sources for job in jobs], info, bands=wanted.bands, value_range=value_range)
    predictor = load(model, tta=tta, threshold=threshold, config=config, engine=engine, int8=int8, calibrate=images)
    with ExitStack() as stack:
        spread = None
        if workers is not None or dask is not None:
            from .inference.cluster import open_cluster

            spread = stack.enter_context(open_cluster(workers, dask))
        return run_jobs(predictor, jobs, Path(out), progress, wanted=wanted, spread=spread)
