"""Training measured: the bare step, the whole `fit`, and what the parts of a step cost. One process, one network."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..backend import backend_name, load_keras
from ..config import read_config
from ..imagery.dataset import open_dataset
from ..imagery.scenes import write_scenes
from ..imagery.splits import split_dataset
from ..learning.runs import RunFolder
from ..learning.trainer import Trainer
from .flop import BACKWARD, forward_flop
from .workload import Workload

__all__ = ["make_trainer", "measure_fit", "measure_overheads", "measure_step", "on_cpu"]

SETTLING = 3  # steps before those that count: the first one compiles, then memory is being laid out
ROUNDS = 3  # of step times, in turns
LEAST = 4  # steps that make a median


def on_cpu() -> bool:
    """Whether the backend in use computes on the processor."""
    keras = load_keras()
    name = keras.config.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_physical_devices("GPU")
    if name == "jax":
        import jax

        return bool(jax.default_backend() == "cpu")
    import torch

    return not torch.cuda.is_available()


def make_trainer(
    workload: Workload, folder: Path, *settings: str, scenes: int = 4, kind: type[Trainer] = Trainer
) -> Trainer:
    """A built trainer on made scenes below `folder`: network, loss, batches, precision as in `roadseg train`."""
    dataset = folder / f"scenes{scenes}"
    if not dataset.is_dir():
        write_scenes(dataset, scenes, size=max(64, workload.size * 3 // 2))
    config = read_config({}, [*workload.settings(), *settings])
    opened = open_dataset(dataset, config.data)
    split = split_dataset(opened.pairs, val=0.1)
    run = RunFolder.create(tempfile.mkdtemp(prefix="run-", dir=folder))
    trainer = kind(run, config, opened, split, time.perf_counter())
    trainer.build()
    return trainer


def _described(trainer: Trainer) -> dict[str, Any]:
    device = "cpu" if on_cpu() else "gpu"
    return {"backend": backend_name(), "precision": trainer.config.train.precision, "device": device}


# === The bare step ===


def _step_clock() -> Any:
    """A callback that notes when each step's result is there."""
    import keras

    class StepClock(keras.callbacks.Callback):  # type: ignore[misc]
        async_safe = True  # Keras calls it from a thread that waits for the result; the next step does not wait

        def on_train_begin(self, logs: Any = None) -> None:
            self.ends = {-1: time.perf_counter()}

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.ends[batch] = time.perf_counter()

    return StepClock()


def _step_seconds(trainer: Trainer, batches: Sequence[Any], steps: int) -> list[float]:
    """Seconds of each of `steps` steps of a fit on batches in memory, nothing else in it."""
    clock = _step_clock()
    stream = (batch for batch in itertools.islice(itertools.cycle(batches), steps))
    trainer.model.fit(stream, epochs=1, steps_per_epoch=steps, callbacks=[clock], shuffle=False, verbose=0)
    return [clock.ends[k] - clock.ends[k - 1] for k in range(steps)]


def measure_step(workload: Workload, folder: Path) -> dict[str, Any]:
    """The training step alone: forward, loss, backward, clipping, AdamW, averaged weights, metric; data in memory.

    Returns:
        `img_s` by the median step, `gflop_s` by the network's convolutions forward and backward, `first_step_s` with
        tracing and compiling.
    """
    trainer = make_trainer(workload, folder)
    trainer.compile(1000)
    batches = [trainer.batches(k) for k in range(4)]
    settling = _step_seconds(trainer, batches, SETTLING)
    count = max(LEAST, round(workload.seconds / settling[-1]))
    step = statistics.median(_step_seconds(trainer, batches, count))
    flop = forward_flop(trainer.model, workload.size)
    return {
        **_described(trainer),
        "parameters": int(trainer.model.count_params()),
        "forward_gflop": round(flop / 1e9, 3),
        "step_ms": round(1000 * step, 3),
        "steps": count,
        "img_s": round(workload.batch / step, 3),
        "gflop_s": round((1 + BACKWARD) * flop * workload.batch / step / 1e9, 3),
        "first_step_s": round(settling[0], 2),
    }


# === The whole fit ===


class _Alternating:
    """Batches whose even epochs repeat a few that lie in memory: there neither perturbation nor feed costs anything."""

    def __init__(self, batches: Any) -> None:
        self.made = batches
        self.steps_per_epoch: int = batches.steps_per_epoch
        self.kept = [batches(k) for k in range(4)]

    def __call__(self, step: int) -> Any:
        bare = step // self.steps_per_epoch % 2 == 0
        return self.kept[step % len(self.kept)] if bare else self.made(step)


def _mark() -> Any:
    """A callback that notes when it is reached: set between others it tells what each of them took."""
    import keras

    class Mark(keras.callbacks.Callback):  # type: ignore[misc]
        async_safe = True

        def __init__(self) -> None:
            super().__init__()
            self.begun: list[float] = []
            self.trained: list[float] = []
            self.ended: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun.append(time.perf_counter())
            self.trained.append(0.0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.trained[-1] = max(self.trained[-1], time.perf_counter())  # threads may come out of order

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ended.append(time.perf_counter())

    return Mark()


class _TimedTrainer(Trainer):
    """A trainer that notes the seconds of each epoch's steps and of each callback after them."""

    epochs: Sequence[dict[str, float]] = ()

    def _fit(self, plan: Any, finished: int, callbacks: list[Any]) -> None:
        marks = [_mark() for _ in range(len(callbacks) + 1)]
        between = [one for pair in zip(marks, callbacks, strict=False) for one in pair]
        super()._fit(plan, finished, [*between, marks[-1]])
        names = [type(callback).__name__ for callback in callbacks]
        self.epochs = [
            {
                "whole": marks[-1].ended[k] - marks[0].begun[k],
                "training": marks[0].trained[k] - marks[0].begun[k],
                **{name: marks[j + 1].ended[k] - marks[j].ended[k] for j, name in enumerate(names)},
            }
            for k in range(len(marks[-1].ended))
        ]


def measure_fit(workload: Workload, folder: Path) -> dict[str, Any]:
    """The whole `fit` with all default perturbations, its feed and its callbacks, on made scenes, a tenth validating.

    Epochs on batches in memory and ordinary ones take turns, so that both see the same machine.

    Returns:
        `img_s` while an epoch trains; `ratio` to the epoch in memory before it; the share of an ordinary epoch's
        training that waits for data; `shares` of the epoch for validation and each other callback. Medians.
    """
    trainer = make_trainer(workload, folder, scenes=24, kind=_TimedTrainer)
    assert isinstance(trainer, _TimedTrainer)
    per_epoch = trainer.batches.steps_per_epoch
    trainer.compile(1000)
    step = _step_seconds(trainer, [trainer.batches(0)], SETTLING)[-1]
    pairs = max(2, round(1.5 * workload.seconds / (per_epoch * step)))
    epochs = 2 * (pairs + 1)  # the first two compile, the validation too
    train = msgspec.structs.replace(trainer.config.train, steps=epochs * per_epoch, steps_per_epoch=per_epoch)
    trainer.config = msgspec.structs.replace(trainer.config, train=train)
    trainer.batches = _Alternating(trainer.batches)  # type: ignore[assignment]
    trainer.fit()
    bare, whole = trainer.epochs[2::2], trainer.epochs[3::2]

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(of(epoch) for epoch in whole)

    others = [name for name in whole[0] if name not in ("whole", "training")]
    waits = [float(row["data_wait"]) for row in trainer.history_rows[3::2] if row.get("data_wait") not in (None, "")]
    return {
        **_described(trainer),
        "epochs": len(whole),
        "steps_per_epoch": per_epoch,
        "img_s": round(per_epoch * workload.batch / median(lambda epoch: epoch["training"]), 3),
        "ratio": round(statistics.median(b["training"] / w["training"] for b, w in zip(bare, whole, strict=True)), 4),
        "data_wait": round(statistics.median(waits), 4) if waits else None,
        "epoch_s": round(median(lambda epoch: epoch["whole"]), 3),
        "shares": {name: round(median(lambda epoch, name=name: epoch[name] / epoch["whole"]), 4) for name in others},  # type: ignore[misc]
    }


# === What a step consists of ===


def measure_overheads(workload: Workload, folder: Path) -> dict[str, Any]:
    """Share of the step's time that averaging the weights, clipping the gradient and the metric take.

    Steps with everything and steps without one of them take turns.
    """
    without = {"average": ["train.ema=0"], "clipping": ["train.clip=0"], "metric": []}
    trainers = {name: make_trainer(workload, folder, *settings) for name, settings in {"": [], **without}.items()}
    batches = [trainers[""].batches(k) for k in range(4)]
    for name, trainer in trainers.items():
        trainer.compile(1000)
        if name == "metric":
            model = trainer.model
            model.compile(optimizer=model.optimizer, loss=trainer.loss, jit_compile=model.jit_compile)
    step = min(_step_seconds(trainer, batches, SETTLING)[-1] for trainer in trainers.values())
    count = max(LEAST, round(workload.seconds / ROUNDS / step))
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(ROUNDS):
        for name, trainer in trainers.items():
            seconds[name].append(statistics.median(_step_seconds(trainer, batches, count)))
    shares = {
        name: statistics.median(1 - less / full for less, full in zip(seconds[name], seconds[""], strict=True))
        for name in without
    }
    return {**_described(trainers[""]), "shares": {name: round(share, 4) for name, share in shares.items()}}
