"""Networks: ordinary Keras models by name, and the plain copy that is saved."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from ..config import NetworkConfig
from ..network_names import check_network, is_file, is_function
from .encoders import encoder_unet
from .normalization import FastBatchNormalization, StandardizedConv2D
from .own import from_file, from_function
from .plain import plain_copy, plain_weights
from .prior import begin_with
from .supervision import supervised
from .unet import unet

__all__ = [
    "NETWORKS",
    "FastBatchNormalization",
    "StandardizedConv2D",
    "begin_with",
    "build_network",
    "encoder_unet",
    "plain_copy",
    "plain_weights",
    "supervised",
    "unet",
]

NETWORKS: dict[str, Callable[..., keras.Model]] = {"unet": unet}
# What `build_network` itself reads, or training; the rest are the networks' own arguments.
CHOICES = ("name", "encoder", "encoder_weights", "options", "multiple_of", "deep_supervision")


def build_network(
    config: NetworkConfig,
    *,
    bands: int = 3,
    classes: int = 2,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    shares: Sequence[float] | None = None,
    fetch: bool = True,
) -> keras.Model:
    """The network that `config` describes, with fresh weights unless it names some; see `unet` for its ins and outs.

    `config.deep_supervision` is training's matter: see `supervised`.

    Args:
        shares: of each class in the truth, background first: what a network of roadseg answers before it has learnt
            anything; None: each as likely as the others.
        fetch: False: ImageNet weights are left out; the network is to get others.

    Raises:
        ConfigError: no network, encoder, activation or initializer of that name, or one of one's own that is none.
        ModelError: a `.keras` file that is none.
        BackendError: ImageNet weights that can neither be found nor fetched.
    """
    check_network(config)
    if is_function(config.name):
        return from_function(
            config.name,
            bands=bands,
            classes=classes,
            mean=mean,
            std=std,
            options=config.options,
            multiple=config.multiple,
        )
    if is_file(config.name):
        policy = keras.config.dtype_policy().name
        return from_file(Path(config.name), bands=bands, classes=classes, multiple=config.multiple, policy=policy)
    options: dict[str, Any] = {key: getattr(config, key) for key in config.__struct_fields__ if key not in CHOICES}
    options |= {"bands": bands, "classes": classes, "mean": mean, "std": std}
    if config.encoder:
        del options["stem"]
        weights = config.encoder_weights
        model = encoder_unet(encoder=config.encoder, encoder_weights=weights, fetch=fetch, **options)
    else:
        model = NETWORKS[config.name](**options)
    if shares is not None:
        begin_with(model, shares)
    return model
