"""A training step with our batch normalisation and with Keras' own, in turns; prints the ratio of the medians.

python benchmarks/normalization.py
"""

import statistics
import time

from roadseg.backend import backend_name, load_keras

keras = load_keras()

import numpy as np  # noqa: E402

from roadseg.learning.losses import Crossentropy  # noqa: E402
from roadseg.networks import plain_copy, unet  # noqa: E402


def main() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    ours = unet(width=16, depth=5)
    keras.config.set_dtype_policy("float32")
    theirs = plain_copy(ours, "mixed_bfloat16")  # the same network with keras.layers.BatchNormalization
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 256, 256, 3), dtype=np.uint8)
    y = (x[..., :1] > 127).astype(np.uint8)
    seconds: dict[str, list[float]] = {"ours": [], "Keras": []}
    for model in (ours, theirs):
        model.compile("adamw", Crossentropy(), jit_compile=False if "tensorflow" in backend_name() else "auto")
    for turn in range(12):
        for name, model in (("ours", ours), ("Keras", theirs)):
            start = time.perf_counter()
            float(np.asarray(model.train_on_batch(x, y)))
            if turn >= 2:  # the first ones compile
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{backend_name()}: ours {median['ours']:.3f} s, Keras {median['Keras']:.3f} s a step of 8 crops of 256x256")
    print(f"ratio {median['Keras'] / median['ours']:.2f}")


if __name__ == "__main__":
    main()
