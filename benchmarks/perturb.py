"""Milliseconds for one perturbed 256x256 crop with every default perturbation, on one core, beside each effect alone.

python benchmarks/perturb.py
"""

import statistics
import time

import cv2
import msgspec
import numpy as np

from roadseg.config import Chance, Effect, PerturbConfig
from roadseg.imagery.scenes import make_scene
from roadseg.learning.augment import Perturbation


def milliseconds(config: PerturbConfig, image: np.ndarray, mask: np.ndarray, times: int = 200) -> float:
    perturb = Perturbation(config, 256)
    spent = []
    for k in range(times):
        start = time.perf_counter()
        perturb(image, mask, np.random.default_rng(k))
        spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(spent)


def main() -> None:
    cv2.setNumThreads(1)
    image, mask = make_scene(0, 400)
    mask = (mask > 127).astype(np.uint8)
    default = PerturbConfig()
    off = msgspec.structs.replace(
        default,
        **{
            name: Chance(probability=0.0) if name == "flip" else Effect(probability=0.0)
            for name in default.__struct_fields__
            if name != "enabled"
        },
    )
    print(f"crop alone            {milliseconds(PerturbConfig(enabled=False), image, mask):.2f} ms")
    for name in default.__struct_fields__:
        if name in ("enabled", "flip"):
            continue
        strength = getattr(default, name).strength or 0.1
        one = msgspec.structs.replace(off, **{name: Effect(strength=strength, probability=1.0)})
        print(f"{name:<20}  {milliseconds(one, image, mask):.2f} ms")
    print(f"the default recipe    {milliseconds(default, image, mask):.2f} ms")


if __name__ == "__main__":
    main()
