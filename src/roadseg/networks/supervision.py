"""Deep supervision: in training, coarser levels of the way up answer too. What is saved has the one answer."""

from typing import Any

import keras
from keras import layers

__all__ = ["levels_of", "supervised"]


def levels_of(model: keras.Model) -> int:
    """Levels of the way up below the first one: how many more answers `supervised` adds to a U-Net."""
    joins = [layer for layer in model.layers if layer.name.startswith("join") and layer.name[4:].isdigit()]
    return len(joins) - 1


def supervised(model: keras.Model) -> keras.Model:
    """The same network, on the same weights, with one more answer for each coarser level of the way up.

    Lee et al. 2015, arXiv:1409.5185. A 1x1 convolution makes a level's answer, which is repeated to full resolution:
    the cross-entropy of it is that against the share of each class in a cell.

    Returns:
        A model whose output has the channels of all answers: the network's own, then the second level's, and so on
        down: (N, H, W, answers * K) float32. `plain_copy` leaves the further ones out.
    """
    tensors = [model.get_layer(f"up{level + 1}b_act").output for level in range(levels_of(model))]
    side = 512
    probe = keras.Model(model.input, tensors).compute_output_spec(
        keras.KerasTensor((1, side, side, model.input.shape[-1]), dtype="uint8")
    )
    answers: list[Any] = [model.output]
    channels = model.output.shape[-1]
    for level, (x, spec) in enumerate(zip(tensors, probe if isinstance(probe, list) else [probe], strict=True), 1):
        further = layers.Conv2D(channels, 1, dtype="float32", name=f"logits{level}")
        x = further(x)
        further.bias.assign(model.get_layer("logits").bias)  # it begins where the network's own answer does
        kind = "sigmoid" if channels == 1 else "softmax"
        x = layers.Activation(kind, dtype="float32", name=f"probability{level}")(x)
        x = layers.UpSampling2D(side // spec.shape[1], dtype="float32", name=f"probability{level}_up")(x)
        answers.append(x)
    joined = layers.Concatenate(dtype="float32", name="supervised_answers")(answers)
    return keras.Model(model.input, joined, name=model.name)
