"""Writing files so that a reader never sees half of one, and an interrupted write loses nothing."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError

__all__ = ["check_place", "make_folder", "write_aside", "write_json", "write_text"]


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` with the same suffix; rename it to `path` when the block ends well.

    Raises:
        OutputError: the folder cannot be written, or the disk is full. What was at `path` stays as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
    aside = Path(name)
    try:
        yield aside
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp makes private files; give what an ordinary write would
        aside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, aside and renamed."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, aside and renamed."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def make_folder(path: Path) -> Path:
    """Make the folder `path` (and its parents) and check that it can be written.

    Raises:
        OutputError: it cannot be made or written, or a file is in its place.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise OutputError(f"'{path}' is a file: give a folder to write to") from error
    except OSError as error:
        raise OutputError(f"cannot write to folder '{path}': {error.strerror or error}") from error
    return path


def check_place(path: Path) -> None:
    """Refuse a path that cannot be written, before any work and without making anything.

    Raises:
        OutputError: it lies below a file, or in a folder that may not be written.
    """
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if above != path.absolute() and not above.is_dir():
        raise OutputError(f"cannot write '{path}': '{above}' is a file, not a folder")
    if not os.access(above, os.W_OK):
        raise OutputError(f"cannot write '{path}': '{above}' may not be written")
