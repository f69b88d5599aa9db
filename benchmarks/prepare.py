"""Prepared masks beside masks of somebody else: intersection over union of each image and of all, as JSON lines.

    python benchmarks/prepare.py path/to/images path/to/raw_labels path/to/reference_masks --preset web-map

Options after the three folders go to `roadseg prepare`. The reference is cut at half of its range and is not taken for
the truth: look at the pairs that differ most (they come first).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from roadseg.commands import main as roadseg
from roadseg.imagery.raster import read_picture


def compare(prepared: Path, references: Path) -> list[dict[str, float | str]]:
    """A record of each prepared mask that has a reference of its name, the least alike first."""
    by_stem = {path.stem: path for path in sorted(references.iterdir())}
    records: list[dict[str, float | str]] = []
    for path in sorted((prepared / "masks").iterdir()):
        if path.stem not in by_stem:
            continue
        found = read_picture(path).pixels[..., 0] > 0
        reference = read_picture(by_stem[path.stem]).pixels[..., 0].astype(np.float64)
        wanted = reference > reference.max() / 2
        both, either = int((found & wanted).sum()), int((found | wanted).sum())
        records.append(
            {
                "name": path.stem,
                "iou": both / either if either else 1.0,
                "both": both,
                "prepared_alone": int((found & ~wanted).sum()),
                "reference_alone": int((wanted & ~found).sum()),
            }
        )
    return sorted(records, key=lambda r: (r["iou"], r["name"]))


def main() -> int:
    """Prepare into a temporary folder, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("references", type=Path)
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "prepared"
        began = time.perf_counter()
        printed, sys.stdout = sys.stdout, sys.stderr  # JSON alone on the standard output
        try:
            code = roadseg(["prepare", str(args.images), str(args.labels), str(out), *more])
        finally:
            sys.stdout = printed
        if code:
            return code
        seconds = time.perf_counter() - began
        records = compare(out, args.references)
    if not records:
        print(f"no mask in '{args.references}' is called like an image", file=sys.stderr)
        return 2
    for record in records:
        print(json.dumps(record))
    sums = {key: sum(int(r[key]) for r in records) for key in ("both", "prepared_alone", "reference_alone")}
    pooled = sums["both"] / max(1, sum(sums.values()))
    print(json.dumps({"pooled_iou": pooled, "images": len(records), **sums, "seconds": round(seconds, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
