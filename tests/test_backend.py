"""Which backend is chosen, and what is said when there is none."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from roadseg import backend
from roadseg.errors import BackendError

PACKAGES = ("tensorflow", "jax", "torch", "jax_cuda12_plugin", "jax_cuda13_plugin")


@pytest.fixture
def machine(monkeypatch):
    """A machine with these packages and nothing loaded; `machine("jax", asked="jax")`."""

    def install(*present: str, asked: str | None = None, left_behind: tuple[str, ...] = ()) -> None:
        for name in ("keras", *PACKAGES):
            monkeypatch.delitem(sys.modules, name, raising=False)
        real = importlib.util.find_spec

        def find_spec(name: str, *rest):
            if name in left_behind:
                return SimpleNamespace(name=name, origin=None)  # as Python finds a folder without __init__.py
            if name in PACKAGES:
                return SimpleNamespace(name=name, origin=f"/{name}/__init__.py") if name in present else None
            return real(name, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        if asked is not None:
            monkeypatch.setenv("KERAS_BACKEND", asked)

    return install


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (["tensorflow"], "tensorflow"),
        (["jax"], "jax"),
        (["torch"], "torch"),
        (["torch", "jax"], "jax"),
        (["torch", "jax", "tensorflow"], "tensorflow"),
        (["jax", "tensorflow", "jax_cuda12_plugin"], "jax"),
        (["jax", "tensorflow", "jax_cuda13_plugin"], "jax"),
        (["tensorflow", "jax_cuda12_plugin"], "tensorflow"),
    ],
)
def test_the_best_backend_that_is_installed_is_chosen(machine, present, chosen):
    machine(*present)
    assert backend.choose_backend() == chosen


@pytest.mark.parametrize("asked", ["torch", " Torch ", "TORCH"])
def test_the_users_wish_comes_first(machine, asked):
    machine("tensorflow", "torch", asked=asked)
    assert backend.choose_backend() == "torch"


def test_an_empty_wish_is_none(machine):
    machine("tensorflow", asked="")
    assert backend.choose_backend() == "tensorflow"


def test_no_backend_at_all_names_the_extras(machine):
    machine()
    with pytest.raises(BackendError, match=r"roadseg\[cpu\].*roadseg\[gpu\].*roadseg\[jax\].*roadseg\[torch\]"):
        backend.choose_backend()


@pytest.mark.parametrize(("asked", "extra"), [("tensorflow", "cpu"), ("jax", "jax"), ("torch", "torch")])
def test_a_wish_that_is_not_installed_names_its_extra(machine, asked, extra):
    machine(*({"tensorflow", "jax", "torch"} - {asked}), asked=asked)
    with pytest.raises(BackendError, match=rf"KERAS_BACKEND={asked}.*roadseg\[{extra}\].*unset"):
        backend.choose_backend()


def test_an_unknown_wish_names_those_that_work(machine):
    machine("tensorflow", asked="theano")
    with pytest.raises(BackendError, match="KERAS_BACKEND=theano: roadseg runs on tensorflow, jax, torch"):
        backend.choose_backend()


def test_a_folder_that_an_uninstalled_package_left_behind_is_no_package(machine):
    machine("jax", left_behind=("tensorflow",))
    assert backend.choose_backend() == "jax"


def test_keras_that_is_loaded_already_keeps_its_backend(machine, monkeypatch):
    machine("tensorflow", "jax", asked="tensorflow")
    loaded = SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", loaded)
    assert backend.choose_backend() == "jax"
    loaded.config.backend = lambda: "numpy"
    with pytest.raises(BackendError, match=r"numpy.*tensorflow, jax, torch"):
        backend.choose_backend()


def test_choosing_loads_nothing():
    code = (
        "import sys; from roadseg.backend import choose_backend; choose_backend(); "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.battery
def test_the_backend_in_use_is_named_with_its_version():
    import keras

    name, version = backend.backend_name().split()
    assert name == keras.config.backend() == backend.choose_backend() and version[0].isdigit()


def test_a_broken_backend_is_an_error_with_its_reason(tmp_path):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    code = (
        "from roadseg.backend import load_keras\n"
        "from roadseg.errors import BackendError\n"
        "try: load_keras()\n"
        "except BackendError as error: print(error)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "torch cannot be imported" in done.stdout and "libgomp.so.1" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor with shape[8,1024]"),
        type("OutOfMemoryError", (RuntimeError,), {})("HIP"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_running_out_of_memory_is_known_from_every_backend(error):
    assert backend.is_out_of_memory(error)


def test_other_errors_are_not_taken_for_lack_of_memory():
    for error in (ValueError("shapes do not match"), OSError(28, "No space left on device"), KeyError("memory")):
        assert not backend.is_out_of_memory(error)


@pytest.mark.battery
def test_the_backends_own_lack_of_memory_is_known():
    import keras

    if keras.config.backend() == "tensorflow":
        pytest.skip("TensorFlow waits ten seconds for memory to become free; its message is tested above")
    with pytest.raises(Exception) as caught:
        keras.ops.convert_to_numpy(keras.ops.ones((2**22, 2**22, 64), dtype="float32"))
    assert backend.is_out_of_memory(caught.value), repr(caught.value)[:300]
