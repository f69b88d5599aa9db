"""The study file of an ablation: a baseline, factors, folds, seeds, a metric declared beforehand, a length.

    title = "A loss like the contest's"
    metric = "pixel_f1"            # what the verdicts are about, declared before anything is trained
    folds = 5                      # of the dataset; hold_out trains some of them alone
    hold_out = [0, 1]
    fold_seed = 43                 # or fold_seeds = [43, 44]: the whole once more with the images dealt out anew
    seeds = [0, 1]
    group = ""                     # regular expression: images with the same match stay on one side
    [length]                       # of each training: steps, epochs or minutes
    steps = 400
    [baseline]
    config = "../default.toml"     # optional, relative to the study file
    set = ["network.width=16"]
    [factors]                      # one change each: an assignment as --set takes it, or a list of them
    "leaky ReLU" = "network.activation=leaky_relu"
    [grid]                         # every combination is a factor
    "network.width" = [16, 32]
    "loss.name" = ["bce", "bce_dice"]
    [confirm]                      # optional: the best of the first stage once more, longer, with other seeds and folds
    best = 3
    steps = 3000
    seeds = [10, 11]

Reading it checks every key and setting; nothing is opened or loaded.
"""

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import tomli_w

from ..config import Config, read_config
from ..errors import ConfigError
from ..learning.job import with_options
from .recipes import assignment, assignments_of, difference, same_training
from .records import METRICS
from .study_file import BaselineTable, ConfirmTable, LengthTable, StudyTables, nearest, study_tables

__all__ = ["BASELINE", "Length", "Place", "Stage", "Study", "Variant", "read_study"]

BASELINE = "baseline"
LARGEST_GRID = 200  # combinations: more of them is a slip of the pen, not a study
LONGEST_SLUG = 80
FOLD_SEED = 43  # of the folds that others have published, see `roadseg.imagery.splits`
# Settings that are the study's own, and where it has them.
OWN = {"train.steps": "[length]", "train.epochs": "[length]", "train.minutes": "[length]", "train.seed": "seeds"}
# Settings that change what is scored, so that a difference to the baseline would mean nothing.
TRUTH = ("data.invert", "data.classes", "data.ignore", "predict.patch_threshold")

# === What it means ===


@dataclass(frozen=True)
class Length:
    """How long one training is."""

    kind: Literal["steps", "epochs", "minutes"]
    amount: float

    def __str__(self) -> str:
        """`400 steps`."""
        return f"{self.amount:g} {self.kind[:-1] if self.amount == 1 else self.kind}"

    def apply(self, config: Config) -> Config:
        """The recipe with this length instead of its own."""
        if self.kind == "steps":
            train = msgspec.structs.replace(
                config.train, steps=int(self.amount), minutes=0.0, epochs=Config().train.epochs
            )
            return msgspec.structs.replace(config, train=train)
        if self.kind == "minutes":
            config = with_options(config, epochs=Config().train.epochs)  # what a longer length leaves says nothing
            return with_options(config, minutes=self.amount)
        return with_options(config, epochs=int(self.amount))


@dataclass(frozen=True)
class Variant:
    """The baseline, or one factor: its name, its settings over the baseline's, and the recipe they make."""

    name: str
    settings: tuple[str, ...]
    config: Config

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^\w.+-]+", "_", self.name.lower()).strip("._")[:LONGEST_SLUG]

    @property
    def where(self) -> str:
        """For messages: `factor 'leaky ReLU'`."""
        return "the baseline" if self.name == BASELINE else f"factor '{self.name}'"


class Place(NamedTuple):
    """Where a variant is trained: a fold of a split of the images, and the seed of the training."""

    fold_seed: int
    fold: int
    seed: int


@dataclass(frozen=True)
class Stage:
    """Trainings of one length: each variant on the same folds of the same splits with the same seeds."""

    name: Literal["screen", "confirm"]
    length: Length
    folds: int
    hold_out: tuple[int, ...]
    fold_seeds: tuple[int, ...]  # a split of the images each: several are a repeated cross-validation
    seeds: tuple[int, ...]
    best: int = 0  # so many factors of the screening; 0: all there are

    @property
    def fold_seed(self) -> int:
        """Of the first split."""
        return self.fold_seeds[0]

    def splits(self) -> list[tuple[int, int]]:
        """(fold_seed, fold) of every set of images that is held out."""
        return [(fold_seed, fold) for fold_seed in self.fold_seeds for fold in self.hold_out]

    def places(self) -> list[Place]:
        """In the order of training: a seed on all folds, then the next; a split after the other."""
        order = itertools.product(self.fold_seeds, self.seeds, self.hold_out)
        return [Place(fold_seed, fold, seed) for fold_seed, seed, fold in order]


@dataclass(frozen=True)
class Study:
    """A study file that was read and found sound."""

    source: Path
    title: str
    metric: str
    group: str | None
    baseline: Variant
    factors: tuple[Variant, ...]
    screen: Stage
    confirm: Stage | None
    text: str  # the file, with the baseline's configuration file written into it

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One or two."""
        return (self.screen,) if self.confirm is None else (self.screen, self.confirm)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The baseline first."""
        return self.baseline, *self.factors

    @staticmethod
    def recipe(variant: Variant, stage: Stage, seed: int = 0) -> Config:
        """The complete recipe of one training, as it is asked for."""
        config = stage.length.apply(variant.config)
        return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, seed=seed))

    def choose(self, names: Sequence[str] | None) -> tuple[Variant, ...]:
        """The factors of these names; all of them when None.

        Raises:
            ConfigError: one is not in the study; the nearest is suggested.
        """
        known = [factor.name for factor in self.factors]
        for name in names or ():
            if name not in known and name != BASELINE:
                raise ConfigError(f"--only '{name}': study '{self.source}' has no such factor: {nearest(name, known)}")
        return tuple(factor for factor in self.factors if names is None or factor.name in names)


def read_study(path: Path | str) -> Study:
    """Read a study file and check everything that can be checked without a dataset and without a backend.

    Raises:
        ConfigError: it cannot be read, a key or a setting is unknown (the nearest is suggested) or out of range, a
            factor changes nothing, changes what is scored, or is there twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read study '{path}': {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"study '{path}' is not TOML: {error}") from error
    where = f"study '{path}'"
    file = study_tables(tables, where)
    if file.metric not in METRICS:
        raise ConfigError(f"{where}: metric = '{file.metric}': {nearest(file.metric, METRICS)}")
    screen = _screening(file, where)
    confirm = None if file.confirm is None else _confirmation(file.confirm, screen, where)
    base = _base_tables(path, file.baseline)
    _check_own(file.baseline.set, f"{where}, the baseline")
    given = [text for text in assignments_of(read_config(base)) if text.partition("=")[0] not in OWN]
    baseline = _variant(BASELINE, [*given, *file.baseline.set], base, file.baseline.set, f"{where}, the baseline")
    factors = _factors(file, base, baseline, where)
    if confirm is not None and len(factors) < confirm.best:
        raise ConfigError(f"{where}: confirm.best = {confirm.best}: the study has {len(factors)} factors")
    if file.baseline.config:
        text = tomli_w.dumps({**tables, "baseline": {"set": list(baseline.settings)}})
    group, title = file.group or None, file.title or path.stem
    return Study(path, title, file.metric, group, baseline, factors, screen, confirm, text)


# === Reading ===


def _length(given: LengthTable | ConfirmTable, where: str) -> Length:
    kinds: tuple[Literal["steps", "epochs", "minutes"], ...] = ("steps", "epochs", "minutes")
    found = [Length(kind, getattr(given, kind)) for kind in kinds if getattr(given, kind) is not None]
    if len(found) != 1:
        what = " and ".join(length.kind for length in found) or "none of them"
        raise ConfigError(f"{where} has {what}: give one of steps, epochs, minutes")
    return found[0]


def _screening(file: StudyTables, where: str) -> Stage:
    length = _length(file.length, f"{where}: [length]")
    held = _hold_out(file.hold_out, file.folds, f"{where}: hold_out")
    splits = _splits(file, f"{where}: ", FOLD_SEED)
    return Stage("screen", length, file.folds, held, splits, _distinct(file.seeds, f"{where}: seeds"))


def _confirmation(given: ConfirmTable, screen: Stage, where: str) -> Stage:
    seeds = _distinct(given.seeds, f"{where}: confirm.seeds")
    twice = sorted(set(seeds) & set(screen.seeds))
    if twice:
        raise ConfigError(
            f"{where}: confirm.seeds has {', '.join(map(str, twice))} as the screening has: give other seeds, so that "
            "what was chosen by its luck has to prove itself"
        )
    held = _hold_out(given.hold_out, screen.folds, f"{where}: confirm.hold_out")
    splits = _splits(given, f"{where}: confirm.", (max(screen.fold_seeds) + 1) % 2**32)
    again = sorted(set(splits) & set(screen.fold_seeds))
    if again and set(held) & set(screen.hold_out):
        raise ConfigError(
            f"{where}: confirm.fold_seed = {again[0]} holds out folds of the screening again: the choice would be "
            "scored on what it was made on; give another fold_seed, or folds in confirm.hold_out that screening has not"
        )
    length = _length(given, f"{where}: [confirm]")
    return Stage("confirm", length, screen.folds, held, splits, seeds, given.best)


def _splits(given: StudyTables | ConfirmTable, where: str, otherwise: int) -> tuple[int, ...]:
    """The seeds of the folds: one, or several of a repeated cross-validation."""
    if given.fold_seeds is None:
        return (otherwise if given.fold_seed is None else given.fold_seed,)
    if given.fold_seed is not None:
        raise ConfigError(f"{where}fold_seed and fold_seeds say the same thing: give one of them")
    return _distinct(given.fold_seeds, f"{where}fold_seeds")


def _hold_out(given: list[int] | None, folds: int, where: str) -> tuple[int, ...]:
    if given is None:
        return tuple(range(folds))
    for fold in given:
        if not 0 <= fold < folds:
            raise ConfigError(f"{where} has {fold}: with {folds} folds they are 0..{folds - 1}")
    return _distinct(given, where)


def _distinct(given: list[int], where: str) -> tuple[int, ...]:
    if not given:
        raise ConfigError(f"{where} is empty: give one or more")
    if len(set(given)) < len(given):
        raise ConfigError(f"{where} = {given}: each once")
    return tuple(given)


def _base_tables(path: Path, baseline: BaselineTable) -> dict[str, Any]:
    if not baseline.config:
        return {}
    config = path.parent / baseline.config
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"study '{path}', the baseline: cannot read config = '{baseline.config}', that is '{config}': "
            f"{error.strerror or error}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"study '{path}', the baseline: '{config}' is not TOML: {error}") from error
    read_config(tables, source=f"study '{path}', the baseline: '{config}'")
    return tables


def _variant(
    name: str, settings: Sequence[str], base: Mapping[str, Any], assignments: Sequence[str], where: str
) -> Variant:
    try:
        return Variant(name, tuple(settings), read_config(base, assignments))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_own(settings: Sequence[str], where: str) -> None:
    for text in settings:
        key = text.partition("=")[0].strip()
        if key in OWN:
            raise ConfigError(f"{where}: '{text}': {key} is the study's, the same for all: see {OWN[key]}")


def _factors(file: StudyTables, base: Mapping[str, Any], baseline: Variant, where: str) -> tuple[Variant, ...]:
    wanted = {name: [given] if isinstance(given, str) else given for name, given in file.factors.items()}
    found: dict[str, Variant] = {}
    for name, settings in [*wanted.items(), *_grid(file.grid, where)]:
        here = f"{where}, factor '{name}'"
        _check_own(settings, here)
        made = _variant(name, settings, base, [*file.baseline.set, *settings], here)
        if same_training(made.config, baseline.config):
            if name not in wanted:
                continue  # that corner of the grid is the baseline
            raise ConfigError(f"{here} changes nothing: {', '.join(settings) or 'no setting'} is what the baseline has")
        _check_factor(made, baseline, list(found.values()), here)
        found[name] = made
    if not found:
        raise ConfigError(f"{where} has no factor: name one or more in [factors] or [grid]")
    return tuple(found.values())


def _grid(grid: Mapping[str, list[Any]], where: str) -> list[tuple[str, list[str]]]:
    """Every combination with its name."""
    count = 1
    for key, values in grid.items():
        if not values:
            raise ConfigError(f"{where}: grid.'{key}' is empty: give the values to try")
        count *= len(values)
    if not grid:
        return []
    if count > LARGEST_GRID:
        raise ConfigError(f"{where}: [grid] has {count} combinations, at most {LARGEST_GRID}: leave values out")
    rows = itertools.product(*([assignment(key, value) for value in values] for key, values in grid.items()))
    return [(", ".join(row), list(row)) for row in rows]


def _check_factor(factor: Variant, baseline: Variant, others: Sequence[Variant], where: str) -> None:
    """Refuse what cannot be compared with the baseline or told from the others."""
    changed = difference(baseline.config, factor.config)
    for key in TRUTH:
        if key in changed:
            raise ConfigError(f"{where} changes {key}, and with it what is scored: set it in the baseline, for all")
    if changed.keys() == {"predict.tta"}:
        raise ConfigError(
            f"{where} changes predict.tta alone: studies are scored without; see `roadseg crossval --tta`"
        )
    if not factor.slug or factor.slug == BASELINE:
        raise ConfigError(f"{where}: no name for a factor: give another, with letters or digits")
    for other in others:
        if same_training(factor.config, other.config):
            raise ConfigError(f"{where} has the same settings as factor '{other.name}': leave one out")
        if factor.slug == other.slug:
            raise ConfigError(f"{where} and factor '{other.name}' would share the folder '{factor.slug}': rename one")
