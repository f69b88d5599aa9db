"""What is in a dataset, what is wrong with it, what to train it with: as numbers, as text and as a page of pictures."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config
from ..errors import RoadsegWarning
from .text import describe

if TYPE_CHECKING:
    from ..imagery.alignment import Shift

__all__ = ["describe", "inspect"]

LEFT_OUT = "left out: "  # how `open_dataset` begins what it says of a bad file


def inspect(
    dataset: Path | str, out: Path | None = None, config: Config | None = None, *, rows: int = 4
) -> dict[str, Any]:
    """Open a dataset folder, bad files left out and named, and look at every image once; memory holds one at a time.

    Args:
        out: a PNG to write: the numbers, a few images, their masks and crops perturbed as `config` says, class shares
            image by image, and histograms of the pixel values.
        config: how the images are read, and the recipe that crop and batch are suggested for.
        rows: images on the page.

    Returns:
        summary (text), layout, images, test_images, sizes, bands, dtype, mask_rule, values (a table a band: min, p1,
        median, p99, max, mean, in the units of the files), class_shares (of the labelled pixels), class_share_range
        (least and largest share of the last class in one image), unlabelled_share, patch_road_share (None for several
        classes), rasters (the large ones, see `overview.raster_table`), per_image (class shares and unlabelled share by
        stem, of large rasters by block), alignment (None where it cannot be told),
        duplicates, skipped (what is bad, all of it), suggestion (crop, batch, class_weights, reasons).

    Raises:
        DataError: the folder has no usable pair, or its masks follow no rule; every problem is named.
        OutputError: `out` cannot be written.
    """
    from ..files import check_place
    from ..imagery.dataset import open_dataset
    from ..imagery.duplicates import find_duplicates
    from ..learning.plan import settle, suggestion
    from .overview import draw_overview, raster_table
    from .survey import misplaced, survey

    config = config or Config()
    if out is not None:
        check_place(Path(out))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", RoadsegWarning)
        opened = open_dataset(Path(dataset), config.data, skip_bad=True)
    for item in heard:
        if not str(item.message).startswith(LEFT_OUT):  # those are in the answer
            warnings.warn(item.message, item.category, stacklevel=2)
    chosen = np.linspace(0, len(opened) - 1, min(rows, len(opened))).round().astype(int).tolist()
    seen = survey(opened, config.predict.patch_threshold, chosen if out is not None else ())
    counts = np.sum([image.counts for image in seen.images], axis=0)
    pixels = sum(image.pixels for image in seen.images)
    last = [float(image.shares[-1]) for image in seen.images if image.labelled]
    road, patches = np.sum([image.patches for image in seen.images], axis=0).tolist()
    # Stems are sorted: each pair once, and no image with itself.
    thumbnails = [image.thumbnail for image in seen.images]
    twins = [pair for pair in find_duplicates(thumbnails, thumbnails) if pair[0] < pair[1]]
    whole, far = misplaced(seen.images)
    advice = suggestion(config, opened)
    found: dict[str, Any] = {
        "summary": opened.summary(),
        "layout": opened.layout,
        "images": len(opened),
        "test_images": len(opened.tests),
        "sizes": sorted({f"{width}x{height}" for height, width in opened.sizes}),
        "bands": opened.bands,
        "dtype": opened.dtype,
        "mask_rule": opened.coding.rule(),
        "values": seen.values.table(),
        "class_shares": dict(zip(opened.classes, (counts / max(1, counts.sum())).tolist(), strict=True)),
        "class_share_range": [min(last, default=0.0), max(last, default=0.0)],
        "unlabelled_share": 1 - float(counts.sum()) / max(1, pixels),
        "patch_road_share": road / patches if patches else None,
        "rasters": raster_table(opened, seen.images),
        "per_image": {
            image.stem: {
                "class_shares": image.shares.round(6).tolist(),
                "unlabelled_share": round(1 - image.labelled / image.pixels, 6),
            }
            for image in seen.images
        },
        "alignment": {
            **_shift(whole),
            "suspicious": whole.suspicious,
            "standing_out": {stem: _shift(shift) for stem, shift in far.items()},
        },
        "duplicates": [list(pair) for pair in twins],
        "skipped": [*opened.skipped, *seen.problems],
        "suggestion": {
            "crop": advice.crop,
            "batch": advice.batch,
            "class_weights": advice.class_weights,
            "reasons": advice.reasons,
        },
    }
    if out is not None:
        from ..reports.sheets import perturbation_sheet, save_png
        from .page import draw_page

        settled, _ = settle(config, opened, range(len(opened)))
        sheet = perturbation_sheet(seen.samples, settled, len(opened.classes))
        above = draw_overview(opened, seen.images, sheet.shape[1])
        if above is not None:
            sheet = np.concatenate([sheet, above])
        save_png(Path(out), draw_page(describe(found, short=True), sheet, found, seen.values.histograms()))
    return found


def _shift(shift: "Shift") -> dict[str, Any]:
    return {"dx": shift.dx, "dy": shift.dy, "confidence": round(shift.confidence, 3)}
