"""A training as it was asked for: its options over the recipe, the opened dataset, who trains and who validates.

All of it is known before a backend is loaded and before anything is written.
"""

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import msgspec

from ..config import Config
from ..errors import ConfigError, ModelError, RoadsegWarning
from ..files import check_place

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset, Sample
    from ..imagery.splits import Split

__all__ = [
    "Prepared",
    "TrainingOptions",
    "check_pause",
    "prepare_training",
    "report_duplicates",
    "trained_before",
    "with_options",
]


LISTED = 100  # validation images that a dry run names


class TrainingOptions(TypedDict, total=False):
    """The options of `roadseg.train` besides the recipe, all of them optional; `roadseg.train` says what they do."""

    epochs: int | None
    minutes: float | None
    seed: int | None
    devices: int | None
    val: float | None
    val_names: Path | None
    fold: tuple[int, int] | None
    fold_seed: int
    full: bool
    group: str | None
    init: Path | str | None
    skip_bad: bool


@dataclass(frozen=True)
class Prepared:
    """What a training run starts from: the opened dataset, who trains and who validates, and the settled recipe."""

    dataset: "Dataset"
    split: "Split"
    config: Config
    chosen: str = ""

    def summary(self) -> str:
        """A few lines for the display."""
        count = f"{len(self.split.train)} images train, {len(self.split.val)} validate ({self.split.rule})"
        chosen = f"\nas the data suggests: {self.chosen}" if self.chosen else ""
        return f"{self.dataset.summary()}\nsplit: {count}{chosen}"

    def plan(self) -> str:
        """The summary, and what would be trained for how long."""
        train, network = self.config.train, self.config.network
        names = [self.dataset.pairs[k].stem for k in self.split.val]
        if len(names) > LISTED:
            names = [*names[:LISTED], f"... ({len(names)} in all)"]
        length = f"{train.epochs} epochs"
        if train.steps:
            length = f"{train.steps} steps"
        if train.minutes:
            length = f"{train.minutes:g} minutes"
        return (
            f"{self.summary()}\nvalidation: {', '.join(names) or 'none'}\n"
            f"network: {network.encoder or network.name}, width {network.width}, depth {network.depth}; "
            f"loss {self.config.loss.name}; {length} of batch {train.batch} x {train.crop}x{train.crop}"
        )


def prepare_training(
    dataset: Path | str, out: Path | str, config: Config, **options: Unpack[TrainingOptions]
) -> Prepared:
    """Check what can be checked, open the dataset, split it, and settle what the recipe leaves to the data.

    Raises:
        RoadsegError: see `roadseg.errors`; nothing has been written.
    """
    from ..imagery.dataset import open_dataset
    from ..imagery.splits import split_dataset
    from .loss_names import check_loss
    from .plan import settle

    config = with_options(
        config, options.get("epochs"), options.get("minutes"), options.get("seed"), options.get("devices")
    )
    _check(config, Path(out), options.get("init"))
    opened = open_dataset(Path(dataset), config.data, skip_bad=options.get("skip_bad", False))
    check_loss(config.loss, len(opened.classes))
    split = split_dataset(
        opened.pairs,
        seed=config.train.seed,
        val=options.get("val"),
        names=options.get("val_names"),
        fold=options.get("fold"),
        fold_seed=options.get("fold_seed", 43),
        full=options.get("full", False),
        group=options.get("group"),
    )
    seen = set(trained_before(options.get("init")))
    known = [opened.pairs[k].stem for k in split.val if opened.hashes[k] in seen]
    if known:
        warnings.warn(
            f"--init '{options.get('init')}' was trained on {len(known)} of the {len(split.val)} validation images "
            f"('{known[0]}'{', ...' if len(known) > 1 else ''}): scores on them will be too good",
            RoadsegWarning,
            stacklevel=3,
        )
    return Prepared(opened, split, *settle(config, opened, split.train))


def check_pause(pause: float | None) -> None:
    """Refuse a length of time that is none.

    Args:
        pause: minutes; None: no pause.

    Raises:
        ConfigError: not a number above 0.
    """
    if pause is not None and not 0 < pause < 1e6:
        raise ConfigError(f"--pause {pause:g}: a number of minutes above 0")


def trained_before(init: Path | str | None) -> tuple[str, ...]:
    """Content hashes of the images that the weights to start from were trained on; none where they do not say."""
    from .runs import find_model, read_info

    if init is None:
        return ()
    try:
        return read_info(find_model(init)).trained_on
    except ModelError:  # a model that roadseg did not write
        return ()


def with_options(
    config: Config,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    devices: int | None = None,
) -> Config:
    """The recipe with the options that stand over it.

    Raises:
        ConfigError: one is out of range, or both epochs and minutes are given.
    """
    train = config.train
    if epochs is not None and minutes is not None:
        raise ConfigError("give epochs or minutes, not both")
    if epochs is not None:
        if epochs < 1:
            raise ConfigError(f"--epochs {epochs}: at least 1")
        train = msgspec.structs.replace(train, epochs=epochs, minutes=0.0, steps=0)
    if minutes is not None:
        if not 0 < minutes < 1e6:
            raise ConfigError(f"--minutes {minutes}: a number above 0")
        train = msgspec.structs.replace(train, minutes=float(minutes), steps=0)
    if seed is not None:
        if not 0 <= seed < 2**32:
            raise ConfigError(f"--seed {seed}: expected 0..{2**32 - 1}")
        train = msgspec.structs.replace(train, seed=seed)
    if devices is not None:
        if devices < 1:
            raise ConfigError(f"--devices {devices}: at least 1")
        train = msgspec.structs.replace(train, devices=devices)
    return msgspec.structs.replace(config, train=train)


def _check(config: Config, out: Path, init: Path | str | None) -> None:
    """Refuse what can be known to be wrong before an image is read or Keras is loaded."""
    from ..network_names import check_network
    from .loss_names import check_loss
    from .plan import check_batch, check_crop
    from .runs import RunFolder, find_model

    check_network(config.network)
    check_loss(config.loss)
    check_crop(config)
    check_batch(config)
    if init is not None and not zipfile.is_zipfile(find_model(init)):
        raise ModelError(f"--init '{init}' is not a Keras model: give a run folder or a .keras file")
    check_place(out)
    if out.exists():
        RunFolder.create(out)


def report_duplicates(train: "Sequence[Sample]", val: "Sequence[Sample]") -> None:
    """Warn of pictures that train and validate at once."""
    from ..imagery.duplicates import find_duplicates

    found = find_duplicates(train, val)
    if found:
        shown = ", ".join(f"{a} = {b}" if kind == "same" else f"{a} ~ {b}" for a, b, kind in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        count = f"{len(found)} picture" + ("s" if len(found) != 1 else "")
        warnings.warn(
            f"training and validation share {count} (= the same, ~ nearly): {shown}{more}. "
            "Scores will be too good: keep them on one side with --group or --val-names",
            RoadsegWarning,
            stacklevel=3,
        )
