"""Charts of a study as inline SVG: dots by fold, differences with their intervals, bars, a reliability diagram.

What is told by colour is told by shape or in words too; colours come from the page's style.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .curves import ticks

__all__ = ["VERDICTS", "Bar", "Difference", "bar_chart", "dot_chart", "forest_plot", "reliability_diagram", "shape_key"]

PAD = 10  # SVG units
VERDICTS = {"helps": ("up", "s0"), "hurts": ("down", "s1"), "cannot tell": ("circle", "plain")}  # shape, colour
SHAPES = ("circle", "square", "diamond", "up")  # of the series of a dot chart


def _mark(shape: str, x: float, y: float, style: str, title: str = "", r: float = 5) -> str:
    """A shape around (x, y), `style` its CSS classes."""
    told = f"<title>{escape(title)}</title>" if title else ""
    if shape == "circle":
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}">{told}</circle>'
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "up": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        "down": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
        "left": ((-1.2, 0), (0.6, -0.9), (0.6, 0.9)),
        "right": ((1.2, 0), (-0.6, -0.9), (-0.6, 0.9)),
    }[shape]
    points = " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners)
    return f'<polygon class="{style}" points="{points}">{told}</polygon>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, style: str = "") -> str:
    shown = escape(text).replace("-", "&minus;") if text[:1] in "+-" else escape(text)
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{shown}</text>'


def _svg(width: float, height: float, about: str, marks: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(about)}">{"".join(marks)}</svg>'


def shape_key(shape: str, style: str, text: str) -> str:
    """A shape and what it stands for (plain text), for a chart's key."""
    return f'<span class="key"><svg viewBox="0 0 14 14">{_mark(shape, 7, 7, style)}</svg>{escape(text)}</span>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# === Scores by fold ===


def dot_chart(
    title: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    singles: Sequence[Sequence[float]] = (),
    levels: Sequence[float] = (),
    level_name: str = "",
) -> str:
    """A `<figure>`: a row for each fold (or whatever `rows` names), a mark for each series; nothing without values.

    Args:
        title: plain text.
        series: up to four, each with a value for each row; nan leaves the mark out.
        singles: for each row values that are drawn small, such as single seeds.
        levels: for each row a value that is drawn as a dashed line, such as that of predicting nothing.
        level_name: what the dashed lines are.
    """
    values = [v for line in (*series.values(), *singles, levels) for v in line if math.isfinite(v)]
    if not values:
        return ""
    wide, left, high = 560, 92, 38
    marks_at = ticks(min(values), max(values))
    low, top = marks_at[0], marks_at[-1]
    bottom = PAD + high * len(rows)

    def x_of(value: float) -> float:
        return left + (wide - left - 2 * PAD) * (value - low) / (top - low)

    marks = []
    for tick in marks_at:
        marks += [_line(x_of(tick), PAD, x_of(tick), bottom, "grid")]
        marks += [_text(x_of(tick), bottom + 16, f"{tick:.4g}", "middle")]
    for at, row in enumerate(rows):
        y = PAD + high * (at + 0.5)
        marks.append(_text(left - PAD, y + 4, _cut(row, 14), "name right"))
        if at < len(levels) and math.isfinite(levels[at]):
            marks.append(_line(x_of(levels[at]), y - 15, x_of(levels[at]), y + 15, "base"))
        for value in singles[at] if at < len(singles) else ():
            if math.isfinite(value):
                marks.append(_mark("circle", x_of(value), y + 14, "hollow s0", f"{row}, one seed: {value:.4f}", 2.5))
        for number, (name, line) in enumerate(series.items()):
            if math.isfinite(line[at]):
                shape, style = SHAPES[number % 4], f"mark s{number % 4}"
                lower = 5 * (number - (len(series) - 1) / 2)  # equal scores do not hide each other
                marks.append(_mark(shape, x_of(line[at]), y + lower, style, f"{row}, {name}: {line[at]:.4f}"))
    keys = [shape_key(SHAPES[k % 4], f"mark s{k % 4}", name) for k, name in enumerate(series)]
    if any(singles):
        keys.append(shape_key("circle", "hollow s0", "one seed"))
    if any(map(math.isfinite, levels)):
        keys.append(f'<span class="key"><i class="dash"></i>{escape(level_name)}</span>')
    drawing = _svg(wide, bottom + 26, title, marks)
    return f"<figure><h3>{escape(title)}</h3><p>{''.join(keys)}</p>{drawing}</figure>"


# === Differences to a baseline ===


@dataclass(frozen=True)
class Difference:
    """A row of a forest plot; nan where there is nothing, an infinite end where an interval has none."""

    name: str
    mean: float
    interval: tuple[float, float] = (math.nan, math.nan)
    bootstrap: tuple[float, float] = (math.nan, math.nan)
    folds: Sequence[float] = ()
    verdict: str = ""
    note: str = ""  # shown where there is no verdict
    tip: str = field(default="", compare=False)


BIN = ("low", "high", "mean_probability", "road_share", "pixels")  # of a reliability diagram
FOREST = (1080, 290, 290)  # width, of the names, of the words at the right
ROW = 40


def forest_plot(title: str, rows: Sequence[Difference]) -> str:
    """A `<figure>` with a row for each difference: interval, bootstrap interval and folds one under the other.

    An interval that is far wider than everything else ends in an arrow at the edge of the field.
    """
    if not rows:
        return ""
    wide, left, right = FOREST
    low, high = _range(rows)
    marks_at = ticks(low, high)
    low, high = marks_at[0], marks_at[-1]
    edge = wide - right
    bottom = PAD + ROW * len(rows)

    def x_of(value: float) -> float:
        return left + (edge - left) * (min(max(value, low), high) - low) / (high - low)

    def whisker(ends: tuple[float, float], y: float, style: str, told: str) -> str:
        if any(map(math.isnan, ends)):
            return ""
        drawn = _line(x_of(ends[0]), y, x_of(ends[1]), y, f"stroke {style}")
        for end, shape, beyond in ((ends[0], "left", ends[0] < low), (ends[1], "right", ends[1] > high)):
            x = x_of(end)
            drawn += (
                _mark(shape, x, y, f"bar {style}", "", 4) if beyond else _line(x, y - 3, x, y + 3, f"stroke {style}")
            )
        return f"<g><title>{escape(told)}</title>{drawn}</g>"

    marks = []
    for tick in marks_at:
        style = "zero" if abs(tick) < 1e-12 else "grid"
        marks += [_line(x_of(tick), PAD, x_of(tick), bottom, style)]
        marks += [_text(x_of(tick), bottom + 16, f"{tick:+.3g}" if abs(tick) > 1e-12 else "0", "middle")]
    for at, row in enumerate(rows):
        y = PAD + ROW * (at + 0.5)
        shape, style = VERDICTS.get(row.verdict, ("circle", "plain"))
        named = f"<title>{escape(row.tip or row.name)}</title>{escape(_cut(row.name, 44))}"
        marks.append(f'<text class="name right" x="{left - 14}" y="{y + 4:.1f}">{named}</text>')
        marks.append(whisker(row.interval, y - 8, f"{style} bold", f"95 % interval {_ends(row.interval)}"))
        marks.append(whisker(row.bootstrap, y + 2, style, f"bootstrap {_ends(row.bootstrap)}"))
        for value in row.folds:
            if math.isfinite(value):
                marks.append(_mark("circle", x_of(value), y + 11, f"hollow {style}", f"one fold: {value:+.4f}", 3))
        words = _cut(row.note, 40)
        if math.isfinite(row.mean):
            full = "mark" if row.verdict in ("helps", "hurts") else "hollow"
            marks.append(_mark(shape, x_of(row.mean), y - 8, f"{full} {style}", f"mean {row.mean:+.4f}", 6))
            marks.append(_text(edge + 20, y - 1, row.verdict or words, "said" if row.verdict else ""))
            marks.append(_text(edge + 20, y + 14, f"{row.mean:+.4f} {_ends(row.interval)}"))
        else:
            marks.append(_text(edge + 20, y + 4, words))
    keys = [shape_key(shape, f"{'hollow' if shape == 'circle' else 'mark'} {style}", f"{verdict} (mean)")
            for verdict, (shape, style) in VERDICTS.items()]  # fmt: skip
    keys.append("thick: 95 % interval by the corrected t; thin: by bootstrap over images; small circles: single folds")
    drawing = _svg(wide, bottom + 26, title, marks)
    return f'<figure><h3>{escape(title)}</h3><p>{" ".join(keys)}</p><div class="wide">{drawing}</div></figure>'


def _range(rows: Sequence[Difference]) -> tuple[float, float]:
    """From what was measured; intervals widen it up to three times as far, then they are cut."""
    narrow = [v for row in rows for v in (row.mean, *row.bootstrap, *row.folds) if math.isfinite(v)]
    reach = 3 * max((abs(v) for v in narrow), default=0.0) or 0.01
    ends = [v for row in rows for v in row.interval if math.isfinite(v)]
    values = [0.0, *narrow, *(min(max(v, -reach), reach) for v in ends)]
    low, high = min(values), max(values)
    return (low, high) if high > low else (-0.01, 0.01)


def _ends(interval: tuple[float, float]) -> str:
    if any(map(math.isnan, interval)):
        return ""
    return "[{:+.4f}, {:+.4f}]".format(*interval).replace("-", "\N{MINUS SIGN}")


# === Shares ===


@dataclass(frozen=True)
class Bar:
    """A bar: what stands under it, its value (nan: none), its colour (CSS class), and what a pointer is told."""

    label: str
    value: float
    style: str = "s0"
    tip: str = ""


def bar_chart(title: str, bars: Sequence[Bar], below: Sequence[tuple[float, str]] = (), key: str = "") -> str:
    """A `<figure>` of upright bars from 0 of shares, written as per cent; nothing without values.

    Args:
        title: plain text.
        below: texts under the labels, each centred at a place 0..1 of the field.
        key: HTML.
    """
    values = [bar.value for bar in bars if math.isfinite(bar.value)]
    if not values:
        return ""
    wide, left, top, high = 560, 52, 18, 170
    marks_at = ticks(0.0, max(*values, 1e-6))
    highest, bottom = marks_at[-1], top + high
    step = (wide - left - PAD) / len(bars)
    marks = []
    for tick in marks_at:
        y = bottom - high * tick / highest
        marks += [_line(left, y, wide - PAD, y, "grid"), _text(left - 6, y + 4, _percent(tick), "right")]
    for at, bar in enumerate(bars):
        x, middle = left + step * at, left + step * (at + 0.5)
        if math.isfinite(bar.value):
            tall = high * bar.value / highest
            rect = f'x="{x + 2:.1f}" y="{bottom - tall:.1f}" width="{step - 4:.1f}" height="{tall:.1f}"'
            marks.append(f'<rect class="bar {bar.style}" {rect}><title>{escape(bar.tip)}</title></rect>')
            marks.append(_text(middle, bottom - tall - 4, _percent(bar.value), "middle"))
        marks.append(_text(middle, bottom + 16, bar.label, "middle"))
    marks += [_text(left + (wide - left - PAD) * place, bottom + 34, text, "name middle") for place, text in below]
    drawing = _svg(wide, bottom + (44 if below else 24), title, marks)
    return f"<figure><h3>{escape(title)}</h3>{f'<p>{key}</p>' if key else ''}{drawing}</figure>"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> str:
    """A `<figure>`: share of road beside the mean probability of each bin, and how many pixels each bin has.

    Args:
        bins: each with `low`, `high`, `mean_probability`, `road_share` (numbers or None) and `pixels`.
    """
    full = [b for b in bins if all(b.get(key) is not None for key in BIN) and b["pixels"]]
    points = [(float(b["mean_probability"]), float(b["road_share"]), int(b["pixels"])) for b in full]
    if not points:
        return ""
    side, left, strip = 300, 56, 56
    wide, floor = left + side + PAD, PAD + side
    base = floor + 34 + strip

    def x_of(p: float) -> float:
        return left + side * p

    def y_of(p: float) -> float:
        return floor - side * p

    marks = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks += [_line(left, y_of(tick), left + side, y_of(tick), "grid")]
        marks += [_line(x_of(tick), PAD, x_of(tick), floor, "grid")]
        marks += [
            _text(left - 6, y_of(tick) + 4, f"{tick:g}", "right"),
            _text(x_of(tick), floor + 16, f"{tick:g}", "middle"),
        ]
    marks.append(_line(x_of(0), y_of(0), x_of(1), y_of(1), "base"))
    path = "".join(f"{'L' if at else 'M'}{x_of(p):.1f} {y_of(share):.1f}" for at, (p, share, _) in enumerate(points))
    marks.append(f'<g class="s0"><path d="{path}"/></g>')
    for p, share, pixels in points:
        tip = f"probability {p:.3f}: {share:.3f} are road, of {pixels} pixels"
        marks.append(_mark("circle", x_of(p), y_of(share), "mark s0", tip, 4))
    most = max(pixels for *_, pixels in points)
    for b in full:
        tall = strip * math.log10(1 + b["pixels"]) / math.log10(1 + most)
        x, width = x_of(float(b["low"])), side * (float(b["high"]) - float(b["low"]))
        rect = f'x="{x + 1:.1f}" y="{base - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}"'
        marks.append(f'<rect class="bar plain" {rect}><title>{b["pixels"]} pixels</title></rect>')
    marks.append(_text(left + side / 2, base + 16, "probability of road; below: pixels, logarithmic", "middle"))
    marks.append(
        f'<text class="middle" transform="translate(14 {floor - side / 2:g}) rotate(-90)">share that is road</text>'
    )
    key = '<span class="key"><i class="dash"></i>as it should be</span>'
    drawing = _svg(wide, base + 24, "reliability diagram", marks)
    return f'<figure class="narrow"><h3>Reliability</h3><p>{key}</p>{drawing}</figure>'
