"""From a recipe and a folder of sets to a model of the package, in pieces: the same call goes on until it is done.

WORK/data/       the sets as one dataset folder          WORK/teacher/   the short training that finds missing roads
WORK/mended/     the same without doubted labels         WORK/run/       the training, an ordinary run folder
WORK/model/      NAME.keras, NAME.graph, NAME.json (the card), NAME.md
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from ..config import Config
from ..errors import ModelError
from ..files import make_folder
from ..inference.predictor import load_predictor
from ..learning.runs import read_info
from ..weights import card_of, find_packaged
from .gather import Gathered, Tell, gather
from .mend import mend
from .packing import EXTRAS, Packed, data_table, differences, install, pack, refresh_card
from .recipe import Recipe
from .scoring import answer, held_out, score_sets
from .training import Clock, Roadseg, run_roadseg, train

__all__ = ["check", "extras_of", "make", "prepared_config", "train_recipe"]

SCORES_WITHIN = 1e-3  # between machines and versions


def prepared_config(recipe: Recipe, gathered: Gathered, steps: int | None = None) -> Config:
    """The configuration of a training on a gathered folder."""
    config = recipe.configuration(steps)
    data = msgspec.structs.replace(config.data, sampling=gathered.sampling)
    return msgspec.structs.replace(config, data=data)


def train_recipe(
    recipe: Recipe,
    data: Path,
    work: Path,
    clock: Clock,
    *,
    init: Path | None = None,
    tell: Tell = print,
    roadseg: Roadseg = run_roadseg,
) -> tuple[Gathered, bool]:
    """Gather, mend and train as far as the time allows: the gathered folder, and whether `work / "run"` is finished.

    Raises:
        RoadsegError: see `gather`, `mend` and `train`.
    """
    make_folder(work)
    gathered = gather(data, recipe, work / "data", tell)
    asked = recipe.digest(gathered.digest)
    images = gathered.path
    if recipe.mend.steps:
        config = prepared_config(recipe, gathered, recipe.mend.steps)
        teacher = work / "teacher"
        if not train(images, teacher, config, gathered.held_out, asked=asked, init=init, clock=clock, roadseg=roadseg):
            return gathered, False
        if not (work / "mended" / "mend.json").is_file():
            tell("mending: the teacher looks at incomplete sets")
        predictor = load_predictor(teacher, engine="keras") if not (work / "mended").is_dir() else None
        images = mend(gathered, _Given(predictor), recipe, work / "mended", asked, tell)
    config = prepared_config(recipe, gathered)
    done = train(
        images, work / "run", config, gathered.held_out, asked=asked, init=init, clock=clock, roadseg=roadseg
    )  # fmt: skip
    return gathered, done


class _Given:
    """A predictor that is loaded only where it is needed."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    def probabilities(self, image: Any) -> Any:
        return self.predictor.probabilities(image)


def make(
    recipe: Recipe,
    data: Path,
    work: Path,
    *,
    minutes: float | None = None,
    init: Path | None = None,
    into: Path | None = None,
    tell: Tell = print,
    roadseg: Roadseg = run_roadseg,
) -> Packed | None:
    """Make the model as far as `minutes` allow; its files, or None where there is something left to do.

    Args:
        data: the folder that the recipe's sets lie in.
        work: everything that is made; the same folder goes on.
        init: a model to start from.
        into: the package's folder of weights, to copy the model to; None: it stays in `work`.

    Raises:
        RoadsegError: see `train_recipe` and `pack`.
    """
    clock = Clock.start(minutes)
    gathered, done = train_recipe(recipe, data, work, clock, init=init, tell=tell, roadseg=roadseg)
    if not done:
        tell(f"{_progress(work)}: kept in '{work}'; the same command again goes on")
        return None
    files = pack(recipe, data, gathered, work / "run", work / "model", _taken_out(gathered, work))
    refresh_card(files, extras_of(work))
    if into is not None:
        install(files, into)
    tell(f"{recipe.name} -> {into / files.model.name if into else files.model}; card: {files.page}")
    return files


def extras_of(work: Path) -> dict[str, Any]:
    """The further results that lie in a work folder, for the card."""
    found = {}
    for name in EXTRAS:
        path = work / f"{name}.json"
        if path.is_file():
            found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _taken_out(gathered: Gathered, work: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"at borders": {k: round(v, 4) for k, v in gathered.unlabelled.items()}}
    path = work / "mended" / "mend.json"
    if path.is_file():
        doubted = json.loads(path.read_text(encoding="utf-8"))["doubted"]
        told["doubted by the teacher"] = {k: round(v, 4) for k, v in doubted.items()}
    return told


def _progress(work: Path) -> str:
    for name in ("run", "teacher"):
        path = work / name / "metrics.json"
        if path.is_file():
            return f"{name}: {json.loads(path.read_text(encoding='utf-8'))['steps']} steps are done"
    return "no epoch is finished"


def check(name: str, recipe: Recipe, data: Path, *, tell: Tell = print) -> list[str]:
    """Verify the card of a model in the package from the data folder: hashes, and every score again.

    Returns:
        What is not as the card says, a line each; none: the card is true.

    Raises:
        ModelError: no such model.
    """
    path = find_packaged(name)
    if path is None:
        raise ModelError(f"no model in the package is called '{name}'")
    card, info = card_of(name), read_info(path)
    parts, entries, digest = held_out(data, recipe)
    wrong = [
        f"{what}: {found} here, the card says {told}"
        for what, found, told in (
            ("hash of the file", info.hash, card["file"]["hash"]),
            ("list of data", digest, card["data"]["hash"]),
            ("configuration and data", recipe.digest(digest), card["file"]["recipe"]),
            ("configuration and data in the file", info.recipe, card["file"]["recipe"]),
            ("sets", data_table(recipe, entries), card["data"]["sets"]),
        )
        if found != told
    ]
    seen = set(info.trained_on)
    leaked = [entry.name for entry in entries if entry.held_out and entry.image in seen]
    wrong += [f"held-out image {name} was trained on" for name in leaked]
    scores = score_sets(
        parts, answer(load_predictor(path, engine="keras"), parts), info.threshold, info.patch_threshold
    )
    for one, found in scores.items():
        tell(f"{one}: IoU {found['pixel_iou']:.4f}, F1 {found['pixel_f1']:.4f}, patch F1 {found['patch_f1']:.4f}")
    return wrong + differences(card, scores, SCORES_WITHIN)
