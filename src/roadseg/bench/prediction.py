"""Prediction measured: the forward pass of each engine, its agreement with Keras, and the predictor around it."""

import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import backend_name
from ..config import read_config
from ..errors import BackendError
from ..imagery.scenes import make_scene
from ..inference.engine import Engine, KerasEngine
from ..inference.predictor import Predictor
from ..learning.runs import read_info, save_model
from .flop import forward_flop
from .training import make_trainer, on_cpu
from .workload import Workload

__all__ = ["make_model", "measure_engine", "measure_predictor"]

COMPARED = 4  # batches that an engine's output is compared on
ROUNDS = 3
LEAST = 3  # calls that make a median
HIGH = 99.9  # percentile
THRESHOLD = 0.5
MODEL, WINDOWS, REFERENCE, FLOP = "model.keras", "windows.npy", "reference.npy", "flop.txt"


def make_model(workload: Workload, folder: Path) -> dict[str, Any]:
    """Train the network a little on made scenes and leave it in `folder`, with windows and what Keras makes of them.

    An untrained network's probabilities all lie about one half: no engine would look right or wrong on them.
    """
    from ..learning.optimizers import averaged_weights
    from ..networks import plain_copy

    trainer = make_trainer(workload, folder)
    trainer.compile(1000)
    began = time.perf_counter()
    steps = 0
    while steps < 2 or time.perf_counter() - began < workload.seconds:
        trainer.model.train_on_batch(*trainer.batches(steps))
        steps += 1
    plain = plain_copy(trainer.model)
    plain.set_weights(averaged_weights(trainer.model))
    save_model(plain, folder / MODEL, trainer.info())
    rng = np.random.default_rng(0)
    images = [sample.image for sample in (*trainer.train_samples, *trainer.val_samples)]
    windows = []
    for k in range(COMPARED * workload.batch):
        image = images[k % len(images)]
        y, x = (int(rng.integers(0, side - workload.size + 1)) for side in image.shape[:2])
        windows.append(image[y : y + workload.size, x : x + workload.size])
    np.save(folder / WINDOWS, np.stack(windows))
    np.save(folder / REFERENCE, _probabilities(KerasEngine(plain), np.stack(windows), workload.batch))
    (folder / FLOP).write_text(str(forward_flop(plain, workload.size)))
    return {"trained_steps": steps, "backend": backend_name()}


def _probabilities(engine: Engine, windows: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    return np.concatenate([engine(windows[k : k + batch]) for k in range(0, len(windows), batch)])


def _open(name: str, workload: Workload, folder: Path) -> tuple[Engine, str]:
    """The engine of that name for the model in `folder`, and the device it computes on.

    Raises:
        BackendError: what it needs is not installed, or the processor does not compute in its precision.
        ModelError: it cannot take the model.
    """
    from ..inference.cache import open_cache
    from ..inference.choice import build, candidates

    path = folder / MODEL
    if not path.is_file():
        raise BackendError("there is no model: training a few steps for it did not work here")
    info = read_info(path)
    if name == "keras":
        return build(name, path, open_cache(info.hash)), "cpu" if on_cpu() else "gpu"
    if name == "openvino int8":
        from ..inference.int8 import open_int8

        # Other windows than those on which it is compared: half of these would have calibrated it.
        images = [make_scene(1000 + k, max(64, 2 * workload.size))[0] for k in range(8)]
        return open_int8(path, info, images), "cpu"
    if name == "openvino bf16" and name not in candidates("openvino") and find_spec("openvino") is not None:
        raise BackendError("this processor does not compute in bfloat16")
    return build(name, path, open_cache(info.hash)), "cpu"


def _call_seconds(engine: Engine, batch: NDArray[np.uint8], seconds: float) -> list[float]:
    times: list[float] = []
    while sum(times) < seconds or len(times) < LEAST:
        start = time.perf_counter()
        engine(batch)
        times.append(time.perf_counter() - start)
    return times


def measure_engine(name: str, workload: Workload, folder: Path) -> dict[str, Any]:
    """The forward pass of the engine `name` on batches in memory.

    Returns:
        `img_s` and `gflop_s` by the median call, `open_s` until the first answer; the mean and the 99.9th percentile of
        the absolute difference of its probabilities to those of Keras in float32, and the IoU of the masks.
    """
    start = time.perf_counter()
    engine, device = _open(name, workload, folder)
    windows, reference = np.load(folder / WINDOWS), np.load(folder / REFERENCE)
    engine(windows[: workload.batch])
    open_s = time.perf_counter() - start
    found = _probabilities(engine, windows, workload.batch)
    off = np.abs(found - reference)
    mask, truth = found > THRESHOLD, reference > THRESHOLD
    either = int((mask | truth).sum())
    call = statistics.median(_call_seconds(engine, windows[: workload.batch], workload.seconds))
    flop = int((folder / FLOP).read_text())
    return {
        "device": device,
        "open_s": round(open_s, 2),
        "call_ms": round(1000 * call, 3),
        "img_s": round(workload.batch / call, 3),
        "gflop_s": round(flop * workload.batch / call / 1e9, 3),
        "mean_difference": float(f"{off.mean():.3g}"),
        "high_difference": float(f"{np.percentile(off, HIGH):.3g}"),
        "iou": round(int((mask & truth).sum()) / either, 4) if either else None,
    }


class _Counting:
    """An engine that counts the pixels that go through it and the seconds that they take."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: list[tuple[int, ...]] = []
        self.seconds: list[float] = []

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        start = time.perf_counter()
        found = self.engine(batch)
        self.seconds.append(time.perf_counter() - start)
        self.shapes.append(batch.shape)
        return found


def measure_predictor(name: str, workload: Workload, folder: Path) -> dict[str, Any]:
    """The whole predictor around the engine `name` on a large image in memory: windows, blending, mask.

    Each round predicts the image, then calls the bare engine as often on windows of the same shapes.

    Returns:
        `network_mpx_s` counts the pixels that go through the network, `image_mpx_s` those of the image;
        `overlap_overhead` is what there is more of the former. `ratio`: the predictor's speed as a share of the bare
        engine's, median of the rounds.
    """
    engine, device = _open(name, workload, folder)
    config = read_config({}, workload.settings()).predict
    scene = make_scene(0, max(64, min(600, workload.image)))[0]
    times = -(-workload.image // len(scene))
    image = np.tile(scene, (times, times, 1))[: workload.image, : workload.image]
    info = read_info(folder / MODEL)
    whole, bare, inside, network = [], [], [], 0
    for turn in range(ROUNDS + 1):
        counting = _Counting(engine)
        predictor = Predictor(counting, info, config)
        start = time.perf_counter()
        for _, rows in predictor.bands(image):
            predictor.mask(rows)
        seconds = time.perf_counter() - start
        network = sum(n * height * width for n, height, width, _ in counting.shapes)
        windows = {shape: np.ascontiguousarray(_window(image, shape)) for shape in counting.shapes}
        start = time.perf_counter()
        for shape in counting.shapes:
            engine(windows[shape])
        if turn:  # the first one compiles, or reads the engine's file
            whole.append(seconds)
            bare.append(time.perf_counter() - start)
            inside.append(sum(counting.seconds) / seconds)
    seconds = statistics.median(whole)
    return {
        "device": device,
        "image": [workload.image, workload.image],
        "window": list(counting.shapes[0]),
        "network_mpx_s": round(network / seconds / 1e6, 4),
        "image_mpx_s": round(workload.image**2 / seconds / 1e6, 4),
        "overlap_overhead": round(network / workload.image**2 - 1, 4),
        "ratio": round(statistics.median(b / w for b, w in zip(bare, whole, strict=True)), 4),
        "share_in_engine": round(statistics.median(inside), 4),
    }


def _window(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A batch of that shape full of the image's pixels."""
    n, height, width, _ = shape
    rows, columns = np.arange(n * height) % image.shape[0], np.arange(width) % image.shape[1]
    return np.asarray(image[rows[:, None], columns].reshape(shape))
