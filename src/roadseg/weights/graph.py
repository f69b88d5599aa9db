"""How OpenVINO computes a model of the package, kept without its weights: those are in the `.keras` file beside it.

A conversion takes seconds, and a process with Keras; from this file it takes a tenth of a second. It is a zip:

    model.xml       the graph, as the conversion wrote it
    layout.json     where in `model.bin` each weight of the `.keras` file goes, and with which order of its axes
    rest.bin        what else is in `model.bin`, end to end
"""

import io
import itertools
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..files import write_aside
from .half import WEIGHTS

__all__ = ["pack_graph", "unpack_graph"]

FORMAT = 1
SMALLEST = 256  # bytes from which a constant is looked for among the weights; smaller ones are kept as they are
DATE = (1980, 1, 1, 0, 0, 0)


def pack_graph(model: Path, converted: Path, target: Path) -> None:
    """Write `target` from a model file and what it was converted to.

    Args:
        model: the `.keras` file.
        converted: its `.xml`, with the `.bin` beside it.

    Raises:
        ModelError: putting it together again would not give the very bytes.
    """
    whole = converted.with_suffix(".bin").read_bytes()
    graph = converted.read_bytes()
    weights = _weights(model)
    places, rest, at = [], io.BytesIO(), 0
    for offset, size, shape in sorted(_constants(graph)):
        if offset < at:  # a constant that two nodes share
            continue
        rest.write(whole[at:offset])
        found = _find(whole[offset : offset + size], shape, weights) if size >= SMALLEST else None
        if found is None:
            rest.write(whole[offset : offset + size])
        else:
            places.append({"offset": offset, "size": size, "weight": found[0], "axes": found[1]})
        at = offset + size
    rest.write(whole[at:])
    layout = {"format": FORMAT, "size": len(whole), "places": places}
    with write_aside(target) as aside, zipfile.ZipFile(aside, "w") as out:
        members = {"model.xml": graph, "layout.json": json.dumps(layout).encode(), "rest.bin": rest.getvalue()}
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name, DATE), data, zipfile.ZIP_DEFLATED, 9)
    if _whole(target, weights)[1] != whole:
        target.unlink()
        raise ModelError(f"'{converted}' cannot be put together again from '{model}'")


def unpack_graph(graph: Path, model: Path, target: Path) -> None:
    """Write `target` (`.xml`) and the `.bin` beside it.

    Args:
        graph: what `pack_graph` wrote for `model`.

    Raises:
        ModelError: the two do not belong together, or one is damaged.
    """
    try:
        xml, whole = _whole(graph, _weights(model))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"'{graph}' and '{model}' do not belong together: {error}") from error
    with write_aside(target.with_suffix(".bin")) as aside:
        aside.write_bytes(whole)
    with write_aside(target) as aside:
        aside.write_bytes(xml)


def _whole(graph: Path, weights: dict[str, NDArray[np.float32]]) -> tuple[bytes, bytes]:
    """Bytes of `model.xml` and `model.bin`."""
    with zipfile.ZipFile(graph) as archive:
        xml, rest = archive.read("model.xml"), archive.read("rest.bin")
        layout = json.loads(archive.read("layout.json"))
    if layout["format"] != FORMAT:
        raise ValueError("written by another version")
    made, at, taken = bytearray(), 0, 0
    for place in layout["places"]:
        between = place["offset"] - at
        made += rest[taken : taken + between]
        taken += between
        values = np.ascontiguousarray(weights[place["weight"]].transpose(place["axes"])).tobytes()
        if len(values) != place["size"]:
            raise ValueError(f"the weight {place['weight']} has another size")
        made += values
        at = place["offset"] + place["size"]
    made += rest[taken:]
    if len(made) != layout["size"]:
        raise ValueError("another size than it should have")
    return xml, bytes(made)


def _weights(model: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a `.keras` file by their place in it, as float32."""
    import h5py

    found: dict[str, NDArray[np.float32]] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            found[name] = np.asarray(item[()], np.float32)

    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as file:
        file.visititems(take)
    return found


def _constants(graph: bytes) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Offset and size in `model.bin`, in bytes, and shape of each float32 constant of a graph."""
    for data in ElementTree.fromstring(graph).iterfind("layers/layer[@type='Const']/data"):
        if data.get("element_type") == "f32":
            sides = tuple(int(n) for n in (data.get("shape") or "").replace(" ", "").split(",") if n)
            yield int(data.get("offset", 0)), int(data.get("size", 0)), sides


def _find(
    values: bytes, shape: tuple[int, ...], weights: dict[str, NDArray[np.float32]]
) -> tuple[str, tuple[int, ...]] | None:
    """The weight that the bytes of a constant are, and the order of its axes."""
    for name, weight in weights.items():
        if weight.nbytes != len(values):
            continue
        for axes in itertools.permutations(range(weight.ndim)):
            turned = weight.transpose(axes)
            # Sides of 1 come and go; comparing the others first spares most copies.
            if [n for n in turned.shape if n > 1] != [n for n in shape if n > 1]:
                continue
            if np.ascontiguousarray(turned).tobytes() == values:
                return name, axes
    return None
