"""A finished run as a model of the package: half precision, threshold, hashes, graph, card."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..files import write_json, write_text
from ..inference.convert import convert
from ..inference.predictor import load_predictor
from ..learning.runs import RunFolder, find_model, read_info
from ..weights.cards import as_markdown
from ..weights.graph import pack_graph
from ..weights.half import write_half
from .gather import Entry, Gathered
from .recipe import Recipe
from .scoring import answer, calibration, choose_threshold, held_out, histograms, score_sets, voting

__all__ = ["EXTRAS", "Packed", "data_table", "differences", "install", "pack", "refresh_card"]

EXTRAS = ("robustness", "few_shot", "folds", "measures")  # further results that a card has where they are at hand
TOLD = ("pixel_iou", "pixel_f1", "patch_f1")
MB = 1e6


@dataclasses.dataclass(frozen=True)
class Packed:
    """The files of a model of the package."""

    model: Path
    graph: Path
    card: Path
    page: Path

    @classmethod
    def at(cls, folder: Path, name: str) -> "Packed":
        return cls(*(folder / f"{name}.{suffix}" for suffix in ("keras", "graph", "json", "md")))


def pack(recipe: Recipe, data: Path, gathered: Gathered, run: Path, out: Path, unlabelled: Mapping[str, Any]) -> Packed:
    """Write the model, its graph and its card to the folder `out`.

    Args:
        data: the folder of sets, whose held-out images are scored.
        run: the finished run folder.
        unlabelled: what the measures took out of the labels, for the card.

    Raises:
        ModelError: the file is larger than the recipe allows, or cannot be converted.
    """
    files = Packed.at(out, recipe.name)
    out.mkdir(parents=True, exist_ok=True)
    source = find_model(run)
    trained = gathered.trained()
    info = read_info(source)
    info = dataclasses.replace(
        info,
        ignore=-1,  # of the gathered masks; those of users' sets say themselves
        # What was resampled has another hash than the image that it was made of: both have been seen.
        trained_on=tuple(dict.fromkeys([*info.trained_on, *(entry.image for entry in trained)])),
        recipe=recipe.digest(gathered.digest),
    )
    parts, entries, _ = held_out(data, recipe)
    exact = answer(load_predictor(source, engine="keras"), parts)
    with tempfile.TemporaryDirectory() as place:
        draft = Path(place) / f"{recipe.name}.keras"
        rounding = write_half(source, draft, info)
        answers = answer(load_predictor(draft, engine="keras"), parts)
    voters = voting(parts)
    counts = {name: found for name, found in histograms(parts, answers).items() if name in voters}
    threshold = {**choose_threshold(counts), "sets": voters}
    info = dataclasses.replace(info, threshold=threshold["threshold"])
    write_half(source, files.model, info)
    size = files.model.stat().st_size / MB
    if size > recipe.largest_mb:
        raise ModelError(f"'{files.model}' has {size:.1f} MB, at most {recipe.largest_mb:g} are allowed: narrow it")
    with tempfile.TemporaryDirectory() as place:
        converted = Path(place) / "model.xml"
        convert(files.model, converted)
        pack_graph(files.model, converted, files.graph)
    before, after = (score_sets(parts, found, 0.5) for found in (exact, answers))
    card = {
        "name": recipe.name,
        "about": recipe.about,
        "file": {"megabytes": round(size, 2), "hash": read_info(files.model).hash, "recipe": info.recipe},
        "parameters": RunFolder.open(run).read_json("metrics.json")["parameters"],
        "ground_resolution_m": recipe.ground_resolution_m,
        "threshold": threshold,
        "scores": score_sets(parts, answers, info.threshold, info.patch_threshold),
        "calibration": calibration(counts),
        "half_precision": {
            "largest_rounding": float(f"{rounding:.2g}"),
            "change": {name: {k: round(after[name][k] - before[name][k], 5) for k in TOLD} for name in before},
        },
        "data": {"hash": gathered.digest, "sets": data_table(recipe, entries)},
        "measures": {"unlabelled": dict(unlabelled), "mend": {"steps": recipe.mend.steps, "above": recipe.mend.above}},
        "training": _training(run),
        "mistakes": recipe.mistakes,
    }
    write_json(files.card, card)
    write_text(files.page, as_markdown(card))
    return files


def data_table(recipe: Recipe, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What the card says of each set."""
    rows = []
    for one in recipe.sets:
        mine = [entry for entry in entries if entry.set == one.name]
        rows.append(
            {
                "name": one.name,
                "trained": sum(not entry.held_out for entry in mine),
                "held_out": sum(entry.held_out for entry in mine),
                "held_out_pattern": one.held_out,
                "resolution_m": one.resolution_m,
                "estimated": one.estimated,
                "labels": one.labels,
                "complete": one.complete,
                "share": one.share,
                "border_px": one.border,
                "source": one.source,
            }
        )
    return rows


def _training(run: Path) -> dict[str, Any]:
    folder = RunFolder.open(run)
    metrics, config = folder.read_json("metrics.json"), folder.read_config()
    hours = sum(float(row["train_seconds"]) for row in folder.read_history()) / 3600
    return {
        "steps": metrics["steps"],
        "hours": round(hours, 2),
        "batch": config.train.batch,
        "crop": config.train.crop,
        "network": {key: value for key, value in config.to_dict()["network"].items() if _tells(key, value)},
        "perturb": config.perturb.preset,
        "precision": config.train.precision,
    }


def _tells(key: str, value: Any) -> bool:
    from ..config import NetworkConfig

    return key in ("width", "depth", "stem") or value != getattr(NetworkConfig(), key)


def refresh_card(files: Packed, extras: Mapping[str, Any]) -> None:
    """Put further results into the card and write its page again.

    Args:
        extras: any of `EXTRAS`.
    """
    card = json.loads(files.card.read_text(encoding="utf-8"))
    card |= {("brought" if name == "measures" else name): found for name, found in extras.items() if name in EXTRAS}
    write_json(files.card, card)
    write_text(files.page, as_markdown(card))


def install(files: Packed, folder: Path) -> None:
    """Copy a packed model into the package's folder of weights; the page stays where it is."""
    for path in (files.model, files.graph, files.card):
        shutil.copyfile(path, folder / path.name)


def differences(card: Mapping[str, Any], scores: Mapping[str, Any], within: float) -> list[str]:
    """Where scores are not those of the card, a line each."""
    found = []
    for name, told in card["scores"].items():
        for key, value in told.items():
            now = scores.get(name, {}).get(key)
            if isinstance(value, float) and (now is None or not np.isclose(value, now, rtol=0, atol=within)):
                found.append(f"{name}: {key} is {now}, the card says {value}")
    return found
