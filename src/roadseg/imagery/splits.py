"""Which pairs train and which validate: a share, a list of names, one fold of several, or the folder's own split."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DataError
from .layouts import Pair
from .places import compiled, group_name

__all__ = ["Split", "groups_of", "parse_fold", "split_dataset"]

SHARE = 0.1  # of the images that validate, when nothing is said
LISTED = 8

Key = tuple[str, int]  # a group's name, and 1 for a pair that is in no group and stands alone


@dataclass(frozen=True)
class Split:
    """Indices into the pairs, ascending, and the rule in words."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    rule: str


def split_dataset(
    pairs: Sequence[Pair],
    *,
    val: float | None = None,
    seed: int = 0,
    names: Path | None = None,
    fold: tuple[int, int] | None = None,
    fold_seed: int = 43,
    full: bool = False,
    group: str | None = None,
) -> Split:
    """Split `pairs` into training and validation; the same input gives the same split.

    With none of `val`, `names`, `fold`, `full`: the folder's own train/ and valid/ if it has them, else 10 % by `seed`.

    Args:
        val: share of the images that validate, above 0 and below 1; at least one image on either side.
        seed: of the share's permutation.
        names: text file with one stem or file name a line: those validate.
        fold: (K, N): pairs sorted by stem, permuted by `RandomState(fold_seed)`, cut into N blocks; block K validates.
        fold_seed: of the folds' permutation.
        full: everything trains, nothing validates.
        group: regular expression searched in the stem; pairs with one match (its first group, if it has one) stay on
            one side. A stem without a match stands alone. None: shares and folds keep the pairs of one `place` on one
            side. Those are what `group` in the folder's `dataset.toml` says (`roadseg prepare` writes it for tiles),
            else squares of blocks of large rasters, so that neighbours do not validate each other.

    Raises:
        ConfigError: options that exclude each other, or values that do not fit the pairs.
        DataError: fewer than two pairs to split.
    """
    given = [
        ("--val", val is not None),
        ("--val-names", names is not None),
        ("--fold", fold is not None),
        ("--full", full),
    ]
    chosen = [option for option, is_given in given if is_given]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} exclude each other: give one")
    if full:
        if not pairs:
            raise DataError("no pairs to train on")
        return Split(tuple(range(len(pairs))), (), "all images train, none validate")
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} pair cannot be split into training and validation: add images, or give --full")

    own_split = val is None and fold is None and {"train", "val"} <= {pair.part for pair in pairs}
    keys, by = _grouped(pairs, group, places=names is None and not own_split)
    if names is not None:
        chosen_val, rule = _by_names(pairs, Path(names)), f"validated on the images named in '{names}'"
    elif fold is not None:
        chosen_val, rule = _by_fold(keys, fold, fold_seed), f"fold {fold[0]} of {fold[1]}, seed {fold_seed}"
    elif own_split:
        chosen_val, rule = {i for i, pair in enumerate(pairs) if pair.part == "val"}, "the folder's own split"
    else:
        share = SHARE if val is None else val
        chosen_val, rule = _by_share(keys, share, seed), f"{share:.3g} of the images, seed {seed}"
    if by:
        _check_groups(keys, chosen_val, by)
        rule += f", whole groups by {by}"
    train = tuple(i for i in range(len(pairs)) if i not in chosen_val)
    if not train:
        raise ConfigError("every image would validate and none train: name fewer")
    return Split(train, tuple(sorted(chosen_val)), rule)


def groups_of(pairs: Sequence[Pair], group: str | None = None) -> dict[str, str]:
    """By stem what a pair stays on one side with: its group, asked for or of the dataset; alone, its stem.

    Raises:
        ConfigError, DataError: as `split_dataset`.
    """
    keys, _ = _grouped(pairs, group)
    return {pair.stem: f"{name} {alone}" for pair, (name, alone) in zip(pairs, keys, strict=True)}


def parse_fold(text: str) -> tuple[int, int]:
    """`"K/N"` as (K, N), K from 0.

    Raises:
        ConfigError: not two whole numbers, N below 2, or K not below N.
    """
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, flags=re.ASCII)
    if match is None:
        raise ConfigError(f"fold '{text}': write K/N, e.g. 0/5")
    return _checked_fold((int(match[1]), int(match[2])))


def _checked_fold(fold: tuple[int, int]) -> tuple[int, int]:
    k, n = fold
    if n < 2:
        raise ConfigError(f"fold {k}/{n}: two folds or more are needed, e.g. 0/5")
    if not 0 <= k < n:
        raise ConfigError(f"fold {k}/{n}: with {n} folds K is 0..{n - 1}")
    return k, n


def _grouped(pairs: Sequence[Pair], group: str | None, *, places: bool = True) -> tuple[list[Key], str]:
    """The group of each pair, and what makes the groups in words ("": every pair is its own).

    Args:
        group: as asked for; None: the pairs' own places, unless `places` is False.
    """
    if group is not None:
        pattern = compiled(group, f"--group '{group}'")
        names, by = [group_name(pair, pattern) for pair in pairs], f"'{group}'"
    else:
        known = [pair.place if places else None for pair in pairs]
        names = [None if place is None else place.name for place in known]
        by = " and ".join(dict.fromkeys(place.rule for place in known if place is not None))
    named = enumerate(zip(pairs, names, strict=True), 1)
    keys = [(pair.stem, i) if name is None else (name, 0) for i, (pair, name) in named]
    if by and len(set(keys)) < 2:
        what = f"--group '{group}'" if group is not None else f"group = {by}"
        tip = "" if group is not None else "; --group '.+' takes each image by itself"
        raise ConfigError(f"{what} puts all {len(pairs)} images into one group '{keys[0][0]}': nothing to split{tip}")
    return keys, by


def _by_fold(keys: list[Key], fold: tuple[int, int], seed: int) -> set[int]:
    k, n = _checked_fold(fold)
    ordered = sorted(set(keys))
    if n > len(ordered):
        raise ConfigError(f"fold {k}/{n}: {n} folds need {n} images or groups, found {len(ordered)}")
    block = np.array_split(_permutation(seed, len(ordered)), n)[k]
    held_out = {ordered[i] for i in block.tolist()}
    return {i for i, key in enumerate(keys) if key in held_out}


def _by_share(keys: list[Key], share: float, seed: int) -> set[int]:
    if not 0 < share < 1:
        raise ConfigError(f"--val {share:g}: expected a share above 0 and below 1, e.g. 0.1 (nothing held out: --full)")
    wanted = min(max(round(share * len(keys)), 1), len(keys) - 1)
    ordered = sorted(set(keys))
    sizes = {key: keys.count(key) for key in ordered}
    held_out: set[Key] = set()
    count = 0
    for i in _permutation(seed, len(ordered)).tolist()[:-1]:  # one group always trains
        more = count + sizes[ordered[i]]
        if not held_out or abs(more - wanted) < abs(count - wanted):
            held_out.add(ordered[i])
            count = more
        if count >= wanted:
            break
    return {i for i, key in enumerate(keys) if key in held_out}


def _permutation(seed: int, n: int) -> np.ndarray:
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed {seed}: expected 0..{2**32 - 1}")
    return np.random.RandomState(seed).permutation(n)  # the published folds were made with it


def _by_names(pairs: Sequence[Pair], path: Path) -> set[int]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the names in '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not a text file: expected one image name a line") from error
    wanted = [line.strip() for line in lines if line.strip()]
    if not wanted:
        raise ConfigError(f"'{path}' names no image: expected one stem or file name a line")
    known: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        for name in {pair.stem, pair.image.name, pair.mask.name, pair.image.stem}:
            known.setdefault(name, []).append(i)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        listed = ", ".join(f"'{name}'" for name in unknown[:LISTED]) + (", ..." if len(unknown) > LISTED else "")
        example = pairs[0].stem
        raise ConfigError(f"'{path}' names {len(unknown)} unknown images: {listed}; names here are like '{example}'")
    return {i for name in wanted for i in known[name]}


def _check_groups(keys: list[Key], val: set[int], by: str) -> None:
    sides: dict[Key, set[bool]] = {}
    for i, key in enumerate(keys):
        sides.setdefault(key, set()).add(i in val)
    torn = [key[0] for key, both in sides.items() if len(both) > 1]
    if torn:
        raise ConfigError(f"groups by {by}: group '{torn[0]}' is on both sides: name all of its images or none")
