"""The sections of the configuration: every knob with its type, range and default, and one line of what it does.

`docs/configuration.md` is made of these lines.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "PRESETS",
    "Chance",
    "Config",
    "DataConfig",
    "Effect",
    "LossConfig",
    "NetworkConfig",
    "PerturbConfig",
    "PredictConfig",
    "TrainConfig",
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
    select: list[Count] = []  # bands of the files that are read, from 1, in this order, e.g. [4, 3, 2]; empty: all
    value_range: list[float] = []  # pixel values of 16-bit and float images that become 0 and 255; empty: as found
    ignore: Annotated[int, Meta(ge=-1, le=255)] = -1  # mask value of unlabelled pixels, not learnt nor scored; -1: none
    sampling: dict[
        str, Positive
    ] = {}  # pattern in an image's name: factor on how often it is shown, e.g. {"^cil_" = 2}
    memory_share: Share = 0.25  # of the machine's memory for decoded images; what is more lies in a file, mapped
    block: Annotated[int, Meta(ge=32)] = 1024  # pixels, side of the blocks that GeoTIFFs larger than 16 are read by
    squares: Annotated[int, Meta(ge=0)] = 0  # blocks along a side of what a split keeps together; 0: as found


class PerturbConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to training images at run time. Geometry is one coordinate map for image and mask, sampled once."""

    preset: Literal["off", "light", "default", "strong"] = "default"  # the values that the others start from
    enabled: bool = True  # false: random crops alone
    flip: Chance = Chance(probability=0.5)  # mirror image; with rotation this is every orientation
    rotation: Effect = Effect(strength=180.0)  # degrees, uniform in +-strength
    scale: Effect = Effect(strength=0.25)  # factor exp(u), u uniform in +-strength
    shear: Effect = Effect(strength=6.0, probability=0.3)  # degrees, in each direction
    translation: Effect = Effect(strength=0.0, probability=0.0)  # share of the crop; random crops move already
    perspective: Effect = Effect(strength=0.05, probability=0.3)  # change of scale across the crop
    elastic: Effect = Effect(strength=2.0, probability=0.2)  # pixels, standard deviation of a smooth field
    brightness: Effect = Effect(strength=0.15)  # share of the full range, added
    contrast: Effect = Effect(strength=0.2)  # factor 1 +- strength about the image's mean
    hue: Effect = Effect(strength=8.0, probability=0.5)  # degrees; three-band images only
    saturation: Effect = Effect(strength=0.2, probability=0.5)  # factor 1 +- strength; three-band images only
    blur: Effect = Effect(strength=1.0, probability=0.1)  # pixels, standard deviation up to strength
    noise: Effect = Effect(strength=0.03, probability=0.1)  # share of the full range, standard deviation up to strength
    jpeg: Effect = Effect(strength=60.0, probability=0.0)  # quality lost, of 100: saved as JPEG and read again
    erasing: Effect = Effect(strength=0.25, probability=0.0)  # share of the crop's side: a rectangle of noise
    cutmix: Effect = Effect(strength=0.5, probability=0.0)  # share of the crop's side: a rectangle of another crop
    copy_paste: Chance = Chance(probability=0.0)  # pieces of the last class of another crop are laid over this one


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model."""

    name: str = "unet"  # "unet", "module:function" that returns a keras.Model, or the path of a .keras file
    width: Count = 32  # channels of the first level, doubled with each pooling
    depth: Annotated[int, Meta(ge=1, le=8)] = 4  # number of poolings
    stem: Literal["none", "patch", "strided"] = "patch"  # before the first level: none, or a halving of the resolution
    block: Literal["plain", "residual"] = "plain"  # two convolutions, or their sum with what went in
    separable: bool = False  # depthwise convolutions, each followed by a 1x1 convolution, in place of 3x3 ones
    attention: bool = False  # gates on the skip connections
    dilations: list[Count] = []  # of convolutions at the bottom whose results are summed, e.g. [1, 2, 4, 8]
    deep_supervision: Share = 0.0  # weight of the loss of the second level's own answer, halved with each level below
    normalization: Literal["batch", "group", "layer", "weight", "none"] = "batch"  # weight: standardised kernels
    groups: Count = 8  # of group normalisation; as many of them as divide the channels
    activation: str = "relu"  # any Keras activation by name
    negative_slope: Amount = 0.1  # of leaky_relu
    dropout: Share = 0.0  # after the blocks of the `dropout_levels` lowest levels
    dropout_levels: Count = 2  # number of levels with dropout, from the bottom up
    dropout_kind: Literal["pixel", "channel"] = "pixel"  # single values, or whole channels (spatial dropout)
    upsampling: Literal["transposed", "nearest", "bilinear"] = "transposed"  # on the way up
    head_width: Annotated[int, Meta(ge=0)] = 0  # channels of one more 3x3 convolution before the output; 0: none
    initializer: str = "he_normal"  # of the kernels; any Keras initializer by name
    encoder: str = ""  # a network of keras.applications as the way down, e.g. "MobileNetV2"; empty: the U-Net's own
    encoder_weights: Literal["none", "imagenet"] = "none"  # of the encoder; "imagenet" asks for a network connection
    options: dict[str, Any] = {}  # arguments of "module:function" besides bands, classes, mean and std
    multiple_of: Annotated[int, Meta(ge=0)] = 0  # sizes that a network of one's own takes; 0: as the U-Net's

    @property
    def multiple(self) -> int:
        """Heights and widths that the network takes are multiples of it, px."""
        if self.multiple_of and self.name != "unet":
            return self.multiple_of
        stem = self.stem != "none" and not self.encoder  # an encoder brings its own
        return int(2 ** (self.depth + stem))


class LossConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training minimises."""

    name: str = "bce"  # one of the losses, or a sum such as "bce + 0.5 * dice"
    class_weights: list[Positive] | Literal["none", "auto", "balanced"] = "auto"  # one a class, in cross-entropies
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.0  # of the cross-entropies: share spread over all classes
    road_weight: Positive | Literal["auto"] = "auto"  # of weighted_bce; auto: background pixels per road pixel
    dice_share: Amount = 0.5  # of bce_dice: bce + dice_share * dice
    focal_gamma: Amount = 2.0  # of focal: pixels that are right with probability p count (1 - p) ** gamma
    tversky_alpha: Amount = 0.3  # of tversky: weight of what is wrongly found
    tversky_beta: Amount = 0.7  # of tversky: weight of what is missed
    boundary_weight: Amount = 10.0  # of boundary_bce: w0, added between two objects that touch
    boundary_sigma: Positive = 5.0  # of boundary_bce: pixels over which that falls
    patch_size: Annotated[int, Meta(ge=2, le=256)] = 16  # of patch: pixels, side of a patch
    patch_threshold: Share = 0.25  # of patch: share of road from which a patch is road
    patch_slope: Positive = 20.0  # of patch: steepness of the soft threshold; the contest's own is infinitely steep


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Optimiser, schedule, batch, length."""

    epochs: Count = 40  # number of them, when neither minutes nor steps are given
    minutes: Amount = 0.0  # > 0: instead of epochs, as many steps as fit
    steps: Annotated[int, Meta(ge=0)] = 0  # > 0: instead of epochs; what `minutes` became
    steps_per_epoch: Annotated[int, Meta(ge=0)] = 0  # 0: every training pixel about once
    batch: Annotated[int, Meta(ge=0)] = 0  # crops in a step; 0: as the data suggests
    crop: Annotated[int, Meta(ge=0)] = 0  # pixels, after data.scale; 0: as the data suggests
    optimizer: str = "adamw"  # any Keras optimiser by name: adamw, adam, sgd, lion, rmsprop, ...
    optimizer_options: dict[str, Any] = {}  # its other arguments, e.g. {beta_2 = 0.99}
    learning_rate: Positive = 2e-3  # the highest of the schedule
    weight_decay: Amount = 0.01  # of the kernels; of adamw, lamb, lion, muon and schedulefreeadamw
    schedule: Literal["cosine", "linear", "polynomial", "exponential", "step", "constant"] = "cosine"  # of the rate
    schedule_power: Positive = 0.9  # of polynomial: (1 - t) ** power
    schedule_drops: list[Share] = msgspec.field(
        default_factory=lambda: [0.5, 0.75]  # of step: shares of the run after which the rate is a tenth
    )
    schedule_cycles: Count = 1  # of cosine: number of falls (warm restarts)
    final_rate: Share = 0.0  # share of the learning rate that is left at the end; exponential: at least 0.001
    warmup: Share = 0.1  # share of all steps in which the rate rises
    clip: Amount = 1.0  # global gradient norm; 0: off
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.995  # decay of the averaged weights; 0: off
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"  # auto: what a probe finds faster
    devices: Count = 1  # each computes an equal part of every batch; more than one: on JAX
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0  # of weights, split, order and perturbations; below 2**32


class PredictConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tiling, test-time augmentation, thresholds."""

    threshold: Share = 0.5  # road where the probability is above it
    patch_threshold: Share = 0.25  # a 16x16 patch is road when its mask's mean is strictly above it
    tta: bool = False  # mean over the 8 rotations and reflections
    window: Annotated[int, Meta(ge=64)] = 1024  # pixels, largest side that goes through the network at once
    overlap: Annotated[int, Meta(ge=0)] = 96  # pixels shared by neighbouring windows; half a window at most
    batch: Count = 2  # windows that go through the network at once


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. `Config()` is the default recipe."""

    data: DataConfig = msgspec.field(default_factory=DataConfig)  # it holds lists
    perturb: PerturbConfig = PerturbConfig()
    network: NetworkConfig = msgspec.field(default_factory=NetworkConfig)
    loss: LossConfig = msgspec.field(default_factory=LossConfig)
    train: TrainConfig = msgspec.field(default_factory=TrainConfig)
    predict: PredictConfig = PredictConfig()

    def to_dict(self) -> dict[str, Any]:
        """Every value, defaults written out, as plain tables."""
        return dict(msgspec.to_builtins(self))


# What `perturb.preset` stands for, as far as it differs from the defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "off": {"enabled": False},
    "light": {
        "shear": {"probability": 0.0},
        "perspective": {"probability": 0.0},
        "elastic": {"probability": 0.0},
        "brightness": {"strength": 0.1},
        "contrast": {"strength": 0.1},
        "blur": {"probability": 0.0},
        "noise": {"probability": 0.0},
    },
    "default": {},
    "strong": {
        "scale": {"strength": 0.4},
        "shear": {"strength": 10.0, "probability": 0.5},
        "perspective": {"strength": 0.1, "probability": 0.5},
        "elastic": {"strength": 3.0, "probability": 0.4},
        "brightness": {"strength": 0.2},  # more, and dark scenes are black
        "contrast": {"strength": 0.3},
        "hue": {"strength": 15.0},
        "saturation": {"strength": 0.4},
        "blur": {"strength": 1.5, "probability": 0.2},
        "noise": {"strength": 0.05, "probability": 0.2},
        "jpeg": {"probability": 0.3},
        "erasing": {"probability": 0.2},
    },
}
