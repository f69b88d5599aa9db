"""The models in the package, by name: `roads.keras` with its card, and the graph that spares a first conversion.

    NAME.keras     weights in half precision; plain Keras loads it as any other model
    NAME.json      the model card: what it was made of and what it was measured to do
    NAME.graph     how OpenVINO computes it, without the weights, see `weights.graph`

`python -m roadseg.pretraining` makes all three. Nothing heavy is loaded here.
"""

import json
from pathlib import Path
from typing import Any

from ..errors import ModelError

__all__ = ["FOLDER", "card_of", "find_packaged", "graph_of", "packaged"]

FOLDER = Path(__file__).resolve().parent


def packaged() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def find_packaged(name: str) -> Path | None:
    """The `.keras` file of a model by its name; None where the package has none of that name."""
    return FOLDER / f"{name}.keras" if name in packaged() else None


def graph_of(model: Path) -> Path | None:
    """The graph that the package has for the model file `model`; None where it is not one of the package's models."""
    graph = FOLDER / f"{model.stem}.graph"
    ours = model.suffix == ".keras" and model.resolve().parent == FOLDER
    return graph if ours and graph.is_file() else None


def card_of(name: str) -> dict[str, Any]:
    """The card of a model in the package.

    Raises:
        ModelError: no such model, or its card cannot be read.
    """
    if find_packaged(name) is None:
        known = ", ".join(packaged()) or "none in this build"
        raise ModelError(f"no model in the package is called '{name}': there are {known}")
    try:
        return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"the card of '{name}' cannot be read ({error}): install roadseg again") from error
