"""Milliseconds for one perturbed crop of each effect alone and of each preset, on one core.

python benchmarks/perturb.py [--crop 256] [--times 200]
"""

import argparse
import statistics
import time

import cv2
import msgspec
import numpy as np

from roadseg.config import Chance, Effect, PerturbConfig, read_config
from roadseg.imagery.scenes import make_scene
from roadseg.learning.augment import Labelled, Perturbation
from roadseg.settings import PRESETS

EFFECTS = [name for name in PerturbConfig.__struct_fields__ if name not in ("preset", "enabled")]


def alone(*names: str) -> PerturbConfig:
    """These effects with certainty, and no other."""
    default = PerturbConfig()
    chosen: dict[str, Chance | Effect] = {}
    for name in EFFECTS:
        effect = getattr(default, name)
        on = 1.0 if name in names else 0.0
        if isinstance(effect, Effect):
            chosen[name] = Effect(strength=effect.strength or 0.1, probability=on)
        else:
            chosen[name] = Chance(probability=on)
    return msgspec.structs.replace(default, **chosen)


def milliseconds(config: PerturbConfig, pictures: list[Labelled], crop: int, times: int) -> float:
    perturb = Perturbation(config, crop)
    spent = []
    for k in range(times):
        start = time.perf_counter()
        perturb.labelled(pictures[0], np.random.default_rng(k), lambda _: pictures[1])
        spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--times", type=int, default=200)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = []
    for seed in (0, 1):
        image, mask = make_scene(seed, 400)
        pictures.append(Labelled(image, (mask > 127).astype(np.uint8)))
    gaps = pictures[0].mask.copy()
    gaps[100:150] = 255
    weighed = pictures[0]._replace(weights=np.ones(gaps.shape, np.float16))
    off = PerturbConfig(enabled=False)

    def show(name: str, config: PerturbConfig, source: list[Labelled]) -> None:
        print(f"{name:<24}{milliseconds(config, source, args.crop, args.times):6.2f} ms", flush=True)

    show("crop alone", off, pictures)
    for name in EFFECTS:
        show(name, alone(name), pictures)
    show("crop with weights", off, [weighed, weighed])
    show("rotation, gaps in mask", alone("rotation"), [pictures[0]._replace(mask=gaps), pictures[1]])
    for preset in PRESETS:
        show(f"preset {preset}", read_config({"perturb": preset}).perturb, pictures)


if __name__ == "__main__":
    main()
