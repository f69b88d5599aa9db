"""Scores of models on labelled images, and runs compared image by image."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import ConfigError, DataError, ModelError, RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .imagery.dataset import Dataset
    from .inference.engine import EngineKind
    from .inference.predictor import Predictor
    from .learning.validation import Validated
    from .roads.network_scores import NetworkScores

__all__ = ["compare", "evaluate"]

CHANGED = ("pixel_iou", "pixel_f1", "patch_accuracy")
COMPARED = ("pixel_f1", "pixel_iou", "pixel_accuracy", "patch_accuracy", "patch_f1")


def evaluate(
    model: Path | str,
    dataset: Path | str,
    *,
    tta: bool = False,
    threshold: float | None = None,
    include_trained: bool = False,
    skip_bad: bool = False,
    engine: "EngineKind | None" = None,
    int8: bool = False,
    graph: bool = False,
) -> dict[str, Any]:
    """Scores of a model on labelled images, pooled over all pixels and patches, beside the all-background baseline.

    Images that the model was trained on (by content) are left out unless `include_trained`; how many is in the answer.

    Args:
        engine: what computes, see `roadseg.load`; None is Keras, the reference, or OpenVINO with `int8`.
        int8: score the model in 8 bits, quantised on these images without their masks. Its scores in float32 are in
            the answer as `float32`, the difference as `change`.
        graph: also trace true and predicted masks and compare the lines, in metres where the dataset says its ground
            resolution, else in pixels; `graph` in the answer, see `roads.mask_scores.pool_networks`.

    Raises:
        ConfigError: `graph` with several classes of which none is called road.
        ModelError: the model's classes or bands are not the dataset's.
        DataError: no image is left.
    """
    from .api import load
    from .config import DataConfig
    from .imagery.dataset import open_dataset
    from .imagery.described import names_by_value
    from .inference.predictor import float32_predictor
    from .learning.exported import is_exported
    from .learning.runs import find_model, read_info
    from .learning.validation import validate
    from .roads.mask_scores import pool_networks
    from .scores import Scores

    info = read_info(find_model(model))
    several = list(names_by_value(info.classes, info.ignore)) if len(info.classes) > 2 else []
    data = DataConfig(
        bands=info.bands, select=list(info.select or ()), value_range=list(info.value_range or ()), invert=info.invert,
        classes=several, ignore=info.ignore if several else -1,
        block=info.block,  # the same blocks of a large raster, so that those it was trained on are known
    )  # fmt: skip
    try:
        opened = open_dataset(Path(dataset), data, skip_bad=skip_bad)
    except DataError:
        if several or info.ignore < 0:
            raise
        # Of two classes a dataset shows itself which is which; where it does not, as the training set did.
        data = msgspec.structs.replace(data, ignore=info.ignore)
        opened = open_dataset(Path(dataset), data, skip_bad=skip_bad)
    if len(opened.classes) != len(info.classes):
        raise ModelError(f"the model has {len(info.classes)} classes, dataset '{dataset}' has {len(opened.classes)}")
    seen = set(info.trained_on)
    skipped = sum(found in seen for found in opened.hashes)
    chosen = [k for k, found in enumerate(opened.hashes) if include_trained or found not in seen]
    if not chosen:
        raise DataError(
            f"the model was trained on all {skipped} images of '{dataset}': give others, or --all to score these"
        )
    chosen_engine: EngineKind = engine or ("openvino" if int8 or is_exported(find_model(model)) else "keras")
    road = _road_class(opened) if graph else 1
    samples = _Images(opened, chosen) if int8 else None
    predictor = load(model, tta=tta, threshold=threshold, engine=chosen_engine, int8=int8, calibrate=samples)
    limit = predictor.info.threshold

    def scored(predictor: "Predictor") -> dict[str, Any]:
        parts: dict[str, Scores] = {}
        networks: dict[str, NetworkScores] = {}
        with opened.reader() as reader:
            for index in chosen:
                result = next(validate(predictor, [reader.read(index)], len(info.classes), limit, info.patch_threshold))
                parts[result.sample.stem] = result.scores
                if graph:
                    networks[result.sample.stem] = _network_scores(result, road, limit, opened.ground_resolution_m)
        total = Scores.pool(parts.values(), len(info.classes))
        scores = total.to_dict()
        if len(info.classes) > 2:
            scores["class_iou"] = dict(zip(info.classes, total.class_iou(), strict=True))
        if graph:
            scores["graph"] = pool_networks(networks, resolution=opened.ground_resolution_m)
        return scores | {"engine": predictor.engine, "images": {stem: part.to_dict() for stem, part in parts.items()}}

    answer = scored(predictor)
    more: dict[str, Any] = {}
    if int8:
        exact = scored(float32_predictor(model, tta=tta, threshold=threshold))
        gaps = {key: answer[key] - exact[key] for key in CHANGED if answer[key] is not None}
        more = {"int8": predictor.int8, "float32": exact, "change": gaps}
    images = answer.pop("images")
    return answer | {
        "threshold": limit,
        "tta": predictor.tta,
        "n_trained_on": skipped,
        "trained_on_included": include_trained and skipped > 0,
        **more,
        "images": images,
    }


def _road_class(dataset: "Dataset") -> int:
    """The position of the class whose lines are traced."""
    if len(dataset.classes) == 2:
        return 1
    for position, name in enumerate(dataset.classes):
        if name.lower() in ("road", "roads"):
            return position
    raise ConfigError(f"graph scores need a class called 'road': this dataset has {', '.join(dataset.classes)}")


def _network_scores(result: "Validated", road: int, threshold: float, resolution: float | None) -> "NetworkScores":
    """The lines of one image's true and predicted masks compared; there are none where there is no label."""
    from .imagery.described import IGNORED
    from .learning.validation import labels_of
    from .roads.mask_scores import score_masks

    truth = result.sample.mask
    predicted = (labels_of(result.probabilities, threshold) == road) & (truth != IGNORED)
    return score_masks(truth == road, predicted, resolution=resolution)


class _Images(Sequence["NDArray[np.uint8]"]):
    """The images of some of a dataset's pairs, read when they are asked for."""

    def __init__(self, dataset: "Dataset", chosen: Sequence[int]) -> None:
        self.dataset, self.chosen = dataset, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset.read(self.chosen[index]).image


def compare(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Two or more runs image by image, on the validation images that all of them have: paired differences to the first.

    Raises:
        RunError: fewer than two runs, or no image in common.
    """
    from .learning.runs import RunFolder

    if len(runs) < 2:
        raise RunError("give at least two runs to compare")
    folders = [RunFolder.open(run) for run in runs]
    tables = [folder.read_json("metrics.json").get("images", {}) for folder in folders]
    splits = [
        {item["stem"]: (item["hash"], item.get("mask")) for item in folder.read_json("split.json").get("val", [])}
        for folder in folders
    ]
    common = [stem for stem in tables[0] if all(stem in t for t in tables) and len({s.get(stem) for s in splits}) == 1]
    if not common:
        raise RunError(
            "these runs have no validation image in common: train them with the same split (--fold, --val-names)"
        )
    answer: dict[str, Any] = {"images": len(common), "runs": {}}
    for run, table in zip(runs, tables, strict=True):
        entry: dict[str, Any] = {}
        for score in COMPARED:
            if any(table[stem].get(score) is None or tables[0][stem].get(score) is None for stem in common):
                continue
            values = [table[stem][score] for stem in common]
            gaps = [table[stem][score] - tables[0][stem][score] for stem in common]
            entry[score] = {
                "mean": statistics.fmean(values),
                "difference": statistics.fmean(gaps),
                "sd_of_difference": statistics.stdev(gaps) if len(gaps) > 1 else None,
                "better": sum(g > 0 for g in gaps),
                "worse": sum(g < 0 for g in gaps),
            }
        answer["runs"][str(run)] = entry
    return answer
