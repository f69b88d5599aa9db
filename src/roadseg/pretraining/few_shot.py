"""A few images of one's own: trained from scratch against begun with a model that has not seen their set.

WORK/DRAW/data_NN_S/      NN images of draw S, and the set's held-out images
WORK/DRAW/scratch_NN_S/, init_NN_S/      the runs; what is finished is kept
"""

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..config import Config, read_config
from ..errors import ConfigError
from ..files import make_folder, write_text
from ..learning.runs import RunFolder, find_model, read_info
from .gather import Entry, Gathered, Tell, gather
from .recipe import Mend, Recipe
from .training import Clock, Roadseg, run_roadseg, train

__all__ = ["COUNTS", "draw", "few_shot"]

COUNTS = (2, 5, 10, 20, 50)
SEEDS = 3
SCORE = "pixel_f1"


def draw(entries: Sequence[Entry], count: int, seed: int) -> list[Entry]:
    """The `count` training images of draw `seed`; a larger draw of the same seed has those of a smaller one.

    Raises:
        ConfigError: there are fewer.
    """
    trained = [entry for entry in entries if not entry.held_out]
    if count > len(trained):
        raise ConfigError(f"{count} images were asked for, the set has {len(trained)} to train on")
    order = np.random.RandomState(seed).permutation(len(trained))
    return [trained[k] for k in sorted(order[:count].tolist())]


def few_shot(
    recipe: Recipe,
    data: Path,
    work: Path,
    init: Path | str,
    set_name: str,
    *,
    steps: int = 300,
    counts: Sequence[int] = COUNTS,
    seeds: int = SEEDS,
    assignments: Sequence[str] = (),
    minutes: float | None = None,
    tell: Tell = print,
    roadseg: Roadseg = run_roadseg,
) -> dict[str, Any] | None:
    """The curve over the number of images, both ways with equally many steps; None where there is something left to do.

    Args:
        recipe: the network and the perturbations, so that the weights fit.
        init: a model that has not seen the set.
        assignments: `key=value` settings of the trainings that begin with the model.

    Raises:
        ConfigError: the model has seen the set, or there are too few images.
    """
    sets = [one for one in recipe.sets if one.name == set_name]
    only = msgspec.structs.replace(recipe, sets=sets, mend=Mend(steps=0))
    if not only.sets:
        raise ConfigError(f"--set {set_name}: no set of the recipe")
    make_folder(work)
    gathered = gather(data, only, work / "data", tell)
    start = find_model(init)
    seen = set(read_info(start).trained_on)
    if known := [entry.name for entry in gathered.entries if entry.image in seen]:
        raise ConfigError(f"'{init}' was trained on {len(known)} images of {set_name} ('{known[0]}'): give another")
    clock, found = Clock.start(minutes), dict[int, dict[str, list[float]]]()
    for count in counts:
        for seed in range(seeds):
            folder = _folder(gathered, draw(gathered.entries, count, seed), work / f"data_{count:02d}_{seed}")
            for way, first in (("scratch", None), ("init", start)):
                config = _config(only, steps, seed, assignments if first else ())
                run = work / f"{way}_{count:02d}_{seed}"
                asked = f"{only.digest(gathered.digest)} {steps} {seed} {way} {' '.join(assignments) if first else ''}"
                held_out = folder / "held_out.txt"
                if not train(
                    folder, run, config, held_out, asked=asked.strip(), init=first, clock=clock, roadseg=roadseg
                ):
                    return None
                score = float(RunFolder.open(run).read_json("metrics.json")[SCORE])
                found.setdefault(count, {}).setdefault(way, []).append(score)
                tell(f"{count} images, draw {seed}, {way}: {SCORE} {score:.4f}")
    return {
        "set": set_name,
        "steps": steps,
        "seeds": seeds,
        "held_out": sum(entry.held_out for entry in gathered.entries),
        "settings": list(assignments),
        "rows": {str(count): _row(**values) for count, values in found.items()},
    }


def _row(scratch: Sequence[float], init: Sequence[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"scratch": list(scratch), "init": list(init)}
    for way, values in (("scratch", scratch), ("init", init)):
        row[f"{way}_mean"] = round(statistics.fmean(values), 5)
        row[f"{way}_sd"] = round(statistics.stdev(values), 5) if len(values) > 1 else 0.0
    return row | {"difference": round(statistics.fmean(b - a for a, b in zip(scratch, init, strict=True)), 5)}


def _config(recipe: Recipe, steps: int, seed: int, assignments: Sequence[str]) -> Config:
    told = recipe.configuration(steps).to_dict()
    told["train"] |= {"seed": seed, "steps_per_epoch": 0}
    # A validation after every short round through a few images would take longer than the training.
    return read_config(told, [f"train.steps_per_epoch={max(1, steps // 4)}", *assignments], "recipe, [config]")


def _folder(gathered: Gathered, chosen: Sequence[Entry], out: Path) -> Path:
    """A dataset folder of some training images and all held-out ones."""
    if (out / "held_out.txt").is_file():
        return out
    held_out = [entry for entry in gathered.entries if entry.held_out]
    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True, exist_ok=True)
        for entry in (*chosen, *held_out):
            shutil.copyfile(gathered.path / kind / f"{entry.name}.png", out / kind / f"{entry.name}.png")
    shutil.copyfile(gathered.path / "dataset.toml", out / "dataset.toml")
    write_text(out / "held_out.txt", "".join(f"{entry.name}\n" for entry in held_out))
    return out
