"""Small made sets, tiny networks and the command line in this process: what several tests share."""

import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roadseg.commands import main
from roadseg.config import Config, read_config
from roadseg.imagery.scenes import write_scenes

__all__ = [
    "SHARED",
    "TINIEST",
    "TINY",
    "Answer",
    "blobs",
    "call",
    "files_in",
    "python",
    "scenes",
    "shared_run",
    "tiny",
    "tiny_config",
    "train",
    "weights_of",
]

SRC = Path(__file__).resolve().parents[1] / "src"
TINY = (
    "network.width=4",
    "network.depth=1",
    "train.crop=32",
    "train.batch=2",
    "train.precision=float32",
)
# Cheaper still to compile, where it does not matter what is learnt: half of a tiny training's time is the optimiser's.
TINIEST = (*TINY, "train.optimizer=sgd", "train.ema=0")


def tiny(*more: str) -> list[str]:
    """`--set` options of a network that trains in seconds, and more of them."""
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def tiny_config(*more: str) -> Config:
    """The same as a `Config`."""
    return read_config({}, (*TINY, *more))


def scenes(folder: Path, n: int = 6, size: int = 64, **options: Any) -> Path:
    """A dataset folder of made scenes."""
    return write_scenes(folder, n, size=size, **options)


def blobs(
    folder: Path,
    n: int = 5,
    size: tuple[int, int] = (48, 40),
    classes: int = 2,
    mode: str = "RGB",
    seed: int = 0,
) -> Path:
    """A dataset folder whose bright squares are the classes: 0/255 masks, or class indices of more than two.

    `mode` is "RGB", "L", "16-bit" (TIFF, one band of uint16) or "5-band" (TIFF, uint8).
    """
    import rasterio

    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for k in range(n):
        mask = np.zeros(size, np.uint8)
        for value in range(1, classes):
            y, x = (int(rng.integers(0, max(1, side - 15))) for side in size)
            mask[y : y + 16, x : x + 16] = value
        bands = {"RGB": 3, "L": 1, "16-bit": 1, "5-band": 5}[mode]
        grey = 40 + mask * (180 // (classes - 1)) + rng.integers(0, 20, size)
        pixels = np.repeat(grey[..., None], bands, axis=-1)
        name = f"site{k % 2}_{k:02d}"
        if mode in ("RGB", "L"):
            Image.fromarray(pixels.astype(np.uint8).squeeze()).save(folder / "images" / f"{name}.png")
        else:
            kind = np.uint16 if mode == "16-bit" else np.uint8
            data = np.moveaxis(pixels * (12 if mode == "16-bit" else 1), -1, 0).astype(kind)
            place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)}
            shape = {"height": size[0], "width": size[1], "count": bands, "dtype": data.dtype}
            with rasterio.open(folder / "images" / f"{name}.tif", "w", driver="GTiff", **shape, **place) as target:
                target.write(data)
        Image.fromarray(mask * 255 if classes == 2 else mask).save(folder / "masks" / f"{name}.png")
    return folder


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *words: object) -> Answer:
    """Run one command in this process."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    streams = capsys.readouterr()
    return Answer(code, streams.out, streams.err)


def train(capsys: pytest.CaptureFixture[str], dataset: Path, out: Path, *words: object) -> Answer:
    """Train a tiny network for one epoch (unless `words` say how long), and expect it to go well."""
    length = [] if {"--epochs", "--minutes", "--resume"} & {str(w) for w in words} else ["--epochs", 1]
    answer = call(capsys, "train", dataset, "--out", out, *length, *words)
    assert answer.code == 0, answer.err
    return answer


_shared: dict[str, tuple[Path, Path]] = {}
SHARED = ("--fold", "1/3", "--epochs", "2", *tiny("network.dropout=0.2"))  # how the shared run was trained


def shared_run(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(dataset, run): six scenes and a run of two epochs on them, fold 1 of 3, once a session; not to be changed."""
    if "run" not in _shared:
        folder = factory.mktemp("shared")
        dataset = scenes(folder / "scenes")
        assert main(["train", str(dataset), "--out", str(folder / "run"), *SHARED]) == 0
        _shared["run"] = dataset, folder / "run"
    return _shared["run"]


def python(*words: str, timeout: float = 120, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own, with this checkout's package and one thread; `more` are its variables."""
    variables = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    variables |= {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, timeout=timeout, check=False
    )


def weights_of(run: Path) -> dict[str, np.ndarray]:
    """Every weight of a run's model by its path in the file, without Keras."""
    h5py = pytest.importorskip("h5py")
    import io

    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(run / "model.keras") as archive:
        stored = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(stored)) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
    return found


def files_in(folder: Path) -> set[str]:
    """All files below a folder, hidden ones too, as `a/b.png`."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def toml(path: Path) -> dict[str, Any]:
    """A TOML file as tables."""
    return tomllib.loads(path.read_text(encoding="utf-8"))
