"""The fastest engine whose probabilities agree: tried on the first windows, remembered for this model and machine."""

import hashlib
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import choose_backend
from ..errors import BackendError, RoadsegError
from ..machine import describe_machine, versions
from ..weights import graph_of
from .cache import EngineCache
from .convert import UNLOADABLE
from .engine import Engine, EngineKind, Tell, _open_keras, engine_name, engines_for

__all__ = ["AutoEngine", "agree", "build", "candidates"]

PROBED = 2  # windows, at most: enough to tell the engines apart
RUNS = 3  # counted ones, after one that is not
HOPELESS = 1.5  # a candidate that takes this many times as long as the best one is not run again
HEAVY = 1.1  # Keras has to win by this factor: it starts seconds later than the others, each time

# Largest difference of probabilities to float32 that counts as the same answer. Measured on a trained network
# (CIL, width 16, depth 5, 416x416 windows of test images): bfloat16 is at a mean of 0.001 and a 99th percentile of
# 0.008 to 0.016, and 99.2 % IoU of the masks; float32 engines among themselves below 0.00001. An engine that computes
# something else is off by tenths.
MEAN_DIFFERENCE = 0.005
PERCENTILE = 99
HIGH_DIFFERENCE = 0.05

KEYED = ("roadseg", "keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "openvino", "onnxruntime")


def agree(found: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[bool, float, float]:
    """Whether probabilities are those of the reference; with the mean and a high percentile of their difference."""
    if found.shape != reference.shape:
        return False, float("inf"), float("inf")
    off = np.abs(found - reference)
    mean, high = float(off.mean()), float(np.percentile(off, PERCENTILE))
    return mean <= MEAN_DIFFERENCE and high <= HIGH_DIFFERENCE, mean, high


def candidates(kind: EngineKind) -> list[str]:
    """Names of the engines that `kind` may mean here. Nothing heavy is loaded but OpenVINO, to ask for bfloat16."""
    names = []
    if importlib.util.find_spec("openvino") is not None:
        from ._openvino import bfloat16_is_fast

        names += ["openvino bf16", "openvino f32"] if bfloat16_is_fast() else ["openvino f32"]
    if kind == "auto":
        from .onnx_engine import onnx_problem

        names += ["onnx"] if not onnx_problem() else []
        names += ["keras"] if _backend() else []
    return names


def _backend() -> str:
    """Keras' backend; empty where none is installed."""
    try:
        return choose_backend()
    except BackendError:
        return ""


def build(name: str, path: Path, cache: EngineCache, threads: int | None = None, *, members: bool = False) -> Engine:
    """The engine `name` for the model at `path`.

    Args:
        threads: see `open_engine`.
        members: of an ensemble, let the answer go on with those of the members, see `members.every_answer`.

    Raises:
        ModelError: the engine cannot take the model.
        BackendError: what it needs is not installed, or fails to compile the model.
    """
    if name == "keras":
        return _open_keras(path, members=members)
    if name == "onnx":
        from .onnx_engine import OnnxEngine, onnx_problem

        if problem := onnx_problem(converted=path.suffix.lower() == ".onnx"):
            raise BackendError(f"--engine onnx: {problem}")
        return OnnxEngine(cache.onnx(path, members=members), threads)
    if importlib.util.find_spec("openvino") is None:
        raise BackendError("openvino is not installed: pip install openvino, or use --engine keras")
    from .openvino_engine import OpenVINOEngine, Precision

    precision: Precision = "bf16" if name.endswith("bf16") else "f32"
    return OpenVINOEngine(cache.openvino(path, members=members), precision, cache.compiled, threads)


class AutoEngine:
    """Decides at its first call which engine it is.

    Each candidate computes the windows of that call a few times; the fastest (median, the first run not counted) whose
    probabilities agree with Keras in float32 is kept. Without a Keras backend OpenVINO in float32 is what they have to
    agree with. The choice is written to the cache, with the times and differences of all.

    Args:
        kind: "auto", or "openvino" for its precisions alone.
        tell: is given a line before the comparison starts.
        threads: see `open_engine`; with another number another engine may be the fastest.

    Attributes:
        setup_seconds: what the comparison took; 0 where the choice was remembered.

    Raises:
        ModelError: no engine there is can take the model.
        BackendError: no engine is installed; on a call, each of them fails.
    """

    def __init__(
        self,
        path: Path,
        cache: EngineCache,
        kind: EngineKind = "auto",
        tell: Tell | None = None,
        threads: int | None = None,
    ) -> None:
        self.path, self.cache, self.kind, self.threads = path, cache, kind, threads
        self.setup_seconds = 0.0
        self._tell = tell
        self._key = f"{kind} {_machine_key()}" + (f" {threads} threads" if threads is not None else "")
        self._built: dict[str, Engine] = {}
        self._engine = self._remembered() or self._packaged()
        self._settled = False
        if self._engine is None:
            self._names = self._candidates()
            self._build_first()

    @property
    def name(self) -> str:
        """What was chosen, e.g. `openvino bf16`; before the first call what was asked for."""
        return engine_name(self._engine) if self._engine is not None else self.kind

    @property
    def settled(self) -> bool:
        """Whether it is known which engine it is: after the first call, or as it was remembered."""
        return self._engine is not None

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._engine is not None and self._settled:
            return self._engine(batch)
        if self._engine is not None:
            try:
                found = self._engine(batch)
            except RoadsegError:  # it computes here no longer: the others are asked
                self._names, self._engine = self._candidates(), None
            else:
                self._settled = True
                return found
        began = time.perf_counter()
        self._engine, record = self._compare(batch)
        self._settled = True
        self._built.clear()
        self.setup_seconds = time.perf_counter() - began
        self.cache.write_choice(self._key, record)
        return self._engine(batch)

    def _candidates(self) -> list[str]:
        """Those that take the file: an exported one is no longer Keras'."""
        names = candidates(self.kind)
        return [name for name in names if name.partition(" ")[0] in engines_for(self.path)]

    def _remembered(self) -> Engine | None:
        name = self.cache.read_choice(self._key).get("engine")
        if name not in ("openvino bf16", "openvino f32", "onnx", "keras"):
            return None
        try:
            return build(name, self.path, self.cache, self.threads)
        except RoadsegError:
            return None

    def _packaged(self) -> Engine | None:
        """OpenVINO for a model in the package: its card says that it agrees with Keras, and nothing is compared."""
        if graph_of(self.path) is None or importlib.util.find_spec("openvino") is None:
            return None
        from ._openvino import bfloat16_is_fast

        try:
            return build("openvino bf16" if bfloat16_is_fast() else "openvino f32", self.path, self.cache)
        except RoadsegError:
            return None

    def _build_first(self) -> None:
        """Make sure, before any image is read, that there is an engine that takes the model."""
        problem: RoadsegError | None = None
        for name in self._names:
            try:
                self._built[name] = build(name, self.path, self.cache, self.threads)
                return
            except RoadsegError as error:
                problem = problem or error
                if UNLOADABLE in str(error):  # nor will any other
                    break
        if problem is not None:
            raise problem
        wanted = "openvino f32" if self.kind == "openvino" or "keras" not in engines_for(self.path) else "keras"
        build(wanted, self.path, self.cache)  # says what to install

    def _compare(self, batch: NDArray[np.uint8]) -> tuple[Engine, dict[str, Any]]:
        names = self._names
        if self._tell is not None and len(names) > 1:
            self._tell(f"comparing engines ({', '.join(names)}) once for this model and machine")
        windows = batch[:PROBED]
        tried = [_Trial(name) for name in names]
        for trial in tried:
            trial.start(lambda name: self._built.get(name) or build(name, self.path, self.cache, self.threads), windows)
        alive = [trial for trial in tried if trial.engine is not None]
        if not alive:
            raise next(trial.error for trial in tried if trial.error is not None)
        reference = next((t for name in ("keras", "openvino f32", names[0]) for t in alive if t.name == name), alive[0])
        agreeing = [trial for trial in alive if trial.compare(reference)] or [reference]  # its answer may be NaN
        for _ in range(RUNS):  # in turns: what else the machine does slows all of them
            best = min(trial.seconds for trial in agreeing)
            for trial in agreeing:
                if not trial.times or trial.seconds <= HOPELESS * best:
                    trial.time(windows)
        chosen = min(agreeing, key=lambda trial: trial.seconds * (HEAVY if trial.name == "keras" else 1))
        assert chosen.engine is not None
        return chosen.engine, {
            "engine": chosen.name,
            "reference": reference.name,
            "windows": list(windows.shape),
            "candidates": [trial.record() for trial in tried],
            "machine": _machine(),
        }


class _Trial:
    """One candidate: its engine, what it found, how long it took, or why it is out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine: Engine | None = None
        self.error: RoadsegError | None = None
        self.found: NDArray[np.float32] | None = None
        self.times: list[float] = []
        self.agrees, self.mean, self.high = False, float("inf"), float("inf")

    @property
    def seconds(self) -> float:
        """The median of the counted runs."""
        return statistics.median(self.times) if self.times else float("inf")

    def start(self, build: Callable[[str], Engine], windows: NDArray[np.uint8]) -> None:
        """Build it and let it compute once, uncounted: first runs compile."""
        try:
            engine = build(self.name)
            self.found = engine(windows)
            self.engine = engine
        except RoadsegError as error:
            self.error = error
        except Exception as error:  # a library that is installed and broken costs its engine, not the prediction
            self.error = BackendError(f"{self.name} fails ({type(error).__name__}: {error}): use another --engine")

    def compare(self, reference: "_Trial") -> bool:
        assert self.found is not None and reference.found is not None
        self.agrees, self.mean, self.high = agree(self.found, reference.found)
        return self.agrees

    def time(self, windows: NDArray[np.uint8]) -> None:
        assert self.engine is not None
        began = time.perf_counter()
        self.engine(windows)
        self.times.append(time.perf_counter() - began)

    def record(self) -> dict[str, Any]:
        if self.error is not None:
            return {"engine": self.name, "error": str(self.error)}
        return {
            "engine": self.name,
            "seconds": _rounded(self.seconds),
            "agrees": self.agrees,
            "mean_difference": _rounded(self.mean),
            f"p{PERCENTILE}_difference": _rounded(self.high),
        }


def _rounded(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None


def _machine() -> dict[str, Any]:
    """What a choice holds for: processor, cores, whether there is an NVIDIA GPU, the engines' versions."""
    machine, found = describe_machine(), versions()
    return {
        "processor": machine["processor"],
        "cores": machine["cores"],
        "gpu": any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/dxg")),
        "backend": _backend(),
        "versions": {name: found[name] for name in KEYED if name in found},
    }


def _machine_key() -> str:
    return hashlib.sha256(json.dumps(_machine(), sort_keys=True).encode()).hexdigest()[:12]
