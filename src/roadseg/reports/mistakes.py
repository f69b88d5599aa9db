"""The parts of a report on mistakes: their places, the worst images, suspected label errors; from mistakes.json."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .charts import Bar, bar_chart
from .curves import swatch
from .overlays import COLOURS, MEANINGS
from .page import figure, grouped, listed, number, row_table, score_text, section, table_of, value_text

__all__ = ["mistakes_parts"]

CROP = 800  # px, longer side of an embedded crop
SCORES = {"pixel_f1": "Pixel F1", "pixel_iou": "Pixel IoU", "patch_accuracy": "Patch accuracy"}


def mistakes_parts(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Three sections (HTML, some empty): where the mistakes are, the worst images, suspected label errors.

    Args:
        folder: with the pictures in `mistakes`; those that are missing leave a gap.
        content: of mistakes.json, see `studies.mistakes.analyse`; empty where there is none.
    """
    return [_places(content), _worst(folder, content), _labels(folder, content)]


def _places(content: Mapping[str, Any]) -> str:
    errors = table_of(content.get("errors"))
    pixels, wrong = number(errors.get("pixels")), number(errors.get("wrong"))
    if not pixels > 0:
        return ""
    told = [f"{_percent(wrong / pixels)} of the {grouped(pixels)} labelled pixels are wrong"]
    missed, alarms = number(errors.get("missed")), number(errors.get("false_alarms"))
    if wrong > 0 and math.isfinite(missed + alarms):
        told[0] += f": {_percent(missed / wrong)} of these are missed road, {_percent(alarms / wrong)} false alarms"
    for near in listed(content.get("near_border")):
        share, among = number(near.get("errors")), number(near.get("pixels"))
        if math.isfinite(share):
            told.append(
                f"{_percent(share)} of all mistakes lie within {value_text(near.get('px'))} px of the label's border, "
                f"where {_percent(among)} of the pixels are"
            )
    doubted = number(errors.get("in_suspected_labels"))
    if wrong > 0 and math.isfinite(doubted):
        told.append(f"{_percent(doubted / wrong)} lie in suspected label errors (below)")
    charts = _distance_charts(listed(content.get("by_distance")))
    shares = _share_table(listed(content.get("by_road_share")))
    sentences = ". ".join(told) + "."
    note = f"Found is where the probability is above {value_text(content.get('threshold', 0.5))}."
    return section("Where it is wrong", f"<p>{sentences}</p>", charts, shares, note=note)


def _distance_charts(bins: Sequence[Mapping[str, Any]]) -> str:
    total = sum(number(b.get("errors")) for b in bins)
    local, overall = [], []
    for b in bins:
        inside = b.get("side") == "road"
        low, high = b.get("from"), b.get("to")
        label = f">{value_text(low)}" if high is None else f"{value_text(low)}-{value_text(high)}"
        errors, style = number(b.get("errors")), "s1" if inside else "s0"
        side = "inside road" if inside else "outside road"
        tip = f"{label} px {side}: {grouped(errors)} wrong of {grouped(b.get('pixels'))} pixels"
        local.append(Bar(label, number(b.get("error_share")), style, tip))
        overall.append(Bar(label, errors / total if total else math.nan, style, tip))
    below = ((0.25, "px inside labelled road"), (0.75, "px outside"))
    key = swatch("var(--s1)", "missed road") + swatch("var(--s0)", "false alarms")
    charts = [
        bar_chart("Share of the pixels at a distance that are wrong", local, below, key),
        bar_chart("Share of all mistakes at a distance", overall, below, key),
    ]
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def _share_table(bins: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for b in bins:
        if not number(b.get("images")) > 0:
            continue
        low, high = number(b.get("from")), number(b.get("to"))
        name = f"{100 * low:g} to {100 * high:g} %" if math.isfinite(high) else f"{100 * low:g} % and more"
        rows.append([name, value_text(b.get("images")), *(score_text(b.get(key)) for key in SCORES)])
    if not rows:
        return ""
    return "<h3>By the share of road in an image</h3>" + row_table(["road", "images", *SCORES.values()], rows)


def _worst(folder: Path, content: Mapping[str, Any]) -> str:
    worst = table_of(content.get("worst"))
    images, overlays = table_of(content.get("images")), table_of(worst.get("overlays"))
    if not overlays:
        return ""
    ranks = {key: worst[key] if isinstance(worst.get(key), list) else [] for key in ("by_iou", "by_wrong_pixels")}
    cells = []
    for stem, name in overlays.items():
        scores = table_of(images.get(stem))
        told = [f"IoU {number(scores.get('pixel_iou')):.3f}"] if scores else []
        wrong, pixels = number(scores.get("wrong")), number(scores.get("pixels"))
        if pixels > 0 and math.isfinite(wrong):
            told.append(f"{_percent(wrong / pixels)} wrong")
        for key, what in (("by_iou", "in IoU"), ("by_wrong_pixels", "in wrong pixels")):
            if stem in ranks[key]:
                told.append(f"no. {ranks[key].index(stem) + 1} {what}")
        caption = f"<b>{escape(stem)}</b> {escape(' · '.join(told))}"
        cells.append(figure(_picture(folder, name), f"mistakes in {stem}", caption))
    legend = " ".join(swatch(f"rgb{colour}", MEANINGS[kind]) for kind, colour in COLOURS.items())
    return section("Worst images", f'<div class="pictures large">{"".join(cells)}</div>', note=legend)


def _labels(folder: Path, content: Mapping[str, Any]) -> str:
    found = table_of(content.get("label_errors"))
    ranked = listed(found.get("ranked"))
    if not found:
        return ""
    if not ranked:
        return section("Suspected label errors", "<p>None: no region is surely seen otherwise than its label says.</p>")
    cells = []
    for item in ranked:
        if not item.get("picture"):
            continue
        where = f"{value_text(item.get('pixels'))} px at {value_text(item.get('box'))}"
        caption = f"<b>{escape(str(item.get('stem')))}</b> {escape(str(item.get('kind')))}: {where}"
        cells.append(figure(_picture(folder, item["picture"]), f"image, label, probability: {where}", caption, CROP))
    seeds = content.get("seeds")
    several = len(seeds) if isinstance(seeds, list) else number(seeds)
    who = f"all {several:.0f} seeds are" if several > 1 else "the model is"
    more = (
        f" The first {len(cells)} of {value_text(found.get('found'))}."
        if len(cells) < number(found.get("found"))
        else ""
    )
    note = (
        f"Regions away from the label's border where {who} sure (above 0.9) of the opposite, without having seen the "
        f"label. Some are errors of the label and some of the model: look before you change anything.{more}"
    )
    return section("Suspected label errors", f'<div class="pictures broad">{"".join(cells)}</div>', note=note)


def _picture(folder: Path, name: Any) -> Path:
    """A picture of the analysis, wherever its name points."""
    return folder / "mistakes" / Path(str(name)).name


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "&ndash;"
