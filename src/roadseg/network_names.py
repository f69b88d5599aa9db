"""Which networks and encoders there are by name, and what can be said of a choice before Keras is loaded."""

import difflib
import importlib.util
import sys
import zipfile
from pathlib import Path

from .config import NetworkConfig
from .errors import ConfigError, ModelError

__all__ = ["ENCODERS", "check_network", "is_file", "is_function"]

# Networks of keras.applications that can be encoders. Not among them are ConvNeXt and InceptionResNetV2 (layers of
# their own, which plain Keras does not load), InceptionV3 (images of 75 pixels at least) and NASNet (its cells join
# resolutions only at sizes that it knows). And how the pixels go into those with ImageNet weights:
# "caffe": minus the mean, blue first; "tf": -1..1; "torch": mean 0 and deviation 1 by band.
ENCODERS: dict[str, str] = {
    **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201"), "torch"),
    **dict.fromkeys((f"EfficientNetB{k}" for k in range(8)), "torch"),
    **dict.fromkeys((f"EfficientNetV2B{k}" for k in range(4)), "torch"),
    **dict.fromkeys(("EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L"), "tf"),
    **dict.fromkeys(("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"), "tf"),
    **dict.fromkeys(("ResNet50", "ResNet101", "ResNet152"), "caffe"),
    **dict.fromkeys(("ResNet50V2", "ResNet101V2", "ResNet152V2"), "tf"),
    **dict.fromkeys(("VGG16", "VGG19"), "caffe"),
    "Xception": "tf",
}
STAGES = 5  # halvings of the resolution, in each of them


def is_function(name: str) -> bool:
    """Whether `network.name` is "module:function" (and not C:/a/path)."""
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def is_file(name: str) -> bool:
    """Whether `network.name` is meant as a model file."""
    return name.endswith(".keras")


def check_network(config: NetworkConfig) -> None:
    """Refuse what can be known to be wrong of a network without Keras and without running code of the user's.

    Raises:
        ConfigError: no network, encoder or module of that name, or settings that exclude each other.
        ModelError: the file that is named is not there, or not a model.
    """
    name = config.name
    own = is_function(name) or is_file(name)
    if is_function(name):
        _check_module(name)
    elif is_file(name):
        if not Path(name).is_file():
            raise ModelError(f"network.name = '{name}': there is no such file")
        if not zipfile.is_zipfile(name):
            raise ModelError(f"network.name = '{name}': the file is not a Keras model (.keras)")
    elif name != "unet":
        raise ConfigError(
            f"network.name = '{name}': known are unet, module:function (a function of your own that returns a "
            "keras.Model) and the path of a .keras file"
        )
    if config.options and not is_function(name):
        raise ConfigError(
            f"network.options = {config.options}: they are for a function of your own "
            "(network.name = 'module:function')"
        )
    if own and config.encoder:
        raise ConfigError(f"network.encoder = '{config.encoder}' with network.name = '{name}': use one of them")
    if config.encoder:
        _check_encoder(config)
    elif config.encoder_weights != "none":
        raise ConfigError(
            f"network.encoder_weights = '{config.encoder_weights}' without network.encoder: name one, e.g. MobileNetV2"
        )
    if config.deep_supervision:
        if own:
            raise ConfigError(f"network.deep_supervision with network.name = '{name}': it is for networks of roadseg")
        if config.depth < 2 + bool(config.encoder and not config.encoder.startswith("VGG")):
            raise ConfigError(
                f"network.deep_supervision with network.depth = {config.depth}: there is one level on the way up, and "
                "none below it that could answer: use a greater depth"
            )


def _check_encoder(config: NetworkConfig) -> None:
    name = config.encoder
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"network.encoder = '{name}': {hint}these can be encoders: {', '.join(ENCODERS)}")
    if config.depth > STAGES:
        raise ConfigError(
            f"network.depth = {config.depth} with network.encoder = '{name}': it has {STAGES} stages: use 1 to {STAGES}"
        )


def _check_module(name: str) -> None:
    top = name.partition(":")[0].partition(".")[0]
    here = Path.cwd()
    if (here / f"{top}.py").is_file() or (here / top).is_dir() or top in sys.modules:
        return
    if importlib.util.find_spec(top) is None:
        raise ConfigError(f"network.name = '{name}': no module '{top}' in '{here}' or among the installed packages")
