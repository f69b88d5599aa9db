"""The user's cache folder: converted models by the model file's hash, and which engine was chosen for them.

    engines/<hash>/model.xml, model.bin      for OpenVINO; compiled/ holds what it made of them for this processor
    engines/<hash>/model.onnx                for ONNX Runtime
    engines/<hash>/members.xml, .onnx        the same of an ensemble, with the answers of its members
    engines/<hash>/int8-<digest>.xml, .bin   quantised with the windows of that digest
    engines/<hash>/choice.json               the engine that `auto` keeps, by machine

Everything in it can be made again: what is damaged is, and the folder may be removed at any time.
"""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import OutputError, RoadsegWarning
from ..files import make_folder, write_json
from .convert import convert

__all__ = ["EngineCache", "cache_folder", "open_cache"]

FORMAT = 1  # raised when a conversion changes, so that what older versions wrote is made anew


def cache_folder() -> Path:
    """Where the cache is: `ROADSEG_CACHE`, else the place that the operating system gives to caches."""
    given = os.environ.get("ROADSEG_CACHE", "").strip()
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("roadseg", appauthor=False))


def open_cache(digest: str) -> "EngineCache":
    """The cache of the model with this hash; a temporary one, with a RoadsegWarning, where it cannot be written."""
    return EngineCache(cache_folder() / "engines" / digest)


class EngineCache:
    """What is kept for one model."""

    def __init__(self, folder: Path) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        try:
            self.folder = make_folder(folder)
        except OutputError as error:
            self._forgo(error)

    def _forgo(self, error: Exception) -> None:
        """Go on in a folder that ends with this object."""
        warnings.warn(
            f"the cache of converted models cannot be written ({error}): the next prediction starts slowly again. "
            "Set ROADSEG_CACHE to a folder that can",
            RoadsegWarning,
            stacklevel=4,
        )
        self._temporary = tempfile.TemporaryDirectory(prefix="roadseg-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)

    @property
    def compiled(self) -> Path:
        """OpenVINO's folder of compiled models."""
        return self.folder / "compiled"

    def openvino(self, model: Path, *, members: bool = False) -> Path:
        """`model.xml`, made from the Keras or ONNX file where it is not there or damaged; see `convert` for its errors.

        A model that was exported for OpenVINO is its own. With `members` it is `members.xml`, which answers for each
        member of an ensemble too.
        """
        return self._converted(model, ".xml", members)

    def onnx(self, model: Path, *, members: bool = False) -> Path:
        """`model.onnx`, likewise."""
        return self._converted(model, ".onnx", members)

    def _converted(self, model: Path, suffix: str, members: bool) -> Path:
        if model.suffix.lower() == suffix:
            return model
        if members:
            return self.keep(f"members{suffix}", lambda target: convert(model, target, members=True))
        return self.keep(f"model{suffix}", lambda target: convert(model, target))

    def keep(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file `name` with its companions, as they were made.

        Args:
            make: writes the file it is given, and companions into the same, otherwise empty folder.
        """
        if self._is_whole(name):
            return self.folder / name
        try:
            self._make(name, make)
            if not self._is_whole(name):  # another process wrote its own at the same time, and the two are mixed
                self._make(name, make)
        except (OSError, OutputError) as error:
            if self._temporary is not None:
                raise
            self._forgo(error)
            self._make(name, make)
        return self.folder / name

    def _make(self, name: str, make: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.folder) as aside:
            make(Path(aside) / name)
            made = sorted(p for p in Path(aside).iterdir() if p.is_file())
            content = {"format": FORMAT, "sha256": {p.name: _sha256(p) for p in made}}
            for path in made:
                path.replace(self.folder / path.name)
        write_json(self.folder / f"{name}.json", content)

    def _is_whole(self, name: str) -> bool:
        content = self._read(f"{name}.json")
        sums = content.get("sha256")
        if content.get("format") != FORMAT or not isinstance(sums, dict) or name not in sums:
            return False
        try:
            return all(_sha256(self.folder / Path(part).name) == found for part, found in sums.items())
        except OSError:
            return False

    def read_choice(self, key: str) -> dict[str, Any]:
        """What was chosen under `key`; empty where nothing was."""
        found = self._read("choice.json").get(key)
        return found if isinstance(found, dict) else {}

    def write_choice(self, key: str, record: dict[str, Any]) -> None:
        """Keep a choice for the next process; where that is not possible the next one chooses again."""
        try:
            write_json(self.folder / "choice.json", self._read("choice.json") | {key: record})
        except OutputError as error:
            if self._temporary is None:
                self._forgo(error)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
