"""Starting from another model's weights: what fits is kept, first and last layers are adapted, the rest begins anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError

__all__ = ["Transfer", "adapt_bands", "adapt_classes", "take_weights"]

Array = np.ndarray[Any, Any]
LISTED = 8  # layers named one by one


@dataclass
class Transfer:
    """What became of the layers with weights.

    Attributes:
        kept: how many have the other model's weights, unchanged or adapted.
        total: how many there are.
        adapted, new: a line for each layer that was changed to fit, or could not be.
    """

    kept: int = 0
    total: int = 0
    adapted: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def lines(self, init: Path) -> str:
        """A short list for the display."""
        found = [f"start: weights from {init}: {self.kept} of {self.total} layers kept"]
        found += [f"  adapted: {line}" for line in self.adapted]
        found += [f"  new: {line}" for line in self.new[:LISTED]]
        if len(self.new) > LISTED:
            found.append(f"  new: {len(self.new) - LISTED} more")
        return "\n".join(found)


def take_weights(model: Any, init: Path, classes: Sequence[str] = ()) -> Transfer:
    """Give `model` the weights of the model at `init`, layer by layer of the same name.

    A layer whose shapes agree is kept. Kernels over the pixels are adapted to another number of bands
    (`adapt_bands`), the last layer to other classes (`adapt_classes`). What else differs begins anew.

    Args:
        classes: names of the classes of `model`, background first.

    Raises:
        ModelError: no model there, or no layer of it but the last one fits.
    """
    from ..networks.plain import all_layers
    from .runs import find_model, load_model, read_info

    path = find_model(init)
    other = load_model(path)
    try:
        their_classes: tuple[str, ...] = read_info(path).classes
    except ModelError:  # another program's model: its classes are not known
        their_classes = ()
    theirs = {_key(layer): layer for layer in all_layers(other) if layer.weights}
    ours = [layer for layer in all_layers(model) if layer.weights]
    last = ours[-1] if ours else None
    bands = other.input.shape[-1], model.input.shape[-1]
    result = Transfer(total=len(ours))
    inner = 0
    for layer in ours:
        source = theirs.get(_key(layer))
        if source is None:
            result.new.append(f"{layer.name}: not there")
            continue
        values = _named(source)
        wanted = {name: tuple(weight.shape) for name, weight in _plain(layer).items()}
        note = ""
        if layer is last and _is_head(layer) and "kernel" in values:
            values, note = _fit_classes(layer, values, wanted, their_classes, tuple(classes))
        elif bands[0] != bands[1] and "kernel" in wanted and _sees_pixels(layer, bands):
            found = adapt_bands(values["kernel"], *bands) if "kernel" in values else None
            if found is not None and found.shape == wanted["kernel"]:
                values["kernel"] = found
                note = f"{bands[0]} bands there, {bands[1]} here"
        if {name: value.shape for name, value in values.items()} != wanted:
            result.new.append(f"{layer.name}: {_difference(layer, source)}")
            continue
        _assign(layer, values)
        result.kept += 1
        inner += layer is not last and "kernel" in wanted
        if note:
            result.adapted.append(f"{layer.name}: {note}")
    if not inner:  # the last layer agrees between any two networks of the same width
        raise ModelError(
            f"--init {init}: no layer of it has the name and shape of one of this network: "
            "use the same network settings"
        )
    return result


def adapt_bands(kernel: Array, there: int, here: int) -> Array:
    """A kernel (h, w, in, out) over `there` bands (and whatever follows them) as one over `here` bands.

    Bands that both have keep their kernel; new ones get the mean of the kernels. A single band stands for all of
    them: from one band its kernel is shared out, to one band the kernels are summed.
    """
    bands, rest = kernel[:, :, :there], kernel[:, :, there:]
    if here == 1:
        changed = bands.sum(2, keepdims=True)
    elif there == 1:
        changed = np.repeat(bands / here, here, axis=2)
    else:
        extra = np.repeat(bands.mean(2, keepdims=True), max(0, here - there), axis=2)
        changed = np.concatenate([bands[:, :, :here], extra], axis=2)
    return np.concatenate([changed, rest], axis=2)


def adapt_classes(
    values: Array, fresh: Array, there: Sequence[str], here: Sequence[str], axis: int
) -> tuple[Array, list[str]]:
    """Weights of the last layer for other classes: what `fresh` begins with, and of classes that both have theirs.

    Two classes have one channel c, of the second one: as two channels of a softmax that is (0, c), and back.

    Args:
        values, fresh: kernel or bias, with the classes' channels along `axis`.

    Returns:
        the weights, and the names of the classes that were taken.
    """
    both = [name for name in here if name in there]
    channels = np.moveaxis(values, axis, 0)
    if len(there) == 2:
        channels = np.stack([np.zeros_like(channels[0]), channels[0]])
    result = np.moveaxis(fresh, axis, 0).copy()
    if len(here) == 2:
        if len(both) < 2:
            return fresh, []
        result[0] = channels[there.index(here[1])] - channels[there.index(here[0])]
    else:
        for name in both:
            result[here.index(name)] = channels[there.index(name)]
    return np.moveaxis(result, 0, axis), both


def _key(layer: Any) -> str:
    """Where a layer is in its model: its name, behind those of the models it lies in."""
    return str(layer.weights[0].path).rpartition("/")[0]


def _plain(layer: Any) -> dict[str, Any]:
    """The weights that the layer's plain form has, by name."""
    own = {id(getattr(layer, name)) for name in ("updates", "gain") if hasattr(layer, name)}
    return {weight.name: weight for weight in layer.weights if id(weight) not in own}


def _named(layer: Any) -> dict[str, Array]:
    from keras import ops

    return {name: np.asarray(ops.convert_to_numpy(weight)) for name, weight in _plain(layer).items()}


def _assign(layer: Any, values: dict[str, Array]) -> None:
    if hasattr(layer, "take_plain"):
        layer.take_plain(values["kernel"], values.get("bias"))
        return
    for name, weight in _plain(layer).items():
        weight.assign(values[name])


def _sees_pixels(layer: Any, bands: tuple[int, int]) -> bool:
    """Whether a convolution's first input channels are the bands."""
    from keras import layers

    if not isinstance(layer, layers.Conv2D):
        return False
    return bool(layer.kernel.shape[2] == bands[1] or layer.name == "head_conv")


def _is_head(layer: Any) -> bool:
    from keras import layers

    return isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose, layers.Dense))


def _class_axis(layer: Any) -> int:
    from keras import layers

    return -2 if isinstance(layer, layers.Conv2DTranspose) else -1


def _fit_classes(
    layer: Any, values: dict[str, Array], wanted: dict[str, Any], there: tuple[str, ...], here: tuple[str, ...]
) -> tuple[dict[str, Array], str]:
    """The last layer's weights for the classes of this network, and what was done; as they are where nothing can be."""
    shapes = {name: value.shape for name, value in values.items()}
    if shapes == wanted and (there == here or len(here) <= 2 or not there):
        return values, ""
    axis = _class_axis(layer)
    kernel = values["kernel"].shape
    inner = [n for k, n in enumerate(kernel) if k != len(kernel) + axis]
    inner_here = [n for k, n in enumerate(wanted["kernel"]) if k != len(kernel) + axis]
    if not there or not here or inner != inner_here or set(values) != set(wanted):
        return values, ""
    fresh = _named(layer)
    taken: list[str] = []
    for name in values:
        found, taken = adapt_classes(values[name], fresh[name], there, here, axis if name == "kernel" else -1)
        fresh[name] = found
    if not taken:
        return {}, ""
    others = [name for name in here if name not in taken]
    return fresh, f"{', '.join(taken)} as there" + (f", {', '.join(others)} new" if others else "")


def _difference(layer: Any, source: Any) -> str:
    there, here = (_plain(x).get("kernel") for x in (source, layer))
    if there is None or here is None:
        return "another kind of layer there"
    a, b = tuple(there.shape), tuple(here.shape)
    if a == b:
        return "another kind of layer there" if set(_plain(source)) != set(_plain(layer)) else "other classes there"
    axis = _class_axis(layer)
    if len(a) == len(b) and a[axis] != b[axis]:
        return f"{a[axis]} channel{'s' * (a[axis] != 1)} there, {b[axis]} here"
    return f"a kernel of {'x'.join(map(str, a))} there, {'x'.join(map(str, b))} here"
