"""`roadseg.export`: a model as a file for other programs, compared with the model before it is put in place."""

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import BackendError, ConfigError, ModelError, OutputError
from ..files import check_place, make_folder
from ..inference.convert import run_module
from ..learning.exported import Export, Purpose, carried_texts, is_exported
from ..learning.runs import ModelInfo, find_model, read_info
from . import gis

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..inference.engine import Tell
    from .roundtrip import RoundTrip

__all__ = ["Exported", "Format", "export"]

Format = Literal["onnx", "openvino", "keras"]
SUFFIX: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml", "keras": ".keras"}

CHECK_SIDE = 256  # pixels of a window, where the file does not say
IMAGES = 64  # of a stream, at most
AGREE = 1e-3  # largest difference of probabilities that float32 may make; measured are 1e-6 to 1e-5


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: the file; an OpenVINO model has its weights beside it, as `.bin`.
        format: "onnx", "openvino" or "keras".
        about: what the file says of itself; of a Keras model what it said before.
        resolution_m: metres per pixel that a file for GIS programs asks for; None: not known, or another file.
        check: how far its answers are from the model's; None for a copy.
    """

    path: Path
    format: Format
    about: Export
    resolution_m: float | None
    check: "RoundTrip | None"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the model."""
        return (self.path, self.path.with_suffix(".bin")) if self.format == "openvino" else (self.path,)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "purpose": self.about.purpose,
            "precision": self.about.precision,
            "classes": list(self.about.info.classes),
            "bands": self.about.info.bands,
            "tile": self.about.tile or None,
            "resolution_m": self.resolution_m,
            "bytes": sum(path.stat().st_size for path in self.files),
            "source": self.about.source,
            "check": asdict(self.check) if self.check is not None else None,
        }


def export(
    model: Path | str,
    out: Path | str,
    format: Format | None = None,
    *,
    purpose: Purpose = "gis",
    tile: int = gis.TILE,
    resolution: float | None = None,
    int8: bool = False,
    fp16: bool = False,
    calibrate: "Iterable[NDArray[np.uint8]] | None" = None,
    tell: "Tell | None" = None,
) -> Exported:
    """Write a trained model as a file for other programs. `roadseg predict` and `roadseg.load` take it as well.

    >>> roadseg.export("runs/first", "roads.onnx", resolution=0.3)  # QGIS with Deepness, GeoDeep
    >>> roadseg.export("runs/first", "roads.xml", int8=True, calibrate=[image])  # OpenVINO, in 8 bits

    - "onnx" for `purpose="gis"`: (1, bands, tile, tile) float32 in [0, 1] in, a channel for each class out, with the
      metadata that Deepness and GeoDeep read. Of two classes the second channel is 0.5 where the probability is the
      model's threshold.
    - "onnx" for `purpose="programs"`, and "openvino": (N, H, W, bands) uint8 in, (N, H, W, K) float32 in [0, 1] out, H
      and W multiples of the model's `multiple`; K is 1 for two classes.
    - "keras": a copy, of which plain Keras was seen to load it.

    Args:
        model: a run folder or a `model.keras`.
        out: the file; what is there is replaced when the new one is complete.
        format: None: by the suffix of `out`, .onnx, .xml or .keras.
        tile: pixels a side of the tiles that GIS programs cut; a multiple of what the network takes.
        resolution: metres per pixel that the network wants to see, for GIS programs; None: as the model knows it.
        int8: in 8 bits, for ONNX and OpenVINO; calibrated with the images of `calibrate`.
        fp16: weights of OpenVINO in 16 bits, half the size.
        calibrate: images like those to predict, (H, W, bands) uint8; the check is made on them. None: on made scenes.
        tell: is given a line before what takes long.

    Raises:
        ConfigError: an option that is not known, does not fit the format, or a name with another suffix.
        ModelError: no such model, an exported one, or one that cannot be converted; its answers are not the model's.
        BackendError: a package that takes part is not installed.
        OutputError: the file cannot be written.
    """
    out = Path(out)
    chosen = _check_format(out, format, int8, fp16)
    path = find_model(model)
    if is_exported(path):
        raise ModelError(f"'{path}' is an exported model: export from the run or the model.keras it was made of")
    info = read_info(path)
    if out.is_dir():
        raise OutputError(f"'{out}' is a folder: give a file name in it that ends in {SUFFIX[chosen]}")
    if out.exists() and path.samefile(out):
        raise OutputError(f"'{out}' is the model itself: give another --out")
    check_place(out)
    images = None
    if calibrate is not None:
        images = calibrate if isinstance(calibrate, Sequence) else list(islice(calibrate, IMAGES))
    if int8 and images is None:
        raise ConfigError("--int8 needs images like those to predict: give --calibrate IMAGES")
    about = Export(info, "programs", "int8" if int8 else "float16" if fp16 else "float32", 0, info.hash)
    resolution_m = None
    if chosen == "onnx" and purpose == "gis":
        gis.check_tile(tile, info)
        resolution_m = gis.wanted_resolution(info, resolution)
        gis.tell_limits(info, resolution_m)
        about = replace(about, purpose="gis", tile=tile)
    elif purpose not in get_args(Purpose):
        raise ConfigError(f"--for {purpose}: choose from {', '.join(get_args(Purpose))}")
    elif resolution is not None:
        raise ConfigError("--resolution is for GIS programs: --format onnx --for gis")
    _check_packages(chosen, int8)
    with _aside(out) as folder:
        made = folder / out.name
        check = None
        if chosen == "keras":
            shutil.copyfile(path, made)
            _check_keras(made, info, path)
        else:
            write = _write_onnx if chosen == "onnx" else _write_openvino
            write(path, made, about, resolution_m, images, tell)
            check = _check(path, made, about, images, tell)
        _place(folder, out)
    return Exported(out, chosen, about, resolution_m, check)


def _check_format(out: Path, format: str | None, int8: bool, fp16: bool) -> Format:
    named = {suffix: name for name, suffix in SUFFIX.items()}.get(out.suffix.lower())
    if format is not None and format not in SUFFIX:
        raise ConfigError(f"--format {format}: choose from {', '.join(SUFFIX)}")
    if named is None or (format is not None and named != format):
        wanted = SUFFIX[format] if format else ", ".join(SUFFIX.values())
        what = {"onnx": "an ONNX model", "openvino": "an OpenVINO model", "keras": "a Keras model"}.get(format or "")
        raise ConfigError(f"'{out}': {what or 'an exported model'} has a name that ends in {wanted}")
    chosen: Format = named  # type: ignore[assignment]
    if int8 and chosen == "keras":
        raise ConfigError("--int8: a Keras model computes in floating point, use --format openvino or onnx")
    if fp16 and (int8 or chosen != "openvino"):
        raise ConfigError("--fp16 is for --format openvino, without --int8")
    return chosen


def _check_packages(chosen: Format, int8: bool) -> None:
    needed = {
        "onnx": ["onnx", "onnxruntime", "tf2onnx", "tensorflow"],
        "openvino": ["openvino", *(["nncf"] if int8 else [])],
        "keras": [],
    }[chosen]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = {"onnx": "'roadseg[onnx,cpu]'", "openvino": "'roadseg[int8]'" if int8 else "openvino"}[chosen]
        raise BackendError(f"--format {chosen} needs {' and '.join(missing)}: pip install {extras}")


# --- the files --------------------------------------------------------------------------------------------------------


@contextmanager
def _aside(out: Path) -> "Iterator[Path]":
    """A folder beside `out` that goes away at the end."""
    make_folder(out.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.stem[:40]}-", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(f"cannot write '{out}': {error.strerror or error}") from error


def _place(folder: Path, out: Path) -> None:
    """The finished files to their places; an OpenVINO model's `.xml`, which is what is opened, last."""
    umask = os.umask(0)
    os.umask(umask)
    for made in sorted(folder.iterdir(), key=lambda path: path.suffix == ".xml"):
        made.chmod(0o666 & ~umask)
        made.replace(out.parent / made.name)


def _write_openvino(
    path: Path, made: Path, about: Export, _: float | None, images: Sequence[Any] | None, tell: "Tell | None"
) -> None:
    from ..inference._openvino import load_core, load_openvino
    from ..inference.cache import open_cache
    from ..inference.int8 import open_int8

    source = open_cache(about.info.hash).openvino(path)
    if about.precision == "int8":
        source = open_int8(path, about.info, images, tell).path
    graph = load_core().read_model(source)
    for key, text in carried_texts(about).items():
        graph.set_rt_info(text, key)
    load_openvino().save_model(graph, made, compress_to_fp16=about.precision == "float16")


def _write_onnx(
    path: Path,
    made: Path,
    about: Export,
    resolution_m: float | None,
    images: Sequence[Any] | None,
    tell: "Tell | None",
) -> None:
    from ..inference.from_onnx import cut_of

    if tell is not None:
        tell("converting with TensorFlow and tf2onnx")
    texts = carried_texts(about)
    if about.purpose == "gis":
        texts |= gis.gis_metadata(about.info, about.tile, resolution_m)
    options = {"purpose": about.purpose, "side": _side(about), "cut": cut_of(about), "texts": texts}
    words = (str(path), str(made), json.dumps(options))
    failure = run_module("roadseg.exports.to_onnx", *words, KERAS_BACKEND="tensorflow")
    if failure:
        raise ModelError(f"'{path}' cannot be written as ONNX ({failure}): use --format openvino or keras")
    if about.precision == "int8":
        from .onnx_int8 import quantise

        assert images is not None
        if tell is not None:
            tell("quantising with windows of the images")
        quantise(made, about, images)


def _check_keras(made: Path, info: ModelInfo, path: Path) -> None:
    """The copy is opened by a Keras that knows nothing of roadseg, on the backend there is."""
    from ..backend import choose_backend

    try:
        backend = choose_backend()
    except BackendError:
        backend = "openvino"  # Keras' own, for prediction
    side = -(-64 // info.multiple) * info.multiple
    failure = run_module("roadseg.exports.plain", str(made), str(side), KERAS_BACKEND=backend)
    if failure:
        raise ModelError(f"plain Keras does not load '{path}' ({failure}): it has layers that only your code defines")


# --- the check --------------------------------------------------------------------------------------------------------


def _side(about: Export) -> int:
    multiple = about.info.multiple
    return about.tile or -(-CHECK_SIDE // multiple) * multiple


def _check(path: Path, made: Path, about: Export, images: Sequence[Any] | None, tell: "Tell | None") -> "RoundTrip":
    """Compare the file with the model.

    Raises:
        ModelError: it computes something else.
    """
    from ..inference.engine import Engine
    from .roundtrip import check_windows, compare, engine_answers, gis_engine, reference_engine

    windows = check_windows(images, about.info, _side(about))
    reference, name = reference_engine(path, about.info)
    if about.purpose == "gis":
        run = gis_engine(made, about)
    else:
        engine: Engine
        if made.suffix.lower() == ".onnx":
            from ..inference.onnx_engine import OnnxEngine

            engine = OnnxEngine(made)
        else:
            from ..inference.openvino_engine import OpenVINOEngine

            engine = OpenVINOEngine(made, "int8" if about.precision == "int8" else "f32")
        run = engine_answers(engine, about.info)
    if tell is not None:
        tell(f"comparing with {name}")
    trip = compare(run, reference, name, windows, about.info, made=images is None)
    if about.precision == "float32" and not trip.max_difference <= AGREE:
        raise ModelError(
            f"'{path}' changes on its way to {made.suffix[1:]} ({trip}): use another --format, and report it"
        )
    return trip
