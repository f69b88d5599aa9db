"""The one place that imports OpenVINO: without its telemetry."""

import importlib
import sys
from functools import lru_cache
from typing import Any

__all__ = ["bfloat16_is_fast", "load_core", "load_openvino", "silence_telemetry"]


def silence_telemetry() -> None:
    """Keep `openvino_telemetry` from being imported; OpenVINO and nncf then use stubs of their own.

    It would make a folder in the user's home and report uses of the packages over the network.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented: the import then fails


def load_openvino() -> Any:
    """The `openvino` package."""
    silence_telemetry()
    return importlib.import_module("openvino")


@lru_cache(maxsize=1)
def load_core() -> Any:
    """The `openvino.Core` of this process."""
    return load_openvino().Core()


def bfloat16_is_fast() -> bool:
    """Whether this CPU computes bfloat16 itself: where it does not, OpenVINO would emulate it slowly."""
    return "BF16" in load_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
