"""docs/results.md, made of the kept figures of cross-validations and ablations: no number in it is typed.

    python -m roadseg.reports.results docs/results docs/results.md README.md
    python -m roadseg.reports.results --keep runs/crossval docs/results/cil_default

The first writes the page anew from `docs/results/index.toml`, and in the README what stands between the marks
`<!-- results -->` and `<!-- /results -->`. The second takes into the repository what a study's figures are made of:
small, plain JSON, an ablation's records whole, so that the study can be gone on with from there.

index.toml is a list of sections, in the order of the page:

| key       | what                                                                                      |
|-----------|-------------------------------------------------------------------------------------------|
| `title`   | the headline                                                                              |
| `folder`  | the kept folder, beside index.toml; or `page`, a Markdown file that is taken in as it is  |
| `command` | what anyone can run to get these figures; a list of lines                                 |
| `date`    | of the measurement                                                                        |
| `note`    | Markdown, below the table                                                                 |
| `readme`  | true: its mean scores are quoted in the README, as `name` if there is one                 |
"""

import json
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DataError, OutputError
from ..files import make_folder, write_text
from ..studies.records import ROWS

__all__ = ["keep", "quoted", "results_page", "write_results"]

MARKS = ("<!-- results -->", "<!-- /results -->")
COLUMNS = {
    "pixel_f1": "pixel F1",
    "pixel_iou": "pixel IoU",
    "pixel_accuracy": "pixel accuracy",
    "patch_accuracy": "patch accuracy",
    "patch_f1": "patch F1",
}
QUOTED = ("pixel_f1", "pixel_iou", "patch_accuracy", "patch_f1")
HEAD = """# Results

Made by `make docs` of the figures in [docs/results/](results/), which `python -m roadseg.reports.results --keep` takes
from the folders of `roadseg crossval` and `roadseg ablate`. Scores are of the **final** averaged weights on held-out
images: pixels and 16x16 patches pooled over the images of a fold, threshold 0.5 unless said. No epoch and no threshold
is chosen on the images that are scored.
"""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of index.toml."""

    title: str = ""
    folder: str = ""
    page: str = ""
    command: list[str] = []
    date: str = ""
    note: str = ""
    readme: bool = False
    name: str = ""


def results_page(folder: Path) -> str:
    """docs/results.md.

    Raises:
        DataError: index.toml or a kept file is missing or damaged.
    """
    parts = [HEAD]
    for section in _sections(folder):
        if section.page:
            parts.append(_read(folder / section.page).strip() + "\n")
            continue
        made = _study(folder / section.folder)
        body = _crossval(made) if made["kind"] == "crossval" else _ablation(made)
        where = [*([section.date] if section.date else []), *_machines(made)]
        lines = [f"## {section.title}", ""]
        lines += [*(f"    {line}" for line in section.command), ""] if section.command else []
        lines += [body, "", "; ".join(where) + "."]
        lines += ["", section.note.strip()] if section.note else []
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def quoted(folder: Path) -> str:
    """The table of the README: mean ± standard deviation over the folds, of the sections that ask for it.

    Raises:
        DataError: as `results_page`.
    """
    lines = [_row(["", *(COLUMNS[name] for name in QUOTED)]), "|---|" + "---|" * len(QUOTED)]
    for section in _sections(folder):
        if not section.readme:
            continue
        made = _study(folder / section.folder)
        if made["kind"] != "crossval":
            raise DataError(f"'{folder / 'index.toml'}': only cross-validations are quoted, not '{section.folder}'")
        title = section.name or section.title
        for row, scored in made["scores"].items():
            if row == "single":
                ground = _plain(scored["mean"]["all_background_patch_accuracy"])
                lines.append(_row(["all background", "0", "0", ground, "0"]))
            named = title if row == "single" else f"{title}, {ROWS[row].removeprefix('one model, ')}"
            lines.append(_row([named, *(_spread(scored, name) for name in QUOTED)]))
    return "\n".join(dict.fromkeys(lines))  # the background's row once


def write_results(folder: Path, page: Path, readme: Path | None = None) -> None:
    """Write the page, and the README's table where it has the marks.

    Raises:
        DataError: as `results_page`.
        OutputError: a file cannot be written.
    """
    write_text(page, results_page(folder))
    if readme is not None:
        write_text(readme, with_quoted(_read(readme), folder))


def with_quoted(text: str, folder: Path) -> str:
    """`text` with the table between the marks made anew; as it is where it has none."""
    before, first, rest = text.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not (first and last):
        return text
    return f"{before}{first}\n{quoted(folder)}\n{last}{after}"


def keep(study: Path, out: Path) -> None:
    """Take what a study's figures are made of: crossval.json and calibration.json, or an ablation's records.

    Raises:
        DataError: no finished study there.
        OutputError: it cannot be written, or another study is there.
    """
    made = _study(study)
    there = out / f"{'crossval' if made['kind'] == 'ablation' else 'ablation'}.json"
    if there.is_file():
        raise OutputError(f"'{out}' has another kind of study ('{there.name}'): give another place")
    make_folder(out)
    for name in ("crossval.json", "calibration.json", "mistakes.json", "ablation.json"):
        if (study / name).is_file():
            write_text(out / name, _small(json.loads(_read(study / name))))
    if made["kind"] == "ablation":
        for name in ("study.toml", "chosen.json"):
            if (study / name).is_file():
                shutil.copyfile(study / name, out / name)
        if (out / "runs").exists():
            shutil.rmtree(out / "runs")
        shutil.copytree(study / "runs", out / "runs")


# === Pieces ===


def _sections(folder: Path) -> list[Section]:
    path = folder / "index.toml"
    try:
        tables = tomllib.loads(_read(path))
        sections = msgspec.convert(tables.get("section", []), list[Section])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"'{path}': {error}") from error
    for section in sections:
        if bool(section.folder) == bool(section.page) or (section.folder and not section.title):
            raise DataError(f"'{path}': section '{section.title}': give a page, or a folder and a title")
    return sections


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read '{path}': {error}") from error


def _study(folder: Path) -> dict[str, Any]:
    """crossval.json or ablation.json."""
    for name in ("crossval.json", "ablation.json"):
        if (folder / name).is_file():
            try:
                return dict(json.loads(_read(folder / name)))
            except ValueError as error:
                raise DataError(f"'{folder / name}' is damaged: {error}") from error
    raise DataError(f"'{folder}' has neither crossval.json nor ablation.json: give the folder of a finished study")


def _crossval(made: dict[str, Any]) -> str:
    """A table with a line a fold, for each row of scores."""
    names = [name for name in COLUMNS if made["scores"]["single"]["pooled"].get(name) is not None]
    seeds = len(made["seeds"])
    intro = (
        f"{made['dataset']['pairs']} images, {made['folds']} folds (seed {made['fold_seed']}), {made['length']}, "
        f"{seeds} seed{'s' * (seeds > 1)}."
    )
    lines = [intro, "", _row(["", *(COLUMNS[name] for name in names)]), "|---|" + "---|" * len(names)]
    for row, scored in made["scores"].items():
        mean = [f"**{_spread(scored, name)}**" for name in names]
        lines.append(_row([f"**{ROWS[row]}, mean ± sd over the folds**", *mean]))
        for fold in scored["per_fold"]:
            lines.append(_row([f"fold {fold['fold']}", *(_plain(fold[name]) for name in names)]))
        lines.append(_row(["all images pooled", *(_plain(scored["pooled"][name]) for name in names)]))
    return "\n".join(lines)


def _ablation(made: dict[str, Any]) -> str:
    from ..studies.ablation_text import markdown

    headline, _, text = markdown(made).partition("\n")
    assert headline.startswith("# ")
    return text.strip().replace("\n## ", "\n### ")


def _machines(made: dict[str, Any]) -> list[str]:
    if made["kind"] == "ablation":  # its text says so itself
        return []
    machines = sorted(
        {
            f"{run['machine']['cores']} cores of {run['machine']['processor']}, {run['machine']['backend']}, "
            f"{run['machine'].get('precision', '')}, {run['parameters']:,} weights"
            for run in made["runs"]
        }
    )
    spent = sum(run["training_s"] for run in made["runs"]) / len(made["runs"])
    return [*machines, f"{spent:.0f} s of training a run"]


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}".removeprefix("0")


def _spread(scored: dict[str, Any], name: str) -> str:
    return f"{_plain(scored['mean'][name])} ± {_plain(scored['sd'][name])}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _small(value: Any, depth: int = 0) -> str:
    """JSON in which what is deep is on one line: short files that still differ by line."""
    if isinstance(value, dict) and depth < 3 and value:
        inner = ",\n".join(f"{' ' * (depth + 1)}{json.dumps(k)}: {_small(v, depth + 1)}" for k, v in value.items())
        return f"{{\n{inner}\n{' ' * depth}}}" + ("\n" if depth == 0 else "")
    if isinstance(value, list) and depth < 3 and any(isinstance(item, dict) for item in value):
        inner = ",\n".join(f"{' ' * (depth + 1)}{_small(item, depth + 1)}" for item in value)
        return f"[\n{inner}\n{' ' * depth}]"
    return json.dumps(value, ensure_ascii=False)


def main(words: Sequence[str]) -> None:
    """See the module's first lines."""
    if len(words) == 3 and words[0] == "--keep":
        keep(Path(words[1]), Path(words[2]))
    elif len(words) in (2, 3) and not words[0].startswith("-"):
        write_results(*map(Path, words))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
