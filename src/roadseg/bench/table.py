"""The benchmark's result as lines of plain text."""

from collections.abc import Iterator
from typing import Any

from ..machine import describe_machine
from .workload import Workload

__all__ = ["foot", "head", "lines"]

LABEL, RATE = 30, 14  # columns


def head(workload: Workload) -> list[str]:
    """What is measured, and on what."""
    machine = describe_machine()
    memory = f", {machine['memory_gb']} GB" if machine["memory_gb"] else ""
    return [
        f"{machine['processor']}, {machine['cores']} cores{memory}, {machine['system']}",
        f"U-Net of width {workload.width} and depth {workload.depth}, "
        f"batches of {workload.batch} images of {workload.size}x{workload.size}",
        "",
    ]


def lines(part: str, found: dict[str, Any]) -> list[str]:
    """What one part found."""
    return [f"{part:<{LABEL}}{text}" if k == 0 else f"{'':<{LABEL}}{text}" for k, text in enumerate(_texts(found))]


def _rate(value: float, unit: str) -> str:
    return f"{f'{value:.4g} {unit}':>{RATE}}"


def _texts(found: dict[str, Any]) -> Iterator[str]:
    if "unavailable" in found:
        yield f"not measured: {found['unavailable']}"
        return
    memory = f", {found['peak_memory_mb']:.0f} MB" if found.get("peak_memory_mb") else ""
    if "copy_gb_s" in found:
        yield f"{_rate(found['copy_gb_s'], 'GB/s')} copy, {found['triad_gb_s']:.4g} GB/s triad"
    for kind in ("float32", "bfloat16"):
        if kind in found:
            yield f"{_rate(found[kind]['gflop_s'], 'GFLOP/s')} {kind}, {found[kind]['size']}^3, {found['device']}"
    if "img_s" in found:
        power = f", {found['gflop_s']:.4g} GFLOP/s" if "gflop_s" in found else ""
        share = f" ({found['share']:.0%} of the matrix product)" if "share" in found else ""
        what = f", {found['precision']}" if "precision" in found else ""
        yield f"{_rate(found['img_s'], 'img/s')}{power}{share}{what}{memory}"
    if "first_step_s" in found:
        yield f"{_rate(found['step_ms'], 'ms')} a step; the first, with compiling, {found['first_step_s']:.1f} s"
    if "ratio" in found and "data_wait" in found:
        wait = f", {found['data_wait']:.1%} of it waiting for data" if found["data_wait"] is not None else ""
        yield f"{found['ratio']:>{RATE}.3f} of the step's speed on data in memory{wait}"
    if "network_mpx_s" in found:
        yield f"{_rate(found['network_mpx_s'], 'Mpx/s')} through the network{memory}"
        yield f"{found['ratio']:>{RATE}.3f} of the bare engine's speed on the same windows"
        yield f"{_rate(found['image_mpx_s'], 'Mpx/s')} of the image: {found['overlap_overhead']:.0%} more for overlap"
    if found.get("shares"):
        listed = ", ".join(f"{name} {share:.1%}" for name, share in found["shares"].items())
        yield f"{'':>{RATE}} of which {listed}"
    if "mean_difference" in found:
        iou = f", IoU of the masks {found['iou']:.4f}" if found.get("iou") is not None else ""
        mean, high = found["mean_difference"], found["high_difference"]
        yield f"{'':>{RATE}} to Keras float32: {mean:.1e} mean, {high:.1e} at the 99.9th percentile{iou}"


def foot(result: dict[str, Any]) -> list[str]:
    """The two figures that are compared with other programs."""
    found = []
    if result.get("train_img_s"):
        found.append(f"training    {result['train_img_s']:.4g} img/s")
    if result.get("infer_img_s"):
        found.append(f"prediction  {result['infer_img_s']:.4g} img/s ({result['infer_engine']})")
    return ["", *found] if found else []
