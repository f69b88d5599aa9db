"""What is measured: the classic U-Net's size, its batch, the pixels it sees, and for how long."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ["Workload"]

# The U-Net of 2015 with batch normalisation, whatever the default recipe has: other programs are measured on the same.
CLASSIC = (
    "network.name=unet",
    "network.stem=none",
    "network.normalization=batch",
    "network.activation=relu",
    "network.dropout=0",
    "network.upsampling=transposed",
    "network.head_width=0",
)


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network and the batch that every part of the benchmark works on; it travels to their processes as JSON.

    The defaults are the classic U-Net with batch normalisation: 7.8 million weights, 24 GFLOP for a 256x256 image.
    """

    width: Annotated[int, Meta(ge=1)] = 32  # channels at full resolution
    depth: Annotated[int, Meta(ge=1, le=8)] = 4  # poolings
    batch: Annotated[int, Meta(ge=1)] = 4
    size: Annotated[int, Meta(ge=16)] = 256  # px a side
    seconds: Annotated[float, Meta(gt=0, le=3600)] = 10.0  # measuring time of one figure
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"  # of training; auto: what training would choose
    image: Annotated[int, Meta(ge=32)] = 3000  # px, side of the large image that is predicted
    set: tuple[str, ...] = ()  # further `section.key=value` of the configuration, over what is said here

    def settings(self) -> list[str]:
        """The same as `section.key=value` assignments of the configuration."""
        return [
            *CLASSIC,
            f"network.width={self.width}",
            f"network.depth={self.depth}",
            "network.stem=none",
            f"train.batch={self.batch}",
            f"train.crop={self.size}",
            f"train.precision={self.precision}",
            *self.set,
        ]
