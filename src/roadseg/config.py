"""The configuration: one typed, strict tree with six sections, to and from TOML.

| section   | says                                                               |
|-----------|--------------------------------------------------------------------|
| `data`    | how the images and masks are read                                  |
| `perturb` | what is done to the training images at run time                    |
| `network` | the model                                                          |
| `loss`    | what training minimises                                            |
| `train`   | optimiser, schedule, batch, length                                 |
| `predict` | tiling, test-time augmentation, thresholds                         |

An unknown key, a wrong type or a value out of range is a `ConfigError` that names the key.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta

from .errors import ConfigError
from .files import write_text

__all__ = [
    "Chance",
    "Config",
    "DataConfig",
    "Effect",
    "LossConfig",
    "NetworkConfig",
    "PerturbConfig",
    "PredictConfig",
    "TrainConfig",
    "load_config",
    "read_config",
    "save_config",
]

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]  # no infinity
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]


class Chance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A perturbation that either happens or does not."""

    probability: Share = 0.5


class Effect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A perturbation with a strength, drawn anew for each image with the given probability."""

    strength: Amount = 0.0
    probability: Share = 1.0


class DataConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the images and masks are read."""

    invert: bool = False  # the class of interest is the dark one in the masks (cell membranes: 0 = membrane)
    scale: Positive = 1.0  # ground scale: images are resampled by this factor on the way in, results laid back
    classes: list[str] = []  # names, for more than two classes by index; empty: as found
    bands: Annotated[int, Meta(ge=0)] = 0  # channels of the network's input; 0: as found in the images
    value_range: list[float] = []  # pixel values of 16-bit and float images that become 0 and 255; empty: as found
    memory_share: Share = 0.25  # of the machine's memory for decoded images; what is more lies in a file, mapped


class PerturbConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to training images at run time. Geometry is one coordinate map for image and mask, sampled once."""

    enabled: bool = True
    flip: Chance = Chance(probability=0.5)  # mirror image; with rotation this is every orientation
    rotation: Effect = Effect(strength=180.0)  # degrees, uniform in +-strength
    scale: Effect = Effect(strength=0.25)  # factor exp(u), u uniform in +-strength
    shear: Effect = Effect(strength=6.0, probability=0.3)  # degrees
    translation: Effect = Effect(strength=0.0, probability=0.0)  # share of the crop; random crops move already
    perspective: Effect = Effect(strength=0.05, probability=0.3)  # change of scale across the crop
    elastic: Effect = Effect(strength=2.0, probability=0.2)  # pixels, standard deviation of a smooth field
    brightness: Effect = Effect(strength=0.15)  # share of the full range, added
    contrast: Effect = Effect(strength=0.2)  # factor 1 +- strength about the image's mean
    hue: Effect = Effect(strength=8.0, probability=0.5)  # degrees; three-band images only
    saturation: Effect = Effect(strength=0.2, probability=0.5)  # factor 1 +- strength; three-band images only
    blur: Effect = Effect(strength=1.0, probability=0.1)  # pixels, standard deviation up to strength
    noise: Effect = Effect(strength=0.03, probability=0.1)  # share of the full range, standard deviation up to strength


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model."""

    name: str = "unet"
    width: Count = 32  # channels of the first level, doubled with each pooling
    depth: Annotated[int, Meta(ge=1, le=8)] = 4  # number of poolings
    stem: Literal["none", "patch", "strided"] = "patch"  # before the first level: none, or a halving of the resolution
    normalization: Literal["batch", "group", "layer", "none"] = "batch"
    activation: str = "relu"  # any Keras activation by name
    negative_slope: Amount = 0.1  # of leaky_relu
    dropout: Share = 0.0  # after the blocks of the `dropout_levels` lowest levels
    dropout_levels: Count = 2
    upsampling: Literal["transposed", "nearest", "bilinear"] = "transposed"
    head_width: Annotated[int, Meta(ge=0)] = 0  # channels of one more 3x3 convolution before the output; 0: none
    initializer: str = "he_normal"

    @property
    def multiple(self) -> int:
        """Heights and widths that the network takes are multiples of it, px."""
        return int(2 ** (self.depth + (self.stem != "none")))


class LossConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training minimises."""

    name: Literal["bce", "weighted_bce", "dice", "bce_dice"] = "bce"  # several classes: the categorical forms
    road_weight: Positive | Literal["auto"] = "auto"  # of weighted_bce; auto: background pixels per road pixel
    dice_share: Amount = 0.5  # of bce_dice: bce + dice_share * dice


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Optimiser, schedule, batch, length."""

    epochs: Count = 40
    minutes: Amount = 0.0  # > 0: instead of epochs, as many steps as fit
    steps: Annotated[int, Meta(ge=0)] = 0  # > 0: instead of epochs; what `minutes` became
    steps_per_epoch: Annotated[int, Meta(ge=0)] = 0  # 0: every training pixel about once
    batch: Count = 8
    crop: Annotated[int, Meta(ge=16)] = 256  # pixels, after data.scale
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 2e-3
    weight_decay: Amount = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Share = 0.1  # share of all steps
    clip: Amount = 1.0  # global gradient norm; 0: off
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.995  # decay of the averaged weights; 0: off
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"  # auto: what a probe finds faster
    devices: Count = 1  # each computes an equal part of every batch; more than one: on JAX
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0  # NumPy takes no other


class PredictConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tiling, test-time augmentation, thresholds."""

    threshold: Share = 0.5  # road where the probability is above it
    patch_threshold: Share = 0.25  # a 16x16 patch is road when its mask's mean is strictly above it
    tta: bool = False  # mean over the 8 rotations and reflections
    window: Annotated[int, Meta(ge=64)] = 640  # pixels, largest side that goes through the network at once
    overlap: Annotated[int, Meta(ge=0)] = 128  # pixels shared by neighbouring windows
    batch: Count = 4


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. `Config()` is the default recipe."""

    data: DataConfig = msgspec.field(default_factory=DataConfig)  # it holds lists
    perturb: PerturbConfig = PerturbConfig()
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()

    def to_dict(self) -> dict[str, Any]:
        """Every value, defaults written out, as plain tables."""
        return dict(msgspec.to_builtins(self))


def _check_keys(kind: Any, table: Mapping[str, Any], where: str, source: str) -> None:
    """Name an unknown key with the nearest known one (msgspec would name it alone)."""
    fields = {f.name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in table.items():
        dotted = f"{where}{key}"
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            hint = f"did you mean '{where}{near[0]}'?" if near else f"known here: {', '.join(fields)}"
            raise ConfigError(f"{source}: unknown configuration key '{dotted}': {hint}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{source}: '{dotted}' is a table, not {value!r}: set its keys, e.g. {_example(dotted, inner)}"
                )
            _check_keys(inner, value, f"{dotted}.", source)


def _example(dotted: str, kind: Any) -> str:
    first = msgspec.structs.fields(kind)[0].name
    return f"{dotted}.{first}"


def _convert(tables: Mapping[str, Any], source: str) -> Config:
    _check_keys(Config, tables, "", source)
    try:
        return msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        text = str(error)
        message, _, where = text.partition(" - at `$.")
        key = where.rstrip("`")
        found: Any = tables
        for part in key.replace("[", ".").replace("]", "").split("."):
            found = (
                found[int(part)] if isinstance(found, list) else found.get(part) if isinstance(found, Mapping) else None
            )
        raise ConfigError(f"{source}: '{key}' = {found!r}: {message}") from error


def _merge(base: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = _merge({}, value) if isinstance(value, Mapping) else value  # the caller's tables stay his own
    return base


def _assignment(text: str) -> dict[str, Any]:
    """`section.key=value` as nested tables; the value is TOML, or a bare word."""
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    parts = key.split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise ConfigError(f"--set '{text}': write section.key=value, e.g. --set network.width=16")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def read_config(
    tables: Mapping[str, Any] | None = None, assignments: Iterable[str] = (), source: str = "configuration"
) -> Config:
    """A `Config` from nested tables and `section.key=value` strings, the later ones winning.

    Raises:
        ConfigError: unknown key (the nearest is suggested), wrong type, value out of range.
    """
    # From the defaults: to set one key of an effect leaves its other one as the section, not the type, has it.
    merged: dict[str, Any] = _merge(Config().to_dict(), tables or {})
    config = _convert(merged, source)  # first: what is wrong in a file is not blamed on --set
    for text in assignments:
        _check_keys(Config, _assignment(text), "", f"--set {text}")
        _merge(merged, _assignment(text))
        config = _convert(merged, f"--set {text}")
    return config


def load_config(path: Path | str | None = None, assignments: Iterable[str] = ()) -> Config:
    """A `Config` from a TOML file (or the defaults when `path` is None) and `section.key=value` strings.

    Raises:
        ConfigError: the file is missing or not TOML, or see `read_config`.
    """
    if path is None:
        return read_config({}, assignments)
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read configuration '{path}': {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration '{path}' is not TOML: {error}") from error
    return read_config(tables, assignments, source=str(path))


def save_config(config: Config, path: Path) -> None:
    """Write every value, defaults included, as TOML."""
    write_text(path, tomli_w.dumps(config.to_dict()))
