"""A Keras model as an OpenVINO or ONNX model. Done in a process of its own: this one need not load a framework.

OpenVINO: Keras itself builds the graph, on its OpenVINO backend, where a layer's operations are nodes; no training
framework takes part. ONNX needs TensorFlow and tf2onnx.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError, ModelError, RoadsegError
from ..weights import graph_of
from ..weights.graph import unpack_graph
from ._openvino import load_openvino, silence_telemetry
from .channels_first import to_channels_first

__all__ = ["convert", "main", "run_module"]

Way = Literal["openvino", "openvino-tensorflow", "onnx"]
BACKEND: dict[str, str] = {"openvino": "openvino", "openvino-tensorflow": "tensorflow", "onnx": "tensorflow"}
UNLOADABLE = "cannot be loaded as a Keras model"
AGREE = 1e-4  # of probabilities, between the graph as Keras builds it and as it is rewritten, both in float32


def convert(model: Path, target: Path, *, members: bool = False) -> None:
    """Write the Keras model file `model` as `target`: `.xml` (and `.bin`) for OpenVINO, `.onnx` for ONNX.

    An ONNX file that roadseg exported is also taken, for OpenVINO.

    Args:
        members: of an ensemble, let the answer go on with those of the members, see `members.every_answer`.

    Raises:
        ModelError: the model has layers that cannot be converted.
        BackendError: Python cannot be started, or a package that takes part cannot be imported.
    """
    import importlib.util

    if model.suffix.lower() == ".onnx":
        from .from_onnx import from_onnx

        from_onnx(model, target)
        return

    ways: list[Way] = ["onnx"]
    if target.suffix == ".xml":
        if (graph := graph_of(model)) is not None:  # of a model in the package: no conversion
            with contextlib.suppress(ModelError):
                unpack_graph(graph, model, target)
                return
        # Where Keras' own OpenVINO backend lacks an operation, TensorFlow's graph may have it.
        ways = ["openvino", *(["openvino-tensorflow"] if importlib.util.find_spec("tensorflow") else [])]  # type: ignore[list-item]
    problems = []
    for way in ways:
        words = (way, str(model), str(target), *["members"] * members)
        failure = run_module("roadseg.inference.convert", *words, KERAS_BACKEND=BACKEND[way])
        if not failure:
            return
        if failure.startswith(UNLOADABLE):
            raise ModelError(f"'{model}' {failure}")
        problems.append(failure)
    kind = "ONNX" if target.suffix == ".onnx" else "OpenVINO"
    raise ModelError(f"'{model}' cannot be converted for {kind} ({problems[0]}): use --engine keras")


def run_module(name: str, *words: str, **variables: str) -> str:
    """Run one of our modules in a Python of its own; the last line of its complaint, empty when it went well.

    Raises:
        BackendError: there is no Python to run.
    """
    package = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as home:  # Keras writes its settings file
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"PYTHONPATH": os.pathsep.join(paths), "KERAS_HOME": home, "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable or "python3", "-P", "-m", name, *words]  # -P: no keras.py of the current folder
        try:
            done = subprocess.run(
                command, env={**os.environ, **own, **variables}, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise BackendError(f"cannot start Python to convert the model: {error}") from error
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:500] if lines else f"the conversion ended with code {done.returncode}"


# --- in the process of its own ---------------------------------------------------------------------------------------


def main(words: list[str]) -> int:
    """`openvino|openvino-tensorflow|onnx MODEL TARGET [members]`; 0 when `TARGET` is written."""
    way, source, target, *members = words
    silence_telemetry()
    try:
        import keras

        keras.config.set_image_data_format("channels_last")
        try:
            model = keras.saving.load_model(source, compile=False, safe_mode=True)
        except Exception as error:
            print(f"{UNLOADABLE}: {_first_line(error)}", file=sys.stderr)
            return 1
        if members:
            from .members import every_answer

            model = every_answer(model)
        if way == "openvino":
            _write_openvino(_graph_of(model), Path(target))
        elif way == "openvino-tensorflow":
            _prepare(model)
            with tempfile.TemporaryDirectory(dir=Path(target).parent) as folder:
                model.export(Path(folder) / "plain.xml", format="openvino", verbose=False)
                _write_openvino(load_openvino().Core().read_model(Path(folder) / "plain.xml"), Path(target))
        else:
            _prepare(model)
            model.export(target, format="onnx", verbose=False)
    except Exception as error:
        print(f"{type(error).__name__}: {_first_line(error)}", file=sys.stderr)
        return 1
    return 0


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)


def _prepare(model: Any) -> None:
    """TensorFlow's export wants a model that was called."""

    bands = model.inputs[0].shape[-1]
    model.predict_on_batch(np.zeros((1, 64, 64, bands), np.uint8))


def _graph_of(model: Any) -> Any:
    """A Keras model as an `openvino.Model`: (N, H, W, C) uint8 in, every size open."""
    from keras.src.backend.openvino.core import OpenVINOKerasTensor

    openvino = load_openvino()
    opset = openvino.opset13
    bands = model.inputs[0].shape[-1]
    pixels = opset.parameter(openvino.PartialShape([-1, -1, -1, bands]), np.uint8)
    answer = model(OpenVINOKerasTensor(pixels.output(0)))
    graph = openvino.Model([opset.result(answer.output)], [pixels])
    for node in graph.get_ops():
        if node.get_type_name() == "ConvolutionBackpropData":
            _pad(node)
    return graph


def _pad(node: Any) -> None:
    """Give a transposed convolution with padding "same" its padding in numbers.

    Keras (3.15) leaves it to OpenVINO, which gives another size than TensorFlow where sizes are open.
    """
    found = node.get_attributes()
    if not found["auto_pad"].startswith("same") or node.get_input_size() > 2:
        return
    kernel = list(node.input_value(1).get_partial_shape().to_shape())[2:]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, found["dilations"], strict=True)]
    beyond = [r - s for r, s in zip(reach, found["strides"], strict=True)]  # what a pixel covers of its neighbours'
    node.set_attribute("auto_pad", "explicit")
    node.set_attribute("pads_begin", [max(b, 0) // 2 for b in beyond])
    node.set_attribute("pads_end", [(max(b, 0) + 1) // 2 for b in beyond])
    node.set_attribute("output_padding", [max(-b, 0) for b in beyond])
    node.validate_and_infer_types()


def _write_openvino(graph: Any, target: Path) -> None:
    """Simplify `graph`, make sure that it still says the same, write it."""
    from openvino import passes

    openvino = load_openvino()
    bands = graph.input(0).get_partial_shape()[3].get_length()
    batch = np.random.default_rng(0).integers(0, 256, (1, 256, 512, bands), np.uint8)
    plain = _answer(graph.clone(), batch)
    if plain.shape[:3] != batch.shape[:3]:
        raise ValueError(f"{batch.shape} pixels come out as {plain.shape}")
    simpler = graph.clone()
    to_channels_first(simpler)
    if np.abs(_answer(simpler, batch) - plain).max() < AGREE:
        graph = simpler
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # kernels as they are used: what quantisation looks for
    manager.run_passes(graph)
    openvino.save_model(graph, target, compress_to_fp16=False)


def _answer(graph: Any, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    compiled = load_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(batch)[0], np.float32)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except RoadsegError as error:
        print(error, file=sys.stderr)
        code = 1
    sys.exit(code)
