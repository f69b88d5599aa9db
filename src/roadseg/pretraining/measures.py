"""What each measure against unlike labels brings: equally long trainings with all of them, without one, without any."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConfigError
from ..inference.predictor import load_predictor
from .gather import Tell
from .make import train_recipe
from .recipe import MEASURES, Recipe
from .scoring import answer, held_out, score_sets
from .training import Clock, Roadseg, run_roadseg

__all__ = ["measures_study"]


def measures_study(
    recipe: Recipe,
    data: Path,
    work: Path,
    steps: int,
    *,
    minutes: float | None = None,
    off: Sequence[Sequence[str]] = (),
    tell: Tell = print,
    roadseg: Roadseg = run_roadseg,
) -> dict[str, Any] | None:
    """Train the recipe with all measures, without each of them, and without any, for equally many steps.

    Args:
        off: the measures to leave out in each training; empty: as said.

    Returns:
        `rows`: recipe in words -> pixel IoU of each set; None where there is something left to do.
    """
    if steps < 1:
        raise ConfigError(f"--steps {steps}: at least 1")
    clock, rows = Clock.start(minutes), {}
    for left_out in off or [[], *([one] for one in MEASURES), list(MEASURES)]:
        shorter = msgspec.structs.replace(recipe.without_measures(left_out), steps=steps)
        folder = work / ("all" if not left_out else "without-" + "-".join(left_out))
        _, done = train_recipe(shorter, data, folder, clock, tell=tell, roadseg=roadseg)
        if not done:
            return None
        # Scored as the whole recipe would apply it: every model on the same images at the same scale.
        parts, _, _ = held_out(data, recipe)
        scores = score_sets(parts, answer(load_predictor(folder / "run", engine="keras"), parts), 0.5)
        name = "all measures" if not left_out else "without " + ", ".join(left_out)
        rows[name] = {one: found["pixel_iou"] for one, found in scores.items()}
        tell(f"{name}: " + ", ".join(f"{one} {value:.4f}" for one, value in rows[name].items()))
    return {"steps": steps, "rows": rows}
