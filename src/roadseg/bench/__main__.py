"""`python -m roadseg.bench PART WORKLOAD`: measure one part in this process and print it as one line of JSON.

`WORKLOAD` is the JSON of `workload.Workload`. The benchmark runs its parts this way so that no framework sees another's
threads or memory.
"""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import msgspec

from ..errors import RoadsegError
from .parts import measure_part
from .workload import Workload

__all__ = ["main"]


def main() -> int:
    """Measure the part that the command line names; exit code 0 also where it cannot be measured here."""
    part, text = sys.argv[1:3]
    workload = msgspec.json.decode(text, type=Workload)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        try:
            result = measure_part(part, workload, Path(sys.argv[3]) if len(sys.argv) > 3 else Path(folder))
        except (RoadsegError, ImportError) as error:
            result = {"unavailable": str(error)}
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
