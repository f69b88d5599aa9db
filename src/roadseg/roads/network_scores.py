"""All scores of one road network against another: APLS, relaxed precision and recall, lengths and counts."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import apls as paths
from .apls import Apls
from .graph import to_graph
from .layers import RoadLayer, lengths, unit_of
from .plane import in_one_plane
from .relaxed import BUFFER, Relaxed, relaxed

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["NetworkScores", "compare_layers", "score_graph"]


@dataclasses.dataclass(frozen=True)
class NetworkScores:
    """The scores of one pair of networks, before they become a table: what can be pooled over pairs."""

    apls: Apls
    relaxed: Relaxed
    graphs: tuple["Graph", "Graph"] = dataclasses.field(repr=False)


def score_graph(
    truth: RoadLayer | Path | str,
    proposed: RoadLayer | Path | str,
    *,
    buffer: float = BUFFER,
    snap: float = paths.SNAP,
    aoi: Path | str | None = None,
    seed: int = 0,
    truth_layer: str | None = None,
    proposed_layer: str | None = None,
) -> dict[str, Any]:
    """Scores of the network `proposed` against `truth`, both files or layers, measured in metres.

    Both are reprojected to one metric CRS. Two layers in pixel coordinates are measured in pixels: `unit` is "px", and
    `buffer_m` and `snap_m` are pixels. Swapped, the two networks have the same `apls` and `relaxed_f1`, and
    precision and recall trade places.

    Args:
        buffer: metres within which a line is found again.
        snap: metres within which APLS finds a control point on the other network.
        aoi: a file of polygons, or a raster: only what lies inside counts, and of large files is read.
        seed: see `roads.apls.apls`.
        truth_layer: which layer of a file with several (see `roads.layers.read_layer`); so is `proposed_layer`.

    Returns:
        `apls`, `apls_truth_to_proposed`, `apls_proposed_to_truth`, `relaxed_precision`, `relaxed_recall`,
        `relaxed_f1`, `completeness` (length of truth that was found, the relaxed recall), `quality`, `length_ratio`
        (proposed over true length; None without truth), `buffer_m`, `snap_m`, `unit`, `crs`, `truth` and `proposed`
        (`km` or, of pixels, `px`; `roads`, `nodes`, `edges`, `junctions`, `dead_ends`, `control_points`, `snapped`,
        `paths`), `sampled` (see `roads.apls.Apls`) and `seed`.

    Raises:
        DataError: a file cannot be read or says no CRS; one has a CRS and the other pixel coordinates.
        ConfigError: a distance is not above 0.
    """
    first, second = in_one_plane(truth, proposed, area=aoi, names=(truth_layer, proposed_layer))
    found = compare_layers(first, second, buffer=buffer, snap=snap, seed=seed)
    whole, lines = found.apls, found.relaxed
    return {
        "apls": whole.apls,
        "apls_truth_to_proposed": whole.truth_to_proposed,
        "apls_proposed_to_truth": whole.proposed_to_truth,
        "relaxed_precision": lines.precision,
        "relaxed_recall": lines.recall,
        "relaxed_f1": lines.f1,
        "completeness": lines.recall,
        "quality": lines.quality,
        "length_ratio": lines.proposed / lines.truth if lines.truth else None,
        "buffer_m": buffer,
        "snap_m": snap,
        "unit": unit_of(first),
        "crs": first.crs,
        "truth": _counts(first, found, 0),
        "proposed": _counts(second, found, 1),
        "sampled": whole.sampled,
        "seed": seed,
    }


def compare_layers(
    truth: RoadLayer,
    proposed: RoadLayer,
    *,
    buffer: float = BUFFER,
    snap: float = paths.SNAP,
    spacing: float = paths.SPACING,
    seed: int = 0,
) -> NetworkScores:
    """APLS and relaxed scores of two layers that are in one plane already; distances in its unit.

    Raises:
        ConfigError: a distance is not above 0.
    """
    lines = relaxed([road.line for road in truth.roads], [road.line for road in proposed.roads], buffer)
    # In the plane's own units: a graph of a large layer would choose a CRS of its own, and lengths would not compare.
    first, second = (dataclasses.replace(layer, crs=None) for layer in (truth, proposed))
    graphs = to_graph(first), to_graph(second)
    return NetworkScores(paths.apls(*graphs, snap=snap, spacing=spacing, seed=seed), lines, graphs)


def _counts(layer: RoadLayer, found: NetworkScores, side: int) -> dict[str, Any]:
    graph = found.graphs[side]
    degrees = [int(degree) for _, degree in graph.degree()]
    total = math.fsum(lengths(layer))
    return {
        **({"px": total} if layer.crs is None else {"km": total / 1000}),
        "roads": len(layer.roads),
        "nodes": len(degrees),
        "edges": graph.number_of_edges(),
        "junctions": sum(degree > 2 for degree in degrees),
        "dead_ends": degrees.count(1),
        "control_points": found.apls.points[side],
        "snapped": found.apls.snapped[side],
        "paths": found.apls.paths[side],
    }
