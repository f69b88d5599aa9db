"""What an exported model says of itself: `ModelInfo` in the metadata of ONNX and OpenVINO files, read without either.

Their own packages are slow to import, or not installed where a file is only looked at. Writing is in `roadseg.exports`.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from xml.etree import ElementTree

from ..errors import ModelError
from .runs import INFO_KEY, ModelInfo, pack_info, unpack_info

__all__ = ["EXPORT_KEY", "SUFFIXES", "Export", "carried_texts", "is_exported", "read_export"]

EXPORT_KEY = "roadseg_export"
SUFFIXES = (".onnx", ".xml")

METADATA_PROPS = 14  # the number of this field in onnx.proto's ModelProto; its entries are {1: key, 2: value}
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # protobuf's wire types
LONGEST = 64 << 20  # bytes of one metadata entry; more is no metadata of ours

Purpose = Literal["programs", "gis"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Export:
    """How an exported file differs from the `model.keras` it was made of.

    Args:
        info: as in `model.keras`; its `hash` is the exported file's.
        purpose: "programs": (N, H, W, C) uint8 in, (N, H, W, K) probabilities out, as `model.keras`.
            "gis": (1, C, T, T) float32 in [0, 1] in, one channel for each class out.
        precision: of the weights, "int8": also of the computation.
        tile: T of a "gis" file, pixels; 0 otherwise.
        source: hash of the `model.keras`.
    """

    info: ModelInfo
    purpose: Purpose = "programs"
    precision: Precision = "float32"
    tile: int = 0
    source: str = ""


def is_exported(path: Path) -> bool:
    """Whether a model's name says that it is an exported one."""
    return Path(path).suffix.lower() in SUFFIXES


def carried_texts(export: Export) -> dict[str, str]:
    """The entries, key and JSON, that travel in the file's metadata."""
    about = {
        "purpose": export.purpose,
        "precision": export.precision,
        "tile": export.tile,
        "source": export.source,
    }
    return {INFO_KEY: json.dumps(pack_info(export.info)), EXPORT_KEY: json.dumps(about)}


def read_export(path: Path) -> Export:
    """What an `.onnx` or `.xml` file that `roadseg export` wrote says of itself; its graph is not looked at.

    Raises:
        ModelError: not such a file, one that roadseg did not write, or one without its weights.
    """
    path = Path(path)
    kind = "an ONNX" if path.suffix.lower() == ".onnx" else "an OpenVINO"
    digest = hashlib.sha256()
    try:
        parts = [path] if path.suffix.lower() == ".onnx" else [path, path.with_suffix(".bin")]
        if not parts[-1].is_file():
            raise ModelError(f"'{parts[-1]}' is missing: an OpenVINO model is two files, move them together")
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        texts = _onnx_texts(path) if len(parts) == 1 else _openvino_texts(path)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise ModelError(f"'{path}' is not {kind} model: {error}") from error
    if INFO_KEY not in texts:
        raise ModelError(f"'{path}' is {kind} model that roadseg did not write: its classes and bands are not known")
    try:
        stored, about = json.loads(texts[INFO_KEY]), json.loads(texts.get(EXPORT_KEY, "{}"))
        info = unpack_info(stored, path, digest.hexdigest()[:16])
        return Export(info, **about)
    except (TypeError, ValueError) as error:
        raise ModelError(f"'{path}' carries damaged model information: {error}") from error


# --- ONNX: a protobuf message ----------------------------------------------------------------------------------------


def _onnx_texts(path: Path) -> dict[str, str]:
    """`metadata_props` of an ONNX file. The graph, nearly all of the file, is skipped unread.

    Raises:
        ValueError: not a protobuf message.
    """
    found: dict[str, str] = {}
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        for number, value in _fields(file, size, want=METADATA_PROPS):
            if number == METADATA_PROPS and isinstance(value, bytes):
                entry = _entry(value)
                found[entry.get(1, "")] = entry.get(2, "")
    return found


def _entry(message: bytes) -> dict[int, str]:
    import io

    fields = _fields(io.BytesIO(message), len(message))
    return {number: value.decode("utf-8") for number, value in fields if isinstance(value, bytes)}


def _fields(file: BinaryIO, end: int, want: int | None = None) -> Iterator[tuple[int, bytes | None]]:
    """The fields of a protobuf message from here to `end`; the content of those that are not wanted is skipped."""
    while file.tell() < end:
        key = _varint(file)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _varint(file)
            value = None
        elif kind in (FIXED64, FIXED32):
            file.seek(8 if kind == FIXED64 else 4, 1)
            value = None
        elif kind == LENGTH:
            length = _varint(file)
            if file.tell() + length > end:
                raise ValueError("it ends in the middle")
            if want in (None, number) and length <= LONGEST:
                value = file.read(length)
            else:
                file.seek(length, 1)
                value = None
        else:
            raise ValueError("it is no protobuf message")
        if number == 0:
            raise ValueError("it is no protobuf message")
        yield number, value
    if file.tell() != end:
        raise ValueError("it ends in the middle")


def _varint(file: BinaryIO) -> int:
    total = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle")
        total |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return total
    raise ValueError("it is no protobuf message")


# --- OpenVINO: XML ---------------------------------------------------------------------------------------------------


def _openvino_texts(path: Path) -> dict[str, str]:
    """The entries of `rt_info` in an OpenVINO model: `<net><rt_info><roadseg value="..."/></rt_info></net>`."""
    found: dict[str, str] = {}
    depth = 0
    inside = False
    for event, node in ElementTree.iterparse(path, events=("start", "end")):
        if event == "start":
            depth += 1
            if depth == 1 and node.tag != "net":
                raise ValueError("its XML is of something else")
            inside = inside or (depth == 2 and node.tag == "rt_info")
            continue
        depth -= 1
        if depth == 2 and inside:
            found[node.tag] = node.get("value", "")
        elif depth == 1:
            inside = False
            node.clear()  # layers are large, and nothing of them is asked for
    return found
