"""What `inspect` found as one page of text."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe"]

LISTED = 10  # duplicates, images that stand out, and bad files on the picture; in the text those are all listed


def describe(found: Mapping[str, Any], *, short: bool = False) -> list[str]:
    """The answer of `inspect` as lines of text; when `short` not more than a few of the bad files."""
    lines = str(found["summary"]).splitlines()
    lines = [line for line in lines if not line.startswith(("left out: ", "unlabelled: "))]  # said below
    low, high = found["class_share_range"]
    name = list(found["class_shares"])[-1]
    lines += _rasters(found["rasters"], name)
    lines.append(f"share of {name} in one {'image or block' if found['rasters'] else 'image'}: {low:.1%} to {high:.1%}")
    if found["unlabelled_share"] > 0:
        lines.append(f"unlabelled: {found['unlabelled_share']:.1%} of the pixels, not learnt and not scored")
    if found["patch_road_share"] is not None:
        share = found["patch_road_share"]
        lines.append(f"16x16 patches: {share:.1%} road, so calling everything background scores {1 - share:.4f}")
    lines += _values(found["values"])
    lines += _alignment(found["alignment"])
    lines += _duplicates(found["duplicates"])
    lines += _bad(found["skipped"], LISTED if short else len(found["skipped"]))
    return lines + _suggestion(found["suggestion"])


def _rasters(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    lines = []
    for row in rows[:LISTED]:
        down, across = row["grid"]
        left_out = f", {row['left_out']} left out" if row["left_out"] else ""
        lines.append(
            f"  {row['stem']}: {row['size']}, {row['blocks']} blocks in {down} rows and {across} columns{left_out}, "
            f"{row['places']} places, {name} {row['class_shares'].get(name, 0):.1%}"
        )
    return lines + ([f"  and {len(rows) - LISTED} more large rasters"] if len(rows) > LISTED else [])


def _values(rows: Sequence[Mapping[str, float]]) -> list[str]:
    if not rows:
        return []
    heads = ("min", "p1", "median", "p99", "max", "mean")
    lines = ["pixel values:" + "".join(f"{head.replace('p', ''):>9}{'%' if head[0] == 'p' else ' '}" for head in heads)]
    for row in rows:
        lines.append(f"  band {row['band']:<5} " + "".join(f"{row[head]:>9.4g} " for head in heads))
    return [line.rstrip() for line in lines]


def _alignment(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found["suspicious"]:
        dx, dy = found["dx"], found["dy"]
        lines.append(
            f"suspected misalignment: over the whole set the labels are displaced {_placed(dx, dy)} "
            f"(confidence {found['confidence']:.2f}): look at the page (--out), and move them by {-dx}, {-dy} px"
        )
    alone = found["standing_out"]
    if alone:
        shown = [f"{stem} ({_placed(s['dx'], s['dy'])})" for stem, s in list(alone.items())[:LISTED]]
        more = f" and {len(alone) - LISTED} more" if len(alone) > LISTED else ""
        lines.append(f"labels worth a look, which would fit elsewhere (displaced as said): {', '.join(shown)}{more}")
    return lines


def _placed(dx: int, dy: int) -> str:
    """A displacement in words."""
    across = f"{abs(dx)} px to the {'right' if dx > 0 else 'left'}" if dx else ""
    along = f"{abs(dy)} px {'down' if dy > 0 else 'up'}" if dy else ""
    return " and ".join(part for part in (across, along) if part) or "not at all"


def _duplicates(pairs: Sequence[Sequence[str]]) -> list[str]:
    lines = [
        f"{'the same' if kind == 'same' else 'nearly the same'} picture: {a}, {b}" for a, b, kind in pairs[:LISTED]
    ]
    if len(pairs) > LISTED:
        lines.append(f"and {len(pairs) - LISTED} more pairs of the same picture")
    return lines


def _bad(problems: Sequence[str], listed: int) -> list[str]:
    if not problems:
        return []
    head = f"{len(problems)} bad file{'s' if len(problems) != 1 else ''}, left out here (training needs --skip-bad):"
    more = [f"  - and {len(problems) - listed} more"] if len(problems) > listed else []
    return [head, *(f"  - {text}" for text in problems[:listed]), *more]


def _suggestion(suggestion: Mapping[str, Any]) -> list[str]:
    reasons = suggestion["reasons"]
    lines = ["suggested, and what training takes unless told otherwise:"]
    for key, value in (
        ("train.crop", suggestion["crop"]),
        ("train.batch", suggestion["batch"]),
        ("loss.class_weights", suggestion["class_weights"]),
    ):
        lines.append(f"  {key} = {value}  ({reasons[key]})")
    return lines
