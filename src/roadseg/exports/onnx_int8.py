"""An ONNX model in 8 bits: ONNX Runtime's static quantisation, with windows of the user's images."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..inference.int8 import SIDE, WINDOWS, calibration_windows
from ..learning.exported import Export, carried_texts

__all__ = ["quantise"]

CALIBRATED = ("Conv", "ConvTranspose", "Concat", "MaxPool", "Relu", "Add", "Mul")


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

    texts = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.onnx"
            quant_pre_process(str(path), str(plain), skip_symbolic_shape=True)
            model = onnx.load(plain)
            kinds = ("Conv", "ConvTranspose")
            convolutions = [node.name for node in model.graph.node if node.op_type in kinds]
            quantization.quantize_static(
                str(plain),
                str(path),
                _Windows(model.graph.input[0].name, about, images),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(CALIBRATED),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=[*convolutions[:1], *convolutions[-1:]],
            )
        model = onnx.load(path)
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
        side = about.tile or SIDE
        windows = WINDOWS if not about.tile else max(2, WINDOWS * SIDE**2 // side**2)  # about as many pixels
        for window in calibration_windows(images, about.info, side, windows)[::2]:
            if about.purpose == "gis":
                yield {name: np.moveaxis(window[None], 3, 1).astype(np.float32) / np.float32(255)}
            else:
                yield {name: window[None]}
