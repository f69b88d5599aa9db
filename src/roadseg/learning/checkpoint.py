"""The state that `--resume` needs: every variable of model and optimiser, and how far the run had got."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from ..errors import RunError
from ..files import write_aside

__all__ = ["capture", "load_checkpoint", "restore", "save_checkpoint"]

FORMAT = 1


def _variables(model: Any) -> list[Any]:
    """Weights, the optimiser's variables and the random states of dropout, in a fixed order."""
    seeds = [v for v in model.variables if "seed_generator_state" in v.path]
    known = {id(w) for w in model.weights}
    # The run's length is the configuration's: a state written before it was a variable stays readable.
    own = [v for v in model.optimizer.variables if v.name != "run_steps"]
    return [*model.weights, *(s for s in seeds if id(s) not in known), *own]


def capture(model: Any) -> list[np.ndarray[Any, Any]]:
    """Copies of all variables of a compiled model whose optimiser is built."""
    return [np.array(ops.convert_to_numpy(v)) for v in _variables(model)]


def restore(model: Any, arrays: list[np.ndarray[Any, Any]]) -> None:
    """Put back what `capture` took.

    Raises:
        RunError: the arrays are another network's.
    """
    variables = _variables(model)
    if len(variables) != len(arrays) or any(tuple(v.shape) != a.shape for v, a in zip(variables, arrays, strict=True)):
        raise RunError("the saved state is of another network or optimiser than the run's configuration describes")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def save_checkpoint(path: Path, state: list[np.ndarray[Any, Any]], epoch: int) -> None:
    """Write what `capture` took after `epoch` finished epochs, aside and renamed.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {f"v{k}": a for k, a in enumerate(state)}
    with write_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, format=FORMAT, epoch=epoch, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: Path) -> tuple[int, list[np.ndarray[Any, Any]]]:
    """Finished epochs and arrays. Nothing is unpickled.

    Raises:
        RunError: damaged, or of another format.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if int(stored["format"]) != FORMAT:
                raise RunError(f"'{path}' was written by another version of roadseg")
            count = sum(name.startswith("v") for name in stored.files)
            return int(stored["epoch"]), [stored[f"v{k}"] for k in range(count)]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"the saved state '{path}' is damaged: {error}") from error
