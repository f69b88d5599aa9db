"""What is kept of a study's trainings: a record each, the recipe that was asked for, and why one failed.

    OUT/runs/<slug>/fold0_seed0.json           a finished training, see `records`
    OUT/runs/<slug>/split44_fold0_seed0.json   the same of the second split of the images, and so on
    OUT/runs/<slug>/fold1_seed0.failed         the last error of one that failed, until it is done
    OUT/runs/<slug>/asked.toml                 the recipe of the first one; asked_confirm.toml of the second stage

These files are the truth of what is finished: folders of two machines put together are one study. A record is known by
the split, fold and seed that it holds, so that splits may be added to a study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..config import load_config, save_config
from ..errors import ConfigError, RunError
from ..files import write_text
from .recipes import shown_difference
from .records import RunRecord, digest, read_records, write_record
from .study import Place, Stage, Study, Variant

__all__ = ["Held", "Ledger", "Run", "Split"]

Split: TypeAlias = tuple[int, int]  # fold_seed, fold
Held: TypeAlias = Mapping[Split, Mapping[str, str]]  # the hash of each held-out image by its stem


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    variant: Variant
    stage: Stage
    place: Place

    @property
    def file(self) -> str:
        """Its name within the variant's folder; the stages have no seed in common."""
        fold_seed, fold, seed = self.place
        split = "" if fold_seed == self.stage.fold_seed else f"split{fold_seed}_"
        return f"{split}fold{fold}_seed{seed}"

    @property
    def slug(self) -> str:
        """Its name among all trainings of the study."""
        return f"{self.variant.slug}_{self.file}"

    @property
    def where(self) -> str:
        """`fold 0, seed 1`; of several splits also which."""
        fold_seed, fold, seed = self.place
        split = "" if len(self.stage.fold_seeds) == 1 else f", fold seed {fold_seed}"
        return f"fold {fold}, seed {seed}{split}"

    def __str__(self) -> str:
        """`leaky ReLU, fold 0, seed 1`."""
        return f"{self.variant.name}, {self.where}"


class Ledger:
    """The records of a study's folder, read once and added to.

    Raises:
        RunError: a record is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "runs"
        self._records: dict[tuple[str, Place], RunRecord] = {}
        self._files: dict[tuple[str, str], RunRecord] = {}  # by folder and name
        self.refresh()

    def __len__(self) -> int:
        """Number of finished trainings, those that the study no longer asks for included."""
        return len(self._records)

    def refresh(self) -> None:
        """Read the records that have come since: another process had the folder before its lock was free."""
        files = [
            path
            for path in sorted(self.folder.glob("*/*fold*_seed*.json"))
            if (path.parent.name, path.stem) not in self._files
        ]
        for path, record in zip(files, read_records(files), strict=True):
            self._remember(path.parent.name, path.stem, record)

    def _remember(self, slug: str, name: str, record: RunRecord) -> None:
        self._files[slug, name] = record
        self._records[slug, Place(record.fold_seed, record.fold, record.seed)] = record

    def find(self, run: Run) -> RunRecord | None:
        """The record of a training, when it is finished."""
        return self._records.get((run.variant.slug, run.place))

    def records(self, variant: Variant, stage: Stage) -> list[RunRecord]:
        """The finished trainings of a variant in a stage."""
        found = (self.find(Run(variant, stage, place)) for place in stage.places())
        return [record for record in found if record is not None]

    def has_failed(self, run: Run) -> bool:
        """Whether a training failed and has not been done since."""
        return self.find(run) is None and self._failed(run).is_file()

    def failures(self, variant: Variant, stage: Stage) -> list[str]:
        """`fold 0, seed 1: why` of the trainings that failed and have not been done since."""
        found = []
        for place in stage.places():
            run = Run(variant, stage, place)
            if self.has_failed(run):
                why = self._failed(run).read_text(encoding="utf-8", errors="replace").strip()
                found.append(f"{run.where}: {why}")
        return found

    def begin(self, run: Run) -> None:
        """Note the recipe that is asked for, before its first training."""
        path = self._asked(run)
        if not path.is_file():
            save_config(Study.recipe(run.variant, run.stage), path)

    def add(self, run: Run, record: RunRecord) -> None:
        """Keep a finished training."""
        write_record(record, self.folder / run.variant.slug / f"{run.file}.json")
        self._failed(run).unlink(missing_ok=True)
        self._remember(run.variant.slug, run.file, record)

    def fail(self, run: Run, message: str) -> None:
        """Keep why a training failed."""
        write_text(self._failed(run), message.strip() + "\n")

    def strangers(self, known: Iterable[Variant]) -> list[str]:
        """Folders of trainings that are of none of these variants: factors that were renamed or taken out."""
        slugs = {variant.slug for variant in known}
        return sorted({slug for slug, _ in self._records} - slugs)

    def check(
        self, study: Study, stage: Stage, variants: Sequence[Variant], held: Held, trained: Mapping[Split, str]
    ) -> None:
        """The finished trainings must be of the recipe, the folds and the images that the study asks for now.

        Raises:
            RunError: one is not; says which settings differ.
        """
        for variant in variants:
            wanted = digest(study.recipe(variant, stage))
            for place in stage.places():
                run = Run(variant, stage, place)
                # Under its name there may be one of another split, which it would replace.
                record = self.find(run) or self._files.get((variant.slug, run.file))
                if record is None:
                    continue
                split = place.fold_seed, place.fold
                reason = self._differs(study, run, record, wanted, held[split])
                if not reason and record.trained_on not in ("", trained[split]):
                    reason = f"an image or mask that trained on fold {place.fold} of the dataset is another now"
                if reason:
                    folder = self.folder / variant.slug
                    raise RunError(
                        f"study '{study.source}' has changed under finished runs of {variant.where}: {reason} "
                        f"('{folder / run.file}.json'). Set it back, give another --out, or remove '{folder}' to train "
                        "its runs anew"
                    )

    def _differs(self, study: Study, run: Run, record: RunRecord, wanted: str, held: Mapping[str, str]) -> str:
        """Why this record is not what is asked for; "" when it is."""
        if record.asked != wanted:
            return self._changed_settings(study, run, record) or "another recipe"
        now = {"folds": run.stage.folds, "fold_seed": run.place.fold_seed}
        for key, new in now.items():
            old = getattr(record, key)
            if old != new:
                return f"{key} was {old}, is now {new}"
        found = {stem: image.hash for stem, image in record.images.items()}
        if found == held:
            return ""
        missing, more = sorted(found.keys() - held.keys()), sorted(held.keys() - found.keys())
        if missing or more:
            parts = [f"held out '{missing[0]}', which is not in this fold now"] if missing else []
            parts += [f"did not hold out '{more[0]}', which is in this fold now"] if more else []
            return f"fold {run.place.fold} {' and '.join(parts)}: the dataset or the group is another"
        changed = next(stem for stem in sorted(found) if found[stem] != held[stem])
        return f"image or mask '{changed}' of the dataset is not the one that was scored"

    def _changed_settings(self, study: Study, run: Run, record: RunRecord) -> str:
        path = self._asked(run)
        try:
            asked = load_config(path)
        except ConfigError:
            return ""
        if digest(asked) != record.asked:  # of other runs than this one
            return ""
        return shown_difference(asked, study.recipe(run.variant, run.stage, asked.train.seed))

    def _asked(self, run: Run) -> Path:
        return self.folder / run.variant.slug / ("asked.toml" if run.stage.name == "screen" else "asked_confirm.toml")

    def _failed(self, run: Run) -> Path:
        return self.folder / run.variant.slug / f"{run.file}.failed"
