"""Keras callbacks of a run: validation by the averaged weights, history.csv, TensorBoard, checkpoint, display."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from ..errors import RunError
from ..scores import Scores
from .checkpoint import capture, save_checkpoint
from .optimizers import averaged_weights
from .runs import RunFolder
from .validation import Scored, Validated, picture_of

__all__ = ["Checkpoint", "Display", "History", "Pause", "StepTimer", "TensorBoard", "Validation"]

PICTURES = 4  # validation images that TensorBoard shows
SCORES = ("pixel_f1", "pixel_iou", "pixel_accuracy", "pixel_precision", "pixel_recall", "patch_accuracy", "patch_f1")


class StepTimer(keras.callbacks.Callback):
    """Seconds from step to step, the wait for data included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._mark = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._mark)
        self._mark = now


class Validation(keras.callbacks.Callback):
    """Scores the averaged weights on the validation images after every epoch and adds `val_...` to the logs.

    Args:
        shadow: the network that is evaluated; takes the averaged weights of the one that trains.
        run: scores the shadow: one result an image, one after the other.
        shown: so many results are kept with their pixels, for pictures.

    Attributes:
        results: of the last epoch, without pixels.
        pictures: the first of them with pixels.
    """

    def __init__(
        self, shadow: keras.Model, run: Callable[[], Iterable[Validated]], classes: int, shown: int = PICTURES
    ) -> None:
        super().__init__()
        self.shadow = shadow
        self.run = run
        self.classes = classes
        self.shown = shown
        self.results: list[Scored] = []
        self.pictures: list[Validated] = []
        self.seconds: list[float] = []  # of each scoring

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.shadow.set_weights(averaged_weights(self.model))
        start = time.perf_counter()
        self.results, self.pictures = [], []
        for result in self.run():
            self.results.append(result.scored)
            if len(self.pictures) < self.shown:
                self.pictures.append(result)
        self.seconds.append(time.perf_counter() - start)
        if logs is None or not self.results:
            return
        pixels = np.array([r.labelled for r in self.results], float)
        if pixels.any():
            logs["val_loss"] = float(np.average([r.loss for r in self.results], weights=pixels))
        scores = Scores.pool((r.scores for r in self.results), self.classes).to_dict()
        logs.update({f"val_{key}": scores[key] for key in SCORES if scores[key] is not None})


class History(keras.callbacks.Callback):
    """A row an epoch: step, losses, scores, seconds, images/s (crops), learning rate; in memory and in history.csv."""

    async_safe = True  # Keras calls it when a step's result is there, and does not hold up the next step for it

    def __init__(self, folder: RunFolder, rows: Sequence[dict[str, Any]], steps_per_epoch: int, batch: int) -> None:
        super().__init__()
        self.folder = folder
        self.rows = list(rows)
        self.steps_per_epoch = steps_per_epoch
        self.batch = batch
        self._start = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._trained = max(self._trained, time.perf_counter())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, (int, float))}
        if not math.isfinite(values.get("loss", 0.0)):  # before the checkpoint: the last good one stays
            raise RunError(
                f"the loss is not a number after epoch {epoch + 1}: lower train.learning_rate, or train.clip"
            )
        trained = max(1e-9, self._trained - self._start)
        row: dict[str, Any] = {"epoch": epoch + 1, "step": (epoch + 1) * self.steps_per_epoch}
        row |= {key: round(value, 6) for key, value in values.items()}
        row["learning_rate"] = float(f"{float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)):.6g}")
        row["seconds"] = round(time.perf_counter() - self._start, 3)
        row["train_seconds"] = round(trained, 3)
        row["images_per_second"] = round(self.steps_per_epoch * self.batch / trained, 3)
        self.rows.append(row)
        self.folder.write_history(self.rows)


class Checkpoint(keras.callbacks.Callback):
    """Writes the state after every epoch, in a thread: training goes on while the disk works.

    Where epochs are shorter than a writing the newest state is written next and those between are left out.
    """

    def __init__(self, folder: RunFolder, finished: int = 0) -> None:
        super().__init__()
        self.folder = folder
        self._finished = finished
        self._newest: tuple[int, list[Any]] | None = None  # waits for the writer
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._failed: BaseException | None = None

    @property
    def finished(self) -> int:
        """Epochs that are safe on disk; waits for what is being written.

        Raises:
            OutputError: a state could not be written.
        """
        self.close()
        self._check()
        return self._finished

    def close(self) -> None:
        """Wait for what is being written."""
        writer = self._writer
        if writer is not None:
            writer.join()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check()
        state = capture(self.model)
        with self._lock:
            self._newest = (epoch + 1, state)
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write, name="roadseg-checkpoint")
                self._writer.start()

    def on_train_end(self, logs: Any = None) -> None:
        _ = self.finished

    def _check(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def _write(self) -> None:
        while True:
            with self._lock:
                newest, self._newest = self._newest, None
                if newest is None:
                    self._writer = None  # under the lock: the next epoch starts another
                    return
            try:
                save_checkpoint(self.folder.checkpoint, newest[1], newest[0])
            except BaseException as error:
                self._failed = error
            else:
                self._finished = newest[0]


class Pause(keras.callbacks.Callback):
    """Interrupts a run at the end of an epoch, when the next one would last beyond `until`; after `Checkpoint`.

    Args:
        until: as `time.perf_counter()` counts.
        epochs: of the whole run; after the last one there is nothing to interrupt.
    """

    def __init__(self, until: float, epochs: int) -> None:
        super().__init__()
        self.until = until
        self.epochs = epochs
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        if epoch + 1 < self.epochs and now + (now - self._start) > self.until:
            raise KeyboardInterrupt


class TensorBoard(keras.callbacks.Callback):
    """Scalars of every epoch and pictures of a few validation images, without TensorFlow (tensorboardX)."""

    def __init__(self, folder: RunFolder, history: History, validation: Validation | None, epochs: int) -> None:
        super().__init__()
        self.folder = folder
        self.history_rows = history
        self.validation = validation
        self.every = max(1, epochs // 8)  # pictures are large: about eight times a run
        self.epochs = epochs
        self._writer: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(self.folder.tensorboard))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = self.history_rows.rows[-1]
        for key, value in row.items():
            if key in ("epoch", "step"):
                continue
            group = "validation" if key.startswith("val_") else "training"
            self._writer.add_scalar(f"{group}/{key.removeprefix('val_')}", value, epoch + 1)
        if self.validation is not None and ((epoch + 1) % self.every == 0 or epoch + 1 == self.epochs):
            for result in self.validation.pictures:
                name = f"validation/{result.sample.stem}"
                self._writer.add_image(name, picture_of(result), epoch + 1, dataformats="HWC")
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Display(keras.callbacks.Callback):
    """A progress bar on a terminal, and one flushed line after every epoch anywhere."""

    async_safe = True

    def __init__(self, history: History, epochs: int, steps_per_epoch: int, baseline: float | None) -> None:
        super().__init__()
        self.history_rows = history
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.baseline = baseline
        self._bar: Any = None
        self._task: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            text = TextColumn("epoch {task.fields[epoch]}  loss {task.fields[loss]:.4f}")
            self._bar = Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True)
            self._task = self._bar.add_task(
                "", total=self.steps_per_epoch, epoch=f"{epoch + 1}/{self.epochs}", loss=float("nan")
            )
            self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._bar is not None:
            self._bar.update(self._task, advance=1, loss=float((logs or {}).get("loss", float("nan"))))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.close()
        row = self.history_rows.rows[-1]
        parts = [f"epoch {row['epoch']}/{self.epochs}", f"loss {row['loss']:.4f}"]
        if "val_loss" in row:
            parts += [
                f"val_loss {row['val_loss']:.4f}",
                f"F1 {row['val_pixel_f1']:.4f}",
                f"IoU {row['val_pixel_iou']:.4f}",
            ]
        if "val_patch_accuracy" in row:
            parts += [f"patch accuracy {row['val_patch_accuracy']:.4f} (all background {self.baseline:.4f})"]
        parts += [f"{row['seconds']:.1f} s", f"{row['images_per_second']:.1f} images/s"]
        print("  ".join(parts), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
