"""One training of a study: what is asked of it, and what its run folder holds so far. Nothing here trains.

Beside a run folder `OUT` lie

| file           | what                                                                                     |
|----------------|------------------------------------------------------------------------------------------|
| `OUT.job.json` | all that was asked: recipe, fold, seed of the folds, group, hash of the first weights    |
| `OUT.lock`     | while a process trains in it, see `roadseg.studies.locks`                                |
| `OUT.log`      | what the training printed, where it did not print to the screen                          |
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ..config import Config, read_config
from ..errors import ConfigError, RunError
from ..files import write_json

__all__ = [
    "IN_STUDY",
    "Job",
    "Outcome",
    "check_jobs",
    "drop_state",
    "from_order",
    "state_of",
    "to_order",
    "write_asked",
]

IN_STUDY = "ROADSEG_IN_STUDY"  # set where `roadseg train` is a study's, which its user never called
VERSION = 1
LISTED = 4  # differing keys that an error names


@dataclass(frozen=True)
class Job:
    """A training to be done.

    Args:
        name: how it is shown, e.g. "fold 0, seed 1".
        out: its run folder.
        dataset: a folder in one of the known layouts.
        config: the complete recipe as asked; `train.seed` and the length (epochs, minutes or steps) are in it.
        fold: (K, N): block K of N is held out, see `roadseg.imagery.splits`.
        fold_seed: of the folds' permutation.
        group: regular expression; images whose names match alike stay on one side.
        init: a run or model to start from.
        skip_bad: leave bad files out with a warning.
    """

    name: str
    out: Path
    dataset: Path
    config: Config = field(repr=False)
    fold: tuple[int, int]
    fold_seed: int = 43
    group: str | None = None
    init: Path | None = None
    skip_bad: bool = False

    @property
    def asked_file(self) -> Path:
        return self.out.with_name(f"{self.out.name}.job.json")

    @property
    def lock_file(self) -> Path:
        return self.out.with_name(f"{self.out.name}.lock")

    @property
    def log_file(self) -> Path:
        return self.out.with_name(f"{self.out.name}.log")

    def absolute(self) -> "Job":
        """The same with absolute paths: workers have working folders of their own."""
        init = None if self.init is None else Path(self.init).absolute()
        return replace(self, out=Path(self.out).absolute(), dataset=Path(self.dataset).absolute(), init=init)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Args:
        state: "kept": it was finished before.
        message: why it failed.
        seconds: of this call.
    """

    job: Job
    state: Literal["trained", "kept", "failed"]
    message: str = ""
    seconds: float = 0.0


# === What was asked ===


def to_order(job: Job) -> dict[str, Any]:
    """A job as plain JSON, the way it goes to the process that trains and into `OUT.job.json`.

    Raises:
        ModelError: there are no weights at `init`.
    """
    return {
        "version": VERSION,
        "name": job.name,
        "out": str(job.out),
        "dataset": str(job.dataset),
        "fold": list(job.fold),
        "fold_seed": job.fold_seed,
        "group": job.group,
        "init": None if job.init is None else str(job.init),
        "init_hash": None if job.init is None else _weights_hash(job.init),
        "skip_bad": job.skip_bad,
        "config": job.config.to_dict(),
    }


def from_order(order: Mapping[str, Any]) -> Job:
    """The job that `to_order` wrote."""
    k, n = order["fold"]
    return Job(
        name=order["name"],
        out=Path(order["out"]),
        dataset=Path(order["dataset"]),
        config=read_config(order["config"], source="the job's recipe"),
        fold=(k, n),
        fold_seed=order["fold_seed"],
        group=order["group"],
        init=None if order["init"] is None else Path(order["init"]),
        skip_bad=order["skip_bad"],
    )


def write_asked(job: Job) -> None:
    """Write `OUT.job.json`. Only the process that holds the folder's lock does."""
    write_json(job.asked_file, to_order(job))


def _weights_hash(init: Path) -> str:
    from ..learning.runs import find_model

    path = find_model(init)
    stat = path.stat()
    return _file_hash(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _file_hash(path: Path, changed: int, size: int) -> str:
    """First 16 hex digits of sha256. Many jobs start from one file: read it once, unless it has `changed`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


# === What is there ===


def state_of(job: Job) -> Literal["finished", "begun", "nothing", "stuck"]:
    """What the job's run folder holds.

    "finished": metrics.json says complete, and there is a model. "begun": an epoch that can be gone on from.
    "nothing": no folder, or one in which no epoch was finished. "stuck": results without the state to go on from.
    """
    model, metrics = job.out / "model.keras", job.out / "metrics.json"
    if model.is_file() and _says_complete(metrics):
        return "finished"
    if (job.out / "config.toml").is_file() and (job.out / "state" / "checkpoint.npz").is_file():
        return "begun"
    return "stuck" if model.exists() or metrics.exists() else "nothing"


def _says_complete(metrics: Path) -> bool:
    try:
        return json.loads(metrics.read_text(encoding="utf-8")).get("complete") is True
    except (OSError, ValueError, AttributeError):
        return False


def drop_state(job: Job) -> None:
    """Remove what only `--resume` needs, often more than 100 MB, once a run is finished."""
    if state_of(job) == "finished":
        shutil.rmtree(job.out / "state", ignore_errors=True)


def check_jobs(jobs: Sequence[Job]) -> None:
    """Refuse jobs that cannot be done as asked, before anything is trained. Costs a few small files a job.

    Raises:
        ConfigError: two jobs have the same run folder.
        RunError: a folder is not a run of a study, or a finished or begun run was asked otherwise; the differing keys
            are named.
        ModelError: there are no weights at `init`.
    """
    places: dict[Path, str] = {}
    for job in jobs:
        place = job.out.absolute()
        if place in places:
            raise ConfigError(f"'{places[place]}' and '{job.name}' would both be written to '{job.out}'")
        places[place] = job.name
    for job in jobs:
        check_job(job)


def check_job(job: Job) -> None:
    """The part of `check_jobs` that looks at one folder."""
    order = to_order(job)
    if not job.out.exists() or (job.out.is_dir() and not any(job.out.iterdir())):
        return
    if not (job.out / "config.toml").is_file():
        raise RunError(f"'{job.out}' is in the way: it is not a run folder; move it, or give another --out")
    if not job.asked_file.is_file():
        raise RunError(
            f"run '{job.out}' was not made by a study: there is no '{job.asked_file.name}' beside it that says what "
            "was asked; move it, or give another --out"
        )
    state = state_of(job)
    if state == "nothing":
        return
    if state == "stuck":
        raise RunError(
            f"run '{job.out}' is not finished and its state/ is gone, so it cannot go on: remove it to train it anew"
        )
    found = _differences(_read_asked(job.asked_file), order)
    if found:
        more = f", and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise RunError(
            f"run '{job.out}' was asked otherwise: {', '.join(found[:LISTED])}{more}. Ask as before, give another "
            "--out, or remove the run to train it anew"
        )


def _read_asked(path: Path) -> dict[str, Any]:
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
        if stored["version"] != VERSION:
            raise RunError(f"'{path}' was written by another version of roadseg: update it, or give another --out")
        return stored | {"config": _filled(stored["config"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"'{path}' is damaged ({error!r}): remove it and its run folder to train it anew") from error


def _filled(tables: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe, with the defaults of keys that came into the configuration after it was written."""
    try:
        return read_config(tables).to_dict()
    except ConfigError:  # a key that has gone: it is named as a difference
        return tables


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """`key = X there, Y now` of what shapes the result. Where the dataset lies does not: its pictures are hashed."""
    keys = ("fold", "fold_seed", "group", "init_hash")
    there = _flat(stored["config"]) | {key: stored.get(key) for key in keys}
    now = _flat(asked["config"]) | {key: asked[key] for key in keys}
    return [
        f"{key} = {_shown(there, key)} there, {_shown(now, key)} now"
        for key in dict.fromkeys([*now, *there])
        if there.get(key) != now.get(key) or (key in there) != (key in now)
    ]


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "unknown"
    value = values[key]
    return f"{value[0]}/{value[1]}" if key == "fold" else json.dumps(value, ensure_ascii=False)


def _flat(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tables.items():
        inner = isinstance(value, dict) and bool(value)
        found |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return found
