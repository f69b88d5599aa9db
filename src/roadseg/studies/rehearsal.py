"""Whether every variant of a study can be trained on a dataset, found out before the first of them is.

What needs no backend is checked here: the images, the folds, names of networks and losses, crops. What only Keras
knows (activations, optimisers, networks of one's own) is tried in a process of its own, on the processor, with narrow
networks: the study's own process stays small and takes nothing of a GPU.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..config import Config, read_config
from ..errors import ConfigError, RoadsegError
from .ledger import Held, Split
from .records import pair_hash, pairs_digest
from .study import Stage, Study, Variant

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset

__all__ = ["Checked", "check_study", "rehearse"]

NARROW = 8  # channels: whether a network can be built does not hang on its width


@dataclass(frozen=True)
class Checked:
    """The dataset as the baseline reads it, and who is held out."""

    dataset: "Dataset"
    held: Mapping[str, Held]  # by stage
    trained: Mapping[str, Mapping[Split, str]]  # by stage: digest of the training images


def check_study(study: Study, dataset: Path, *, skip_bad: bool = False) -> Checked:
    """Open the dataset, and check each variant against it without a backend.

    Raises:
        RoadsegError: of the kind that `roadseg train` would raise; it names the factor.
    """
    opened: dict[bytes, Dataset] = {}

    def open_once(config: Config) -> "Dataset":
        from ..imagery.dataset import open_dataset

        key = msgspec.json.encode(config.data)
        if key not in opened:  # factors that read the images otherwise are few
            opened[key] = open_dataset(dataset, config.data, skip_bad=skip_bad)
        return opened[key]

    first = open_once(study.baseline.config)
    if len(first.classes) > 2 and study.metric.startswith("patch"):
        raise ConfigError(
            f"study '{study.source}': metric = '{study.metric}' is for two classes, '{dataset}' has "
            f"{len(first.classes)}: declare pixel_f1, pixel_iou or pixel_accuracy"
        )
    held: dict[str, dict[Split, dict[str, str]]] = {}
    trained: dict[str, dict[Split, str]] = {}
    for stage in study.stages:
        held[stage.name] = {split: _held_out(first, study, stage, split) for split in stage.splits()}
        trained[stage.name] = {split: _trained_on(first, out) for split, out in held[stage.name].items()}
    for variant in study.variants:
        with _named(study, variant):
            found = open_once(variant.config)
            for stage in study.stages:
                _check(study.recipe(variant, stage), found, study, stage)
            for stage in study.stages:
                for split, images in held[stage.name].items():
                    if _held_out(found, study, stage, split) != images:
                        raise ConfigError(f"it holds out other images in fold {split[1]} than the baseline does")
    return Checked(first, held, trained)


def _check(config: Config, dataset: "Dataset", study: Study, stage: Stage) -> None:
    """What `learning.job.prepare_training` checks, with a dataset that is open already."""
    from ..imagery.splits import split_dataset
    from ..learning.loss_names import check_loss
    from ..learning.plan import check_batch, check_crop, settle
    from ..network_names import check_network

    check_network(config.network)
    check_loss(config.loss, len(dataset.classes))
    check_crop(config)
    check_batch(config)
    fold = (stage.hold_out[0], stage.folds)
    split = split_dataset(dataset.pairs, fold=fold, fold_seed=stage.fold_seed, group=study.group)
    settled, _ = settle(config, dataset, split.train)
    check_crop(settled)
    check_batch(settled)


def _held_out(dataset: "Dataset", study: Study, stage: Stage, split: Split) -> dict[str, str]:
    from ..imagery.splits import split_dataset

    fold_seed, fold = split
    found = split_dataset(dataset.pairs, fold=(fold, stage.folds), fold_seed=fold_seed, group=study.group)
    return {dataset.pairs[k].stem: pair_hash(dataset.entry(k)) for k in found.val}


def _trained_on(dataset: "Dataset", held: Mapping[str, str]) -> str:
    """Digest of the others."""
    return pairs_digest(dataset.entry(k) for k, pair in enumerate(dataset.pairs) if pair.stem not in held)


@contextmanager
def _named(study: Study, variant: Variant) -> Iterator[None]:
    try:
        yield
    except RoadsegError as error:
        raise type(error)(f"study '{study.source}', {variant.where}: {error}") from error


def rehearse(study: Study, bands: int = 3, classes: int = 2) -> None:
    """Build every network and optimiser of the study once, in a process of its own.

    Raises:
        ConfigError: one cannot be built; names the factor.
        BackendError: no Keras backend is installed.
    """
    from .. import errors

    wanted = {"bands": bands, "classes": classes, "configs": [v.config.to_dict() for v in study.variants]}
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(wanted), env=variables, capture_output=True, text=True,
        check=False, encoding="utf-8",
    )  # fmt: skip
    said = done.stdout.splitlines()[-1:] or [""]
    try:
        answer = json.loads(said[0])
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ConfigError(f"study '{study.source}': its networks could not be tried: {last}") from None
    if answer:
        kind = getattr(errors, answer["kind"], ConfigError)
        where = "" if answer["variant"] is None else f", {study.variants[answer['variant']].where}"
        raise kind(f"study '{study.source}'{where}: {answer['message']}")


def _build_all(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """In the other process: {} when all is well, else which variant, the error's class and message."""
    at: int | None = None
    try:
        from ..backend import load_keras

        keras = load_keras()
        done: set[bytes] = set()
        for at, tables in enumerate(wanted["configs"]):  # noqa: B007
            config = read_config(tables)
            for part, build in _parts(config, wanted["bands"], wanted["classes"]):
                key = msgspec.json.encode(part)
                if key not in done:
                    build()
                    done.add(key)
            keras.backend.clear_session()
    except RoadsegError as error:
        return {"variant": at, "kind": type(error).__name__, "message": str(error)}
    except Exception as error:  # whatever a network of the user's raises
        return {"variant": at, "kind": "ConfigError", "message": f"{type(error).__name__}: {error}"}
    return {}


def _parts(config: Config, bands: int, classes: int) -> list[tuple[Any, Callable[[], Any]]]:
    from ..learning.optimizers import check_optimizer
    from ..networks import build_network, supervised

    width = config.network.width if config.network.encoder else min(NARROW, config.network.width)
    network = msgspec.structs.replace(config.network, width=width)

    def build() -> None:
        model = build_network(network, bands=bands, classes=classes, fetch=False)
        if network.deep_supervision:
            supervised(model)

    return [(network, build), (config.train, lambda: check_optimizer(config.train))]


if __name__ == "__main__":
    print("\n" + json.dumps(_build_all(json.load(sys.stdin))), flush=True)
