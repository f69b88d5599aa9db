"""roadseg: from a handful of labelled aerial images to maps.

>>> import roadseg
>>> run = roadseg.train("path/to/cil", "runs/first", minutes=20)
>>> roadseg.predict(run.path, "path/to/cil/test_images", "masks")
>>> roadseg.write_submission("masks", "submission.csv", sample="path/to/cil/sample_submission.csv")

Nothing heavy is loaded before it is used: `import roadseg` brings neither Keras nor OpenCV nor rasterio.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "ImageError",
    "ModelError",
    "OutputError",
    "RoadsegError",
    "RoadsegWarning",
    "Run",
    "RunError",
    "ablate",
    "compare",
    "compare_networks",
    "crossval",
    "ensemble",
    "evaluate",
    "export",
    "load",
    "load_config",
    "make_scene",
    "open_dataset",
    "predict",
    "prepare",
    "read_layer",
    "score_graph",
    "to_graph",
    "to_osmnx",
    "train",
    "unsubmit",
    "vectorize",
    "write_graphml",
    "write_network",
    "write_submission",
]

_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "ImageError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "RoadsegError": "errors",
    "RoadsegWarning": "errors",
    "Run": "api",
    "RunError": "errors",
    "ablate": "studies.ablate",
    "compare": "evaluation",
    "compare_networks": "roads.change",
    "crossval": "studies.crossval",
    "ensemble": "learning.ensemble",
    "evaluate": "evaluation",
    "export": "exports.export",
    "load": "api",
    "load_config": "config",
    "make_scene": "imagery.scenes",
    "open_dataset": "imagery.dataset",
    "predict": "api",
    "prepare": "preparation.prepare",
    "read_layer": "roads.layers",
    "score_graph": "roads.network_scores",
    "to_graph": "roads.graph",
    "to_osmnx": "roads.network_files",
    "train": "api",
    "unsubmit": "roads.submission",
    "vectorize": "roads.vectorize",
    "write_graphml": "roads.network_files",
    "write_network": "roads.network_files",
    "write_submission": "roads.submission",
}

if TYPE_CHECKING:
    from .api import Run, load, predict, train
    from .config import Config, load_config
    from .errors import (
        ConfigError,
        DataError,
        ImageError,
        ModelError,
        OutputError,
        RoadsegError,
        RoadsegWarning,
        RunError,
    )
    from .evaluation import compare, evaluate
    from .exports.export import export
    from .imagery.dataset import open_dataset
    from .imagery.scenes import make_scene
    from .learning.ensemble import ensemble
    from .preparation.prepare import prepare
    from .roads.change import compare_networks
    from .roads.graph import to_graph
    from .roads.layers import read_layer
    from .roads.network_files import to_osmnx, write_graphml, write_network
    from .roads.network_scores import score_graph
    from .roads.submission import unsubmit, write_submission
    from .roads.vectorize import vectorize
    from .studies.ablate import ablate
    from .studies.crossval import crossval


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'roadseg' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
