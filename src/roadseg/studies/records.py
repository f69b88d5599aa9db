"""What is kept of one training in a study: small, plain JSON, enough to compute every score of it anew."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..config import Config
from ..errors import ConfigError, RunError
from ..files import write_text
from ..scores import Scores

__all__ = [
    "METRICS",
    "ROWS",
    "ImageRecord",
    "RunRecord",
    "check_metric",
    "digest",
    "pair_hash",
    "pairs_digest",
    "pooled",
    "read_records",
    "record_of",
    "write_record",
]

METRICS = ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1")  # of all, more is better
ROWS = {  # of a cross-validation's scores
    "single": "one model",
    "tta": "one model, 8 views",
    "seeds": "mean of the seeds",
    "seeds_tta": "mean of the seeds, 8 views",
}
VERSION = 1


class ImageRecord(msgspec.Struct, frozen=True):
    """One held-out image: confusion matrices (truth, found) of its pixels and of its 16x16 patches."""

    hash: str  # of image and mask, see `pair_hash`
    pixels: list[list[int]]
    patches: list[list[int]]

    def scores(self) -> Scores:
        """They add up over images."""
        return Scores(np.array(self.pixels, np.int64), np.array(self.patches, np.int64), 1)


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished training: what was asked, what it held out and how it scored there with its final weights."""

    version: int = VERSION
    variant: str  # the factor that was changed, or "baseline"
    fold: int
    folds: int
    fold_seed: int
    seed: int
    trained_on: str = ""  # digest of the training images and masks
    asked: str  # digest of the recipe that was asked for, see `digest`
    n_train: int
    epochs: int
    steps: int
    parameters: int
    training_s: float
    total_s: float
    image_s: float  # to predict one held-out image
    machine: dict[str, Any]
    versions: dict[str, str]
    images: dict[str, ImageRecord]  # by stem

    @property
    def place(self) -> tuple[int, int, int]:
        """(fold_seed, fold, seed): what runs are paired by."""
        return self.fold_seed, self.fold, self.seed

    @property
    def classes(self) -> int:
        """How many the held-out images were scored for."""
        return len(next(iter(self.images.values())).pixels)

    def score(self, metric: str) -> float:
        """A score of METRICS, pooled over the held-out images.

        Raises:
            ConfigError: an unknown metric, or one that these classes do not have.
        """
        check_metric(metric, self.classes)
        return float(pooled(self.images.values()).to_dict()[metric])


def check_metric(metric: str, classes: int) -> None:
    """Whether there is such a score, of that many classes: patches are road or not.

    Raises:
        ConfigError: there is not.
    """
    there = METRICS if classes == 2 else tuple(name for name in METRICS if not name.startswith("patch"))
    if metric not in there:
        raise ConfigError(f"metric '{metric}': expected one of {', '.join(there)} (of {classes} classes)")


def pooled(images: Iterable[ImageRecord]) -> Scores:
    """Scores over all pixels and patches of some images (at least one)."""
    parts = [image.scores() for image in images]
    return Scores.pool(parts, parts[0].classes)


def pair_hash(entry: Mapping[str, str]) -> str:
    """Image and mask of a pair by their content, of an entry of split.json or `Dataset.entry`: labels may be mended."""
    return f"{entry['hash']}-{entry['mask']}"


def pairs_digest(entries: Iterable[Mapping[str, str]]) -> str:
    """16 hex digits of some pairs, whatever their order; empty for none."""
    codes = sorted(pair_hash(entry) for entry in entries)
    return hashlib.sha256(" ".join(codes).encode()).hexdigest()[:16] if codes else ""


def digest(config: Config) -> str:
    """16 hex digits of a recipe, the seed left out: runs of one variant have it in common."""
    tables = config.to_dict()
    tables["train"].pop("seed")
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:16]


def record_of(run: Path, *, variant: str, fold: int, folds: int, fold_seed: int, seed: int, asked: Config) -> RunRecord:
    """The record of a finished run folder.

    Raises:
        RunError: it is not finished, or its files are damaged.
    """
    from ..learning.runs import RunFolder

    folder = RunFolder.open(run)
    metrics, split = folder.read_json("metrics.json"), folder.read_json("split.json")
    try:
        hashes = {item["stem"]: pair_hash(item) for item in split["val"]}
        times = metrics["times"]
        if not metrics["complete"]:
            raise RunError(f"run '{run}' is not finished: its metrics.json says complete = false")
        return RunRecord(
            variant=variant,
            fold=fold,
            folds=folds,
            fold_seed=fold_seed,
            seed=seed,
            trained_on=pairs_digest(split.get("train", [])),
            asked=digest(asked),
            n_train=metrics["n_train"],
            epochs=metrics["epochs"],
            steps=metrics["steps"],
            parameters=metrics["parameters"],
            training_s=times["training_s"],
            total_s=times["total_s"],
            image_s=times.get("validation_image_s", 0.0),
            machine=metrics["machine"],
            versions=metrics["versions"],
            images={
                stem: ImageRecord(hashes[stem], found["pixel_counts"], found["patch_counts"])
                for stem, found in metrics["images"].items()
            },
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"run '{run}' has no complete record: {error!r} in metrics.json or split.json") from error


def write_record(record: RunRecord, path: Path) -> None:
    """One line of JSON an image, so that a reader and a version control see what differs."""
    tables = msgspec.to_builtins(record)
    images = tables.pop("images")
    lines = [f"    {json.dumps(stem)}: {json.dumps(image)}" for stem, image in images.items()]
    head = json.dumps(tables, indent=2, ensure_ascii=False).removesuffix("\n}")
    write_text(path, head + ',\n  "images": {\n' + ",\n".join(lines) + "\n  }\n}\n")


def read_records(files: Sequence[Path]) -> list[RunRecord]:
    """The records in these files.

    Raises:
        RunError: one is damaged, or of another version of roadseg.
    """
    found = []
    for path in files:
        try:
            record = msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except (OSError, msgspec.DecodeError) as error:
            raise RunError(f"'{path}' is not the record of a run: {error}; remove it to train it anew") from error
        if record.version != VERSION:
            raise RunError(f"'{path}' was written by another version of roadseg: update it, or start another study")
        found.append(record)
    return found
