"""Masks scored as networks: truth and prediction traced alike, compared as lines, pooled over images."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RoadsegWarning
from . import apls as paths
from .layers import Road, RoadLayer
from .network_scores import NetworkScores, compare_layers
from .relaxed import BUFFER, Relaxed, pool

__all__ = ["pool_networks", "score_masks"]


def score_masks(
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    *,
    resolution: float | None = None,
    buffer: float = BUFFER,
    snap: float = paths.SNAP,
) -> NetworkScores:
    """Trace two masks (H, W) bool of one image and compare the lines.

    Args:
        resolution: metres per pixel; None: all distances are pixels, also the spacing of APLS.
        buffer: metres (pixels); so is `snap`.
    """
    return compare_layers(
        _traced(truth, resolution), _traced(predicted, resolution), buffer=buffer, snap=snap
    )  # fmt: skip


def _traced(mask: NDArray[np.bool_], resolution: float | None) -> RoadLayer:
    from .centrelines import trace

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoadsegWarning)  # that a mask is empty is nothing to say of each image
        layer = trace(np.where(mask, np.uint8(255), np.uint8(0)))
    if resolution is None:
        return layer
    return RoadLayer(tuple(Road(road.line * resolution, road.properties) for road in layer.roads), layer.crs)


def pool_networks(
    parts: Mapping[str, NetworkScores], *, resolution: float | None = None, buffer: float = BUFFER,
    snap: float = paths.SNAP,
) -> dict[str, Any]:  # fmt: skip
    """Scores of several images in one table.

    `relaxed_precision`, `relaxed_recall`, `relaxed_f1` and `quality` come of the lengths of all images added up.
    `apls` is the images' mean, weighted by the length of both networks, so that roads that are only predicted weigh,
    too; `apls_mean` and `relaxed_f1_mean` are the plain means over the images that have roads in either network, of
    which there are `n_images_with_roads`. Where no image has any, all is 1.

    Args:
        parts: by the image's name.
        resolution: as in `score_masks`, to say what the distances are in: `unit` "m" or "px".
        buffer: as in `score_masks`, to be named in the answer; so is `snap`.
    """
    weights = {name: part.relaxed.truth + part.relaxed.proposed for name, part in parts.items()}
    drawn = [name for name, weight in weights.items() if weight > 0]
    whole = pool(part.relaxed for part in parts.values())
    return {
        "apls": _mean([(parts[name].apls.apls, weights[name]) for name in drawn]),
        "apls_mean": _mean([(parts[name].apls.apls, 1.0) for name in drawn]),
        **_lines(whole),
        "relaxed_f1_mean": _mean([(parts[name].relaxed.f1, 1.0) for name in drawn]),
        "n_images_with_roads": len(drawn),
        "unit": "px" if resolution is None else "m",
        "buffer_m": buffer,
        "snap_m": snap,
        "images": {
            name: {
                "apls": part.apls.apls,
                "apls_truth_to_proposed": part.apls.truth_to_proposed,
                "apls_proposed_to_truth": part.apls.proposed_to_truth,
                **_lines(part.relaxed),
            }
            for name, part in parts.items()
        },
    }


def _lines(found: Relaxed) -> dict[str, float]:
    return {
        "relaxed_precision": found.precision,
        "relaxed_recall": found.recall,
        "relaxed_f1": found.f1,
        "quality": found.quality,
        "truth_length": found.truth,
        "proposed_length": found.proposed,
    }


def _mean(values: list[tuple[float, float]]) -> float:
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total else 1.0
