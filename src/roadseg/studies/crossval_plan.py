"""A cross-validation as it was asked for: the opened dataset, its folds, and the trainings. Nothing is written here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..config import Config
from ..errors import ConfigError, DataError, RunError
from ..files import check_place
from .jobs import Job, check_jobs

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset
    from ..imagery.splits import Split

__all__ = ["Plan", "PlanOptions", "plan_crossval"]


class PlanOptions(TypedDict, total=False):
    """The options of `roadseg.crossval` that say what is trained, each optional; it says what they do."""

    folds: int
    fold_seed: int
    seeds: int | Sequence[int]
    epochs: int | None
    minutes: float | None
    group: str | None
    init: Path | str | None
    skip_bad: bool
    road_share: float | None


@dataclass(frozen=True)
class Plan:
    """All that is known before anything is trained; as a string, a few lines for the display."""

    dataset: "Dataset"
    summary: str  # of the dataset, without the path of its folder
    splits: tuple["Split", ...]  # by fold
    seeds: tuple[int, ...]
    config: Config  # as asked, length included
    jobs: tuple[Job, ...]  # by fold, then by seed
    fold_seed: int
    group: str | None
    road_share: float | None

    @property
    def length(self) -> str:
        """How long each training is, in words."""
        train = self.config.train
        if train.minutes:
            return f"{train.minutes:g} minutes a fold"
        return f"{train.steps} steps a fold" if train.steps else f"{train.epochs} epochs a fold"

    def __str__(self) -> str:
        sizes = " + ".join(str(len(split.val)) for split in self.splits)
        groups = "".join(self.splits[0].rule.partition(", whole groups by ")[1:])  # asked for, or of the dataset
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return (
            f"{self.summary}\n"
            f"{len(self.splits)} folds of {sizes} images (fold seed {self.fold_seed}{groups}); {seeds}; "
            f"{len(self.jobs)} trainings, {self.length}"
        )


def plan_crossval(
    dataset: Path | str,
    out: Path | str,
    config: Config,
    *,
    folds: int = 5,
    fold_seed: int = 43,
    seeds: int | Sequence[int] = 1,
    epochs: int | None = None,
    minutes: float | None = None,
    group: str | None = None,
    init: Path | str | None = None,
    skip_bad: bool = False,
    road_share: float | None = None,
) -> Plan:
    """Check what can be checked, open the dataset and cut it into folds; see `crossval` for the arguments.

    Raises:
        RoadsegError: see `roadseg.errors`.
    """
    from ..imagery.splits import split_dataset
    from ..learning.job import prepare_training, trained_before, with_options
    from ..learning.runs import find_model

    dataset, out = Path(dataset), Path(out)
    if init is not None and not Path(init).exists():  # a name in the package: each training looks from its own place
        init = find_model(init)
    config = with_options(config, epochs, minutes)
    chosen = _seeds(seeds, config.train.seed)
    if folds < 2:
        raise ConfigError(f"--folds {folds}: two folds or more are needed")
    if road_share is not None and not 0 < road_share < 1:
        raise ConfigError(f"--road-share {road_share:g}: expected a share above 0 and below 1, e.g. 0.16")
    check_place(out)
    _check_out(out)
    prepared = prepare_training(
        dataset,
        out / "new",  # each run's own folder may be there already: `check_jobs` looks at those
        config,
        fold=(0, folds),
        fold_seed=fold_seed,
        group=group,
        init=init,
        skip_bad=skip_bad,
    )
    opened = prepared.dataset
    seen = set(trained_before(init))
    known = [pair.stem for pair, code in zip(opened.pairs, opened.hashes, strict=True) if code in seen]
    if known:
        raise DataError(
            f"--init '{init}' was trained on {len(known)} images of '{dataset}' ('{known[0]}'), which a "
            "cross-validation holds out in turn: scores would be too good. Start from a model that has not seen them"
        )
    if road_share is not None and len(opened.classes) > 2:
        raise ConfigError(f"--road-share is for two classes, '{dataset}' has {len(opened.classes)}")
    splits = tuple(split_dataset(opened.pairs, fold=(k, folds), fold_seed=fold_seed, group=group) for k in range(folds))
    jobs = tuple(
        Job(
            name=f"fold {k}, seed {seed}" if len(chosen) > 1 else f"fold {k}",
            out=_place(out, k, seed, len(chosen) > 1),
            dataset=dataset,
            config=with_options(config, seed=seed),
            fold=(k, folds),
            fold_seed=fold_seed,
            group=group,
            init=Path(init) if init is not None else None,
            skip_bad=skip_bad,
        )
        for k in range(folds)
        for seed in chosen
    )
    check_jobs(jobs)
    # The folder's own name: a record that is passed on says nothing of where it was made.
    summary = opened.summary().replace(str(opened.root), opened.root.resolve().name, 1)
    return Plan(opened, summary, splits, chosen, config, jobs, fold_seed, group, road_share)


def _seeds(seeds: int | Sequence[int], first: int) -> tuple[int, ...]:
    if isinstance(seeds, int):
        if seeds < 1:
            raise ConfigError(f"--seeds {seeds}: at least 1; seeds themselves are given with commas, e.g. 0,3,7")
        return tuple(range(first, first + seeds))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {','.join(map(str, seeds))}: give each seed once, e.g. 0,3,7")
    return tuple(seeds)


def _place(out: Path, fold: int, seed: int, several: bool) -> Path:
    """A run's folder; where the same seed was trained as the only one, or as one of several, it is that run."""
    alone, one_of_several = out / f"fold_{fold}", out / f"fold_{fold}_seed_{seed}"
    wanted, other = (one_of_several, alone) if several else (alone, one_of_several)
    if not wanted.exists() and (other / "config.toml").is_file():
        from ..learning.runs import RunFolder

        if RunFolder.open(other).read_config().train.seed == seed:
            return other
    return wanted


def _check_out(out: Path) -> None:
    """Refuse a folder of something else; a cross-validation that was begun may go on."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    begun = any(path.is_dir() for path in out.glob("fold_*"))
    if not begun and not (out / "crossval.json").is_file():
        raise RunError(f"'{out}' is not empty and not a cross-validation: give another --out")
