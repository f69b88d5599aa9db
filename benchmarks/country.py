"""What it costs to predict a country: pixels, core-hours, disk, tasks. Arithmetic on the grid; nothing is predicted.

    python benchmarks/country.py --area-km2 41285 --resolution 0.25 --mpx-s 2.6 --cores 2

`--mpx-s` is what `roadseg predict` says at its end on a machine with `--cores` cores: pixels of the raster, all
overheads within. docs/country.md says where the other figures come from.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass

from roadseg.config import PredictConfig
from roadseg.inference.cluster import runs
from roadseg.inference.tiling import Grid

GB = 1e9


@dataclass(frozen=True)
class Cost:
    """What an area costs at one resolution.

    Attributes:
        gigapixels: of the area alone; what lies outside is not computed.
        images_gb, images_raw_gb: of the images as they are stored, and unpacked.
        masks_gb: of the masks, and the probabilities where asked for.
        parts_gb: beside the masks, at most: the finished bands of a column, and the seams between its strips.
        core_hours: of the kind of core that the speed was measured on.
        hours: with all the workers.
        columns: rasters that the area is cut into, each `width` px wide and as high as the country.
        strips: of all columns.
        tasks: runs of strips, what the scheduler sees of them.
        task_s: seconds of one on one worker, on average.
        tasks_s: how many end each second with all workers busy.
    """

    resolution_m: float
    gigapixels: float
    images_raw_gb: float
    images_gb: float
    masks_gb: float
    parts_gb: float
    core_hours: float
    hours: float
    columns: int
    strips: int
    tasks: int
    task_s: float
    tasks_s: float


def cost(args: argparse.Namespace, resolution: float) -> Cost:
    """The arithmetic."""
    pixels = args.area_km2 * 1e6 / resolution**2
    per_core = args.mpx_s * 1e6 / args.cores * args.dask / args.times
    core_seconds = pixels / per_core

    side = math.sqrt(pixels)  # of a square country: others have longer or shorter columns, and the same sum
    columns = max(1, round(side / args.width))
    config = PredictConfig()
    grid = Grid(round(side), round(side / columns), config.window, config.overlap)
    tasks = columns * len(runs(range(len(grid.strips)), args.workers))
    task_s = core_seconds / args.worker_cores / tasks
    seams = (len(grid.strips) - 1) * 2 * grid.seam * grid.width * 4  # bytes of float32, from above and from below
    return Cost(
        resolution_m=resolution,
        gigapixels=pixels / 1e9,
        images_raw_gb=pixels * 3 / GB,
        images_gb=pixels * args.in_bytes / GB,
        masks_gb=pixels * args.out_bytes / GB,
        parts_gb=(seams + pixels / columns * args.out_bytes) / GB,
        core_hours=core_seconds / 3600,
        hours=core_seconds / (args.workers * args.worker_cores) / 3600,
        columns=columns,
        strips=columns * len(grid.strips),
        tasks=tasks,
        task_s=task_s,
        tasks_s=args.workers / task_s,
    )


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--area-km2", type=float, required=True, help="of what is predicted, e.g. 41285 for Switzerland")
    add("--resolution", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0], help="metres per pixel; one or several")
    add("--mpx-s", type=float, required=True, help="of the raster, as `roadseg predict` says it")
    add("--cores", type=int, required=True, help="of the machine that it said it on")
    add("--dask", type=float, default=0.9, help="share of that speed that is left on a cluster (0.9)")
    add("--times", type=float, default=1.0, help="8 with --tta, the number of members with an ensemble (1)")
    add("--workers", type=int, default=100, help="of the cluster (100)")
    add("--worker-cores", type=int, default=8, help="of each (8)")
    add("--width", type=int, default=40_000, help="px of the columns that the country is cut into (40000)")
    add(
        "--in-bytes",
        type=float,
        default=0.3,
        help="of the images on disk, per pixel of 3 bands (0.3: JPEG, quality 75)",
    )
    add("--out-bytes", type=float, default=0.01, help="of a mask on disk, per pixel (0.01; with --probabilities 0.43)")
    add("--json", action="store_true", help="one JSON line a resolution")
    args = parser.parse_args(words)
    found = [cost(args, resolution) for resolution in args.resolution]
    if args.json:
        for one in found:
            print(json.dumps(asdict(one)))
    else:
        print("\n".join(table(found, args)))
    return 0


def table(found: list[Cost], args: argparse.Namespace) -> list[str]:
    """Markdown."""
    rows = {
        "pixels": [f"{one.gigapixels:,.0f} Gpx" for one in found],
        "images on disk (unpacked)": [f"{one.images_gb:,.0f} GB ({one.images_raw_gb:,.0f})" for one in found],
        "masks": [f"{one.masks_gb:,.1f} GB" for one in found],
        "beside them, while a column is made": [f"{one.parts_gb:,.1f} GB" for one in found],
        "core-hours": [f"{one.core_hours:,.0f}" for one in found],
        f"hours with {args.workers} workers of {args.worker_cores} cores": [f"{one.hours:,.2f}" for one in found],
        f"columns of {args.width:,} px": [f"{one.columns:,}" for one in found],
        "strips": [f"{one.strips:,}" for one in found],
        "tasks": [f"{one.tasks:,}" for one in found],
        "seconds a task": [f"{one.task_s:,.1f}" for one in found],
        "tasks a second": [f"{one.tasks_s:,.1f}" for one in found],
    }
    head = [f"{one.resolution_m:g} m" for one in found]
    return [
        f"| {args.area_km2:,.0f} km² | {' | '.join(head)} |",
        f"|---|{'---:|' * len(head)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
    ]


if __name__ == "__main__":
    sys.exit(main())
