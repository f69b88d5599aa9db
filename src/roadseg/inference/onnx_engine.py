"""A converted model on ONNX Runtime, on the CPU."""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ..machine import cores
from .engine import reasons

__all__ = ["OnnxEngine", "onnx_problem"]


def onnx_problem(converted: bool = False) -> str:
    """Why a model cannot go through ONNX here; empty when it can.

    Args:
        converted: it is an ONNX file already.
    """
    needed = ("onnxruntime",) if converted else ("onnxruntime", "tf2onnx", "tensorflow")
    missing = [p for p in needed if importlib.util.find_spec(p) is None]
    if not missing:
        return ""
    extras = "roadseg[onnx]" if converted else "roadseg[onnx,cpu]"
    return f"{' and '.join(missing)} not installed: pip install '{extras}', or use --engine openvino"


class OnnxEngine:
    """An ONNX model with any number and size of windows, in float32.

    Args:
        threads: CPU threads that compute, where other processes have the rest of the cores; None: one a core.

    Raises:
        BackendError: ONNX Runtime cannot load the model; on a call, the memory does not hold the batch.
    """

    name = "onnx"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        runtime = importlib.import_module("onnxruntime")
        runtime.disable_telemetry_events()  # on by default in its builds for Windows
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or cores()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes are not importable by name
            lines = str(error).strip().splitlines()
            raise BackendError(f"ONNX Runtime cannot load '{path}' ({lines[-1]}): use another --engine") from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with reasons(batch.shape, "ONNX Runtime"):
            found = self._session.run(None, {self._input: np.ascontiguousarray(batch)})[0]
        return np.asarray(found, dtype=np.float32)
