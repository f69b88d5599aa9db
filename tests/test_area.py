"""Polygons that restrict a raster: what lies within, on any grid and in any CRS; and files that say nothing of use."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import Affine

from roadseg.errors import DataError, RoadsegWarning
from roadseg.imagery.area import limit, read_area
from roadseg.imagery.crs import transform_points
from roadseg.imagery.opening import open_source
from roadseg.imagery.sources import Picture, Placing, Source, surely_empty
from roadseg.imagery.vector_files import Features
from roadseg.imagery.vector_writing import write_features
from roadseg.imagery.whole import HeldPicture

UTM = "EPSG:32611"
EAST, NORTH, STEP = 500_000.0, 4_000_000.0, 2.0
H, W = 60, 80


NORTH_UP = Affine(STEP, 0, EAST, 0, -STEP, NORTH)


def raster(path: Path, transform: Affine = NORTH_UP, crs: str | None = UTM) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=H, width=W, count=1, dtype="uint8", crs=crs, transform=transform, nodata=0
    ) as target:
        target.write(np.full((1, H, W), 9, np.uint8))
        target.write(np.zeros((1, 5, 5), np.uint8), window=((0, 5), (0, 5)))
    return path


def polygons(path: Path, *shapes: Any, crs: str | None = UTM) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoadsegWarning)  # of pixel coordinates
        write_features(path, {"areas": Features(shapes, [{}] * len(shapes), crs)}, kind="Polygon")
    return path


def box(top: float, bottom: float, left: float, right: float) -> Any:
    """In the raster's CRS, of rows and columns."""
    return shapely.box(EAST + left * STEP, NORTH - bottom * STEP, EAST + right * STEP, NORTH - top * STEP)


def test_pixels_whose_centre_lies_within_are_kept(tmp_path: Path) -> None:
    expected = np.zeros((H, W), bool)
    expected[10:31, 20:41] = True
    path = polygons(tmp_path / "a.gpkg", box(9.6, 30.7, 20.4, 40.6))
    with open_source(raster(tmp_path / "r.tif")) as source:
        area = read_area(path, source)
        np.testing.assert_array_equal(area.window(0, H), expected)
        assert area.extent == (9, 31, 20, 41) and area.name == str(path)
        limited = limit(source, area)
        picture = limited.read(0, H)
        np.testing.assert_array_equal(picture.valid, expected)
        assert (picture.pixels[30, 30], picture.pixels[50, 50]) == (9, 9)  # as they are, beside the area too
        assert surely_empty(limited, 0, 9) and not surely_empty(limited, 0, 11)
        again = pickle.loads(pickle.dumps(limited))
        np.testing.assert_array_equal(again.read(0, H).valid, expected)


def test_what_has_no_data_stays_without(tmp_path: Path) -> None:
    with open_source(raster(tmp_path / "r.tif")) as source:
        valid = limit(source, read_area(polygons(tmp_path / "a.gpkg", box(0, 10, 0, 10)), source)).read(0, H).valid
    assert valid is not None and valid.sum() == 75


eighths = st.integers(-160, 8 * W + 160).map(lambda k: k / 8)
corners = st.lists(st.tuples(eighths, eighths), min_size=3, max_size=6, unique=True)


@settings(max_examples=40)
@given(shapes=st.lists(corners, min_size=1, max_size=3), data=st.data())
def test_a_window_is_a_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[tuple[float, float]]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("area")
    source = HeldPicture(Picture(np.zeros((H, W, 1), np.uint8), None))
    path = polygons(folder / "a.geojson", *(shapely.Polygon(shape) for shape in shapes), crs=None)
    try:
        area = read_area(path, source)
    except DataError as error:
        assert "no pixel of" in str(error)
        return
    whole = area.window(0, H)
    top, bottom, left, right = area.extent
    outside = whole.copy()
    outside[top:bottom, left:right] = False
    assert whole.any() and not outside.any()
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, H), st.integers(0, H))))
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, W), st.integers(0, W))))
    np.testing.assert_array_equal(area.window(y0, y1, x0, x1), whole[y0:y1, x0:x1])


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.fgb"])
def test_polygons_are_brought_to_the_rasters_crs(tmp_path: Path, name: str) -> None:
    ring = np.asarray(box(10, 31, 20, 41).exterior.coords)
    degrees = shapely.Polygon(transform_points(ring, UTM, "EPSG:4326"))
    with open_source(raster(tmp_path / "r.tif")) as source:
        found = read_area(polygons(tmp_path / name, degrees, crs="EPSG:4326"), source).window(0, H)
    expected = np.zeros((H, W), bool)
    expected[10:31, 20:41] = True
    np.testing.assert_array_equal(found, expected)


def test_long_edges_bend_as_they_do_on_the_ground(tmp_path: Path) -> None:
    """A parallel is no straight line in UTM: 20 km of it rise 30 m."""
    transform = Affine(500, 0, EAST + 50_000, 0, -10, NORTH)
    with open_source(raster(tmp_path / "r.tif", transform)) as source:
        columns, rows = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
        x, y = (columns * 500 + EAST + 50_000).ravel(), (NORTH - rows * 10).ravel()
        latitude = transform_points(np.column_stack([x, y]), UTM, "EPSG:4326")[:, 1].reshape(H, W)
        level = float(np.median(latitude))
        area = read_area(polygons(tmp_path / "a.geojson", shapely.box(-120, level, -110, 50), crs="EPSG:4326"), source)
        assert (area.window(0, H) != (latitude > level)).mean() < 0.01


def test_a_rotated_raster_is_no_exception(tmp_path: Path) -> None:
    transform = Affine(1.6, 1.2, EAST, 1.2, -1.6, NORTH)
    corners = [transform @ (column, row) for column, row in ((20, 10), (41, 10), (41, 31), (20, 31))]
    with open_source(raster(tmp_path / "r.tif", transform)) as source:
        found = read_area(polygons(tmp_path / "a.gpkg", shapely.Polygon(corners)), source).window(0, H)
    assert found.sum() == 21 * 21 and found[10:31, 20:41].all()


def test_polygons_on_a_plain_image_are_in_pixels(tmp_path: Path) -> None:
    Image.fromarray(np.full((H, W), 9, np.uint8)).save(tmp_path / "a.png")
    path = polygons(tmp_path / "a.gpkg", shapely.box(20, 10, 41, 31), crs=None)
    with open_source(tmp_path / "a.png") as source:
        assert read_area(path, source).extent == (10, 31, 20, 41)


def test_neither_has_a_crs(tmp_path: Path) -> None:
    source = HeldPicture(
        Picture(np.zeros((H, W, 1), np.uint8), None), placing=Placing((STEP, 0, EAST, 0, -STEP, NORTH), None)
    )
    path = polygons(tmp_path / "a.gpkg", box(10, 31, 20, 41), crs=None)
    with pytest.warns(RoadsegWarning, match="neither .* says its CRS"):
        assert read_area(path, source).extent == (10, 31, 20, 41)


def georeferenced(folder: Path) -> Source:
    return open_source(raster(folder / "r.tif"))


def test_an_area_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pixel of '.*r\.tif' lies within .*a\.gpkg'.*UTM zone 11N"):
        read_area(polygons(tmp_path / "a.gpkg", box(100, 110, 0, 10)), georeferenced(tmp_path))
    with pytest.raises(DataError, match="no pixel of"):  # between the centres of pixels
        read_area(polygons(tmp_path / "b.gpkg", box(10.6, 10.9, 0, 10)), georeferenced(tmp_path))
    plain = HeldPicture(Picture(np.zeros((H, W, 1), np.uint8), None))
    with pytest.raises(DataError, match=r"reach over 500, 0, 510, 10 \(left, top, right, bottom\)"):
        read_area(polygons(tmp_path / "c.gpkg", shapely.box(500, 0, 510, 10), crs=None), plain)


def test_one_of_them_has_no_crs(tmp_path: Path) -> None:
    plain = HeldPicture(Picture(np.zeros((H, W, 1), np.uint8), None), "x.png")
    with pytest.raises(DataError, match=r"a\.gpkg' is in EPSG:32611 but 'x\.png' does not say its CRS"):
        read_area(polygons(tmp_path / "a.gpkg", box(0, 9, 0, 9)), plain)
    with pytest.raises(DataError, match=r"is in pixels but .* is georeferenced"):
        read_area(polygons(tmp_path / "b.gpkg", box(0, 9, 0, 9), crs=None), georeferenced(tmp_path))


def test_a_file_without_polygons(tmp_path: Path) -> None:
    source = georeferenced(tmp_path)
    write_features(
        tmp_path / "l.gpkg", {"l": Features([shapely.LineString([(0, 0), (9, 9)])], [{}], UTM)}, kind="LineString"
    )
    with pytest.raises(DataError, match="has no polygons but LineString"):
        read_area(tmp_path / "l.gpkg", source)
    (tmp_path / "e.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(DataError, match=r"e\.geojson' has no (polygons|layer with geometries)"):
        read_area(tmp_path / "e.geojson", source)
    with pytest.raises(DataError, match="does not exist"):
        read_area(tmp_path / "gone.gpkg", source)


def test_an_area_is_of_one_raster(tmp_path: Path) -> None:
    area = read_area(polygons(tmp_path / "a.gpkg", box(0, 9, 0, 9)), georeferenced(tmp_path))
    with pytest.raises(ValueError, match="the area is of a raster of 80x60"):
        limit(HeldPicture(Picture(np.zeros((5, 5, 1), np.uint8), None)), area)
