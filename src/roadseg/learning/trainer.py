"""Training, from a dataset folder to a finished run folder."""

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..backend import backend_name, is_out_of_memory, load_keras
from ..config import Config
from ..errors import BackendError, ConfigError, RoadsegWarning
from ..imagery.dataset import Dataset
from ..imagery.splits import Split
from ..imagery.store import PixelStore, memory_bytes
from ..machine import cores
from .batches import TrainingBatches, prefetch, weighed
from .devices import one_device
from .plan import Plan, check_batch, check_crop, class_shares, pixel_statistics, settle
from .runs import ModelInfo, RunFolder, save_model
from .transfer import take_weights

if TYPE_CHECKING:
    from .evaluator import Evaluator

__all__ = ["Trainer"]

MAX_WORKERS = 8  # threads that make batches


class Trainer:
    """One training run: builds the network, plans the steps, fits, and writes the run folder.

    On several devices `build`, `fit` and `finish` are called inside `devices.data_parallel`.

    Args:
        folder: the run folder, created or to be resumed.
        config: as asked for; `self.config` has what became of it (bands, precision, steps).
        started: `time.perf_counter()` when the command began; `--minutes` counts from there.
    """

    def __init__(self, folder: RunFolder, config: Config, dataset: Dataset, split: Split, started: float) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        self.started = started
        self.classes = len(dataset.classes)
        self.pause: float | None = None  # minutes from `started`, after which the run stops to be continued
        self.trained_before: tuple[str, ...] = ()  # hashes of images that the weights to start from have seen
        self.store = PixelStore(int(config.data.memory_share * memory_bytes()), folder.path / "state")
        samples = dataset.read_all([*split.train, *split.val], self.store)
        self.train_samples, self.val_samples = samples[: len(split.train)], samples[len(split.train) :]
        self.config = self._found(config)
        self.times: dict[str, float] = {"reading_s": round(time.perf_counter() - started, 3)}

    def _found(self, config: Config) -> Config:
        """The configuration with what the data says written in."""
        config, _ = settle(config, self.dataset, self.split.train)
        data = msgspec.structs.replace(
            config.data,
            bands=self.dataset.bands,
            classes=self.dataset.class_setting,
            value_range=list(self.dataset.value_range or ()),
        )
        check_crop(config)
        check_batch(config)
        return msgspec.structs.replace(config, data=data)

    # === Building ===

    def build(self, init: Path | None = None) -> None:
        """Network, batches, loss; the arithmetic is chosen by a probe when the configuration leaves it open."""
        keras = load_keras()
        from ..networks import build_network, supervised
        from .feed import Feed
        from .losses import build_loss, pixel_weights, weighted_shares

        config = self.config
        keras.utils.set_random_seed(config.train.seed)
        precision: Any = config.train.precision
        if precision == "auto":
            from .precision import faster_precision

            with one_device():  # a few images, fewer than there may be devices
                precision = faster_precision()
            keras.utils.set_random_seed(config.train.seed)
        self.config = config = msgspec.structs.replace(
            config, train=msgspec.structs.replace(config.train, precision=precision)
        )
        shares = class_shares(self.train_samples, self.classes)
        if max(shares) == 1:
            warnings.warn(
                f"every training pixel is '{self.dataset.classes[int(np.argmax(shares))]}'",
                RoadsegWarning,
                stacklevel=2,
            )
        mean, std = pixel_statistics(self.train_samples)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision)
        try:
            self.model = build_network(
                config.network,
                bands=self.dataset.bands,
                classes=self.classes,
                mean=mean,
                std=std,
                shares=weighted_shares(config.loss, shares),
                fetch=not self.folder.checkpoint.is_file(),  # a resumed run has weights of its own
            )
            if init is not None:
                print(take_weights(self.model, init, self.dataset.classes).lines(init), flush=True)
            if config.network.deep_supervision:
                self.model = supervised(self.model)
        finally:
            keras.config.set_dtype_policy(before)
        self.loss = build_loss(config.loss, shares)
        weigh = pixel_weights(config.loss)
        self.batches = TrainingBatches(self.train_samples, config, self.classes, self.store, weigh=weigh)
        # Once, and not after every epoch anew.
        masks = [sample.mask for sample in self.val_samples]
        kept = [] if weigh is None else weighed(masks, weigh, self.store)
        self.val_weights = {sample.stem: each for sample, each in zip(self.val_samples, kept, strict=False)}
        if self.store.mapped:
            print(
                f"{self.store.mapped / 2**30:.2g} GB of decoded images in a file in '{self.store.folder}'", flush=True
            )
        self.feed = Feed(lambda step: self.batches(step))
        self.keras = keras
        self.evaluators: dict[str, Evaluator] = {}  # by precision

    def compile(self, steps: int) -> None:
        """Make the model ready to train for `steps`; a second call changes their number alone, and compiles nothing."""
        from .metrics import PixelF1
        from .optimizers import build_optimizer, set_run_steps
        from .supervision import FirstAnswer, SupervisedLoss

        if self.model.compiled:
            set_run_steps(self.model.optimizer, steps)
            return
        loss = self.loss
        metric: Any = PixelF1(classes=self.classes, threshold=self.config.predict.threshold, name="pixel_f1")
        channels = 1 if self.classes == 2 else self.classes
        further = self.model.output.shape[-1] // channels - 1  # answers of deep supervision
        if further:
            weight = self.config.network.deep_supervision
            loss = SupervisedLoss(loss, channels, [1.0, *(weight * 0.5**k for k in range(further))])
            metric = FirstAnswer(metric, channels)
        self.model.compile(
            optimizer=build_optimizer(self.config.train, steps),
            loss=loss,
            metrics=[metric],
            # TensorFlow's own kernels (oneDNN) beat XLA's on a CPU; JAX is always compiled
            jit_compile=False if self.keras.config.backend() == "tensorflow" else "auto",
        )
        self.model.optimizer.build(self.model.trainable_variables)

    # === Planning ===

    def plan(self) -> Plan:
        """Number of steps: as configured, or as many as fit into the minutes by a probe of step and validation."""
        train = self.config.train
        coverage = train.steps_per_epoch or self.batches.steps_per_epoch
        if train.steps:
            plan = Plan.of(train.steps, coverage)
        elif train.minutes:
            plan = self._plan_minutes(train.minutes, coverage)
        else:
            plan = Plan(train.epochs * coverage, train.epochs, coverage)
        changed = msgspec.structs.replace(
            train, steps=plan.steps, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
        )
        self.config = msgspec.structs.replace(self.config, train=changed)
        return plan

    def _plan_minutes(self, minutes: float, coverage: int) -> Plan:
        from .probe import measure

        self.compile(1000)
        costs = measure(
            self.model,
            lambda plan, callbacks: self._fit(plan, 0, callbacks),
            lambda samples: list(self._evaluator()(samples)),
            self.val_samples,
        )
        self.times["probe_step_s"] = round(costs.step, 4)
        steps = costs.steps_in(minutes * 60 - (time.perf_counter() - self.started), coverage)
        if steps < 1:
            raise ConfigError(
                f"--minutes {minutes:g} is too short here: a step takes {costs.step:.1f} s, "
                f"scoring and saving at the end {costs.finish:.0f} s: give more minutes, or a smaller network.width or "
                "train.crop"
            )
        return Plan.of(steps, coverage)

    # === Fitting ===

    def _evaluator(self, precision: str | None = None) -> "Evaluator":
        """A second copy of the network, which is scored while the first one trains. Made and compiled once."""
        from ..networks import plain_copy
        from .evaluator import Evaluator

        precision = precision or self.config.train.precision
        if precision not in self.evaluators:
            copy = plain_copy(self.model, precision)
            self.evaluators[precision] = Evaluator(copy, self.info(), self.config.predict, self.loss, self.val_weights)
        return self.evaluators[precision]

    def info(self) -> ModelInfo:
        return ModelInfo(
            classes=self.dataset.classes,
            bands=self.dataset.bands,
            value_range=self.dataset.value_range,
            scale=self.config.data.scale,
            ground_resolution_m=self.dataset.ground_resolution_m,
            threshold=self.config.predict.threshold,
            patch_threshold=self.config.predict.patch_threshold,
            multiple=self.config.network.multiple,
            invert=self.config.data.invert,
            ignore=self.dataset.coding.ignore,
            select=self.dataset.select or None,
            block=self.dataset.block,
            trained_on=tuple(dict.fromkeys([*(s.hash for s in self.train_samples), *self.trained_before])),
        )

    def _stream(self, start: int, stop: int) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        workers = min(MAX_WORKERS, cores())
        return prefetch(self.feed, start, stop, ahead=2 * workers, workers=workers)

    def _fit(self, plan: Plan, finished: int, callbacks: list[Any]) -> None:
        if finished >= plan.epochs:
            return
        stream = self._stream(finished * plan.steps_per_epoch, plan.steps)
        try:
            self.model.fit(
                stream,
                initial_epoch=finished,
                epochs=plan.epochs,
                steps_per_epoch=plan.steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,  # the stream has its own order
                verbose=0,
            )
        except BackendError:  # of the validation after an epoch, with its own advice
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            batch = self.config.train.batch
            advice = (
                f"--set train.batch={batch // 2}" if batch > 1 else f"--set train.crop={self.config.train.crop // 2}"
            )
            raise BackendError(f"out of memory in training with batch {batch}: try {advice}") from error
        finally:
            # After an interruption a thread of the backend may still be in it: it then ends when that thread lets go.
            with contextlib.suppress(ValueError):
                stream.close()  # type: ignore[attr-defined]

    def fit(self, resume: bool = False) -> bool:
        """Train to the end of the plan; return False when interrupted (the last finished epoch is kept).

        Raises:
            KeyboardInterrupt: interrupted before the first epoch was finished.
        """
        from .callbacks import Checkpoint, Display, History, Pause, TensorBoard, Validation
        from .checkpoint import load_checkpoint, restore
        from .feed import DataWait
        from .record import baseline_accuracy

        self.plan_made = plan = self.plan()
        how = f"{backend_name()}, {self.config.train.precision}"
        print(
            f"training: {plan.steps} steps in {plan.epochs} epochs, {self.model.count_params():,} weights, {how}",
            flush=True,
        )
        self.compile(plan.steps)
        self.folder.write_config(self.config)
        finished, rows = 0, []
        if resume and self.folder.checkpoint.is_file():
            finished, arrays = load_checkpoint(self.folder.checkpoint)
            restore(self.model, arrays)
            rows = [dict(row) for row in self.folder.read_history() if int(row["epoch"]) <= finished]
        validation = None
        if self.val_samples:
            shadow = self._evaluator()
            validation = Validation(shadow.model, lambda: shadow(self.val_samples), self.classes)
        baseline = baseline_accuracy(self.val_samples, self.classes, self.config.predict.patch_threshold)
        history = History(self.folder, rows, plan.steps_per_epoch, self.config.train.batch)
        checkpoint = Checkpoint(self.folder, finished)
        board = TensorBoard(self.folder, history, validation, plan.epochs)
        display = Display(history, plan.epochs, plan.steps_per_epoch, baseline)
        wait = DataWait(self.feed, plan.steps_per_epoch)
        pause = None if self.pause is None else Pause(self.started + 60 * self.pause, plan.epochs)
        callbacks = [c for c in (wait, validation, history, checkpoint, board, display, pause) if c is not None]
        start = time.perf_counter()
        complete = True
        try:
            self._fit(plan, finished, callbacks)
        except KeyboardInterrupt:
            if not checkpoint.finished:
                raise
            complete = False
        finally:
            display.close()
            board.close()
            checkpoint.close()
        self.times["fit_s"] = round(time.perf_counter() - start, 3)
        self.times["data_wait_s"] = round(wait.seconds, 3)
        if validation is not None and validation.seconds:  # the least: the first one compiles
            self.times["validation_image_s"] = round(min(validation.seconds) / len(self.val_samples), 5)
        if not complete or finished >= plan.epochs:
            _, arrays = load_checkpoint(self.folder.checkpoint)
            restore(self.model, arrays)
        self.epochs_done = checkpoint.finished
        self.history_rows = history.rows
        return complete

    # === Finishing ===

    def finish(self, complete: bool) -> dict[str, Any]:
        """Write model.keras (averaged weights, float32, plain Keras), validation pictures and metrics.json."""
        from ..reports.overlays import overlay_names
        from .optimizers import averaged_weights
        from .record import run_record
        from .validation import Scored, write_pictures

        # After `fit` Keras itself leaves the averages in the model; after an interruption they are in the optimiser.
        final = self._evaluator("float32")
        final.model.set_weights(averaged_weights(self.model))
        save_model(final.model, self.folder.model, self.info())
        results: list[Scored] = []
        overlays = overlay_names([sample.stem for sample in self.val_samples])
        if overlays:
            self.folder.clear_validation()
        for result in final(self.val_samples):
            write_pictures(self.folder.validation, result, overlays[result.sample.stem])
            results.append(result.scored)
        trained = sum(float(row["train_seconds"]) for row in self.history_rows)
        self.times |= {"training_s": round(trained, 3), "total_s": round(time.perf_counter() - self.started, 3)}
        config = self.config
        metrics = run_record(
            results,
            self.dataset.classes,
            config.predict.threshold,
            run={
                "complete": complete,
                "epochs": self.epochs_done,
                "steps": self.epochs_done * self.plan_made.steps_per_epoch,
                "parameters": int(final.model.count_params()),
                "n_train": len(self.train_samples),
            },
            times=self.times,
            machine={"precision": config.train.precision, "devices": config.train.devices},
        )
        self.folder.write_metrics(metrics)
        return metrics
