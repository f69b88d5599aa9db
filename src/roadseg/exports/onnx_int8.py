"""An ONNX model in 8 bits: ONNX Runtime's static quantisation, with windows of the user's images."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..inference.int8 import calibration_windows
from ..learning.exported import Export, carried_texts

__all__ = ["quantise"]

QUANTISED = ("Add", "Concat", "Conv", "ConvTranspose", "MaxPool", "Mul", "Pad", "Relu", "Slice")


def quantise(path: Path, about: Export, images: Sequence[NDArray[np.uint8]]) -> None:
    """Replace the ONNX file at `path` by one in 8 bits, its metadata kept.

    Weights channel by channel, activations unsigned and asymmetric, in QDQ form, which ONNX Runtime and OpenVINO run.
    The first and the last convolution stay in floating point, as in `inference.int8`.

    Raises:
        ModelError: it cannot be quantised.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from .to_onnx import declare

    model = onnx.load(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    try:
        ends = (model.graph.input[0], model.graph.output[0])
        sizes = [[axis.dim_param or axis.dim_value for axis in end.type.tensor_type.shape.dim] for end in ends]
        if about.purpose == "gis":  # else the graph would be simplified for this one size
            for end, (_, channels, *_) in zip(ends, sizes, strict=True):
                declare(end, ["batch", channels, "height", "width"])
        with tempfile.TemporaryDirectory() as folder:
            opened, plain = Path(folder) / "open.onnx", Path(folder) / "plain.onnx"
            onnx.save(model, opened)
            quant_pre_process(str(opened), str(plain), skip_symbolic_shape=True)
            model = onnx.load(plain)
            kinds = ("Conv", "ConvTranspose")
            convolutions = [node.name for node in model.graph.node if node.op_type in kinds]
            quantization.quantize_static(
                str(plain),
                str(path),
                _Windows(model.graph.input[0].name, about, images),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=[*convolutions[:1], *convolutions[-1:]],
            )
        model = onnx.load(path)
        for end, shape in zip((model.graph.input[0], model.graph.output[0]), sizes, strict=True):
            declare(end, shape)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, texts | carried_texts(about))
        onnx.save(model, path)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"the model cannot be quantised as ONNX ({lines[0] if lines else error!r}): use --format openvino --int8"
        ) from error


class _Windows:
    """What ONNX Runtime's calibration asks for inputs, one window at a time."""

    def __init__(self, name: str, about: Export, images: Sequence[NDArray[np.uint8]]) -> None:
        self._inputs = self._all(name, about, images)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)

    @staticmethod
    def _all(name: str, about: Export, images: Sequence[NDArray[np.uint8]]) -> Iterator[dict[str, Any]]:
        for window in calibration_windows(images, about.info)[::2]:
            if about.purpose == "gis":
                yield {name: np.moveaxis(window[None], 3, 1).astype(np.float32) / np.float32(255)}
            else:
                yield {name: window[None]}
