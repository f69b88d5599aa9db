"""Line charts of a training history as inline SVG; the colours come from the page's style."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

__all__ = ["Axis", "line_chart", "swatch", "ticks"]

WIDE, HIGH, LEFT, BOTTOM, PAD = 560, 240, 52, 26, 10  # SVG units
LOG_FROM = 20.0  # values that span more than this factor go on a logarithmic axis
DOTS = 60  # with more points than this only the last is marked
Axis = Literal["free", "zero", "log"]


def swatch(colour: str, text: str) -> str:
    """A patch of `colour` (CSS) and `text` (HTML)."""
    return f'<span class="key"><i style="background:{colour}"></i>{text}</span>'


def line_chart(
    title: str,
    xs: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    level: tuple[str, float] = ("", math.nan),
    axis: Axis = "free",
) -> str:
    """A `<figure>` with lines over epochs and their key.

    Args:
        title: plain text, not escaped here.
        xs: epochs, finite.
        lines: up to three, each as long as `xs` with at least one finite value; nan leaves a gap.
        level: name and value of a dashed level; none where the value is nan.
        axis: "free": the range of the values; "zero": from 0; "log": logarithmic where the values span more than a
            factor of 20 and none is 0 or less, else free.
    """
    named, base = level
    values = [value for line in lines.values() for value in line if math.isfinite(value)]
    values += [base] if math.isfinite(base) else []
    values += [0.0] if axis == "zero" else []
    log = axis == "log" and min(values) > 0 and max(values) > LOG_FROM * min(values)
    levels = _log_ticks(min(values), max(values)) if log else ticks(min(values), max(values))
    place = math.log if log else float
    low, high = place(min(*values, *levels)), place(max(*values, *levels))
    first, last = min(xs), max(xs)

    def x_of(x: float) -> float:
        return LEFT + (WIDE - LEFT - PAD) * ((x - first) / (last - first) if last > first else 0.5)

    def y_of(y: float) -> float:
        return PAD + (HIGH - PAD - BOTTOM) * (high - place(y)) / (high - low)

    marks = []
    for tick in levels:
        y = y_of(tick)
        marks.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - PAD}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    for tick in [x for x in ticks(first, last) if x == int(x) and first <= x <= last] or [first]:
        marks.append(f'<text x="{x_of(tick):.1f}" y="{HIGH - 8}" text-anchor="middle">{tick:g}</text>')
    if math.isfinite(base):
        marks.append(f'<line class="base" x1="{LEFT}" x2="{WIDE - PAD}" y1="{y_of(base):.1f}" y2="{y_of(base):.1f}"/>')
    keys = []
    for index, (name, line) in enumerate(lines.items()):
        points = [(x, y) if math.isfinite(y) else None for x, y in zip(xs, line, strict=True)]
        path = "".join(
            f"{'L' if at and points[at - 1] else 'M'}{x_of(point[0]):.1f} {y_of(point[1]):.1f}"
            for at, point in enumerate(points)
            if point
        )
        known = [point for point in points if point]
        dots = "".join(
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5">'
            f"<title>{escape(name)}, epoch {x:g}: {y:.4g}</title></circle>"
            for x, y in (known if len(known) <= DOTS else known[-1:])
        )
        marks.append(f'<g class="s{index}"><path d="{path}"/>{dots}</g>')
        keys.append(swatch(f"var(--s{index})", f"{escape(name)} <b>{known[-1][1]:.4g}</b>"))
    if math.isfinite(base):
        keys.append(f'<span class="key"><i class="dash"></i>{escape(named)} <b>{base:.4g}</b></span>')
    drawing = f'<svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title} by epoch">{"".join(marks)}</svg>'
    scale = ", logarithmic" if log else ""
    return f"<figure><h3>{title} by epoch{scale}</h3><p>{' '.join(keys)}</p>{drawing}</figure>"


def ticks(low: float, high: float) -> list[float]:
    """Round values, two to seven of them, from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * k for k in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in fine]
    return [tick for tick in ticks if low / 2.5 <= tick <= high * 2.5]
