"""The members of an ensemble: how many a model file holds, and a model that answers for each of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["count_members", "every_answer"]

MEAN = "mean"  # the layer that `learning.ensemble` joins the members' answers with


def count_members(path: Path) -> int:
    """How many networks' answers the model file takes the mean of; 0 where it is no ensemble. Loads no Keras."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        joint = next(layer for layer in config["layers"] if layer["name"] == MEAN)
        if joint["class_name"] != "Average":
            return 0
        return sum(layer["name"].startswith("member") for layer in config["layers"])
    except (OSError, KeyError, TypeError, ValueError, StopIteration, zipfile.BadZipFile):
        return 0


def every_answer(model: Any) -> Any:
    """An ensemble as a Keras model (N, H, W, K + M * K): its own answer, then those of its M members."""
    import keras

    answers = model.get_layer(MEAN).input
    joint = keras.layers.Concatenate(dtype="float32", name="answers")([model.output, *answers])
    return keras.Model(model.inputs, joint, name="members")
