"""Training, from a dataset folder to a finished run folder."""

import contextlib
import math
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..backend import backend_name, is_out_of_memory, load_keras
from ..config import Config
from ..errors import BackendError, ConfigError, ModelError, RoadsegWarning
from ..imagery.dataset import Dataset, Sample
from ..imagery.splits import Split
from ..scores import Scores
from .batches import TrainingBatches, prefetch
from .plan import Plan, check_crop, class_shares, pixel_statistics
from .runs import ModelInfo, RunFolder, read_info, save_model

__all__ = ["Trainer"]

PROBE_STEPS = 10


class Trainer:
    """One training run: builds the network, plans the steps, fits, and writes the run folder.

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
        self.train_samples = dataset.read_all(split.train)
        self.val_samples = dataset.read_all(split.val)
        self.config = self._found(config)
        self.times: dict[str, float] = {"reading_s": round(time.perf_counter() - started, 3)}

    def _found(self, config: Config) -> Config:
        """The configuration with what the data says written in."""
        data = msgspec.structs.replace(
            config.data,
            bands=self.dataset.bands,
            classes=list(self.dataset.classes),
            value_range=list(self.dataset.value_range or ()),
        )
        check_crop(config)
        return msgspec.structs.replace(config, data=data)

    # === Building ===

    def build(self, init: Path | None = None) -> None:
        """Network, batches, loss; the arithmetic is chosen by a probe when the configuration leaves it open."""
        keras = load_keras()
        from ..networks import build_network
        from .losses import build_loss

        config = self.config
        keras.utils.set_random_seed(config.train.seed)
        precision: Any = config.train.precision
        if precision == "auto":
            from .precision import faster_precision

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
                config.network, bands=self.dataset.bands, classes=self.classes, mean=mean, std=std
            )
        finally:
            keras.config.set_dtype_policy(before)
        if init is not None:
            self._take_weights(init)
        self.loss = build_loss(config.loss, shares)
        self.batches = TrainingBatches(self.train_samples, config, self.classes)
        self.keras = keras

    def _take_weights(self, init: Path) -> None:
        """Start from another model's weights wherever name and shape agree."""
        keras = load_keras()
        from .runs import find_model, load_model

        path = find_model(init)
        theirs = {w.path: w for w in load_model(path).weights}
        taken = kernels = 0
        for weight in self.model.weights:
            other = theirs.get(weight.path)
            if other is not None and tuple(other.shape) == tuple(weight.shape):
                weight.assign(keras.ops.convert_to_numpy(other))
                taken += 1
                kernels += len(weight.shape) == 4
        if not kernels:  # the bias of the one output agrees between any two networks
            raise ModelError(
                f"--init {init}: no layer of it has the name and shape of one of this network: "
                "use the same network settings"
            )
        print(f"start: {taken} of {len(self.model.weights)} weights from {init}", flush=True)

    def compile(self, steps: int) -> None:
        from .metrics import PixelF1
        from .optimizers import build_optimizer

        self.model.compile(
            optimizer=build_optimizer(self.config.train, steps),
            loss=self.loss,
            metrics=[PixelF1(classes=self.classes, threshold=self.config.predict.threshold, name="pixel_f1")],
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
            plan = self._probe(coverage)
        else:
            plan = Plan(train.epochs * coverage, train.epochs, coverage)
        changed = msgspec.structs.replace(
            train, steps=plan.steps, steps_per_epoch=plan.steps_per_epoch, epochs=plan.epochs
        )
        self.config = msgspec.structs.replace(self.config, train=changed)
        return plan

    def _probe(self, coverage: int) -> Plan:
        from .callbacks import StepTimer
        from .checkpoint import capture, restore

        self.compile(1000)
        before = capture(self.model)
        timer = StepTimer()
        self._fit(Plan(PROBE_STEPS, 1, PROBE_STEPS), 0, [timer])
        restore(self.model, before)
        compile_s = max(0.0, timer.seconds[0] - timer.seconds[-1])
        step = statistics.median(timer.seconds[PROBE_STEPS // 2 :])
        check = finish = 0.0
        if self.val_samples:
            self._make_shadow()
            few = self.val_samples[: max(1, min(4, len(self.val_samples)))]
            self._validate(self.shadow_predictor, few)  # compiles
            start = time.perf_counter()
            self._validate(self.shadow_predictor, few)
            check = (
                (time.perf_counter() - start)
                * sum(s.mask.size for s in self.val_samples)
                / sum(s.mask.size for s in few)
            )
            finish = 2.5 * check + 4  # the last pass is in float32 and compiles once more; pictures
        start = time.perf_counter()
        capture(self.model)
        state = 3 * (time.perf_counter() - start) + 0.1  # one checkpoint
        finish += 3 + self.model.count_params() / 4e6
        left = self.config.train.minutes * 60 - (time.perf_counter() - self.started) - compile_s - finish
        steps = int(0.95 * left / (step + (check + state) / coverage))
        self.times["probe_step_s"] = round(step, 4)
        if steps < 1:
            raise ConfigError(
                f"--minutes {self.config.train.minutes:g} is too short here: a step takes {step:.1f} s, compiling "
                f"and saving {compile_s + finish:.0f} s: give more minutes, or a smaller network.width or train.crop"
            )
        return Plan.of(steps, coverage)

    # === Fitting ===

    def _make_shadow(self) -> None:
        """A second copy of the network, for evaluation with the averaged weights while the first one trains."""
        from ..inference.engine import KerasEngine
        from ..inference.predictor import Predictor
        from ..networks import plain_copy

        self.shadow = plain_copy(self.model, self.config.train.precision)
        self.shadow_predictor = Predictor(KerasEngine(self.shadow), self.info(), self.config.predict, tta=False)

    def info(self) -> ModelInfo:
        return ModelInfo(
            classes=self.dataset.classes,
            bands=self.dataset.bands,
            value_range=self.dataset.value_range,
            scale=self.config.data.scale,
            ground_resolution_m=self.dataset.ground_resolution_m,
            threshold=self.config.predict.threshold,
            patch_threshold=self.config.predict.patch_threshold,
            multiple=2**self.config.network.depth,
            invert=self.config.data.invert,
            trained_on=tuple(s.hash for s in self.train_samples),
        )

    def _validate(self, predictor: Any, samples: Sequence[Sample]) -> list[Any]:
        from .validation import validate

        predict = self.config.predict
        try:
            return validate(predictor, samples, self.classes, predict.threshold, predict.patch_threshold, self.loss)
        except BackendError as error:
            raise BackendError(
                f"out of memory in validation: try --set predict.batch={max(1, predict.batch // 2)}"
                f" or --set predict.window={max(64, predict.window // 2)}"
            ) from error

    def _stream(self, start: int, stop: int) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        return prefetch(self.batches, start, stop)

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
        from .callbacks import Checkpoint, Display, History, TensorBoard, Validation
        from .checkpoint import load_checkpoint, restore

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
            self._make_shadow()
            validation = Validation(
                self.shadow, lambda: self._validate(self.shadow_predictor, self.val_samples), self.classes
            )
        history = History(self.folder, rows, plan.steps_per_epoch, self.config.train.batch)
        checkpoint = Checkpoint(self.folder, finished)
        board = TensorBoard(self.folder, history, validation, plan.epochs)
        display = Display(history, plan.epochs, plan.steps_per_epoch, self.baseline())
        callbacks = [c for c in (validation, history, checkpoint, board, display) if c is not None]
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
        self.times["fit_s"] = round(time.perf_counter() - start, 3)
        if not complete or finished >= plan.epochs:
            _, arrays = load_checkpoint(self.folder.checkpoint)
            restore(self.model, arrays)
        self.epochs_done = checkpoint.finished
        self.history_rows = history.rows
        return complete

    def baseline(self) -> float | None:
        """Patch accuracy of calling everything background, on the validation images."""
        if not self.val_samples or self.classes != 2:
            return None
        from ..scores import score_image

        parts = [
            score_image(s.mask, np.zeros_like(s.mask), 2, self.config.predict.patch_threshold, s.valid)
            for s in self.val_samples
        ]
        return float(Scores.pool(parts).to_dict()["all_background_patch_accuracy"])

    # === Finishing ===

    def finish(self, complete: bool) -> dict[str, Any]:
        """Write model.keras (averaged weights, float32, plain Keras), validation pictures and metrics.json."""
        from ..inference.engine import KerasEngine
        from ..inference.predictor import Predictor
        from ..machine import describe_machine, peak_memory_mb, versions
        from ..networks import plain_copy
        from .optimizers import averaged_weights
        from .validation import write_pictures

        # After `fit` Keras itself leaves the averages in the model; after an interruption they are in the optimiser.
        plain = plain_copy(self.model)
        plain.set_weights(averaged_weights(self.model))
        save_model(plain, self.folder.model, self.info())
        results = []
        if self.val_samples:
            info = read_info(self.folder.model)
            results = self._validate(
                Predictor(KerasEngine(plain), info, self.config.predict, tta=False), self.val_samples
            )
            self.folder.clear_validation()
            write_pictures(self.folder.validation, results, self.dataset.classes)
        total = Scores.pool((r.scores for r in results), self.classes)
        metrics: dict[str, Any] = {
            **({} if not results else _rounded(total.to_dict())),
            "n_images": len(results),
            "threshold": self.config.predict.threshold,
        }
        if results and self.classes > 2:
            metrics["class_iou"] = dict(zip(self.dataset.classes, total.class_iou(), strict=True))
        metrics |= {
            "scored_on": f"{len(results)} validation images, native scale, no test-time augmentation"
            if results
            else "nothing: trained on all images",
            "complete": complete,
            "epochs": self.epochs_done,
            "steps": self.epochs_done * self.plan_made.steps_per_epoch,
            "parameters": int(plain.count_params()),
            "n_train": len(self.train_samples),
            "images": {r.sample.stem: _rounded(r.scores.to_dict() | {"loss": r.loss}) for r in results},
        }
        trained = sum(float(row["train_seconds"]) for row in self.history_rows)
        self.times |= {"training_s": round(trained, 3), "total_s": round(time.perf_counter() - self.started, 3)}
        metrics |= {
            "times": self.times,
            "machine": {
                **describe_machine(),
                "backend": backend_name(),
                "precision": self.config.train.precision,
                "peak_memory_mb": peak_memory_mb(),
            },
            "versions": versions(),
        }
        self.folder.write_metrics(metrics)
        return metrics


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Six digits; what is not a number becomes None, for JSON knows no NaN."""

    def short(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return round(value, 6) if math.isfinite(value) else None

    return {key: short(value) for key, value in values.items()}
