"""Out-of-fold probability maps: each image as the models predict it that were not trained on it, stored as TIFF.

FOLDER/NAME.tif           uint16, 0..65535 = probability 0..1; K bands, one for two classes; mean over the seeds
FOLDER/seed_S/NAME.tif    the same of each seed, where there are several
FOLDER/index.json         which model each map is of: it is not predicted again
"""

import gc
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..config import PredictConfig
from ..errors import DataError, OutputError, RunError
from ..files import write_aside, write_json
from .calibration import LEVELS, to_levels
from .records import pair_hash

if TYPE_CHECKING:
    from ..imagery.dataset import Dataset
    from ..imagery.layouts import Pair
    from ..inference.predictor import Predictor

__all__ = ["Maps", "Trained", "check_held_out", "predict_folds", "read_map", "write_map"]

VERSION = 1
INDEX = "index.json"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A trained model of one fold and seed, and the images it has not seen: indices into the dataset's pairs."""

    fold: int
    seed: int
    run: Path
    held_out: tuple[int, ...]


def write_map(path: Path, levels: NDArray[np.uint16], like: "Pair | None" = None) -> None:
    """Write (H, W, K) uint16 as a deflated TIFF of K bands, on the grid of a pair's image where that is a GeoTIFF.

    Raises:
        OutputError: it cannot be written.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
    from rasterio.windows import Window

    height, width, bands = levels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": "uint16"}
    profile |= {"compress": "deflate", "predictor": 2, "tiled": True, "blockxsize": 256, "blockysize": 256}
    with write_aside(path) as aside, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            if like is not None and like.image.suffix.lower() in (".tif", ".tiff"):
                with rasterio.open(like.image) as source:
                    if like.block is not None:
                        window = Window(like.block.left, like.block.top, width, height)
                        profile |= {"crs": source.crs, "transform": source.window_transform(window)}
                    elif (source.height, source.width) == (height, width):
                        profile |= {"crs": source.crs, "transform": source.transform}
            with rasterio.open(aside, "w", **profile) as target:
                target.write(np.moveaxis(levels, -1, 0))
        except (RasterioError, RasterioIOError) as error:
            raise OutputError(f"cannot write '{path}': {error}") from error


def read_map(path: Path) -> NDArray[np.uint16]:
    """(H, W, K) uint16, 0..65535 = probability 0..1.

    Raises:
        DataError: it is missing or damaged, or no such map.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as source:
                levels = np.moveaxis(source.read(), 0, -1)
        except (RasterioError, RasterioIOError) as error:
            raise DataError(f"cannot read '{path}': {error}; remove it, and it is predicted anew") from error
    if levels.dtype != np.uint16:
        raise DataError(f"'{path}' has {levels.dtype} pixels, not uint16: remove it, and it is predicted anew")
    return np.asarray(levels, np.uint16)


@dataclass(frozen=True)
class Maps:
    """The maps of a folder, once `predict_folds` has made them."""

    folder: Path
    seeds: tuple[int, ...]

    def place(self, stem: str, seed: int | None = None) -> Path:
        """Where a map is; of all seeds together without a `seed`."""
        if seed is None or len(self.seeds) == 1:
            return self.folder / f"{stem}.tif"
        return self.folder / f"seed_{seed}" / f"{stem}.tif"

    def levels(self, stem: str, seed: int | None = None) -> NDArray[np.uint16]:
        """(H, W, K) uint16."""
        return read_map(self.place(stem, seed))

    def probabilities(self, stem: str, seed: int | None = None) -> NDArray[np.float32]:
        """(H, W, K) float32 in [0, 1]."""
        return np.asarray(self.levels(stem, seed) / np.float32(LEVELS - 1), np.float32)


def predict_folds(
    out: Path, dataset: "Dataset", trained: Sequence[Trained], config: PredictConfig, *, tta: bool, tell: Tell
) -> tuple[Maps, Maps | None]:
    """Predict each fold's held-out images with its models, by the Keras engine, one image in memory at a time.

    Maps that are there already, of the same model and the same image, are left as they are.

    Args:
        out: its folder `out_of_fold` is written, and `out_of_fold_tta`.
        config: windows; its threshold and test-time augmentation do not matter.
        tta: predict also the mean over 8 rotations and reflections.
        tell: is given a line for each model that predicts.

    Returns:
        The maps, and those with test-time augmentation where they were asked for.

    Raises:
        RunError: a run has not held these images out.
        ModelError, BackendError, DataError, OutputError: see `roadseg.load` and `Dataset.read`.
    """
    seeds = tuple(dict.fromkeys(one.seed for one in trained))
    kinds = [_Kind(Maps(out / "out_of_fold", seeds), False)]
    if tta:
        kinds.append(_Kind(Maps(out / "out_of_fold_tta", seeds), True))
    for one in trained:
        check_held_out(one, dataset)
        missing = [kind.missing(one, dataset, config) for kind in kinds]
        if not any(missing):
            continue
        tell(
            f"fold {one.fold}, seed {one.seed}: {len(one.held_out)} held-out images" + (", 8 views too" if tta else "")
        )
        predictor = _predictor(one.run, config)
        for kind, indices in zip(kinds, missing, strict=True):
            if indices:
                kind.predict(predictor, one, indices, dataset, config)
        del predictor
        gc.collect()  # networks are full of cycles, and many of them would come together
    for kind in kinds:
        kind.average({pair.stem: pair for pair in dataset.pairs})
    return kinds[0].maps, kinds[1].maps if tta else None


def _predictor(run: Path, config: PredictConfig) -> "Predictor":
    import msgspec

    from ..inference.predictor import load_predictor

    return load_predictor(run, msgspec.structs.replace(config, tta=False), engine="keras")


class _Kind:
    """The maps with or without test-time augmentation as they are made."""

    def __init__(self, maps: Maps, tta: bool) -> None:
        self.maps, self.tta = maps, tta
        self.index = _Index(maps.folder)
        self.codes: dict[str, list[str]] = {}  # of each image's maps, one a seed: what they depend on

    def missing(self, one: Trained, dataset: "Dataset", config: PredictConfig) -> list[int]:
        """The held-out images without a map of this model."""
        from ..learning.runs import find_model, read_info

        model = read_info(find_model(one.run)).hash
        found = []
        for k in one.held_out:
            stem = dataset.pairs[k].stem
            code = _digest(model, dataset.hashes[k], config.window, config.overlap, self.tta)
            self.codes.setdefault(stem, []).append(code)
            if not self.index.has(self.maps.place(stem, one.seed), code):
                found.append(k)
        return found

    def predict(
        self, plain: "Predictor", one: Trained, indices: Sequence[int], dataset: "Dataset", config: PredictConfig
    ) -> None:
        from ..inference.predictor import Predictor

        predictor = Predictor(plain.run, plain.info, plain.config, self.tta)
        places = {k: self.maps.place(dataset.pairs[k].stem, one.seed) for k in indices}
        self.index.forget(places.values())
        with dataset.reader() as reader:
            for k, place in places.items():
                sample = reader.read(k)
                write_map(place, to_levels(predictor.probabilities(sample.image)), dataset.pairs[k])
        self.index.remember({place: self.codes[dataset.pairs[k].stem][-1] for k, place in places.items()})

    def average(self, pairs: "Mapping[str, Pair]") -> None:
        """The mean over the seeds of each image, where there are several."""
        maps = self.maps
        if len(maps.seeds) == 1:
            return
        joint = {maps.place(stem): _digest(*codes) for stem, codes in self.codes.items()}
        missing = [stem for stem in self.codes if not self.index.has(maps.place(stem), joint[maps.place(stem)])]
        self.index.forget(map(maps.place, missing))
        for stem in missing:
            total = sum(maps.levels(stem, seed).astype(np.float64) for seed in maps.seeds)
            write_map(maps.place(stem), np.asarray(np.rint(total / len(maps.seeds)), np.uint16), pairs[stem])
        self.index.remember({maps.place(stem): joint[maps.place(stem)] for stem in missing})


def _digest(*parts: object) -> str:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def check_held_out(one: Trained, dataset: "Dataset") -> None:
    """Make sure that a run has held out just these images, by content.

    Raises:
        RunError: it has not: the dataset was changed since.
    """
    from ..learning.runs import RunFolder

    split = RunFolder.open(one.run).read_json("split.json")
    wanted = {dataset.pairs[k].stem: pair_hash(dataset.entry(k)) for k in one.held_out}
    others = {dataset.pairs[k].stem: pair_hash(dataset.entry(k)) for k in set(range(len(dataset))) - set(one.held_out)}
    try:
        found = {item["stem"]: pair_hash(item) for item in split["val"]}
        trained = {item["stem"]: pair_hash(item) for item in split["train"]}
    except (KeyError, TypeError) as error:
        raise RunError(f"run '{one.run}' has a damaged split.json: {error!r}") from error
    other = sorted(stem for stem in wanted.keys() | found.keys() if wanted.get(stem) != found.get(stem))
    if other:
        raise RunError(
            f"run '{one.run}' did not hold out the images and masks of fold {one.fold} ('{other[0]}' differs): the "
            "dataset was changed. Take that folder away to train the fold anew, or give another --out"
        )
    other = sorted(stem for stem in others.keys() | trained.keys() if others.get(stem) != trained.get(stem))
    if other:
        raise RunError(
            f"run '{one.run}' was trained on another image or mask '{other[0]}' than the dataset has now. Take that "
            "folder away to train the fold anew, or give another --out"
        )


class _Index:
    """Which model and image each map in a folder is of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.maps: dict[str, str] = {}
        try:
            stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            if stored["version"] == VERSION:
                self.maps = dict(stored["maps"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged: all is predicted anew

    def has(self, path: Path, code: str) -> bool:
        return self.maps.get(self._key(path)) == code and path.is_file()

    def forget(self, paths: Iterable[Path]) -> None:
        """Before they are written anew: an interruption would leave maps of two models under one code."""
        stale = [key for key in map(self._key, paths) if key in self.maps]
        for key in stale:
            del self.maps[key]
        if stale:
            self._write()

    def remember(self, codes: Mapping[Path, str]) -> None:
        if codes:
            self.maps |= {self._key(path): code for path, code in codes.items()}
            self._write()

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _write(self) -> None:
        write_json(self.folder / INDEX, {"version": VERSION, "maps": self.maps})
