"""A Keras model as an ONNX file, by Keras' own export from TensorFlow. Done in a process of its own.

The graph keeps its sizes open inside; a file for GIS programs only declares the one size of tiles that they ask for.
That way it is static for them and can be opened again by `predict`.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .gis import cut_at_half

__all__ = ["declare", "main"]

INPUT, OUTPUT = "pixels", "probabilities"


def main(words: list[str]) -> int:
    """`MODEL TARGET OPTIONS`; 0 when `TARGET` is written.

    OPTIONS is JSON: purpose, side (pixels of a tile), cut (see `cut_at_half`), texts (entries of the metadata).
    """
    source, target, options = words[0], Path(words[1]), json.loads(words[2])
    warnings.simplefilter("ignore")
    try:
        import keras

        model = keras.saving.load_model(source, compile=False, safe_mode=True)
        for_gis = options["purpose"] == "gis"
        side, bands = int(options["side"]), int(model.inputs[0].shape[-1])
        if for_gis:
            model = _for_gis(model, bands, float(options["cut"]))
        shape: tuple[Any, ...] = (1, bands, side, side) if for_gis else (1, side, side, bands)
        kind = "float32" if for_gis else "uint8"
        answer = model.predict_on_batch(np.zeros(shape, kind)).shape  # the export wants a model that was called
        model.export(target, format="onnx", verbose=False)
        if not for_gis:
            shape, answer = ("batch", "height", "width", bands), ("batch", "height", "width", answer[3])
        _finish(target, shape, answer, options["texts"])
    except Exception as error:
        lines = str(error).strip().splitlines()
        print(f"{type(error).__name__}: {lines[0] if lines else ''}", file=sys.stderr)
        return 1
    return 0


def _for_gis(model: Any, bands: int, cut: float) -> Any:
    """(N, C, H, W) float32 in [0, 1] in, (N, K, H, W) out, two channels for two classes.

    The pixels are rounded back to the 8 bits that the program divided by 255: the network sees exactly what it sees in
    `roadseg predict`.
    """
    import keras
    from keras import ops

    shares = keras.Input((bands, None, None), dtype="float32", name=INPUT)
    pixels = ops.cast(ops.clip(ops.round(shares * 255.0), 0.0, 255.0), "uint8")
    answer = model(ops.transpose(pixels, (0, 2, 3, 1)))
    answer = ops.transpose(answer, (0, 3, 1, 2))
    if answer.shape[1] == 1:
        road = cut_at_half(answer, cut, larger=ops.maximum, smaller=ops.minimum)
        answer = ops.concatenate([1.0 - road, road], axis=1)
    return keras.Model(shares, answer, name="roadseg")


def _finish(path: Path, entry: Sequence[int | str], answer: Sequence[int | str], texts: dict[str, str]) -> None:
    """Names that say something, the declared sizes of input and output, the metadata; then ONNX' own check."""
    import onnx

    from .. import __version__

    model = onnx.load(path)
    (given,) = (i for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer})
    (found,) = model.graph.output
    _rename(model.graph, {given.name: INPUT, found.name: OUTPUT})
    declare(given, entry)
    declare(found, answer)
    model.graph.name = "roadseg"
    model.producer_name, model.producer_version = "roadseg", __version__
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def declare(value: Any, sizes: Sequence[int | str]) -> None:
    """Set what an input or output (`onnx.ValueInfoProto`) says of its shape: numbers, or names of open sizes."""
    for axis, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
        axis.Clear()
        if isinstance(size, str):
            axis.dim_param = size
        else:
            axis.dim_value = size


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
