"""What is said of a preparation: its summary, `prepare.json` and `dataset.toml`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imagery.alignment import Shift
from ..imagery.masks import IGNORED
from .cutting import Resize
from .folder import FORMAT
from .labels import Labels
from .pairing import Pairing
from .sheet import Shown

__all__ = ["LISTED", "Job", "Prepared", "Tally", "about_it", "described", "in_words"]

LISTED = 10  # problems named in one message
UNSAID = [("ignore", -1), ("tile", 0), ("overlap", 0), ("min_share", 0.0)]  # options that are not used


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made, or would make in a dry run.

    Attributes:
        path: the dataset folder.
        about: the content of `prepare.json`: options, rules, pairs, what was dropped and why, shares, shift.
        shift: of the labels, pooled over all pairs.
    """

    path: Path
    about: dict[str, Any]
    shift: Shift

    def summary(self) -> str:
        """A few lines for the user."""
        about = self.about
        shares = ", ".join(f"{name} {share:.1%}" for name, share in about["class_shares"].items())
        kind = "tile" if about["options"].get("tile") else "pair"
        lines = [
            f"{_count(about['found'], 'pair')} found ({about['pairing']})",
            about["rule"],
            f"{_count(len(about['pairs']), kind)} for the dataset, classes: {shares}",
        ]
        if about["unlabelled"]:
            lines.append(f"unlabelled: {about['unlabelled']:.1%} of the pixels")
        lines += _of_lines(about["lines"]) if "lines" in about else []
        if about.get("places"):
            what = f"blocks of {about['blocks']} x {about['blocks']} tiles" if about["blocks"] else "images"
            lines.append(f"places: {about['places']} {what}; those of one train or validate together (dataset.toml)")
        elif kind == "tile" and len(about["pairs"]) > 1:
            lines.append("places: one, so neighbouring tiles may lie on both sides of a split; see --blocks")
        reasons: dict[str, int] = {}
        for item in about["dropped"]:
            reasons[item["why"]] = reasons.get(item["why"], 0) + 1
        lines += [f"dropped: {n}, {why}" for why, n in reasons.items()]
        lines += [f"left out: {text}" for text in about["skipped"][:LISTED]]
        if self.shift.confidence > 0 and not self.shift.suspicious:
            shift = self.shift
            lines.append(f"label shift: none to speak of (best fit at {shift.dx:+d}, {shift.dy:+d} px right and down)")
        elif self.shift.suspicious:
            lines.append(f"label shift: {in_words(self.shift)}")
        return "\n".join(lines)


@dataclass
class Tally:
    """What is counted while pairs are written."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORED + 1, np.int64))
    pairs: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, str]] = field(default_factory=list)
    resolutions: set[float | None] = field(default_factory=set)
    shown: list[Shown] = field(default_factory=list)
    group: tuple[str, int] | None = None  # regular expression of the places, and their number


@dataclass(frozen=True)
class Job:
    """The labels, and the options that matter for one pair."""

    labels: Labels
    resize: Resize | None
    tile: int
    overlap: int
    min_share: float
    blocks: int = 0  # tiles a side of what stays on one side of a split; 0: images do

    @property
    def binary(self) -> bool:
        """Whether masks are written as 0 and 255."""
        return len(self.labels.classes) == 2 and not self.labels.ignores


def described(job: Job, tally: Tally, resolution: float | None) -> dict[str, Any]:
    """The content of `dataset.toml`."""
    about: dict[str, Any] = {"classes": list(job.labels.classes)}
    if job.labels.ignores:
        about["ignore"] = IGNORED
    if resolution is not None:
        if job.resize is None or job.resize.size is None:
            about["ground_resolution_m"] = float(resolution / (job.resize.factor if job.resize else 1.0))
    elif len(tally.resolutions) == 1 and None not in tally.resolutions:
        about["ground_resolution_m"] = next(iter(tally.resolutions))
    if tally.group is not None:
        about["group"] = tally.group[0]
    about["notes"] = f"Made by roadseg prepare. {job.labels.rule}."
    return about


def about_it(
    inputs: dict[str, str],
    given: dict[str, Any],
    pairing: Pairing,
    problems: Sequence[str],
    job: Job,
    tally: Tally,
    shift: Shift,
) -> dict[str, Any]:
    """The content of `prepare.json`."""
    known = max(1, int(tally.counts[:IGNORED].sum()))
    shares = {name: round(int(tally.counts[k]) / known, 6) for k, name in enumerate(job.labels.classes)}
    return {
        "format": FORMAT,
        "inputs": inputs,
        "options": {k: v for k, v in given.items() if v not in (None, [], False, "") and (k, v) not in UNSAID},
        "pairing": pairing.rule,
        "rule": job.labels.rule,
        "found": len(pairing.pairs),
        "classes": list(job.labels.classes),
        "class_shares": shares,
        "unlabelled": round(int(tally.counts[IGNORED]) / max(1, int(tally.counts.sum())), 6),
        "label_shift_px": {
            "dx": shift.dx, "dy": shift.dy, "confidence": round(shift.confidence, 3), "score": round(shift.score, 3),
        },
        **job.labels.account(),
        **({} if tally.group is None else {"places": tally.group[1], "group": tally.group[0], "blocks": job.blocks}),
        "dropped": tally.dropped,
        "skipped": list(problems),
        "pairs": tally.pairs,
    }  # fmt: skip


def _of_lines(about: dict[str, Any]) -> list[str]:
    """What was burnt and what was not, for the user."""
    said = [f"burnt: {_count(about['roads'], 'road')}, {about['km']:.2f} km inside the images"]
    for row in about["classes"][:LISTED]:
        low, high = row["width_m"]
        width = f"{low:g} m" if low == high else f"{low:g}..{high:g} m"
        by = ", ".join(f"{name} {n}" if len(row["by"]) > 1 else name for name, n in row["by"].items())
        said.append(f"  {row['class']}: {_count(row['roads'], 'road')}, {row['km']:.2f} km, {width} wide ({by})")
    rest = about["classes"][LISTED:]
    if rest:
        said.append(f"  {len(rest)} more classes: {sum(row['km'] for row in rest):.2f} km")
    said += [f"lines left out: {n}, {why}" for why, n in about["left_out"].items()]
    if about["outside"]:
        said.append(f"lines outside of every image: {about['outside']}")
    return said


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def in_words(shift: Shift) -> str:
    """A suspicious shift, for the user."""
    across = f"{abs(shift.dx)} px to the {'right' if shift.dx > 0 else 'left'}" if shift.dx else ""
    along = f"{abs(shift.dy)} px {'down' if shift.dy > 0 else 'up'}" if shift.dy else ""
    placed = " and ".join(part for part in (across, along) if part)
    return f"the labels look as if they lay {placed} of what the images show (confidence {shift.confidence:.2f})"
