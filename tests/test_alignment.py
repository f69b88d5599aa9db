"""How far labels lie beside what they label."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.imagery.alignment import REACH, Shift, label_shift, pooled_shift, shift_surface
from roadseg.imagery.masks import IGNORED
from roadseg.imagery.scenes import make_scene

SIDE = 256
MARGIN = REACH + 4


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    """Made scenes, larger than what is looked at."""
    scenes = [make_scene(seed, SIDE + 2 * MARGIN) for seed in range(8)]
    return [(image, (mask > 0).astype(np.uint8)) for image, mask in scenes]


def displaced(image: np.ndarray, mask: np.ndarray, dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of both, with the labels moved dx px to the right and dy px down."""
    inner = slice(MARGIN, MARGIN + SIDE)
    return image[inner, inner], mask[MARGIN - dy : MARGIN - dy + SIDE, MARGIN - dx : MARGIN - dx + SIDE]


def near(shift: Shift, dx: int, dy: int, px: int = 1) -> bool:
    return abs(shift.dx - dx) <= px and abs(shift.dy - dy) <= px


@settings(max_examples=6, deadline=None)
@given(st.integers(-REACH + 1, REACH - 1), st.integers(-REACH + 1, REACH - 1))
def test_the_shift_of_a_set_is_found(drawn: list[tuple[np.ndarray, np.ndarray]], dx: int, dy: int):
    shift = pooled_shift(shift_surface(*displaced(image, mask, dx, dy)) for image, mask in drawn)
    assert near(shift, dx, dy), shift
    assert shift.images == len(drawn) and shift.confidence > 0.3
    if shift.distance < 3 or shift.distance >= 6:  # between them it depends on how much better the labels would fit
        assert shift.suspicious == (shift.distance >= 6)
    assert shift.gain >= 0


def test_labels_that_fit_are_not_suspected(drawn: list[tuple[np.ndarray, np.ndarray]]):
    shift = pooled_shift(shift_surface(*displaced(image, mask, 0, 0)) for image, mask in drawn)
    assert near(shift, 0, 0) and not shift.suspicious


def test_bright_on_dark_and_dark_on_bright_count_alike():
    mask = np.zeros((120, 130), np.uint8)
    cv2.circle(mask, (60, 60), 25, 1, -1)
    for inside, outside in ((220, 40), (40, 220)):
        image = np.where(np.roll(mask, (-4, 6), (0, 1)) > 0, inside, outside).astype(np.uint8)[..., None]
        assert near(label_shift(image, mask), -6, 4, 0)


def test_one_direction_of_streets_says_little():
    mask = np.zeros((150, 150), np.uint8)
    mask[:, 60:75] = 1
    image = np.repeat((mask * 150 + 50)[..., None], 3, -1)
    shift = label_shift(image, mask)
    assert shift.dx == 0 and shift.confidence < 0.1 and not shift.suspicious


def test_several_classes_and_unlabelled_pixels():
    mask = np.zeros((160, 160), np.uint8)
    cv2.circle(mask, (50, 60), 22, 1, -1)
    cv2.rectangle(mask, (80, 70), (130, 120), 2, -1)
    image = np.array([30, 120, 220], np.uint8)[np.roll(mask, (5, -3), (0, 1))][..., None]
    assert near(label_shift(image, mask), 3, -5, 0)
    hidden = mask.copy()
    hidden[:40] = IGNORED  # no border of it is one of the image
    assert near(label_shift(image, hidden), 3, -5, 0)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.zeros((200, 200, 3), np.uint8), np.eye(200, dtype=np.uint8)),  # no edge in the image
        (np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), np.zeros((200, 200), np.uint8)),
        (np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8), np.full((200, 200), IGNORED, np.uint8)),
        (np.random.default_rng(0).integers(0, 256, (20, 300, 3), np.uint8), np.eye(20, 300, dtype=np.uint8)),  # small
        (np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), np.uint8)),
    ],
)
def test_where_there_is_nothing_to_compare_nothing_is_said(image: np.ndarray, mask: np.ndarray):
    assert label_shift(image, mask) == Shift()
    assert shift_surface(image, mask) is None


def test_an_empty_set_says_nothing():
    assert pooled_shift([]) == pooled_shift([None, None]) == Shift()
    assert not Shift().suspicious


def test_noise_is_not_sure():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(mask, (0, 30), (SIDE, 220), 1, 12)
    cv2.line(mask, (200, 0), (60, SIDE), 1, 9)
    assert not label_shift(image, mask).suspicious
