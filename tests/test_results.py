"""docs/results.md and the README's table, made of kept figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from roadseg.errors import DataError, OutputError
from roadseg.reports.results import keep, main, quoted, results_page, with_quoted

ROOT = Path(__file__).resolve().parents[1]
PIXELS = [[700, 50], [40, 210]]
PATCHES = [[70, 5], [4, 21]]
NAMES = ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1")


def cross_validation(folder: Path, mean: float = 0.8) -> Path:
    """The files of a made cross-validation."""
    scores = dict.fromkeys((*NAMES, "all_background_patch_accuracy"), mean)
    row = {
        "per_fold": [{"fold": k, "n_images": 1, **dict.fromkeys(scores, mean + k / 100)} for k in range(2)],
        "mean": dict.fromkeys(scores, mean + 0.005),
        "sd": dict.fromkeys(scores, 0.0123),
        "pooled": {**scores, "n_images": 2},
    }
    machine = {"cores": 2, "processor": "a made one", "backend": "tensorflow", "precision": "float32"}
    run = {"machine": machine, "parameters": 1234, "training_s": 60.0, "images": {"a": {"pixels": PIXELS}}}
    content: dict[str, Any] = {
        "version": 1, "kind": "crossval", "dataset": {"name": "made", "pairs": 2}, "folds": 2, "fold_seed": 43,
        "seeds": [0], "length": "300 steps", "scores": {"single": row, "tta": row}, "runs": [run, run],
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "crossval.json").write_text(json.dumps(content))
    (folder / "calibration.json").write_text('{"ece": 0.1}')
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "model.keras").write_bytes(b"large")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one kept cross-validation and one page."""
    folder = tmp_path / "results"
    keep(cross_validation(tmp_path / "cv"), folder / "made")
    (folder / "earlier.md").write_text("## Earlier\n\nAs it was.\n")
    (folder / "index.toml").write_text(
        '[[section]]\ntitle = "Made images"\nfolder = "made"\ncommand = ["roadseg crossval path/to/made --out DIR"]\n'
        'date = "2026-11-21"\nnote = "What it teaches."\nreadme = true\nname = "ours"\n\n'
        '[[section]]\npage = "earlier.md"\n'
    )
    return folder


def test_the_page_has_command_folds_mean_machine_note_and_the_pages_taken_in(results: Path) -> None:
    page = results_page(results)
    for text in (
        "## Made images\n\n    roadseg crossval path/to/made --out DIR\n",
        "2 images, 2 folds (seed 43), 300 steps, 1 seed.",
        "| fold 1 | .8100 | .8100 | .8100 | .8100 | .8100 |",
        "| **one model, mean ± sd over the folds** | **.8050 ± .0123** |",
        "2026-11-21; 2 cores of a made one, tensorflow, float32, 1,234 weights; 60 s of training a run.",
        "What it teaches.",
        "## Earlier\n\nAs it was.",
    ):
        assert text in page, text
    assert page.index("## Made images") < page.index("## Earlier")


def test_what_is_kept_is_small_and_plain(results: Path) -> None:
    assert {p.name for p in (results / "made").iterdir()} == {"crossval.json", "calibration.json"}
    kept = json.loads((results / "made" / "crossval.json").read_text())
    assert kept == json.loads((results.parent / "cv" / "crossval.json").read_text())
    assert max(len(line) for line in (results / "made" / "crossval.json").read_text().splitlines()) < 400


def test_the_readme_quotes_between_its_marks_alone(results: Path) -> None:
    text = "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    made = with_quoted(text, results)
    assert made == f"before\n<!-- results -->\n{quoted(results)}\n<!-- /results -->\nafter\n" and "old" not in made
    assert "| ours | .8050 ± .0123 |" in made and "| ours, 8 views |" in made
    assert "| all background | 0 | 0 | .8050 | 0 |" in made
    assert with_quoted("no marks", results) == "no marks"
    assert with_quoted(made, results) == made


def test_the_commands_write_the_page_and_the_readme(results: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    main([str(results), str(tmp_path / "results.md"), str(readme)])
    assert (tmp_path / "results.md").read_text() == results_page(results) and "ours" in readme.read_text()
    with pytest.raises(SystemExit, match=r"index\.toml"):
        main([])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[[section]]\n", "give a page, or a folder and a title"),
        ('[[section]]\ntitle = "a"\nfolder = "nowhere"\n', "neither crossval.json nor ablation.json"),
        ('[[section]]\npage = "nowhere.md"\n', "cannot read"),
        ('[[section]]\ntilte = "a"\n', "tilte"),
        ("[[", "index.toml"),
    ],
)
def test_a_bad_index_is_named(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / "index.toml").write_text(index)
    with pytest.raises(DataError, match=message):
        results_page(tmp_path)


def test_another_kind_of_study_is_not_written_over(results: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "ablation.json").write_text('{"kind": "ablation"}')
    with pytest.raises(OutputError, match=r"crossval\.json"):
        keep(study, results / "made")


def test_the_pages_of_this_repository_are_up_to_date() -> None:
    if not (ROOT / "docs" / "results" / "index.toml").is_file():
        pytest.skip("no docs here: an installed package")
    assert (ROOT / "docs" / "results.md").read_text() == results_page(ROOT / "docs" / "results"), "run `make docs`"
    readme = (ROOT / "README.md").read_text()
    assert with_quoted(readme, ROOT / "docs" / "results") == readme, "run `make docs`"
