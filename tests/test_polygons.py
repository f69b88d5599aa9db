"""Masks and probabilities to polygons of the road surface."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import RoadsegWarning
from roadseg.roads.bands import Grid, Raster
from roadseg.roads.centrelines import TraceOptions
from roadseg.roads.polygons import outline, outline_raster

EXACT = TraceOptions(tolerance=0, hole=0, speck=0)


def ring(size: int = 120, width: int = 14) -> np.ndarray:
    """A square road around a block."""
    mask = np.zeros((size, size), np.uint8)
    mask[20:-20, 20:-20] = 255
    mask[20 + width : -20 - width, 20 + width : -20 - width] = 0
    return mask


def test_the_area_is_that_of_the_pixels_and_holes_are_kept():
    mask = ring()
    layer = outline(mask)
    (polygon,) = layer.polygons
    assert polygon.is_valid and len(polygon.interiors) == 1
    assert polygon.area == np.count_nonzero(mask) == layer.properties[0]["area_px"]


def test_specks_go_and_small_holes_are_filled():
    mask = ring()
    mask[5:8, 5:8] = 255
    mask[25:28, 60:64] = 0
    (polygon,) = outline(mask).polygons
    assert len(polygon.interiors) == 1 and polygon.area == np.count_nonzero(ring())
    assert len(outline(mask, EXACT).polygons) == 2


def test_areas_on_the_ground_are_square_metres():
    grid = Grid((0.5, 0, 600_000, 0, -0.5, 4_000_000), "EPSG:32611")
    layer = outline_raster(Raster(ring(), grid=grid))
    assert layer.properties[0]["area_m2"] == pytest.approx(np.count_nonzero(ring()) / 4)
    assert layer.polygons[0].area == pytest.approx(layer.properties[0]["area_m2"])
    degrees = Grid((4.5e-6, 0, 11.0, 0, -4.5e-6, 60.0), "EPSG:4326")
    about = outline_raster(Raster(ring(), grid=degrees)).properties[0]["area_m2"]
    assert about == pytest.approx(np.count_nonzero(ring()) * (4.5e-6 * 111_400) ** 2 * 0.5, rel=0.01)


def test_hysteresis_and_mean_probability():
    raster = ring() // 255 * np.uint8(100)
    raster[:, 60:][raster[:, 60:] > 0] = 200
    raster[2:10, 100:118] = 100
    layer = outline(raster, TraceOptions(speck=0))
    assert len(layer.polygons) == 1
    assert layer.properties[0]["probability"] == pytest.approx(150 / 255, abs=0.01)


def test_simplified_outlines_are_valid_and_short():
    rows, columns = np.mgrid[:200, :200]
    mask = abs(rows - columns * 0.37 - 40) < 8
    (rough,), (fine,) = outline(mask, EXACT).polygons, outline(mask).polygons
    assert fine.is_valid and shapely.get_num_coordinates(fine) < 20 < shapely.get_num_coordinates(rough)
    assert fine.area == pytest.approx(rough.area, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0.2, 0.7))
@pytest.mark.filterwarnings("ignore::roadseg.errors.RoadsegWarning")
def test_bands_of_any_height_give_the_polygons_of_one_piece(seed, band, share):
    rng = np.random.default_rng(seed)
    raster = np.where(rng.random((40, 37)) < share, rng.choice([90, 200], (40, 37)), 0).astype(np.uint8)
    for options in (EXACT, TraceOptions(speck=0.5)):
        whole = outline_raster(Raster(raster), options)
        cut = outline_raster(Raster(raster), options, band=band)
        assert [p.wkt for p in cut.polygons] == [p.wkt for p in whole.polygons]
        assert cut.properties == whole.properties
        assert all(polygon.is_valid for polygon in whole.polygons)


def test_exact_outlines_cover_just_the_road():
    mask = np.random.default_rng(1).random((60, 50)) < 0.5
    assert sum(p.area for p in outline(mask, EXACT).polygons) == np.count_nonzero(mask)


def test_an_empty_mask_is_an_empty_layer_with_a_warning():
    with pytest.warns(RoadsegWarning, match="no road pixel"):
        assert outline(np.zeros((20, 20), np.uint8)).polygons == ()
    with pytest.warns(RoadsegWarning, match="every pixel of the raster is road"):
        assert len(outline(np.full((20, 20), 255, np.uint8), EXACT).polygons) == 1
