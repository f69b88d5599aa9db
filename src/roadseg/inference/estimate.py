"""What a prediction would take: time, memory, disk. A few windows are computed for it, and nothing is written."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..machine import peak_memory_mb
from .jobs import Job
from .plan import Plan, with_views
from .planning import Wanted, make_plan, some_windows
from .predictor import Predictor

__all__ = ["Estimate", "estimate"]

RUNS = 2  # counted ones, after one that is not
GDAL_MB = 256  # of blocks that GDAL keeps at most, see `imagery.formats.raster_options`
PARTS = 0.1  # bytes a pixel of a compressed 8-bit mask or probability, generously
WIDE = 1.0  # of 16-bit probabilities


@dataclass(frozen=True)
class Estimate:
    """What is expected of a prediction.

    Attributes:
        images, pixels: how many, of all images.
        network_pixels: that go through the network, overlaps and margins included.
        seconds: of the network, as fast as it was on a few windows; what lacks data would be faster.
        megapixels_per_second: of the images.
        memory_mb: the most at once.
        parts_mb, output_mb: on the disk of the output folder; the parts go when the output is there.
        engine: what computes.
    """

    images: int
    pixels: int
    network_pixels: int
    seconds: float
    memory_mb: float
    parts_mb: float
    output_mb: float
    engine: str

    @property
    def megapixels_per_second(self) -> float:
        return self.pixels / 1e6 / max(self.seconds, 1e-9)

    def text(self) -> str:
        """A few lines for the user."""
        count = "1 image" if self.images == 1 else f"{self.images} images"
        return (
            f"{count}, {self.pixels / 1e6:.2f} Mpx; {self.network_pixels / self.pixels - 1:.0%} more go through the "
            f"network\ntime: about {duration(self.seconds)} ({self.megapixels_per_second:.2f} Mpx/s, {self.engine})\n"
            f"memory: about {self.memory_mb:.0f} MB\n"
            f"disk: up to {self.output_mb:.0f} MB of output, and {self.parts_mb:.0f} MB beside it until it is there\n"
            "dry run: nothing written"
        )


def estimate(predictor: Predictor, jobs: Sequence[Job], wanted: Wanted) -> Estimate:
    """Plan all images, run the network on a few windows of the largest one, and reckon.

    Raises:
        ImageError, DataError, ConfigError, ModelError, BackendError: what the prediction itself would begin with.
    """
    plans = [make_plan(job.sources, (job.mask, job.probability, job.uncertainty), predictor, wanted) for job in jobs]
    largest = max(plans, key=lambda plan: plan.columns * max(plan.grid.down.sizes))
    windows = some_windows(largest, max(max(largest.grid.down.sizes), max(largest.grid.across.sizes)))
    windows = windows[: largest.batch]
    run = with_views(predictor.bare_for(largest), largest)
    run(windows)
    began = time.perf_counter()
    for _ in range(RUNS):
        run(windows)
    rate = RUNS * windows[..., 0].size / (time.perf_counter() - began)
    network = sum(plan.grid.network_pixels for plan in plans)
    files = sum(plan.height * plan.width * len(plan.last_decision.names) for plan in plans) * PARTS
    return Estimate(
        images=len(plans),
        pixels=sum(plan.height * plan.width for plan in plans),
        network_pixels=network,
        seconds=network / rate,
        memory_mb=(peak_memory_mb() or 0) + max(map(_bands_mb, plans)),
        parts_mb=max(map(_parts_mb, plans)),
        output_mb=files / 1e6,
        engine=predictor.engine,
    )


def _bands_mb(plan: Plan) -> float:
    """What is held of a raster: two rows of windows as they are read, two of planes, the seams, GDAL's blocks."""
    rows = max(plan.grid.down.sizes)
    values = plan.decision.values
    planes = 2 * values if plan.scaled else len(plan.decision.names)
    each = rows * (2 * plan.bands + 2 * planes) + 3 * 4 * values * plan.grid.seam
    return plan.columns * each / 1e6 + min(GDAL_MB, plan.height * plan.width * plan.bands / 1e6)


def _parts_mb(plan: Plan) -> float:
    if plan.small:
        return 0.0
    planes = WIDE * plan.decision.values if plan.scaled else PARTS * len(plan.decision.names)
    seams = 2 * 4 * plan.decision.values * plan.grid.seam * len(plan.strips)
    return plan.columns * (plan.rows * planes + seams) / 1e6


def duration(seconds: float) -> str:
    """`40 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 2 * 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
