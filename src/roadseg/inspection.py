"""What is in a dataset, as numbers and as a sheet of pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from .config import Config
from .roads.patches import patch_labels

__all__ = ["inspect"]


def inspect(
    dataset: Path | str, out: Path | None = None, config: Config | None = None, *, rows: int = 4, skip_bad: bool = False
) -> dict[str, Any]:
    """Open and check a dataset folder and count what is in it.

    Args:
        out: a PNG to write: a few images, their masks, and crops perturbed as `config` says.

    Returns:
        layout, images, test_images, sizes, bands, dtype, mask_rule, class_shares, patch_road_share (None for several
        classes), class_share_range (least and largest share of the last class in one image), duplicates, skipped.

    Raises:
        DataError: the folder is not a usable dataset; every problem is named.
    """
    from .imagery.dataset import open_dataset
    from .imagery.duplicates import find_duplicates

    config = config or Config()
    opened = open_dataset(Path(dataset), config.data, skip_bad=skip_bad)
    samples = opened.read_all(range(len(opened)))
    last = len(opened.classes) - 1
    shares = [float(np.mean(s.mask == last)) for s in samples]
    patches = None
    if last == 1:
        labels = [patch_labels(s.mask, config.predict.patch_threshold) for s in samples]
        patches = float(sum(x.sum() for x in labels) / sum(x.size for x in labels))
    # Stems are sorted: each pair once, and no image with itself.
    twins = [pair for pair in find_duplicates(samples, samples) if pair[0] < pair[1]]
    if out is not None:
        from .reports.sheets import perturbation_sheet, save_png

        chosen = np.linspace(0, len(samples) - 1, min(rows, len(samples))).round().astype(int)
        save_png(Path(out), perturbation_sheet([samples[k] for k in chosen], config, len(opened.classes)))
    return {
        "summary": opened.summary(),
        "layout": opened.layout,
        "images": len(opened),
        "test_images": len(opened.tests),
        "sizes": sorted({f"{s.mask.shape[1]}x{s.mask.shape[0]}" for s in samples}),
        "bands": opened.bands,
        "dtype": opened.dtype,
        "mask_rule": opened.coding.rule(),
        "class_shares": dict(zip(opened.classes, opened.class_shares, strict=True)),
        "class_share_range": [min(shares), max(shares)],
        "patch_road_share": patches,
        "duplicates": [list(pair) for pair in twins],
        "skipped": list(opened.skipped),
    }
