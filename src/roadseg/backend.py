"""Which Keras backend is used. Nothing here, or anywhere in roadseg, imports a backend when it is itself imported."""

import contextlib
import importlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from .errors import BackendError, RoadsegWarning

__all__ = ["backend_name", "choose_backend", "is_out_of_memory", "load_keras"]

# Package to look for, Keras' name for it. On a CPU TensorFlow trains fastest by a factor of 2 to 6 (docs/results.md).
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def _installed(name: str) -> bool:
    if name in sys.modules:
        return True
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # without: a folder that an uninstalled package left behind


def choose_backend() -> str:
    """Decide the backend: KERAS_BACKEND, else Keras' own if it is loaded already, else the best that is installed.

    JAX goes first where its CUDA plugin is installed, else TensorFlow, JAX, PyTorch.

    Raises:
        BackendError: none is installed, or the one asked for is not.
    """
    if "keras" in sys.modules:  # too late to choose: Keras reads the variable once
        loaded = str(sys.modules["keras"].config.backend())
        if loaded not in BACKENDS:
            raise BackendError(f"Keras is loaded with its backend {loaded}: roadseg runs on {', '.join(BACKENDS)}")
        return loaded
    asked = os.environ.get("KERAS_BACKEND", "").strip().lower()
    if asked:
        if asked not in BACKENDS:
            raise BackendError(f"KERAS_BACKEND={asked}: roadseg runs on {', '.join(BACKENDS)}")
        if not _installed(BACKENDS[asked]):
            raise BackendError(f"KERAS_BACKEND={asked}, but {asked} is not installed: {_advice(asked)}")
        return asked
    present = [name for name, package in BACKENDS.items() if _installed(package)]
    if not present:
        raise BackendError(
            "no Keras backend is installed: pip install 'roadseg[cpu]' (TensorFlow, fastest on a CPU), "
            "'roadseg[gpu]' (JAX with CUDA), 'roadseg[jax]' or 'roadseg[torch]'"
        )
    if "jax" in present and any(_installed(f"jax_cuda{v}_plugin") for v in (12, 13)):
        return "jax"
    return present[0]


def _advice(name: str) -> str:
    extra = {"tensorflow": "cpu"}.get(name, name)
    return f"pip install 'roadseg[{extra}]', or unset KERAS_BACKEND"


def load_keras() -> ModuleType:
    """Import Keras on the chosen backend and return it.

    Raises:
        BackendError: see `choose_backend`; or the backend is installed and broken.
    """
    name = choose_backend()
    first = "keras" not in sys.modules
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with warnings.catch_warnings(), _quiet(name):
            warnings.simplefilter("ignore")  # deprecations inside the backends are not the user's
            keras = importlib.import_module("keras")
    except ImportError as error:
        raise BackendError(f"the Keras backend {name} cannot be imported: {error}") from error
    keras.config.set_image_data_format("channels_last")  # a keras.json may say otherwise; all here is (H, W, C)
    if first and name == "jax" and _installed("tensorflow") and not _on_gpu():
        warnings.warn(
            "JAX trains convolutions several times slower than TensorFlow on a CPU: "
            "unset KERAS_BACKEND to use TensorFlow",
            RoadsegWarning,
            stacklevel=2,
        )
    return keras


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep TensorFlow's start-up lines, which no setting silences, off standard error; a failure shows them."""
    if name != "tensorflow" or "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        try:
            os.dup2(kept.fileno(), 2)
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _on_gpu() -> bool:
    jax = importlib.import_module("jax")
    return bool(jax.default_backend() != "cpu")


def backend_name() -> str:
    """`name version` of the backend in use, for the records."""
    name = choose_backend()
    return f"{name} {importlib.import_module(BACKENDS[name]).__version__}"


def is_out_of_memory(error: Exception) -> bool:
    """TensorFlow, JAX and PyTorch each have a class of their own for it."""
    text = f"{type(error).__name__} {error}"
    return isinstance(error, MemoryError) or any(
        sign in text
        for sign in ("ResourceExhausted", "RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory", "can't allocate memory")
    )
