"""What QGIS' Deepness and GeoDeep ask of an ONNX model: their metadata, how they feed pixels, how they decide.

Both divide 8-bit pixels by 255 and give (1, C, T, T) float32 to the model; Deepness then standardises with numbers from
the metadata, GeoDeep does not, so that the numbers here change nothing and the network's own normalisation stays in the
graph. Both set what is below `seg_thresh` to 0 and take the largest channel: a model of two classes needs two channels,
and its threshold has to be where the channels are equal.

Sources: Deepness' documentation ("Adding metadata to ONNX model", "Model classes and requirements"), GeoDeep 0.9.13.
"""

import json
import warnings
from typing import Any

from ..errors import ConfigError, RoadsegWarning
from ..learning.runs import ModelInfo

__all__ = ["OVERLAP", "TILE", "check_tile", "cut_at_half", "gis_metadata", "tell_limits", "wanted_resolution"]

TILE = 512  # pixels
OVERLAP = 20  # percent of a tile, about the share of `predict`; both programs keep each tile's middle
NO_FILTER = 0  # Deepness: no median filter; GeoDeep: no sieve (its median filter of 5x5 it applies to every model)


def gis_metadata(info: ModelInfo, tile: int, resolution_m: float | None) -> dict[str, str]:
    """The entries that the two programs read, key and JSON.

    Args:
        tile: T, pixels.
        resolution_m: metres per pixel that the network wants to see; None: not known, and left out.
    """
    several = len(info.classes) > 2
    entries: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(k): name for k, name in enumerate(info.classes)},
        "tiles_size": tile,  # as documented
        "tile_size": tile,  # as Deepness' code asks for it
        "tiles_overlap": OVERLAP,
        # Of several classes the most probable is the answer, however improbable; of two the channels sum to 1.
        "seg_thresh": 0.0 if several else 0.5,
        "seg_small_segment": NO_FILTER,
        "standardization_mean": [0.0] * info.bands,
        "standardization_std": [1.0] * info.bands,
    }
    if resolution_m is not None:
        entries["resolution"] = round(resolution_m * 100, 4)  # cm; 0.3 m are 30.0, not 30.000000000000004
    return {key: json.dumps(value) for key, value in entries.items()}


def cut_at_half(probability: Any, cut: float, larger: Any, smaller: Any) -> Any:
    """A probability so that `cut` becomes 0.5 while 0, 1 and the order stay: two lines that meet at (cut, 0.5).

    Args:
        larger, smaller: value by value of two, as the framework of `probability` has them.
    """
    if cut == 0.5:
        return probability
    below, above = probability * (0.5 / cut), 1 - (1 - probability) * (0.5 / (1 - cut))
    return smaller(below, above) if cut < 0.5 else larger(below, above)


def check_tile(tile: int, info: ModelInfo) -> None:
    """Refuse a tile that the network does not take.

    Raises:
        ConfigError: too small, or no multiple of what the network needs.
    """
    least = max(64, info.multiple)
    if tile < least or tile % info.multiple:
        near = max(-(-least // info.multiple), round(tile / info.multiple)) * info.multiple
        raise ConfigError(f"--tile {tile}: this network takes multiples of {info.multiple} pixels, give e.g. {near}")


def wanted_resolution(info: ModelInfo, given: float | None) -> float | None:
    """Metres per pixel that the network sees: as given, else as it was trained; None where nobody knows.

    Raises:
        ConfigError: not above 0.
    """
    if given is not None:
        if not 0 < given < 1e4:
            raise ConfigError(f"--resolution {given:g}: give metres per pixel, above 0")
        return given
    return None if info.ground_resolution_m is None else info.ground_resolution_m / info.scale


def tell_limits(info: ModelInfo, resolution_m: float | None) -> None:
    """Warn, as `RoadsegWarning`, of what these programs cannot do for this model."""
    limits = []
    if resolution_m is None:
        limits.append(
            "the model does not know its ground resolution, so that QGIS asks the user for it and GeoDeep takes images "
            "finer than 10 cm for finer ones than the model's: give --resolution M_PER_PX"
        )
    if info.bands != 3:
        limits.append(f"the model has {info.bands} bands: Deepness takes it, GeoDeep reads models of 3 bands only")
    if info.value_range is not None:
        low, high = info.value_range
        limits.append(
            f"the model was trained on pixel values from {low:g} to {high:g}, these programs read 8 bits: give them "
            f"images made with `gdal_translate -ot Byte -scale {low:g} {high:g} 0 255`"
        )
    for limit in limits:
        warnings.warn(limit, RoadsegWarning, stacklevel=3)
