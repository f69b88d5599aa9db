"""An ONNX file that roadseg exported as the OpenVINO model that our engines run; needs no ONNX package."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError, ModelError
from ..learning.exported import Export, read_export
from ._openvino import load_core, load_openvino
from .channels_first import to_channels_first

__all__ = ["CLAMP", "cut_of", "from_onnx"]

CLAMP = 1e-6  # a threshold of 0 or 1 would leave no room on one of its sides


def cut_of(export: Export) -> float:
    """The probability that a GIS file's second channel shows as 0.5: the model's threshold; 0.5: left as it is.

    Programs that compare channels decide at 0.5; the exported graph stretches the two sides of the threshold to it.
    """
    if len(export.info.classes) > 2:
        return 0.5
    return float(np.clip(export.info.threshold, CLAMP, 1 - CLAMP))


def from_onnx(source: Path, target: Path) -> None:
    """Write the ONNX file `source` as `target` (.xml): (N, H, W, C) uint8 in, (N, H, W, K) float32 out, all sizes open.

    What a GIS file puts around the network is taken off: its channels come first, its pixels are shares of 1, and its
    two channels are cut at 0.5.

    Raises:
        ModelError: not a file that roadseg exported, or one that OpenVINO cannot read.
        BackendError: OpenVINO is not installed.
    """
    export = read_export(source)
    try:
        openvino = load_openvino()
    except ImportError as error:
        raise BackendError("openvino is not installed: pip install openvino") from error
    try:
        graph = load_core().read_model(source)
        graph.reshape(_open_sizes(export))
        if export.purpose == "gis":
            graph = _plain(graph, export)
        else:
            to_channels_first(graph)
        graph.validate_nodes_and_infer_types()
        openvino.save_model(graph, target, compress_to_fp16=False)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise ModelError(f"OpenVINO cannot read '{source}' ({lines[-1]}): use --engine onnx") from error


def _open_sizes(export: Export) -> Any:
    bands = export.info.bands
    return load_openvino().PartialShape([-1, bands, -1, -1] if export.purpose == "gis" else [-1, -1, -1, bands])


def _plain(graph: Any, export: Export) -> Any:
    """`graph` between the input and output of `model.keras`."""
    openvino = load_openvino()
    ops = openvino.opset13
    pixels = ops.parameter(openvino.PartialShape([-1, -1, -1, export.info.bands]), np.uint8, name="pixels")
    shares = ops.divide(ops.convert(pixels, "f32"), ops.constant(np.float32(255)))
    first = ops.transpose(shares, ops.constant(np.array([0, 3, 1, 2], np.int64)))
    (entry,) = graph.get_parameters()
    for reader in entry.output(0).get_target_inputs():
        reader.replace_source_output(first.output(0))
    (answer,) = graph.get_results()
    last = ops.transpose(answer.input_value(0), ops.constant(np.array([0, 2, 3, 1], np.int64)))
    if len(export.info.classes) <= 2:
        road = ops.gather(last, ops.constant(np.array([1], np.int64)), ops.constant(np.int64(3)))
        last = _uncut(road, cut_of(export), ops)
    return openvino.Model([ops.result(last)], [pixels], "roadseg")


def _uncut(shown: Any, cut: float, ops: Any) -> Any:
    """The probability of what a file shows, see `exports.gis.cut_at_half`: lines through (0, 0), (0.5, cut), (1, 1)."""
    if cut == 0.5:
        return shown

    def line(factor: float, offset: float) -> Any:
        return ops.add(ops.multiply(shown, ops.constant(np.float32(factor))), ops.constant(np.float32(offset)))

    below, above = line(2 * cut, 0.0), line(2 * (1 - cut), 2 * cut - 1)
    return ops.maximum(below, above) if cut < 0.5 else ops.minimum(below, above)
