"""Which raw label belongs to which raw image: by name, by a rule, or two single files. Opens no image."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, DataError
from ..imagery.layouts import Pair, list_images
from ..imagery.raster import IMAGE_SUFFIXES
from ..imagery.vector_files import SUFFIXES

__all__ = ["Pairing", "are_lines", "pair_up"]

SIDES = ("image", "label")
HINT = "say which belong together with --pair, e.g. '{name}_sat = {name}_mask'"
PLACES = {"{name}": "(.+)", "{number}": r"(\d+)"}
LISTED = 5


@dataclass(frozen=True)
class Pairing:
    """Which files belong together.

    Attributes:
        rule: how they were found, for the user.
        pairs: sorted by name as plain strings.
        problems: files without a partner and double names, ready to print; those files are in no pair.
    """

    rule: str
    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]


def pair_up(images: Path, labels: Path, rule: str | None = None) -> Pairing:
    """Pair the images of two folders (not recursive), or two files.

    Without a rule, files of the same name belong together, whatever their suffix; where there are none, files whose
    names are the same but for a beginning and an end that all images share, and one that all labels share.

    Args:
        images: a folder or one image.
        labels: a folder, which may be the same, or one image; of vector files, or one of them for all images.
        rule: `IMAGE = LABEL`, each side with `{name}` once (or `{number}`: 7 is 007), or each a regular expression with
            one group. A side that ends in the suffix of an image is held against whole file names.

    Raises:
        ConfigError: the rule cannot be used.
        DataError: a folder is missing or without images, or nothing pairs.
    """
    images, labels = Path(images), Path(labels)
    image_files, lines = list_images(images), are_lines(images, labels)
    if lines and labels.is_file():
        return _one_for_all(image_files, labels, rule)
    label_files = _vector_files(labels) if lines else list_images(labels)
    if images.is_file() and labels.is_file() and rule is None:
        return Pairing("one image, one label", (Pair(images.stem, images, labels),), ())
    one_folder = images.resolve() == labels.resolve() and not lines
    if rule is not None:
        image_side, label_side = _sides(rule)
        by_label = _by_key(label_files, label_side)
        taken = {f for found in by_label.values() for f in found} if one_folder else set()
        by_image = _by_key([f for f in image_files if f not in taken], image_side)
        left_over = _not_named(image_files, by_image, SIDES[0], taken), _not_named(label_files, by_label, SIDES[1])
        problems = [*left_over[0], *left_over[1]]
        if one_folder:
            both = set(_files(by_image)) | set(_files(by_label))
            problems = [f"'{f}' follows neither side of the rule '{rule}'" for f in image_files if f not in both]
        return _made(f"paired by {rule}", by_image, by_label, problems)
    if one_folder:
        raise ConfigError(f"'{images}' holds images and labels in one folder: {HINT}")
    by_image, by_label = _by_key(image_files, None), _by_key(label_files, None)
    if by_image.keys() & by_label.keys():
        return _made("paired by name", by_image, by_label, [])
    short_image, image_said = _shortened(by_image)
    short_label, label_said = _shortened(by_label)
    if short_image.keys() & short_label.keys() - {""}:
        return _made(f"paired by {image_said} = {label_said}", short_image, short_label, [])
    return _made("paired by name", by_image, by_label, [])


def are_lines(images: Path, labels: Path) -> bool:
    """Whether the labels are vector files, or one.

    Raises:
        ConfigError: a folder of labels holds both vector files and images.
    """
    if labels.is_file():
        return labels.suffix.lower() in SUFFIXES
    if not labels.is_dir() or not _vector_files(labels):
        return False
    if images.resolve() == labels.resolve():
        return True
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in labels.iterdir()):
        raise ConfigError(f"'{labels}' holds vector files and images: give a folder with the labels alone")
    return True


def _vector_files(folder: Path) -> list[Path]:
    kinds = set(SUFFIXES) - {".json"}  # which is mostly something else
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in kinds and not p.name.startswith("."))


def _one_for_all(images: Sequence[Path], lines: Path, rule: str | None) -> Pairing:
    if rule is not None:
        raise ConfigError(f"--pair '{rule}': '{lines}' is one file for all images, so there is nothing to pair")
    pairs, problems = [], []
    for name, same in sorted(_by_key(images, None).items()):
        if len(same) > 1:
            listed = " and ".join(f"'{p}'" for p in same)
            problems.append(f"{len(same)} images are called '{name}': {listed}; keep one of them")
        else:
            pairs.append(Pair(name, same[0], lines))
    if not pairs:
        raise DataError(f"no image has a name of its own: {problems[0]}")
    return Pairing(f"the lines of '{lines.name}' for each", tuple(pairs), tuple(problems))


def _made(rule: str, by_image: dict[str, list[Path]], by_label: dict[str, list[Path]], problems: list[str]) -> Pairing:
    pairs = []
    for name in sorted(by_image.keys() | by_label.keys()):
        images, labels = by_image.get(name, []), by_label.get(name, [])
        for what, same in zip(SIDES, (images, labels), strict=True):
            if len(same) > 1:
                listed = " and ".join(f"'{p}'" for p in same)
                problems.append(f"{len(same)} {what}s are called '{name}': {listed}; keep one of them")
        if len(images) == 1 and len(labels) == 1:
            pairs.append(Pair(images[0].stem if "{number}" in rule else name, images[0], labels[0]))
        elif not labels:
            problems.append(f"image '{images[0]}' has no label: add one called alike, or remove the image")
        elif not images:
            problems.append(f"label '{labels[0]}' has no image: add one called alike, or remove the label")
    if not pairs:
        shown = "; ".join(
            f"{what}s are called {', '.join([f.name for files in by.values() for f in files][:LISTED]) or 'nothing'}"
            for what, by in zip(SIDES, (by_image, by_label), strict=True)
        )
        first = f" ({problems[0]})" if problems and rule != "paired by name" else ""
        raise DataError(f"no image has a label ({rule}): {shown}{first}; {HINT}")
    return Pairing(rule, tuple(sorted(pairs, key=lambda p: p.stem)), tuple(problems))


def _files(by_key: dict[str, list[Path]]) -> list[Path]:
    return [f for files in by_key.values() for f in files]


def _not_named(
    files: Sequence[Path], by_key: dict[str, list[Path]], what: str, taken: frozenset[Path] | set[Path] = frozenset()
) -> list[str]:
    named = set(_files(by_key)) | taken
    return [f"{what} '{f}' does not follow the rule of --pair" for f in files if f not in named]


def _by_key(files: Sequence[Path], side: re.Pattern[str] | None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        if side is None:
            found.setdefault(file.stem, []).append(file)
            continue
        match = side.fullmatch(file.stem) or side.fullmatch(file.name)
        if match is not None and match[1]:
            key = str(int(match[1])) if PLACES["{number}"] in side.pattern else match[1]
            found.setdefault(key, []).append(file)
    return found


# --- rules -----------------------------------------------------------------------------------------------------------


def _sides(rule: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    parts = rule.split(" = ") if " = " in rule else rule.split("=")
    if len(parts) != 2:
        raise ConfigError(f"--pair '{rule}': expected IMAGE = LABEL, e.g. '{{name}}_sat = {{name}}_mask'")
    image, label = (_side(part.strip(), rule) for part in parts)
    return image, label


def _side(text: str, rule: str) -> re.Pattern[str]:
    place = next((p for p in PLACES if p in text), None)
    if place is not None:
        if text.count("{name}") + text.count("{number}") > 1:
            raise ConfigError(f"--pair '{rule}': '{text}' has more than one place: give {place} once")
        first, _, last = text.partition(place)
        return re.compile(re.escape(first) + PLACES[place] + re.escape(last))
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--pair '{rule}': '{text}' is no regular expression ({error})") from error
    if pattern.groups != 1:
        raise ConfigError(
            f"--pair '{rule}': '{text}' has {pattern.groups} groups: expected {{name}} once, {{number}} once, or a "
            "regular expression with one group, e.g. '(.*)_sat'"
        )
    return pattern


def _shortened(by_stem: dict[str, list[Path]]) -> tuple[dict[str, list[Path]], str]:
    """Files by what is left of their names without what all begin and end with; and that as a rule."""
    first, last = _affixes(list(by_stem))
    short = {stem[len(first) : len(stem) - len(last)]: files for stem, files in by_stem.items()}
    return short, f"{first}{{name}}{last}"


def _affixes(stems: Sequence[str]) -> tuple[str, str]:
    """What all names begin and end with; digits next to the name belong to it.

    >>> _affixes(["sat_010", "sat_011"])
    ('sat_', '')
    """
    if len(stems) < 2:
        return "", ""
    low, high = min(stems), max(stems)
    first = _common(low, high).rstrip("0123456789")
    turned = [stem[len(first) :][::-1] for stem in stems]
    last = _common(min(turned), max(turned)).rstrip("0123456789")[::-1]
    return first, last


def _common(one: str, other: str) -> str:
    length = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]
