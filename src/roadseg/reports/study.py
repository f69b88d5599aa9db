"""The report of a study's folder, a cross-validation or an ablation, from the plain files in it."""

from pathlib import Path

from ..errors import RunError
from .ablation import ablation_parts
from .crossval import crossval_parts
from .page import read_json, table_of, write_page

__all__ = ["is_study", "write_study_report"]

VERSION = 1  # of the studies' files
FILES = ("crossval.json", "ablation.json")


def is_study(folder: Path) -> bool:
    """Whether a folder holds the result of a cross-validation or an ablation."""
    return any((Path(folder) / name).is_file() for name in FILES)


def write_study_report(folder: Path) -> Path:
    """Write FOLDER/report.html anew from crossval.json or ablation.json and what is beside it; return its path.

    Other files (calibration.json, mistakes.json, pictures) may be missing, as may parts of them: their sections are
    left out. Nothing is computed anew.

    Raises:
        RunError: there is neither file, or one is damaged or of another version.
        OutputError: the report cannot be written.
    """
    folder = Path(folder)
    if not is_study(folder):
        raise RunError(
            f"'{folder}' has neither crossval.json nor ablation.json: give the folder that `roadseg crossval` or "
            "`roadseg ablate` made"
        )
    path = next(folder / name for name in FILES if (folder / name).is_file())
    content = read_json(path)
    version = content.get("version")
    if version != VERSION:
        raise RunError(
            f"'{path}' is of version {version}, this roadseg reads {VERSION}: update it, or run the study anew"
        )
    try:
        if path.name == "crossval.json":
            name = str(table_of(content.get("dataset")).get("name") or folder.resolve().name)
            title, parts = f"{name}: cross-validation", crossval_parts(folder, content)
        else:
            title, parts = str(content.get("title") or folder.resolve().name), ablation_parts(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"'{path}' or a file beside it is damaged: {error!r}; make them anew by the study's command"
        ) from error
    return write_page(folder / "report.html", title, parts)
