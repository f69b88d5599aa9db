"""What is wrong with the files of a set: all of it in one error, or a warning for each file that is left out."""

import warnings
from collections.abc import Sequence

from ..errors import DataError, RoadsegWarning

__all__ = ["report_problems"]

LISTED = 10  # problems named in one error


def report_problems(what: str, problems: Sequence[str], skip_bad: bool, good: int) -> None:
    """Raise all problems as one error, or warn of each where bad files are skipped and good ones are left.

    Args:
        what: the beginning of the error, such as "dataset 'cil' has".
        good: number of usable pairs.

    Raises:
        DataError: there are problems, and they may not be skipped or nothing is left.
    """
    if problems and not (skip_bad and good):
        listed = "\n".join(f"  - {text}" for text in problems[:LISTED])
        more = f"\n  ... and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        hint = "nothing is left without them" if not good else "mend them, or leave them out with --skip-bad"
        plural = "s" if len(problems) > 1 else ""
        raise DataError(f"{what} {len(problems)} problem{plural} ({hint}):\n{listed}{more}")
    for text in problems:
        warnings.warn(f"left out: {text}", RoadsegWarning, stacklevel=4)
