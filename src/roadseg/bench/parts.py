"""The parts of the benchmark by name; each measures in the process that it is called in."""

from pathlib import Path
from typing import Any

from .workload import Workload

__all__ = ["measure_part"]


def measure_part(part: str, workload: Workload, folder: Path) -> dict[str, Any]:
    """Measure one part. `name:detail` gives a part its detail, e.g. a framework.

    Args:
        folder: for files that the part needs, and that later parts of the same benchmark find there.

    Raises:
        ValueError: no part of that name.
        BackendError, ImportError: what the part measures is not installed.
    """
    name, _, detail = part.partition(":")
    if name in ("matmul", "memory"):
        from . import machine_rate

        return machine_rate.measure_matmul(detail, workload) if detail else machine_rate.measure_memory(workload)
    if name in ("step", "fit", "overheads"):
        from . import training

        measures = {"step": training.measure_step, "fit": training.measure_fit, "overheads": training.measure_overheads}
        return measures[name](workload, folder)
    if name == "model":
        from .prediction import make_model

        return make_model(workload, folder)
    if name in ("engine", "predictor"):
        from .prediction import measure_engine, measure_predictor

        return (measure_engine if name == "engine" else measure_predictor)(detail, workload, folder)
    raise ValueError(f"no part of the benchmark is called '{part}'")
