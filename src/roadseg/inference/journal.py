"""Which images of a prediction folder are finished, and by which plan: what `--resume` goes by."""

import contextlib
import json
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .plan import Plan

__all__ = ["RECORD", "Journal"]

RECORD = "predict.json"
JOURNAL = ".predict.journal"  # beside it until it is written: a line for each finished image


class Journal:
    """The finished images of a folder.

    Args:
        folder: of the prediction.
        resume: take over what the folder says of earlier; else it is forgotten.
    """

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self.path = folder / JOURNAL
        self._done: dict[str, Any] = {}
        if not resume:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            self._take(image["finished"] for image in record["images"] if "finished" in image)
        with contextlib.suppress(OSError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # the last line of one that was killed
                    self._take([json.loads(line)])

    def _take(self, entries: Any) -> None:
        for entry in entries:
            self._done[entry["key"]] = entry["bytes"]

    def has(self, plan: Plan) -> bool:
        """Whether this plan's files are there, as long as they were when they were finished."""
        known = self._done.get(plan.key)
        return known is not None and known == _sizes(plan)

    def add(self, plan: Plan) -> None:
        """Remember that its files are written.

        Raises:
            OutputError: the folder cannot be written any more.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.entry(plan)) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write '{self.path}': {error.strerror or error}") from error

    @staticmethod
    def entry(plan: Plan) -> dict[str, Any]:
        """What is remembered of a finished image."""
        return {"key": plan.key, "bytes": _sizes(plan)}

    def close(self) -> None:
        """Forget it all: the record is written."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _sizes(plan: Plan) -> dict[str, int]:
    found = {}
    for path in plan.targets.values():
        with contextlib.suppress(OSError):
            found[path.name] = path.stat().st_size
    return found
