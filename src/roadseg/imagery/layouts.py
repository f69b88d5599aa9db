"""Which files of a folder are image and mask pairs: the layouts people have, by name; opens no image."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import DataError, RoadsegWarning
from .blocks import Block
from .raster import IMAGE_SUFFIXES

__all__ = ["Found", "Pair", "Place", "find_pairs", "list_images"]

VIRTUAL = (".vrt",)  # rasters made of others: read as images and as masks of a dataset

# Folder of the images, folder of the masks; of several that match the first counts.
FOLDERS = (
    ("images", "masks"),
    ("images", "groundtruth"),  # CIL, EPFL
    ("sat", "map"),  # Massachusetts
    ("imageRaw", "labelRaw"),  # before `image`/`label`: those hold augmented copies where both exist
    ("image", "label"),
    ("images", "labels"),
    ("images", "label"),
    ("image", "mask"),
    ("images", "mask"),
)
BASES = ("", "training", "train")  # where the two folders lie
TRAIN = "train"
VALIDATION = ("valid", "val", "validation")
TESTS = ("test_images", "test_set_images", "test")
FLAT_IMAGE, FLAT_MASK = "_sat", "_mask"  # DeepGlobe: ID_sat.jpg, ID_mask.png
MASK_ENDINGS = ("_mask", "_label", "_gt")  # images/x.png, masks/x_mask.png
LISTED = 8


@dataclass(frozen=True)
class Place:
    """Where a pair is from: pairs of one place stay on one side of a split.

    Attributes:
        name: of the place.
        rule: what makes the places of its kind, as in "whole groups by {rule}".
    """

    name: str
    rule: str


@dataclass(frozen=True)
class Pair:
    """One image and its mask, or one block of a large raster and its mask.

    Attributes:
        stem: its name; of a block with its place in the grid, `ortho_b03_05`.
        part: set by a hand-split folder: train/ beside valid/.
        block: the part of the files that is meant; None: all of them.
        place: what it stays together with when nothing else is asked for; None: it stands alone.
    """

    stem: str
    image: Path
    mask: Path
    part: Literal["train", "val"] | None = None
    block: Block | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Found:
    """What a dataset folder holds.

    Attributes:
        layout: the layout's name, e.g. "training/images + training/groundtruth".
        pairs: sorted by stem as plain strings.
        tests: images without labels.
        problems: orphans and double stems, ready to print; those files are in no pair.
    """

    layout: str
    pairs: tuple[Pair, ...]
    tests: tuple[Path, ...]
    problems: tuple[str, ...]


def find_pairs(root: Path) -> Found:
    """The pairs of a dataset folder in any of the known layouts.

    Raises:
        DataError: the folder is missing, a file, empty, or in no known layout.
    """
    root = Path(root)
    _check_folder(root)
    found = _hand_split(root) or _plain(root)
    if found is None:
        raise DataError(_no_layout(root))
    if not found.pairs:
        detail = f": {found.problems[0]}" if found.problems else ""
        raise DataError(f"dataset '{root}' ({found.layout}) has no image with a mask of the same name{detail}")
    return replace(found, tests=_tests(root))


def list_images(folder_or_file: Path) -> list[Path]:
    """The images to predict: the file itself, or a folder's images by name, not recursive.

    A folder that holds only folders `test_N` with `test_N.png` inside (the contest's test set) gives those images.

    Raises:
        DataError: missing, not an image by its suffix, or a folder without images.
    """
    path = Path(folder_or_file)
    if not path.exists():
        raise DataError(f"'{path}' does not exist: give an image or a folder of images")
    if not path.is_dir():
        if not _is_image(path):
            raise DataError(f"'{path}' is not an image by its suffix: expected one of {', '.join(IMAGE_SUFFIXES)}")
        return [path]
    images = _images(path) or _nested(path)
    if not images:
        inner = [d for d in _entries(path) if d.is_dir() and _images(d)]
        tip = f"; did you mean '{inner[0]}'?" if inner else ""
        raise DataError(f"folder '{path}' has no image ({', '.join(IMAGE_SUFFIXES)}): it holds {_contents(path)}{tip}")
    return images


def _check_folder(root: Path) -> None:
    if not root.exists():
        raise DataError(f"dataset '{root}' does not exist: give the folder that holds the images and the masks")
    if not root.is_dir():
        raise DataError(f"dataset '{root}' is a file: give the folder that holds the images and the masks (unpacked)")


def _entries(folder: Path) -> list[Path]:
    """Sorted by name; hidden files and what archives of a Mac leave behind are left out."""
    try:
        entries = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"folder '{folder}' cannot be read: {error.strerror or error}") from error
    return sorted(entries, key=lambda p: p.name)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _images(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if (_is_image(p) or p.suffix.lower() in VIRTUAL) and p.is_file()]


def _nested(folder: Path) -> list[Path]:
    """test_1/test_1.png, test_2/test_2.png, ..."""
    return [p for d in _entries(folder) if d.is_dir() for p in _images(d) if p.stem == d.name]


def _folder(root: Path, name: str) -> Path | None:
    """The folder `name` in `root` in any case, if it holds images."""
    if not name:
        return root
    for entry in _entries(root):
        if entry.name.lower() == name.lower() and entry.is_dir():
            return entry
    return None


def _plain(root: Path) -> Found | None:
    for base in BASES:
        folder = _folder(root, base)
        found = _match(folder) if folder is not None else None
        if found is not None and folder is not None:
            prefix = f"{folder.name}/" if base else ""
            return replace(found, layout=" + ".join(prefix + part for part in found.layout.split(" + ")))
    return None


def _hand_split(root: Path) -> Found | None:
    train = _folder(root, TRAIN)
    valid = next((f for name in VALIDATION if (f := _folder(root, name)) is not None), None)
    if train is None or valid is None:
        return None
    learn, check = _match(train), _match(valid)
    if learn is None or check is None:  # DeepGlobe's own valid/ has no masks
        return None
    double = {p.stem for p in learn.pairs} & {p.stem for p in check.pairs}

    def parts(found: Found, folder: Path, part: Literal["train", "val"]) -> Iterable[Pair]:
        for pair in found.pairs:
            stem = f"{folder.name}_{pair.stem}" if pair.stem in double else pair.stem
            yield replace(pair, stem=stem, part=part)

    pairs = [*parts(learn, train, "train"), *parts(check, valid, "val")]
    return Found(
        f"{train.name}/ and {valid.name}/ of {learn.layout}",
        tuple(sorted(pairs, key=lambda p: p.stem)),
        (),
        learn.problems + check.problems,
    )


def _match(folder: Path) -> Found | None:
    """The pairs right in `folder`: two folders, or DeepGlobe's flat one."""
    matches = []
    for image_name, mask_name in FOLDERS:
        images, masks = _folder(folder, image_name), _folder(folder, mask_name)
        if images is not None and masks is not None and _images(images) and _images(masks):
            matches.append((images, masks))
    if matches:
        images, masks = matches[0]
        if len(matches) > 1:
            others = ", ".join(f"{i.name}/ + {m.name}/" for i, m in matches[1:])
            text = f"'{folder}' also holds {others}: read are {images.name}/ + {masks.name}/"
            warnings.warn(text, RoadsegWarning, stacklevel=2)
        return _pair_up(f"{images.name} + {masks.name}", _images(images), _images(masks))
    flat = _images(folder)
    masks_flat = [p for p in flat if p.stem.endswith(FLAT_MASK)]
    images_flat = [p for p in flat if p.stem.endswith(FLAT_IMAGE)]
    if masks_flat and images_flat:
        return _pair_up(f"ID{FLAT_IMAGE} + ID{FLAT_MASK}", images_flat, masks_flat, FLAT_IMAGE, FLAT_MASK)
    return None


def _pair_up(layout: str, images: list[Path], masks: list[Path], image_end: str = "", mask_end: str = "") -> Found:
    problems: list[str] = []
    by_image = _by_stem(images, image_end, "images", problems)
    by_mask = _by_stem(masks, mask_end, "masks", problems)
    if not mask_end:
        for stem in [s for s in by_mask if s not in by_image]:
            short = next((stem.removesuffix(e) for e in MASK_ENDINGS if stem.endswith(e)), stem)
            if short in by_image and short not in by_mask:
                by_mask[short] = by_mask.pop(stem)
    pairs = []
    for stem in sorted(by_image.keys() | by_mask.keys()):
        image, mask = by_image.get(stem, []), by_mask.get(stem, [])
        if len(image) == 1 and len(mask) == 1:
            pairs.append(Pair(stem, image[0], mask[0]))
        elif not mask:
            name = f"{stem}{mask_end}" if mask_end else stem
            problems.append(f"image '{image[0]}' has no mask: add '{masks[0].parent / name}.png' or remove the image")
        elif not image:
            name = f"{stem}{image_end}" if image_end else stem
            problems.append(f"mask '{mask[0]}' has no image: add '{images[0].parent / name}.*' or remove the mask")
    return Found(layout, tuple(pairs), (), tuple(problems))


def _by_stem(files: list[Path], ending: str, what: str, problems: list[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.stem.removesuffix(ending) if ending else file.stem, []).append(file)
    for stem, same in found.items():
        if len(same) > 1:
            listed = " and ".join(f"'{p}'" for p in same)
            problems.append(f"{len(same)} {what} are called '{stem}': {listed}; keep one of them")
    return found


def _tests(root: Path) -> tuple[Path, ...]:
    for name in TESTS:
        folder = _folder(root, name)
        if folder is None:
            continue
        inner = [f for image_name, _ in FOLDERS if (f := _folder(folder, image_name)) is not None]
        images = _images(folder) or _nested(folder) or next((i for f in inner if (i := _images(f))), [])
        images = [p for p in images if not p.stem.endswith(FLAT_MASK)]
        if images:
            return tuple(images)
    return ()


def _contents(folder: Path) -> str:
    names = [p.name + ("/" if p.is_dir() else "") for p in _entries(folder)]
    if not names:
        return "nothing"
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _no_layout(root: Path) -> str:
    looked_for = ", ".join(f"{image}/ + {mask}/" for image, mask in FOLDERS[:5])
    text = (
        f"dataset '{root}' is in no known layout. Found: {_contents(root)}. Looked for folders with images "
        f"({', '.join(IMAGE_SUFFIXES)}): {looked_for}, also in training/ or train/; train/ + valid/ of these; "
        f"ID{FLAT_IMAGE}.jpg + ID{FLAT_MASK}.png"
    )
    inside = [p for p in _entries(root)[:50] if p.is_dir() and (_match(p) or _plain(p))]
    around = [root.resolve().parent] if _plain(root.resolve().parent) else []
    for tip in [*inside, *around][:1]:
        text += f"; did you mean '{tip}'?"
    return text
