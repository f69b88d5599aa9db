"""A prediction folder: from image files to mask files beside a record of how they were made."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, ImageError, OutputError
from ..files import make_folder, write_json
from ..imagery.dataset import open_image
from ..imagery.layouts import list_images
from ..imagery.raster import read_header, write_mask
from ..machine import versions
from .predictor import Predictor

__all__ = ["Job", "Progress", "Step", "Summary", "plan_outputs", "predict_files", "run_jobs"]

RECORD = "predict.json"
NO_CLASS = 255  # where a map of classes has no data


@dataclass(frozen=True)
class Job:
    """One image and the files that come of it; `probability` is None where none is asked for."""

    source: Path
    mask: Path
    probability: Path | None
    height: int
    width: int
    bands: int


@dataclass(frozen=True)
class Step:
    """How far the work is: `image` (from 0) of `images` is in hand, `done` of `pixels` are predicted."""

    source: Path
    image: int
    images: int
    done: int
    pixels: int


Progress = Callable[[Step], None]


@dataclass(frozen=True)
class Summary:
    """What was done: `seconds` from the first image's reading to the last mask's writing."""

    folder: Path
    images: int
    pixels: int
    seconds: float

    @property
    def megapixels_per_second(self) -> float:
        return self.pixels / 1e6 / max(self.seconds, 1e-9)


def plan_outputs(inputs: Sequence[Path], out: Path, probabilities: bool = False) -> list[Job]:
    """What will be read and written, from the files' headers alone; nothing is decoded, predicted or written.

    Args:
        inputs: image files, and folders whose images are meant.
        out: the prediction folder; TIFF inputs give `x.tif`, others `x.png`, probabilities `x_prob.tif|png`.

    Raises:
        DataError: no image, an input that cannot be read, or two inputs that would write the same output.
        OutputError: an output would overwrite an input.
    """
    sources = [image for place in inputs for image in list_images(Path(place))]
    if not sources:
        raise DataError("no images to predict: give image files, or folders that hold some")
    jobs: list[Job] = []
    writers: dict[Path, Path] = {}
    originals = {_identity(source): source for source in sources if source.exists()}
    for source in sources:
        suffix = ".tif" if source.suffix.lower() in (".tif", ".tiff") else ".png"
        mask = out / f"{source.stem}{suffix}"
        probability = out / f"{source.stem}_prob{suffix}" if probabilities else None
        for target in (mask, probability) if probability else (mask,):
            other = writers.setdefault(target, source)
            if other is not source:
                raise DataError(
                    f"'{other}' and '{source}' would both write '{target}': "
                    "predict them into two folders, or rename one"
                )
            if target.exists() and _identity(target) in originals:
                raise OutputError(
                    f"'{target}' would overwrite the input '{originals[_identity(target)]}': give another --out"
                )
        header = read_header(source)
        jobs.append(Job(source, mask, probability, header.height, header.width, header.bands))
    return jobs


def _identity(path: Path) -> tuple[int, int]:
    """The same for every name of a file: other spelling, link, case where the disk ignores it."""
    found = path.stat()
    return found.st_dev, found.st_ino


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    out: Path,
    probabilities: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Predict image files into a folder: masks, probabilities where asked for, and `predict.json`.

    Raises:
        DataError, OutputError: see `plan_outputs` and `run_jobs`.
        ModelError: the model does not fit the images.
    """
    return run_jobs(predictor, plan_outputs(inputs, out, probabilities), out, progress)


def run_jobs(predictor: Predictor, jobs: Sequence[Job], out: Path, progress: Progress | None = None) -> Summary:
    """Do what `plan_outputs` planned. The floats are held for a band of rows at a time, the 8-bit images whole.

    An image that turns out damaged does not stop the others; it is named in an error at the end.

    Raises:
        DataError: before any image is predicted, one whose bands the model does not take; at the end, damaged ones.
        OutputError: the folder cannot be written.
    """
    for job in jobs:
        _check_bands(job, predictor.info.bands)
    make_folder(out)
    pixels = sum(job.height * job.width for job in jobs)
    done = 0
    finished: list[Job] = []
    failed: dict[Path, DataError] = {}
    began = time.perf_counter()
    for number, job in enumerate(jobs):
        try:
            for rows in _predict_one(predictor, job):
                if progress is not None:
                    progress(Step(job.source, number, len(jobs), done + rows * job.width, pixels))
        except DataError as error:
            failed[job.source] = error
        else:
            finished.append(job)
        done += job.height * job.width
    seconds = time.perf_counter() - began
    write_json(out / RECORD, _record(predictor, jobs, failed, seconds))
    if failed:
        first = next(iter(failed.values()))
        more = f" (and {len(failed) - 1} more, listed in '{out / RECORD}')" if len(failed) > 1 else ""
        raise ImageError(f"{first}{more}; {len(finished)} of {len(jobs)} images are predicted in '{out}'") from first
    return Summary(out, len(finished), sum(job.height * job.width for job in finished), seconds)


def _check_bands(job: Job, bands: int) -> None:
    if job.bands != bands and {job.bands, bands} != {1, 3}:  # grey and colour are turned into each other
        raise DataError(
            f"image '{job.source}' has {job.bands} bands but the model was trained on {bands}: "
            f"export the image with {bands} bands, or train on images like it"
        )


def _predict_one(predictor: Predictor, job: Job) -> Iterator[int]:
    """Read, predict and write one image; gives the number of rows finished after each band."""
    image, valid = open_image(job.source, predictor.info.bands, predictor.info.value_range)
    height, width = image.shape[:2]
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.uint8) if job.probability else None
    for y, rows in predictor.bands(image):
        mask[y : y + len(rows)] = predictor.mask(rows)
        if confidence is not None:  # several classes: of the class in the mask
            confidence[y : y + len(rows)] = np.rint(rows.max(axis=-1) * 255).astype(np.uint8)
        yield y + len(rows)
    nodata = NO_CLASS if predictor.outputs > 1 else None
    if valid is not None:
        mask[~valid] = nodata or 0
        if confidence is not None:
            confidence[~valid] = 0
    # A class map says "no data" by value, a road mask, whose values are all taken, by a mask band.
    write_mask(job.mask, mask, job.source, valid=valid, nodata=nodata if valid is not None else None)
    if confidence is not None and job.probability is not None:
        write_mask(job.probability, confidence, job.source, valid=valid)


def _record(predictor: Predictor, jobs: Sequence[Job], failed: dict[Path, DataError], seconds: float) -> dict[str, Any]:
    info, config = predictor.info, predictor.config
    images = []
    for job in jobs:
        entry: dict[str, Any] = {"input": str(job.source), "width": job.width, "height": job.height}
        if job.source in failed:
            entry["error"] = str(failed[job.source])
        else:
            entry["mask"] = job.mask.name
            entry |= {"probabilities": job.probability.name} if job.probability else {}
        images.append(entry)
    return {
        "model": predictor.name,
        "model_hash": info.hash,
        "classes": list(info.classes),
        "options": {
            "threshold": info.threshold if predictor.outputs == 1 else None,
            "tta": predictor.tta,
            "probabilities": any(job.probability for job in jobs),
            "engine": predictor.engine,
            **({"int8": predictor.int8} if predictor.int8 is not None else {}),
            "scale": info.scale,
            "window": config.window,
            "overlap": config.overlap,
            "batch": config.batch,
        },
        "versions": versions(),
        "seconds": round(seconds, 3),
        "images": images,
    }
