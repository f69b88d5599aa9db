"""What `import roadseg` offers, and what it does not load."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import roadseg

HEAVY = (
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "cv2",
    "rasterio",
    "rich",
    "tensorboardX",
    "PIL",
    "scipy",
    "shapely",
    "pyogrio",
    "networkx",
    "skimage",
)
MODULES = sorted(m.name for m in pkgutil.walk_packages(roadseg.__path__, "roadseg.") if not m.name.endswith("__main__"))


def test_names_are_alphabetical_and_importable():
    assert roadseg.__all__ == sorted(roadseg.__all__)
    assert len(set(roadseg.__all__)) == len(roadseg.__all__)
    for name in roadseg.__all__:
        assert getattr(roadseg, name).__doc__, f"{name} has no docstring"
    assert set(roadseg.__all__) <= set(dir(roadseg))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'roadseg' has no attribute 'trian'"):
        _ = roadseg.trian
    assert not hasattr(roadseg, "_private")


def test_a_star_import_brings_just_these_names():
    space: dict[str, object] = {}
    exec("from roadseg import *", space)
    assert set(space) - {"__builtins__"} == set(roadseg.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_lives_in_it(name):
    module = importlib.import_module(name)
    assert len((module.__doc__ or "").strip().splitlines()[0]) > 15, f"{name}: {module.__doc__!r}"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_names_what_it_offers(name):
    module = importlib.import_module(name)
    if name.startswith("roadseg.commands."):
        for needed in ("HELP", "EXAMPLE", "add_arguments", "run"):
            assert hasattr(module, needed), f"{name} has no {needed}"
        assert not module.HELP.endswith(".") and "\n" not in module.HELP and module.EXAMPLE.startswith("roadseg ")
        return
    if hasattr(module, "__path__") and not hasattr(module, "__all__"):
        public = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == name and not n.startswith("_")]
        assert not public, f"{name} has no __all__"
        return
    assert len(set(module.__all__)) == len(module.__all__)
    for offered in module.__all__:
        assert hasattr(module, offered), f"{name}.__all__ names {offered}"


def loaded_by(code: str) -> list[str]:
    """The heavy packages that are loaded after `code` ran in a fresh Python."""
    say = f"print(json.dumps(sorted(m for m in {HEAVY!r} if m in sys.modules)), file=sys.stderr)"
    program = f"import sys, json\n{code}\n{say}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_importing_roadseg_loads_nothing_heavy():
    assert loaded_by("import roadseg; dir(roadseg); roadseg.__version__") == []


def test_the_light_names_load_nothing_heavy():
    assert loaded_by("from roadseg import Config, RoadsegError, load_config; load_config()") == []


def test_help_loads_nothing_heavy():
    for words in (["--help"], ["train", "--help"], ["predict", "--help"], ["--version"], ["trian"]):
        assert loaded_by(f"from roadseg.commands import main; main({words!r})") == [], words


def test_every_command_has_help_with_an_example(capsys):
    from roadseg.commands import COMMANDS, main

    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert "example:" in out and f"roadseg {name}" in out, name


def test_networks_and_losses_are_usable_alone():
    """`Ordinary Keras`: each part can be imported by itself and is a Keras class."""
    import keras

    from roadseg.learning import losses, metrics
    from roadseg.networks import NETWORKS

    for name in metrics.__all__:
        assert issubclass(getattr(metrics, name), keras.metrics.Metric)
    for name in losses.__all__:
        if not name.islower():  # functions that make them of a configuration
            assert issubclass(getattr(losses, name), keras.losses.Loss)
    assert callable(NETWORKS["unet"])
