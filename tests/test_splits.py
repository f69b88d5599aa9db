"""Training and validation: shares, folds, names, groups."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadseg.errors import ConfigError, DataError
from roadseg.imagery.layouts import Pair, Place, find_pairs
from roadseg.imagery.splits import Split, groups_of, parse_fold, split_dataset


def pairs_of(*stems: str, parts: tuple[str, ...] = ()) -> list[Pair]:
    return [
        Pair(stem, Path(f"images/{stem}.jpg"), Path(f"masks/{stem}.png"), parts[i] if parts else None)  # type: ignore[arg-type]
        for i, stem in enumerate(stems)
    ]


def numbered(n: int) -> list[Pair]:
    return pairs_of(*(f"img_{i:03d}" for i in range(n)))


def is_partition(split: Split, n: int) -> bool:
    return sorted(split.train + split.val) == list(range(n)) and bool(split.train) and bool(split.val)


# --- folds -----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 120), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_folds_are_reproducible_and_every_image_validates_once(n: int, folds: int, seed: int) -> None:
    if folds > n:
        return
    splits = [split_dataset(numbered(n), fold=(k, folds), fold_seed=seed) for k in range(folds)]
    assert all(is_partition(split, n) for split in splits)
    assert sorted(i for split in splits for i in split.val) == list(range(n))
    assert splits[0] == split_dataset(numbered(n), fold=(0, folds), fold_seed=seed)


def test_the_published_folds_are_met_whatever_the_order_of_the_pairs() -> None:
    block = np.array_split(np.random.RandomState(43).permutation(100), 5)[0]
    pairs = numbered(100)
    assert split_dataset(pairs, fold=(0, 5)).val == tuple(sorted(block.tolist()))
    turned = pairs[::-1]
    held_out = {turned[i].stem for i in split_dataset(turned, fold=(0, 5)).val}
    assert held_out == {pairs[i].stem for i in block}


def test_stems_are_sorted_as_plain_strings() -> None:
    pairs = pairs_of("1", "2", "10", "20")
    first = np.random.RandomState(43).permutation(4)[0]
    assert pairs[split_dataset(pairs, fold=(0, 4)).val[0]].stem == sorted(["1", "2", "10", "20"])[first]


@pytest.mark.parametrize("text", ["7/5", "5/5", "a/b", "0/1", "1/0", "3", "", "1/2/3", "-1/5", "0/5.0", "1e1/20"])
def test_bad_folds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="fold"):
        parse_fold(text)


def test_a_fold_is_two_numbers() -> None:
    assert parse_fold("0/5") == (0, 5) and parse_fold(" 4 / 5 ") == (4, 5)


def test_more_folds_than_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="7 folds need 7 images or groups, found 3"):
        split_dataset(numbered(3), fold=(0, 7))
    with pytest.raises(ConfigError, match=r"K is 0\.\.4"):
        split_dataset(numbered(9), fold=(5, 5))


# --- share -----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.floats(0.001, 0.999), st.integers(0, 1000))
def test_a_share_leaves_images_on_both_sides(n: int, share: float, seed: int) -> None:
    split = split_dataset(numbered(n), val=share, seed=seed)
    assert is_partition(split, n)
    assert len(split.val) == min(max(round(share * n), 1), n - 1)
    assert split == split_dataset(numbered(n), val=share, seed=seed)


def test_without_a_word_ten_percent_validate_and_the_seed_matters() -> None:
    one, other = split_dataset(numbered(50)), split_dataset(numbered(50), seed=1)
    assert len(one.val) == len(other.val) == 5 and one.val != other.val
    assert "0.1" in one.rule and "seed 0" in one.rule


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 7.0, float("nan")])
def test_shares_that_leave_one_side_empty_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="--val"):
        split_dataset(numbered(5), val=share)


def test_one_pair_needs_full() -> None:
    with pytest.raises(DataError, match="--full"):
        split_dataset(numbered(1))
    assert split_dataset(numbered(1), full=True).train == (0,)
    assert split_dataset(numbered(3), full=True).val == ()
    with pytest.raises(DataError):
        split_dataset([], full=True)


# --- the folder's own split, names, exclusion ------------------------------------------------------------------------


def test_a_hand_split_is_used_unless_another_is_asked_for() -> None:
    pairs = pairs_of("a", "b", "c", parts=("train", "val", "train"))
    assert split_dataset(pairs).val == (1,)
    assert split_dataset(pairs, full=True).val == ()
    assert len(split_dataset(pairs, val=0.6).val) == 2


def test_names_are_stems_or_file_names(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\ufeffimg_001\r\n\n  img_003.jpg \nimg_004.png\n", encoding="utf-8")
    assert split_dataset(numbered(6), names=names).val == (1, 3, 4)


def test_unknown_names_are_named(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("img_001\nimg_999\nfoo.png\n")
    with pytest.raises(ConfigError, match=r"2 unknown images: 'img_999', 'foo\.png'.*'img_000'"):
        split_dataset(numbered(6), names=names)


def test_missing_empty_and_total_lists_of_names_are_refused(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    with pytest.raises(ConfigError, match=r"cannot read.*names\.txt"):
        split_dataset(numbered(3), names=names)
    names.write_text("\n \n")
    with pytest.raises(ConfigError, match="names no image"):
        split_dataset(numbered(3), names=names)
    names.write_text("\n".join(p.stem for p in numbered(3)))
    with pytest.raises(ConfigError, match="none train"):
        split_dataset(numbered(3), names=names)
    names.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigError, match="not a text file"):
        split_dataset(numbered(3), names=names)


def test_two_ways_to_split_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--val and --fold exclude each other"):
        split_dataset(numbered(9), val=0.1, fold=(0, 5))
    with pytest.raises(ConfigError, match="--val-names and --full"):
        split_dataset(numbered(9), names=tmp_path / "x", full=True)


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed -1"):
        split_dataset(numbered(9), seed=-1)


# --- groups ----------------------------------------------------------------------------------------------------------

SITES = pairs_of(*(f"{site}_{i}" for site in "abcdef" for i in range(4)), "alone", "single")


def sides(split: Split, pairs: list[Pair], start: int = 1) -> tuple[set[str], set[str]]:
    return {pairs[i].stem[:start] for i in split.train}, {pairs[i].stem[:start] for i in split.val}


@pytest.mark.parametrize("pattern", ["^([a-f])_", "^[a-f]_"])
@pytest.mark.parametrize("options", [{"val": 0.2}, {"val": 0.01}, {"val": 0.9}, {"fold": (1, 4)}, {}])
def test_groups_stay_whole(pattern: str, options: dict[str, object]) -> None:
    split = split_dataset(SITES, group=pattern, **options)  # type: ignore[arg-type]
    assert is_partition(split, len(SITES))
    train, val = sides(split, SITES, 2)
    assert not (train & val) and pattern in split.rule


def test_grouped_folds_cut_the_permuted_groups() -> None:
    pairs = SITES[:24]
    block = np.array_split(np.random.RandomState(43).permutation(6), 3)[2]
    assert sides(split_dataset(pairs, fold=(2, 3), group="^[a-f]"), pairs)[1] == {"abcdef"[i] for i in block}


def test_groups_that_cannot_be_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one group 'img_'"):
        split_dataset(numbered(9), group="img_")
    with pytest.raises(ConfigError, match="no regular expression"):
        split_dataset(numbered(9), group="(")
    names = tmp_path / "names.txt"
    names.write_text("a_0\n")
    with pytest.raises(ConfigError, match="group 'a' is on both sides"):
        split_dataset(SITES, names=names, group="^([a-f])_")


# --- places ----------------------------------------------------------------------------------------------------------


def placed(pairs: list[Pair], rule: str = "squares") -> list[Pair]:
    """The sites with their letters as places; the last two stand alone."""
    return [replace(p, place=Place(p.stem[0], rule)) if "_" in p.stem else p for p in pairs]


@pytest.mark.parametrize("options", [{"val": 0.2}, {"val": 0.9}, {"fold": (1, 4)}, {}])
def test_places_are_groups_that_nobody_need_ask_for(options: dict[str, object]) -> None:
    split = split_dataset(placed(SITES), **options)  # type: ignore[arg-type]
    asked = split_dataset(SITES, group="^([a-f])_", **options)  # type: ignore[arg-type]
    assert (split.train, split.val) == (asked.train, asked.val)
    assert "whole groups by squares" in split.rule
    assert groups_of(placed(SITES)) == groups_of(SITES, "^([a-f])_")


def test_what_is_asked_for_goes_before_places(tmp_path: Path) -> None:
    alone = split_dataset(placed(SITES), fold=(0, 5), group=".+")
    assert alone.val == split_dataset(SITES, fold=(0, 5)).val
    names = tmp_path / "names.txt"
    names.write_text("a_0\n")
    split = split_dataset(placed(SITES), names=names)
    assert len(split.val) == 1 and "groups" not in split.rule
    parts = [replace(p, part="val" if p.stem == "b_1" else "train") for p in placed(SITES)]
    assert split_dataset(parts).val == (5,)


def test_one_place_alone_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match=r"group = squares puts all 4 images into one group 'a'.*--group '\.\+'"):
        split_dataset(placed(SITES[:4]), val=0.5)


# --- real images -----------------------------------------------------------------------------------------------------


def test_the_published_split_of_the_contest_data(real_data: Path) -> None:
    pairs = find_pairs(real_data / "cil").pairs
    block = np.random.RandomState(43).permutation(100)[:20]
    split = split_dataset(pairs, fold=parse_fold("0/5"), fold_seed=43)
    assert set(split.val) == set(block.tolist()) and len(split.train) == 80


def test_sites_of_real_images_stay_whole(real_data: Path) -> None:
    pairs = list(find_pairs(real_data / "drone_multiclass").pairs)
    train, val = sides(split_dataset(pairs, val=0.3, group="^[^_]+"), pairs, 10)
    assert len(train) == len(val) == 1 and train != val
