"""A model file with its weights in half precision: half the size, computed in float32 as before.

Keras casts what it reads to the dtype of the variable it is for, so that the file needs no layer, no dtype policy and
no loader of ours: `keras.saving.load_model` gives the float32 model.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..files import write_aside
from ..learning.runs import INFO_KEY, ModelInfo, pack_info

__all__ = ["write_half"]

WEIGHTS, METADATA = "model.weights.h5", "metadata.json"
LARGEST = float(np.finfo(np.float16).max)
PACKED = 6  # deflate level: weights shrink by a tenth, and not by more at 9


def write_half(source: Path, target: Path, info: ModelInfo | None = None) -> float:
    """Write the `.keras` file `source` as `target` with kernels in float16; return the largest rounding of a weight.

    Vectors (biases, what batch normalisation keeps) stay in float32: they are few, and variances may be very small.
    What else is in the file is kept. The same file and information give the same bytes.

    Args:
        info: in place of the model information in the file.

    Raises:
        ModelError: not a Keras model, or a weight that float16 does not hold.
        OutputError: `target` cannot be written.
    """
    import h5py

    try:
        with zipfile.ZipFile(source) as archive:
            members = {item.filename: archive.read(item) for item in archive.infolist()}
        old = h5py.File(io.BytesIO(members[WEIGHTS]), "r")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"'{source}' is not a Keras model (.keras): {error}") from error
    rounding = 0.0
    packed = io.BytesIO()
    with old, h5py.File(packed, "w") as new:
        _copy_attributes(old, new)

        def copy(name: str, item: Any) -> None:
            nonlocal rounding
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            else:
                values, lost = _halved(name, item[()], source)
                rounding = max(rounding, lost)
                made = new.create_dataset(name, data=values)
            _copy_attributes(item, made)

        old.visititems(copy)
    members[WEIGHTS] = packed.getvalue()
    if info is not None:
        members[METADATA] = json.dumps({**json.loads(members[METADATA]), INFO_KEY: pack_info(info)}).encode()
    with write_aside(target) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=PACKED) as out:
        for name, data in members.items():
            # A fixed date: the same weights give the same file, and the same hash.
            out.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return rounding


def _copy_attributes(there: Any, here: Any) -> None:
    for key, value in there.attrs.items():
        here.attrs[key] = value


def _halved(name: str, values: Any, source: Path) -> tuple[Any, float]:
    if values.dtype != np.float32 or values.ndim < 2:
        return values, 0.0
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > LARGEST:
        raise ModelError(f"'{source}': the weight '{name}' has values that float16 does not hold")
    half = values.astype(np.float16)
    return half, float(np.abs(half.astype(np.float32) - values).max(initial=0))
