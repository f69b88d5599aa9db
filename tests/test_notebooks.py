"""The notebooks run from top to bottom, use nothing but the public interface, and are kept without outputs.

Their cells are plain Python without magics, so that no Jupyter is needed here: each cell is executed in turn, and what
its last line gives is taken as the notebook would show it. The settings in the cell tagged `parameters` are made tiny;
ROADSEG_NOTEBOOKS=full runs them as they are (about five minutes on two cores). ROADSEG_NOTEBOOK_PICTURES=FOLDER keeps
the pictures that they show.
"""

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import roadseg

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FULL = os.environ.get("ROADSEG_NOTEBOOKS") == "full"
PICTURES = os.environ.get("ROADSEG_NOTEBOOK_PICTURES")

SMALL = ["network.width=4", "network.depth=2", "train.crop=32", "train.batch=2", "train.steps=4"]
TINY: dict[str, dict[str, Any]] = {
    "1_prepare_data": {"SCENES": 3, "SIZE": 96},
    "2_train_unet": {"SCENES": 5, "SIZE": 64, "MINUTES": None, "RECIPE": SMALL},
    "3_predict_and_submit": {"SCENES": 3, "TESTS": 2, "SIZE": 64, "MINUTES": None, "RECIPE": SMALL},
    "4_geotiff_to_roads": {
        "SCENES": 3,
        "SIZE": 64,
        "HEIGHT": 90,
        "WIDTH": 110,
        "MINUTES": None,
        "RECIPE": SMALL,
    },
    "5_what_helps": {
        "SCENES": 4,
        "SIZE": 64,
        "STEPS": 2,
        "SEEDS": [0],
        "FACTORS": {"no perturbation": "perturb=off"},
        "BASELINE": ["network.width=4", "network.depth=2", "train.crop=32", "train.batch=2"],
    },
}
SHOWS = {"1_prepare_data": 3, "2_train_unet": 2, "3_predict_and_submit": 2, "4_geotiff_to_roads": 3, "5_what_helps": 0}


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def code_cells(notebook: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]


def execute(source: str, space: dict[str, Any], name: str) -> Any:
    """Run a cell; the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), space)
    return eval(compile(ast.Expression(last.value), name, "eval"), space) if isinstance(last, ast.Expr) else None


def test_there_are_five_of_them() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(TINY) == list(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_is_ready_for_colab(path: Path) -> None:
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and notebook["cells"][0]["cell_type"] == "markdown"
    for cell in notebook["cells"]:
        assert "".join(cell["source"]).strip()
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    cells = code_cells(notebook)
    assert [tags for _, tags in cells[:2]] == [["install"], ["parameters"]]
    install = cells[0][0]
    assert "google.colab" in install and '"roadseg"' in install  # no extra: a backend that is there stays as it is
    assert not any(word in install for word in ("tensorflow", "[cpu]", "[gpu]", "[jax]", "[torch]", "--upgrade", "-U"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_public_interface_alone(path: Path) -> None:
    for source, _ in code_cells(read(path)):
        for node in ast.walk(ast.parse(source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not [name for name in names if name.startswith("roadseg.")], "only `import roadseg`"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "roadseg":
                assert node.attr in roadseg.__all__
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__main__"}
    shown: list[Any] = []
    for number, (source, tags) in enumerate(code_cells(read(path)), start=1):
        value = execute(source, space, f"{path.name}, cell {number}")
        if "parameters" in tags and not FULL:
            tiny = TINY[path.stem]
            assert set(tiny) <= set(space), "the settings have other names now"
            space.update(tiny)
        shown += [value] if isinstance(value, Image.Image) else []
    assert len(shown) == SHOWS[path.stem]
    if PICTURES:
        for number, picture in enumerate(shown, start=1):
            picture.convert("RGB").save(Path(PICTURES) / f"{path.stem}_{number}.png")
