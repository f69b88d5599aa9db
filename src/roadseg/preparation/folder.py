"""The folder a dataset is written to: checked before the work, filled aside, put in its place when it is complete."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigError, OutputError
from ..files import check_place

__all__ = ["ABOUT", "FORMAT", "SHEET", "check_out", "filled_aside"]

FORMAT = "roadseg prepare 1"
ABOUT = "prepare.json"
SHEET = "prepare.png"
OWN = (ABOUT, SHEET, "dataset.toml")


def check_out(out: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse a folder that must not be written to, before any work.

    Raises:
        ConfigError: it lies in one of the inputs, or one of them in it.
        OutputError: it exists, and is not a folder that `prepare` made and that may be overwritten.
    """
    place = out.resolve()
    for given in inputs:
        source = given.resolve()
        if place == source or (source.is_dir() and source in place.parents):
            raise ConfigError(f"OUT '{out}' lies in '{given}', which is read: give a folder outside of it")
        if place in source.parents:
            raise ConfigError(f"OUT '{out}' holds '{given}', which is read: give another folder")
    check_place(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"'{out}' is a file: give a folder that does not exist")
    if not any(out.iterdir()):
        return
    written = _written(out)
    if written is None:
        raise OutputError(f"folder '{out}' exists and was not made by prepare: give one that does not exist")
    if not overwrite:
        raise OutputError(f"'{out}' holds a prepared dataset: give another folder, or --overwrite to replace it")
    own = written | set(OWN)
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name not in own:
            raise OutputError(f"'{out}' holds '{name}', which prepare did not write: move it before --overwrite")


def _written(out: Path) -> set[str] | None:
    """The files of the pairs in a prepared dataset; None for any other folder."""
    try:
        about: Any = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            return None
        return {item[kind] for item in about["pairs"] for kind in ("image", "mask")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def filled_aside(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; put it in the place of `out` when the block ends well, else remove it.

    What is at `out` stays until then.

    Raises:
        OutputError: it cannot be made or moved.
    """
    out = Path(out)
    place = out.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{place.name[:40]}-", suffix=".part", dir=place.parent))
    except OSError as error:
        raise OutputError(f"cannot write '{out}': {error.strerror or error}") from error
    try:
        yield aside
        aside.chmod(0o777 & ~_umask())
        old = aside.with_suffix(".old")
        replaced = place.exists()
        if replaced:
            place.replace(old)
        try:
            aside.replace(place)
        except BaseException:
            if replaced:
                old.replace(place)
            raise
        if replaced:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write '{out}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
