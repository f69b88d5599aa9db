"""The run folder and the model file: what they hold, how they are written and found again."""

import contextlib
import csv
import hashlib
import json
import shutil
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config, load_config, save_config
from ..errors import ModelError, RunError
from ..files import make_folder, write_aside, write_json, write_text

__all__ = [
    "INFO_KEY",
    "ModelInfo",
    "RunFolder",
    "find_model",
    "load_model",
    "pack_info",
    "read_info",
    "save_model",
    "unpack_info",
]

INFO_KEY = "roadseg"
INFO_VERSION = 1


@dataclass(frozen=True)
class ModelInfo:
    """What prediction needs to know of a model; it travels inside `model.keras`.

    Args:
        classes: names, background first.
        bands: channels of the input.
        select: numbers from 1 of the bands of a file that these are, in this order; None: all but alpha.
        value_range: pixel values of 16-bit and float images that become 0 and 255; None: 8-bit as it is.
        scale: images are resampled by this factor before the network.
        ground_resolution_m: metres per pixel of the training images, where known.
        threshold: road where the probability is above it.
        patch_threshold: a 16x16 patch is road when its mask's mean is strictly above it.
        invert: the class of interest is the dark one in the masks.
        multiple: height and width that the network takes are multiples of it.
        ignore: mask value of unlabelled pixels in the training set; -1: none.
        block: px, side of the blocks that large training rasters were read by.
        trained_on: content hashes of the training images.
        recipe: of a model in the package: hash of the configuration and the list of data that it was made of.
        hash: of the model file, first 16 hex digits of sha256. Not stored; read from the file.
    """

    classes: tuple[str, ...] = ("background", "road")
    bands: int = 3
    value_range: tuple[float, float] | None = None
    scale: float = 1.0
    ground_resolution_m: float | None = None
    threshold: float = 0.5
    patch_threshold: float = 0.25
    multiple: int = 16
    invert: bool = False
    ignore: int = -1
    select: tuple[int, ...] | None = None
    block: int = 1024
    trained_on: tuple[str, ...] = field(default=(), repr=False)
    recipe: str = ""
    hash: str = ""


def save_model(model: Any, path: Path, info: ModelInfo) -> None:
    """Write `model` as `path` (.keras) with `info` inside its `metadata.json`; plain Keras loads the file as any other.

    Raises:
        OutputError: the file cannot be written.
    """
    stored = pack_info(info)
    with write_aside(path) as aside, tempfile.TemporaryDirectory(dir=aside.parent) as folder:
        plain = Path(folder) / "model.keras"
        model.save(plain)
        with zipfile.ZipFile(plain) as old, zipfile.ZipFile(aside, "w") as new:
            for item in old.infolist():
                data = old.read(item)
                if item.filename == "metadata.json":
                    data = json.dumps({**json.loads(data), INFO_KEY: stored}).encode()
                new.writestr(item, data)


def pack_info(info: ModelInfo) -> dict[str, Any]:
    """`info` as the dictionary that is stored as JSON in a model file, the file's own hash left out."""
    stored = {"version": INFO_VERSION, **asdict(info)}
    del stored["hash"]
    return stored


def unpack_info(stored: dict[str, Any], path: Path, digest: str) -> ModelInfo:
    """What `pack_info` packed; `path` and `digest` are of the file that it was found in.

    Raises:
        ModelError: of another version, or damaged.
    """
    stored = dict(stored)
    if stored.pop("version", None) != INFO_VERSION:
        raise ModelError(f"'{path}' was written by another version of roadseg: update roadseg, or train again")
    try:
        for key in ("classes", "select", "trained_on", "value_range"):
            if stored.get(key) is not None:
                stored[key] = tuple(stored[key])
        return ModelInfo(**{**stored, "hash": digest})
    except TypeError as error:
        raise ModelError(f"'{path}' carries damaged model information: {error}") from error


def find_model(place: Path | str) -> Path:
    """The model file that a user means by a run folder, a file or the name of a model in the package.

    A file is `.keras`, or an exported `.onnx` or `.xml`.

    What is on the disk comes before what the package has: a run called `roads` is meant by its name.

    Raises:
        ModelError: there is none.
    """
    from ..weights import find_packaged, packaged

    path = Path(place)
    if path.is_dir() and (path / "model.keras").is_file():
        return path / "model.keras"
    ours = find_packaged(str(place))
    if ours is not None and not path.is_file() and not (path / "config.toml").is_file():
        return ours
    if path.is_dir():
        if (path / "config.toml").is_file():
            raise ModelError(
                f"run '{path}' has no model.keras yet: finish it with `roadseg train ... --out {path} --resume`"
            )
        raise ModelError(f"'{path}' is a folder without a model.keras: give a run folder or a model file")
    if not path.exists():
        names = "".join(f", or {name}" for name in packaged())
        raise ModelError(f"no model at '{path}': give a run folder or a model file{names}")
    return path


def read_info(path: Path) -> ModelInfo:
    """What a model file, Keras' or an exported one, says of itself; without loading Keras.

    Raises:
        ModelError: not a model, or one that roadseg did not write.
    """
    from .exported import is_exported, read_export

    if is_exported(path):
        return read_export(path).info
    try:
        digest = hashlib.sha256()
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelError(f"'{path}' is not a Keras model (.keras): {error}") from error
    stored = metadata.get(INFO_KEY) if isinstance(metadata, dict) else None
    if not isinstance(stored, dict):
        raise ModelError(f"'{path}' is a Keras model that roadseg did not write: its classes and bands are not known")
    return unpack_info(stored, path, digest.hexdigest()[:16])


def load_model(path: Path) -> Any:
    """The Keras model of a file, in Keras' safe mode: nothing in the file is run.

    Raises:
        ModelError: the file is not a model, is damaged, or needs layers that are not Keras' own.
        BackendError: no Keras backend is installed.
    """
    from ..backend import load_keras

    keras = load_keras()
    if not zipfile.is_zipfile(path):
        raise ModelError(f"'{path}' is not a Keras model (.keras){_exported_hint(path)}")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers do
        first = str(error).strip().splitlines()
        hint = ""
        if "locate class" in str(error):  # a network of one's own with layers of its own
            hint = (
                " Roadseg imports no code that a model asks for: import the module that defines and registers the "
                "layer (keras.saving.register_keras_serializable) yourself, in Python, before you load the model"
            )
        raise ModelError(
            f"'{path}' cannot be loaded as a Keras model: {first[0] if first else error!r}{hint}"
        ) from error


def _exported_hint(path: Path) -> str:
    from .exported import is_exported

    return ": an exported model predicts only, give the model.keras it was made of" if is_exported(path) else ""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder, and how each file is read and written."""

    path: Path

    @classmethod
    def create(cls, path: Path | str) -> "RunFolder":
        """A new run folder; an empty folder may be there already.

        Raises:
            RunError: something is in it.
            OutputError: it cannot be written.
        """
        path = Path(path)
        if path.is_dir() and any(path.iterdir()):
            if (path / "config.toml").is_file():
                raise RunError(f"'{path}' holds a run already: give another --out, or continue it with --resume")
            raise RunError(f"'{path}' is not empty and not a run: give another --out")
        return cls(make_folder(path))

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """A run folder that is there.

        Raises:
            RunError: it is not one.
        """
        path = Path(path)
        if not (path / "config.toml").is_file():
            raise RunError(f"'{path}' is not a run folder: it has no config.toml")
        return cls(path)

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    @property
    def validation(self) -> Path:
        return self.path / "validation"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoint(self) -> Path:
        return self.path / "state" / "checkpoint.npz"

    def read_config(self) -> Config:
        try:
            return load_config(self.path / "config.toml")
        except tomllib.TOMLDecodeError as error:
            raise RunError(f"'{self.path / 'config.toml'}' is damaged: {error}") from error

    def write_config(self, config: Config) -> None:
        save_config(config, self.path / "config.toml")

    def read_json(self, name: str) -> dict[str, Any]:
        """`split.json` or `metrics.json`.

        Raises:
            RunError: missing or damaged.
        """
        try:
            return dict(json.loads((self.path / name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"run '{self.path}' has no readable {name}: {error}") from error

    def write_split(self, split: Mapping[str, Any]) -> None:
        write_json(self.path / "split.json", dict(split))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        write_json(self.path / "metrics.json", dict(metrics))

    def read_history(self) -> list[dict[str, str]]:
        """The rows of history.csv; empty when no epoch is finished."""
        path = self.path / "history.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """history.csv with one row an epoch; written whole each time, so that it is never half a line."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [",".join(columns)] + [",".join(str(row.get(key, "")) for key in columns) for row in rows]
        write_text(self.path / "history.csv", "\n".join(lines) + "\n")

    def clear_validation(self) -> None:
        shutil.rmtree(self.validation, ignore_errors=True)

    def discard(self) -> None:
        """Take away what a run has written here that came to nothing, and the folder when nothing else is in it."""
        for name in ("config.toml", "split.json", "history.csv", "metrics.json", "model.keras", "report.html"):
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.tensorboard, self.checkpoint.parent, self.validation):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: something of the user's
            self.path.rmdir()
