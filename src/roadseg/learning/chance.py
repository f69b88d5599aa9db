"""Whether an effect happens to an image, and how strongly."""

import numpy as np

from ..config import Effect

__all__ = ["draw", "draw_pair"]


def draw(effect: Effect, rng: np.random.Generator, *, signed: bool = True) -> float:
    """A strength for one image: uniform in +-strength (or 0..strength), or 0 when the effect does not happen.

    Always takes two numbers from `rng`: changing one effect leaves the others' draws as they were.
    """
    happens = rng.random() < effect.probability
    value = rng.uniform(-1 if signed else 0, 1) * effect.strength
    return float(value) if happens else 0.0


def draw_pair(effect: Effect, rng: np.random.Generator) -> tuple[float, float]:
    """Two strengths for x and y that happen together: `probability` is the image's, not each direction's."""
    happens = rng.random() < effect.probability
    x, y = rng.uniform(-1, 1, 2) * effect.strength
    return (float(x), float(y)) if happens else (0.0, 0.0)
