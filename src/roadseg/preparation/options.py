"""The options of `prepare` checked before any work, and the kind of labels that they ask for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from .labels import ColouredLabels, GreyLabels, Labels
from .palette import read_palette

__all__ = ["check_numbers", "labels_for"]


def check_numbers(
    mend: int,
    ignore: int,
    tile: int,
    overlap: int,
    blocks: int | None,
    min_share: float,
    resolution: float | None,
) -> None:
    """Refuse numbers out of range.

    Raises:
        ConfigError: it names the option.
    """
    if not 0 <= mend <= 64:
        raise ConfigError(f"--mend {mend}: expected px, 0..64")
    if not -1 <= ignore <= 255:
        raise ConfigError(f"--ignore {ignore}: expected a label value, 0..255")
    if tile < 0 or (0 < tile < 16):
        raise ConfigError(f"--tile {tile}: expected 16 px or more a side")
    if overlap < 0 or (overlap and not tile):
        raise ConfigError(f"--overlap {overlap}: " + ("expected 0 px or more" if overlap < 0 else "needs --tile"))
    if tile and overlap >= tile:
        raise ConfigError(f"--overlap {overlap}: expected less than the side of the tiles, --tile {tile}")
    if blocks is not None and (not 0 <= blocks <= 1000 or (blocks and not tile)):
        raise ConfigError(f"--blocks {blocks}: " + ("needs --tile" if not tile else "expected tiles a side, 0..1000"))
    if not 0 <= min_share <= 1:
        raise ConfigError(f"--min-share {min_share:g}: expected a share, 0..1, e.g. 0.01")
    if resolution is not None and not 0 < resolution < 1e6:
        raise ConfigError(f"--resolution {resolution:g}: expected metres per pixel, e.g. 0.3")


def labels_for(
    lines: bool,
    *,
    words: Sequence[str | Path],
    preset: str | None,
    mend: int,
    classes: Sequence[str],
    ignore: int,
    invert: bool,
    threshold: float | None,
    width: float | None,
    width_field: str | None,
    widths: str | Path | None,
    keep_tunnels: bool,
    lines_crs: str | None,
    lines_layer: str | None,
) -> Labels:
    """The kind of labels that the options are for; `lines`: the labels are vector files.

    Raises:
        ConfigError: an option is not usable, or is for another kind of labels.
    """
    of_lines = {
        "--width": width, "--width-field": width_field, "--widths": widths, "--keep-tunnels": keep_tunnels or None,
        "--lines-crs": lines_crs, "--lines-layer": lines_layer,
    }  # fmt: skip
    of_pictures = {
        "--colors": words or None, "--preset": preset, "--classes": classes or None,
        "--ignore": None if ignore < 0 else ignore, "--invert": invert or None, "--threshold": threshold,
    }  # fmt: skip
    wrong = next((name for name, value in (of_pictures if lines else of_lines).items() if value is not None), None)
    if wrong is not None:
        here, there = ("vector lines", "pictures") if lines else ("pictures", "vector lines")
        raise ConfigError(f"{wrong} is for labels that are {there}; these are {here}: leave it out")
    if lines:
        from .lines import LineLabels, check_crs
        from .widths import Widths, read_widths

        if lines_crs is not None:
            check_crs(lines_crs)
        rule = Widths() if widths is None else read_widths(Path(widths))
        return LineLabels(
            replace(rule, constant=width, column=width_field, keep_tunnels=keep_tunnels), lines_crs, lines_layer
        )
    if words or preset is not None:
        _check_alone(classes, ignore, invert, threshold)
        return ColouredLabels(read_palette(words, preset), mend)
    return GreyLabels(classes, ignore, invert, threshold)


def _check_alone(classes: Sequence[str], ignore: int, invert: bool, threshold: float | None) -> None:
    """Options of grey labels say nothing about coloured ones."""
    if classes:
        raise ConfigError("--classes is for grey labels: a palette names its classes, e.g. --colors road=#ffffff~12")
    if ignore >= 0:
        raise ConfigError("--ignore is for grey labels: name the colours, e.g. --colors ignore=#000000")
    if invert:
        raise ConfigError("--invert is for grey labels: name the colours of the other class")
    if threshold is not None:
        raise ConfigError("--threshold is for grey labels: colours have tolerances, e.g. #ffffff~12")
