"""An OpenVINO graph of a Keras network without the transpositions around each of its convolutions.

Keras computes on (N, H, W, C), OpenVINO's convolutions on (N, C, H, W): the graph that Keras makes turns the image
before each convolution and back after it, which hides the normalisation and activation from the convolution that could
take them in, and costs two thirds of the time. Here every transposition is moved down past the operations that do not
care, until two opposite ones meet and vanish.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._openvino import load_openvino

__all__ = ["to_channels_first"]

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

# fmt: off
# Value by value; what else they take are numbers for all channels alike.
UNARY = frozenset((
    "Abs", "Ceiling", "Clamp", "Convert", "Elu", "Erf", "Exp", "Floor", "Gelu", "HSigmoid", "HSwish", "HardSigmoid",
    "Log", "LogicalNot", "Mish", "Negative", "PRelu", "Relu", "Round", "Selu", "Sigmoid", "Sign", "SoftPlus",
    "SoftSign", "Sqrt", "Swish", "Tanh",
))
# Value by value over inputs that are broadcast as NumPy does it.
BROADCAST = frozenset((
    "Add", "Divide", "Equal", "FloorMod", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalOr",
    "Maximum", "Minimum", "Mod", "Multiply", "NotEqual", "Power", "Select", "SquaredDifference", "Subtract",
))
# fmt: on
ALONG = frozenset(("Concat", "Softmax", "LogSoftmax"))  # with an attribute `axis`

Order = tuple[int, ...]


def to_channels_first(model: Any) -> None:
    """Rewrite an `openvino.Model` on (N, H, W, C) in place; what goes in, what comes out and the values stay."""
    _Rewriter(model).run()
    model.validate_nodes_and_infer_types()


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _constant(output: Any) -> Order | None:
    node = output.get_node()
    return tuple(int(v) for v in node.data.reshape(-1)) if node.get_type_name() == "Constant" else None


def _redirect(readers: Any, output: Any) -> None:
    for reader in readers:
        reader.replace_source_output(output)


class _Rewriter:
    """One pass from inputs to outputs. `turned[x] = (source, order)`: `x` is `source` transposed by `order`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.opset = load_openvino().opset13
        self.turned: dict[tuple[str, int], tuple[Any, Order]] = {}
        self.varying: set[str] = set()  # nodes that depend on the pixels; all others are constants

    def run(self) -> None:
        for node in self.model.get_ordered_ops():
            kind, inputs = node.get_type_name(), node.input_values()
            if kind == "Parameter" or any(self._varies(i) for i in inputs):
                self.varying.add(node.get_name())
            if kind == "Parameter":
                if node.get_output_partial_shape(0).rank.get_length() == 4:
                    self.turned[_key(node.output(0))] = self._transpose(node.output(0), TO_FIRST), TO_LAST
            elif kind in BROADCAST:
                self._move_broadcast(node, inputs)
            elif inputs and _key(inputs[0]) in self.turned:
                self._move(node, kind, inputs)
            elif kind == "Transpose" and self._varies(inputs[0]):
                order = _constant(inputs[1])
                if order is not None:
                    self.turned[_key(node.output(0))] = inputs[0], order

    def _move(self, node: Any, kind: str, inputs: list[Any]) -> None:
        """Let a node whose first input is turned read the source, where the node allows it."""
        source, order = self.turned[_key(inputs[0])]
        if kind == "Transpose":
            self._join(node, source, order, _constant(inputs[1]))
        elif kind == "ShapeOf":  # else the transposition would be computed for the sake of its shape
            shape = self.opset.shape_of(source, output_type=node.get_output_element_type(0).to_string())
            sizes = self.opset.gather(shape, self._integers(order), self._integers(0))
            self.varying |= {shape.get_name(), sizes.get_name()}
            _redirect(node.output(0).get_target_inputs(), sizes.output(0))
        elif kind in UNARY:
            if all(self._is_number(i) for i in inputs[1:]):
                self._sink(node, {0: source}, order)
        elif kind == "BatchNormInference":
            if order[1] == 1:  # the channels are where they were
                self._sink(node, {0: source}, order)
        elif kind in ALONG:
            found = [self.turned.get(_key(i)) for i in inputs]
            if all(f is not None and f[1] == order for f in found):
                sources = {k: f[0] for k, f in enumerate(found) if f is not None}
                self._sink(node, sources, order, axis=order[node.get_attributes()["axis"] % len(order)])
        elif kind == "Gather":
            axis = _constant(inputs[2])
            whole_rows = inputs[1].get_partial_shape().rank.get_length() == 1
            if axis is not None and whole_rows and node.get_attributes()["batch_dims"] == 0:
                place = self._integers(order[axis[0] % len(order)])
                self._sink(node, {0: source, 2: place.output(0)}, order)

    def _join(self, node: Any, source: Any, before: Order, after: Order | None) -> None:
        """Two transpositions in a row are one, or none."""
        if after is None:
            return
        order = tuple(before[k] for k in after)
        if order == tuple(range(len(order))):
            _redirect(node.output(0).get_target_inputs(), source)
            return
        node.input(0).replace_source_output(source)
        node.input(1).replace_source_output(self._integers(order).output(0))
        node.validate_and_infer_types()
        self.turned[_key(node.output(0))] = source, order

    def _move_broadcast(self, node: Any, inputs: list[Any]) -> None:
        order = next((self.turned[_key(i)][1] for i in inputs if _key(i) in self.turned), None)
        if order is None:
            return
        back = tuple(int(k) for k in np.argsort(order))
        sources: dict[int, Any] = {}
        for index, value in enumerate(inputs):
            shape = value.get_partial_shape()
            if _key(value) in self.turned:
                source, other = self.turned[_key(value)]
                if other != order:
                    return
                sources[index] = source
            elif self._is_number(value) or (shape.rank.is_static and len(shape) == 0):
                continue
            elif self._varies(value) or not shape.is_static or len(shape) > len(order):
                return
            else:
                sizes = [1] * (len(order) - len(shape)) + list(shape.to_shape())
                whole = self.opset.reshape(value, self._integers(sizes), special_zero=False)
                sources[index] = self._transpose(whole.output(0), back)
        self._sink(node, sources, order)

    def _sink(self, node: Any, sources: dict[int, Any], order: Order, axis: int | None = None) -> None:
        """Let `node` compute from `sources`, and transpose its answer for those who read it now."""
        readers = node.output(0).get_target_inputs()
        for index, source in sources.items():
            node.input(index).replace_source_output(source)
        if axis is not None:
            node.set_attribute("axis", axis)
        node.validate_and_infer_types()
        turned = self._transpose(node.output(0), order)
        _redirect(readers, turned)
        self.turned[_key(turned)] = node.output(0), order

    def _transpose(self, output: Any, order: Order) -> Any:
        node = self.opset.transpose(output, self._integers(order))
        if self._varies(output):
            self.varying.add(node.get_name())
        return node.output(0)

    def _integers(self, values: int | Sequence[int]) -> Any:
        return self.opset.constant(np.asarray(values, np.int64))

    def _varies(self, output: Any) -> bool:
        return output.get_node().get_name() in self.varying

    def _is_number(self, output: Any) -> bool:
        shape = output.get_partial_shape()
        return not self._varies(output) and shape.is_static and all(size == 1 for size in shape.to_shape())
