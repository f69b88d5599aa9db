"""The benchmark as a whole: its parts in processes of their own, one after the other, and the result of all of them."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from ..machine import describe_machine, versions
from .machine_rate import present_frameworks
from .memory import run_watched
from .workload import Workload

__all__ = ["PARTS", "WHATS", "measure", "run_part"]

PARTS = ("machine", "step", "fit", "overheads", "engines", "predictor")
WHATS = {
    "train": ("machine", "step", "fit", "overheads", "engines"),
    "predict": ("machine", "engines", "predictor"),
    "all": PARTS,
}
ENGINES = ("keras", "onnx", "openvino f32", "openvino bf16", "openvino int8")
FLOAT_ENGINES = tuple(name for name in ENGINES if "int8" not in name)

Say = Callable[[str, dict[str, Any]], None]  # a part's name and what it found


def run_part(part: str, workload: Workload, folder: Path) -> dict[str, Any]:
    """Measure one part in a process of its own; `peak_memory_mb` of its tree of processes comes with the result.

    Returns:
        what the part found, or `{"unavailable": why}` where it cannot be measured here.
    """
    command = [sys.executable, "-m", "roadseg.bench", part, msgspec.json.encode(workload).decode(), str(folder)]
    variables = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # or JAX takes most of a device's memory, whatever the part needs
        **os.environ,
        "ROADSEG_CACHE": str(folder / "cache"),  # nothing of a benchmark stays in the user's own
    }
    done, peak_mb = run_watched(command, variables)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {"unavailable": said[-1].strip() if said else f"ended with code {done.returncode}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result if "unavailable" in result else {**result, "peak_memory_mb": peak_mb}


def measure(workload: Workload, parts: Collection[str] = PARTS, say: Say = lambda part, found: None) -> dict[str, Any]:
    """Measure `parts`, in the order of `PARTS`; `say` hears of each as soon as it is done.

    Returns:
        `machine`, and by its name what each part found, GFLOP/s also as a `share` of the machine's matrix product on
        the same device; `train_img_s` and `infer_img_s` (of the fastest float engine, `infer_engine`) where measured.
    """
    result: dict[str, Any] = {
        "workload": msgspec.to_builtins(workload),
        "machine": describe_machine(),
        "versions": versions(),
    }
    rates: dict[str, float] = {}  # GFLOP/s of the matrix product on each kind of device

    def run(part: str, name: str = "") -> dict[str, Any]:
        found = run_part(part, workload, folder)
        if "gflop_s" in found and rates.get(found["device"]):
            found["share"] = round(found["gflop_s"] / rates[found["device"]], 3)
        say(name or part, found)
        return found

    with tempfile.TemporaryDirectory(prefix="roadseg-bench-") as place:
        folder = Path(place)
        if "machine" in parts:
            products = {name: run(f"matmul:{name}", f"matrix product, {name}") for name in present_frameworks()}
            rates |= _best_rates(products)
            memory = run("memory")
            result["machine"] |= {"matrix_product": products, "matrix_gflop_s": rates, "memory": memory}
        for part in ("step", "fit", "overheads"):
            if part in parts:
                result[part] = run(part)
        if "step" in parts:
            result["train_img_s"] = result["step"].get("img_s")
        if "engines" in parts or "predictor" in parts:
            run("model")
        if "engines" in parts:
            result["engines"] = {name: run(f"engine:{name}", name) for name in ENGINES}
            result |= _fastest(result["engines"])
        if "predictor" in parts:
            wanted = ["openvino int8", result.get("infer_engine") or FLOAT_ENGINES[0]]
            names = [name for name in ENGINES if name in wanted]
            result["predictor"] = {name: run(f"predictor:{name}", f"predictor, {name}") for name in names}
    return result


def _best_rates(products: dict[str, dict[str, Any]]) -> dict[str, float]:
    """GFLOP/s of the fastest product on each kind of device, whatever framework and precision."""
    best: dict[str, float] = {}
    for found in products.values():
        for kind in found.values():
            if isinstance(kind, dict):
                best[found["device"]] = max(best.get(found["device"], 0.0), kind["gflop_s"])
    return best


def _fastest(engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`infer_img_s` of the fastest float engine, and its name; None where there is none."""
    rates = {name: found["img_s"] for name, found in engines.items() if name in FLOAT_ENGINES and "img_s" in found}
    name = max(rates, key=lambda n: rates[n], default=None)
    return {"infer_img_s": rates[name] if name else None, "infer_engine": name}
