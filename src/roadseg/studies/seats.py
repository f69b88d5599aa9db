"""Who computes where: the cores and the GPU that each of several trainings at once on one machine may use."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..dask_cluster import core_shares
from ..machine import thread_variables

__all__ = ["Seat", "seats"]

Seat = dict[str, str]  # variables of the trainings that a worker's thread starts: its share of the cores, its GPU


def seats(views: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Seat]]:
    """The seats of every worker by its address, one a thread.

    The cores of a host are shared equally by the threads of all its workers. Its GPUs go round; a worker that sees
    others than its neighbours (somebody has dealt them out) keeps to its own.

    Args:
        views: by address: "host", "threads", "cores" and "gpus" (as CUDA_VISIBLE_DEVICES names them).
    """
    hosts: dict[str, list[str]] = {}
    for address, view in views.items():
        hosts.setdefault(view["host"], []).append(address)
    shares = core_shares(views)
    found: dict[str, list[Seat]] = {}
    for addresses in hosts.values():
        dealt = len({tuple(views[address]["gpus"]) for address in addresses}) > 1
        total = sum(views[address]["threads"] for address in addresses)
        number = 0
        for address in addresses:
            view = views[address]
            mine: list[Seat] = []
            for thread in range(view["threads"]):
                sitting = view["threads"] if dealt else total
                mine.append(
                    thread_variables(shares[address]) | _gpu(view["gpus"], thread if dealt else number, sitting)
                )
                number += 1
            found[address] = mine
    return found


def _gpu(gpus: Sequence[str], number: int, sitting: int) -> dict[str, str]:
    """One of the GPUs in turn. Where several trainings share it, none may take all of its memory as it starts."""
    if not gpus:
        return {}
    together = -(-sitting // len(gpus))
    mine = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
    if together > 1:
        mine |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / together:.3f}"}
    return mine
