"""What metrics.json says of a run: scores, length, times, machine."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backend import backend_name
from ..imagery.dataset import Sample
from ..machine import describe_machine, peak_memory_mb, versions
from ..scores import Scores, score_image
from .validation import Scored

__all__ = ["baseline_accuracy", "run_record", "scores_record"]


def baseline_accuracy(samples: Sequence[Sample], classes: int, patch_threshold: float) -> float | None:
    """Patch accuracy of calling everything background; None without images, or for several classes."""
    if not samples or classes != 2:
        return None
    parts = [score_image(s.mask, np.zeros_like(s.mask), 2, patch_threshold, s.valid) for s in samples]
    return float(Scores.pool(parts).to_dict()["all_background_patch_accuracy"])


def scores_record(results: Sequence[Scored], classes: Sequence[str], threshold: float) -> dict[str, Any]:
    """The pooled scores of the validation images; how many there were and what was done with them."""
    total = Scores.pool((r.scores for r in results), len(classes))
    record: dict[str, Any] = {
        **(_rounded(total.to_dict()) if results else {}),
        "n_images": len(results),
        "threshold": threshold,
    }
    if results and len(classes) > 2:
        record["class_iou"] = dict(zip(classes, total.class_iou(), strict=True))
    record["scored_on"] = (
        f"{len(results)} validation images, native scale, no test-time augmentation"
        if results
        else "nothing: trained on all images"
    )
    return record


def run_record(
    results: Sequence[Scored],
    classes: Sequence[str],
    threshold: float,
    run: Mapping[str, Any],
    times: Mapping[str, float],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """All of metrics.json.

    Args:
        run: how long, on how much, how large.
        times: seconds and shares by name.
        machine: what the run adds to the description of the machine: precision, devices.
    """
    return {
        **scores_record(results, classes, threshold),
        **run,
        "images": {r.stem: _image_record(r) for r in results},
        "times": dict(times),
        "machine": {
            **describe_machine(),
            "backend": backend_name(),
            **machine,
            "peak_memory_mb": peak_memory_mb(),
        },
        "versions": versions(),
    }


def _image_record(result: Scored) -> dict[str, Any]:
    """Scores of one image, and the counts they come from: confusion matrices (truth, found), which add up."""
    counts = {"pixel_counts": result.scores.pixels.tolist(), "patch_counts": result.scores.patches.tolist()}
    return _rounded(result.scores.to_dict() | {"loss": result.loss}) | counts


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Six digits; what is not a number becomes None, for JSON knows no NaN."""

    def short(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return round(value, 6) if math.isfinite(value) else None

    return {key: short(value) for key, value in values.items()}
