"""Scores of a model on the held-out parts of a recipe's sets, each by itself, and the threshold that they suggest."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imagery.dataset import Dataset, Sample
from ..inference.predictor import Predictor
from ..learning.validation import labels_of
from ..scores import Scores, score_image
from ..studies.calibration import (
    FIRST_ABOVE,
    THRESHOLDS,
    Histogram,
    expected_calibration_error,
    fit_temperature,
    reliability,
    to_levels,
)
from .gather import Entry, list_images, scale_of
from .recipe import Recipe

__all__ = [
    "Answers",
    "HeldOut",
    "answer",
    "at_scale",
    "calibration",
    "choose_threshold",
    "held_out",
    "histograms",
    "score_one",
    "score_sets",
    "voting",
]

ROUNDED = 4
WORST = 3  # images a set
FEWEST = 5  # held-out images of a set that has a say in the threshold
Answers = dict[str, list[NDArray[np.float32]]]  # by set: (H, W, 1) of each image


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The held-out images of a set, and how they are resampled for the model."""

    name: str
    scale: float
    samples: tuple[Sample, ...]


def held_out(data: Path, recipe: Recipe, most: int | None = None) -> tuple[list[HeldOut], tuple[Entry, ...], str]:
    """The held-out images of every set with their own masks; all images; and the hash of the list of them.

    Args:
        most: images a set, evenly spaced; None: all.

    Raises:
        DataError: see `gather.list_images`.
    """
    entries, opened, digest = list_images(data, recipe)
    parts = []
    for one in recipe.sets:
        stems = [entry.stem for entry in entries if entry.set == one.name and entry.held_out]
        if most is not None and len(stems) > most:
            stems = [stems[len(stems) * k // most] for k in range(most)]
        samples = _read(opened[one.name], stems)
        parts.append(HeldOut(one.name, scale_of(one, recipe), tuple(samples)))
    return parts, entries, digest


def _read(dataset: Dataset, stems: Sequence[str]) -> Iterable[Sample]:
    index = {pair.stem: k for k, pair in enumerate(dataset.pairs)}
    return [dataset.read(index[stem]) for stem in stems]


def at_scale(model: Predictor, scale: float) -> Predictor:
    """The model for images that are resampled by `scale` on the way in, and its answers back."""
    if scale == model.info.scale:
        return model
    return Predictor(model.run, dataclasses.replace(model.info, scale=scale), model.config, name=model.name)


def answer(model: Predictor, parts: Sequence[HeldOut]) -> Answers:
    """The model's probabilities for every image, at the image's own pixels.

    Of sets that are resampled for the model the answers are laid back.
    """
    found: Answers = {}
    for part in parts:
        predictor = at_scale(model, part.scale)
        found[part.name] = [predictor.probabilities(sample.image) for sample in part.samples]
    return found


def histograms(parts: Sequence[HeldOut], answers: Answers, patch_threshold: float = 0.25) -> dict[str, Histogram]:
    """How often each probability occurs in each set."""
    found: dict[str, Histogram] = {}
    for part in parts:
        found[part.name] = Histogram()
        for sample, p in zip(part.samples, answers[part.name], strict=True):
            found[part.name].add(to_levels(p), sample.mask, patch_threshold)
    return found


def score_sets(
    parts: Sequence[HeldOut], answers: Answers, threshold: float, patch_threshold: float = 0.25
) -> dict[str, Any]:
    """Scores by set, with all labels that the set has: no border and no doubted label is left out here."""
    told: dict[str, Any] = {}
    counts = histograms(parts, answers, patch_threshold)
    for part in parts:
        pairs = zip(part.samples, answers[part.name], strict=True)
        single = {sample.stem: score_one(sample, p, threshold, patch_threshold) for sample, p in pairs}
        pooled = Scores.pool(single.values()).to_dict()
        by_f1 = sorted(single, key=lambda stem: single[stem].to_dict()["pixel_f1"])
        told[part.name] = {
            **{key: round(value, ROUNDED) if isinstance(value, float) else value for key, value in pooled.items()},
            "calibration_error": round(expected_calibration_error([(counts[part.name].pixels, 1.0)]), ROUNDED),
            "scale": round(part.scale, ROUNDED),
            "worst": {s: round(single[s].to_dict()["pixel_f1"], ROUNDED) for s in by_f1[:WORST]},
        }
    return told


def score_one(sample: Sample, p: NDArray[np.float32], threshold: float, patch_threshold: float = 0.25) -> Scores:
    """Scores of one image's probabilities (H, W, 1)."""
    return score_image(sample.mask, labels_of(p, threshold), 2, patch_threshold, sample.valid)


def voting(parts: Sequence[HeldOut]) -> list[str]:
    """Names of the sets that threshold and calibration are of: those with enough held-out images to say something."""
    many = [part.name for part in parts if len(part.samples) >= FEWEST]
    return many or [part.name for part in parts]


def choose_threshold(counts: Mapping[str, Histogram]) -> dict[str, Any]:
    """The threshold with the best mean of the sets' pixel IoU, and what it is worth.

    Every set counts the same, whatever its area. `nested` is the mean when each set's threshold is chosen on the
    others: what may be hoped for on a further set.
    """
    table = np.array([_iou(histogram) for histogram in counts.values()])
    half = len(THRESHOLDS) // 2
    chosen = [int(_best(np.delete(table, k, 0).mean(0))) if len(table) > 1 else half for k in range(len(table))]
    best = int(_best(table.mean(0)))
    return {
        "threshold": float(THRESHOLDS[best]),
        "mean_iou_at_half": round(float(table[:, half].mean()), ROUNDED),
        "mean_iou": round(float(table[:, best].mean()), ROUNDED),
        "nested_mean_iou": round(float(np.mean([table[k, at] for k, at in enumerate(chosen)])), ROUNDED),
    }


def _iou(histogram: Histogram) -> NDArray[np.float64]:
    """(T,) pixel IoU at each of THRESHOLDS."""
    missed = np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(histogram.pixels, 1)], 1)[:, FIRST_ABOVE]
    wrong, hit = histogram.pixels.sum(1, keepdims=True) - missed
    return np.asarray(hit / np.maximum(1, hit + wrong + missed[1]), np.float64)


def _best(values: NDArray[np.float64]) -> int:
    """Of equals the one nearest to one half."""
    equals = np.flatnonzero(values >= values.max() - 1e-12)
    return int(equals[np.abs(THRESHOLDS[equals] - 0.5).argmin()])


def calibration(counts: Mapping[str, Histogram]) -> dict[str, Any]:
    """Calibration error, temperature and reliability of all sets together, each weighted alike."""
    most = max(int(h.pixels.sum()) for h in counts.values())
    weighted = [h.pixels * (most / max(1, int(h.pixels.sum()))) for h in counts.values()]
    pixels = np.rint(np.sum(weighted, axis=0)).astype(np.int64)
    bins = [
        {key: round(value, ROUNDED) if isinstance(value, float) else value for key, value in one.items()}
        for one in reliability(pixels)
    ]
    return {
        "calibration_error": round(expected_calibration_error([(pixels, 1.0)]), ROUNDED),
        "temperature": round(fit_temperature(pixels), 3),
        "reliability": bins,
    }
