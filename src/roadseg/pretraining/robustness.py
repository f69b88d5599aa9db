"""How a model's scores change with the images: resolution, rotation, light, blur, compression, colours, as curves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imagery.dataset import Sample
from ..imagery.described import IGNORED
from ..imagery.resample import resample, resample_mask
from ..inference.predictor import Predictor
from ..scores import Scores
from .gather import Tell
from .scoring import ROUNDED, HeldOut, at_scale, score_one

__all__ = ["CURVES", "Curve", "measure_robustness", "robustness_page"]

Bytes = NDArray[np.uint8]
SCORES = ("pixel_iou", "patch_f1")
SERIES = 4  # what a chart tells apart by shape


@dataclass(frozen=True)
class Curve:
    """One change of the images, at several levels.

    Attributes:
        unit: of the levels, in words.
        change: (sample, level) to the changed sample. Its mask is scored, where it has labels.
    """

    unit: str
    levels: tuple[float, ...]
    change: Callable[[Sample, float], Sample]


def _with_image(sample: Sample, image: Bytes) -> Sample:
    return Sample(sample.stem, np.ascontiguousarray(image), sample.mask, sample.valid, sample.hash)


def _resized(sample: Sample, factor: float) -> Sample:
    """Another number of pixels for the same ground, image and mask: as if taken from another height."""
    if factor == 1:
        return sample
    height, width = (max(16, round(side * factor)) for side in sample.mask.shape)
    mask = resample_mask(sample.mask, height, width)
    valid = None if sample.valid is None else mask != IGNORED
    return Sample(sample.stem, resample(sample.image, height, width), mask, valid, sample.hash)


def _turned(sample: Sample, degrees: float) -> Sample:
    """Turned about its middle; what comes from outside is a mirror image, and has no label."""
    if not degrees:
        return sample
    height, width = sample.mask.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    image = cv2.warpAffine(sample.image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = np.asarray(
        cv2.warpAffine(sample.mask, turn, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORED), np.uint8
    )
    return Sample(sample.stem, np.asarray(image, np.uint8), mask, mask != IGNORED, sample.hash)


def _shifted(image: Bytes, bands: Sequence[float]) -> Bytes:
    """Each band plus its share of the full range."""
    return np.asarray(np.clip(np.rint(image + 255 * np.asarray(bands, np.float32)), 0, 255), np.uint8)


def _saturated(image: Bytes, factor: float) -> Bytes:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return np.asarray(np.clip(np.rint(grey + factor * (image - grey)), 0, 255), np.uint8)


def _contrasted(image: Bytes, factor: float) -> Bytes:
    mean = image.mean()
    return np.asarray(np.clip(np.rint((image - mean) * factor + mean), 0, 255), np.uint8)


def _hue(image: Bytes, degrees: float) -> Bytes:
    if not degrees:  # through HSV and back is not quite the same
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(degrees / 2)) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _season(image: Bytes, strength: float) -> Bytes:
    """Green towards brown: what grows gives up green for red, by its excess of green (Woebbecke et al. 1995)."""
    values = image.astype(np.float32)
    green = np.clip(2 * values[..., 1] - values[..., 0] - values[..., 2], 0, None) * np.float32(strength)
    values[..., 1] -= 0.5 * green
    values[..., 0] += 0.4 * green
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _blurred(image: Bytes, sigma: float) -> Bytes:
    return image if not sigma else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _jpeg(image: Bytes, quality: float) -> Bytes:
    if quality >= 100:
        return image
    written, file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    assert written
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _of_image(change: Callable[[Bytes, float], Bytes]) -> Callable[[Sample, float], Sample]:
    return lambda sample, level: _with_image(sample, change(sample.image, level))


CURVES: dict[str, Curve] = {
    "Resolution": Curve("times as many pixels a side", (0.5, 0.63, 0.8, 1, 1.25, 1.6, 2), _resized),
    "Rotation": Curve("degrees", (0, 15, 30, 45, 60, 75, 90), _turned),
    "Brightness": Curve(
        "of the full range, added", (-0.3, -0.15, 0, 0.15, 0.3), _of_image(lambda i, v: _shifted(i, (v, v, v)))
    ),
    "Contrast": Curve("factor", (0.4, 0.7, 1, 1.4, 2), _of_image(_contrasted)),
    "Blur": Curve("px, standard deviation", (0, 1, 2, 3), _of_image(_blurred)),
    "JPEG": Curve("quality", (10, 20, 40, 70, 100), _of_image(_jpeg)),
    "Hue": Curve("degrees", (-30, -15, 0, 15, 30), _of_image(_hue)),
    "Saturation": Curve("factor; 0: grey", (0, 0.5, 1, 1.5), _of_image(_saturated)),
    "Season": Curve("share of the green that turns brown", (0, 0.5, 1), _of_image(_season)),
}


def measure_robustness(
    model: Predictor, parts: Sequence[HeldOut], curves: dict[str, Curve] | None = None, tell: Tell = print
) -> dict[str, Any]:
    """Scores of every set at every level of every change.

    Returns:
        `curves`: name -> `unit`, `levels`, and by score the values of each set, one a level; `images`: most a set.
    """
    told: dict[str, Any] = {}
    limit = model.info.threshold
    for name, curve in (CURVES if curves is None else curves).items():
        values: dict[str, dict[str, list[float]]] = {score: {part.name: [] for part in parts} for score in SCORES}
        for level in curve.levels:
            for part in parts:
                predictor = at_scale(model, part.scale)
                changed = (curve.change(sample, level) for sample in part.samples)
                single = [score_one(one, predictor.probabilities(one.image), limit) for one in changed]
                found = Scores.pool(single).to_dict()
                for score in SCORES:
                    values[score][part.name].append(round(found[score], ROUNDED))
        told[name] = {"unit": curve.unit, "levels": list(curve.levels), **values}
        tell(f"{name}: done")
    return {"images": max(len(part.samples) for part in parts), "curves": told}


def robustness_page(path: Path, name: str, found: dict[str, Any]) -> Path:
    """Write the curves as charts, an HTML page of its own."""
    from ..reports.charts import dot_chart
    from ..reports.page import section, write_page

    charts = []
    for title, curve in found["curves"].items():
        rows = [f"{level:g}" for level in curve["levels"]]
        series = dict(list(curve["pixel_iou"].items())[:SERIES])
        charts.append(dot_chart(f"{title}: pixel IoU by {curve['unit']}", rows, series))
    note = f"At most {found['images']} held-out images of each set, their own labels."
    return write_page(path, f"{name}: changed images", [section("Changed images", *charts, note=note)])
