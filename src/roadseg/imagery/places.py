"""Places: which pairs of a set show ground that lies together, so that a split keeps them on one side."""

import re
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConfigError
from .blocks import MANY, square_of, squares_for
from .layouts import Pair, Place

__all__ = ["compiled", "group_name", "with_places"]


def with_places(pairs: Sequence[Pair], group: str | None = None, squares: int = 0) -> list[Pair]:
    """The pairs with their places: what `group` makes of their names, else squares of the blocks of large rasters.

    Without a `group`, pairs that are no blocks stand alone; of ten rasters or more each is a place; of fewer, squares
    of blocks are, as large as they may be with twenty of them left (see `blocks.squares_for`).

    Args:
        group: of the folder's `dataset.toml`.
        squares: blocks along a side of a square; 0: as described.

    Raises:
        ConfigError: `group` is no regular expression.
    """
    if group is not None:
        pattern = compiled(group, f"group = '{group}' in dataset.toml")
        rule = f"'{group}' (dataset.toml)"
        named = ((pair, group_name(pair, pattern)) for pair in pairs)
        return [replace(pair, place=None if name is None else Place(name, rule)) for pair, name in named]
    rasters: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.block is not None:
            rasters.setdefault(_raster(pair), []).append(pair)
    if len(rasters) >= MANY and not squares:
        return [replace(p, place=Place(_raster(p), "raster")) if p.block is not None else p for p in pairs]
    side = squares or squares_for([p.block for p in own if p.block is not None] for own in rasters.values())
    return [_in_square(pair, side) for pair in pairs] if side > 1 else list(pairs)


def _in_square(pair: Pair, side: int) -> Pair:
    if pair.block is None:
        return pair
    row, column = square_of(pair.block, side)
    name = f"{_raster(pair)}_s{row:02}_{column:02}"
    return replace(pair, place=Place(name, f"squares of {side} x {side} blocks"))


def _raster(pair: Pair) -> str:
    """The name of a block's raster."""
    return pair.stem.removesuffix(pair.block.ending) if pair.block is not None else pair.stem


def compiled(group: str, source: str) -> re.Pattern[str]:
    """The pattern.

    Raises:
        ConfigError: it is none; `source` says where it is from.
    """
    try:
        return re.compile(group)
    except re.error as error:
        raise ConfigError(f"{source} is no regular expression: {error}") from error


def group_name(pair: Pair, pattern: re.Pattern[str]) -> str | None:
    """What a pair's name matches: the pattern's first group, if it has one, else the match; None where it does not."""
    match = pattern.search(pair.stem)
    if match is None:
        return None
    first = match[1] if pattern.groups else None
    return match[0] if first is None else first
