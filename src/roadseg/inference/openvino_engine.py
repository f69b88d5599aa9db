"""A converted model on OpenVINO, on the CPU."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ._openvino import load_core
from .engine import reasons

__all__ = ["OpenVINOEngine", "Precision"]

Precision = Literal["f32", "bf16", "int8"]


class OpenVINOEngine:
    """An OpenVINO model with any number and size of windows.

    Args:
        path: `model.xml`, its weights in the `.bin` beside it.
        precision: "f32" and "bf16" are what a float model computes in; "int8" says that the model is a quantised one,
            which computes the rest in the faster of the two.
        compiled: where compiled models are kept for the next start.

    Raises:
        BackendError: the model cannot be compiled; on a call, the memory does not hold the batch.
    """

    def __init__(self, path: Path, precision: Precision, compiled: Path | None = None) -> None:
        self.name = f"openvino {precision}"
        self.path = path
        core = load_core()
        if precision == "int8":
            from ._openvino import bfloat16_is_fast

            rest = "bf16" if bfloat16_is_fast() else "f32"
        else:
            rest = precision
        # LATENCY: one call at a time gets all cores. THROUGHPUT would give it one stream's share of them.
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": rest}
        if compiled is not None:
            hints["CACHE_DIR"] = str(compiled)
        try:
            self._compiled = core.compile_model(str(path), "CPU", hints)
        except RuntimeError as error:
            lines = str(error).strip().splitlines()
            raise BackendError(f"OpenVINO cannot compile '{path}' ({lines[-1]}): use another --engine") from error

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with reasons(batch.shape, "OpenVINO"):
            found = self._compiled(np.ascontiguousarray(batch), share_inputs=True)[0]
        return np.asarray(found, dtype=np.float32)
