"""Made aerial scenes with their road masks, for the demo and the tests: streets, houses, trees, cars, light."""

from pathlib import Path

import cv2
import numpy as np
import tomli_w
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigError
from ..files import make_folder, write_aside, write_text
from ._scene_ground import lay_asphalt, lay_corridors, lay_fields, lay_railway, lay_water, make_ground, noise
from ._scene_parts import Canvas, Sun
from ._scene_place import Place
from ._scene_plan import cover, plan_roads, shifted

__all__ = ["GROUND_RESOLUTION_M", "make_scene", "write_scenes"]

GROUND_RESOLUTION_M = 0.3  # metres per pixel
SMALLEST = 32  # px
WATER = {"rural": 0.35, "winding": 0.18, "highway": 0.15, "bent": 0.05, "grid": 0.0}  # how often there is some
SPACING = 1_000_000  # scenes per seed of a folder
MARGIN = 24  # px drawn around the scene and cut off, so that trees and shadows reach in from outside


def make_scene(seed: int, size: int | tuple[int, int] = 400) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make an aerial picture of a place that does not exist, at 0.3 m per pixel, and the mask of its roads.

    The seed decides everything: the same seed and size give the same bytes with the same versions of NumPy and OpenCV.
    Car parks, driveways, flat roofs and footpaths are as grey as the roads and are not roads; the mask keeps the
    road beneath trees, shadows and cars.

    Args:
        seed: 0 or more.
        size: side in px, or (height, width), 32 or more.

    Returns:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 255 on roads, 0 elsewhere.

    Raises:
        ConfigError: the seed is negative or the size is below 32 px.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < SMALLEST:
        raise ConfigError(f"a scene of {width}x{height} px is too small: ask for {SMALLEST} px or more a side")
    if seed < 0:
        raise ConfigError(f"the seed of a scene is {seed}: give 0 or more")
    rng = np.random.default_rng([seed, 0x0AD5])
    kind, planned = plan_roads(rng, (height, width))
    mask = np.where(cover(planned, (height, width)) >= 0.5, np.uint8(255), np.uint8(0))

    roads = shifted(planned, MARGIN)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(32, 68))
    sun = Sun(np.array([np.cos(azimuth), np.sin(azimuth)]), float(1 / np.tan(elevation)), elevation)
    shape = (height + 2 * MARGIN, width + 2 * MARGIN)
    green = 0.55 + 0.45 * rng.random() if kind == "rural" else rng.random()
    canvas = Canvas(make_ground(rng, shape, green), 10)
    if rng.random() < WATER[kind]:
        lay_water(canvas, rng)
    if kind in ("rural", "highway"):
        lay_fields(canvas, rng, roads, often=0.8 if kind == "rural" else 0.25)
    lay_corridors(canvas, rng, roads, town=kind not in ("rural", "highway"))
    if rng.random() < (0.5 if kind == "highway" else 0.12):
        lay_railway(canvas, rng, roads[-1])
    place = Place(canvas, rng, sun, kind)
    place.build(roads)
    lay_asphalt(canvas, rng, roads)
    place.park_and_drive(roads)
    place.raise_up(roads)
    image = _photograph(canvas, rng)
    inside = slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width)
    return np.ascontiguousarray(image[inside]), mask


def _photograph(canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The canvas as a camera sees it: surface texture, light, haze, colour cast, blur, sharpening, noise."""
    shape = canvas.shape
    fine = rng.standard_normal(shape, dtype=np.float32)
    texture = 0.65 * fine + 0.5 * noise(rng, shape, 2.5) + 0.45 * noise(rng, shape, 8)
    light = canvas.colour.astype(np.float32) + (texture * canvas.grain)[..., None]
    light *= (1 + 0.05 * noise(rng, shape, 130))[..., None]

    light = 255 * np.clip(light / 255, 0, 1) ** np.float32(rng.uniform(1.0, 1.45))
    light = light * np.float32(rng.uniform(0.95, 1.4)) * np.float32(1 + rng.normal(0, 0.025, 3))
    haze = np.float32(rng.uniform(0, 0.14))
    light = light * (1 - haze) + haze * np.array([150, 156, 166], np.float32)

    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 0.75))
    if rng.random() < 0.75:
        light += np.float32(rng.uniform(0.2, 0.7)) * (light - cv2.GaussianBlur(light, (0, 0), 1.6))
    light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 3.5))
    return np.asarray(np.clip(np.rint(light), 0, 255), np.uint8)


def write_scenes(folder: Path, n: int, seed: int = 0, size: int = 400, test: int = 0) -> Path:
    """Write `n` made scenes as a dataset folder, and `test` more without labels in the contest's manner.

        folder/images/scene_001.png       folder/masks/scene_001.png       folder/dataset.toml
        folder/test_images/test_1.png     folder/test_masks/test_1.png     (where test > 0)

    What else is in the folder stays. The first k scenes are the same whatever `n` is; no test scene is a labelled
    scene, under any seed.

    Returns:
        The folder.

    Raises:
        ConfigError: n, test or the seed is negative, n and test are 0, or the size is below 32 px.
        OutputError: the folder cannot be written.
    """
    if n < 0 or test < 0 or n + test == 0:
        raise ConfigError(f"{n} scenes and {test} test scenes were asked for: give a positive number")
    if seed < 0:
        raise ConfigError(f"the seed of the scenes is {seed}: give 0 or more")
    folder = make_folder(folder)
    for k in range(1, n + 1):
        image, mask = make_scene(2 * (seed * SPACING + k), size)
        _write_png(folder / "images" / f"scene_{k:03d}.png", image)
        _write_png(folder / "masks" / f"scene_{k:03d}.png", mask)
    for k in range(1, test + 1):
        image, mask = make_scene(2 * (seed * SPACING + k) + 1, size)
        _write_png(folder / "test_images" / f"test_{k}.png", image)
        _write_png(folder / "test_masks" / f"test_{k}.png", mask)
    about = {
        "ground_resolution_m": GROUND_RESOLUTION_M,
        "notes": f"Made scenes, not photographs: drawn by roadseg from seed {seed}. 255 in a mask is road.",
    }
    write_text(folder / "dataset.toml", tomli_w.dumps(about))
    return folder


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    with write_aside(path) as aside:
        Image.fromarray(pixels).save(aside, format="PNG")
