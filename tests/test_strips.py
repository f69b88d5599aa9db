"""Strips of a raster, computed apart, again, or only in part."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import INFO, contents, plan_of, predictor, raster, shares, smooth

from roadseg.errors import DataError, OutputError, RoadsegWarning
from roadseg.inference import strips as strips_module
from roadseg.inference import tiling
from roadseg.inference.assemble import finish
from roadseg.inference.parts import DamagedPart, FolderParts, MemoryParts, unfinished
from roadseg.inference.plan import Plan
from roadseg.inference.strips import predict_strip, predict_strips


def many_strips(monkeypatch, pixels=180 * 48 * 2):
    monkeypatch.setattr(tiling, "STRIP", pixels)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A raster of 11 bands in several strips, with a hole, probabilities asked for."""
    many_strips(monkeypatch)
    raster(tmp_path / "x.tif", nodata=0, hole=np.s_[200:330, 20:170])
    (tmp_path / "out").mkdir()
    found = plan_of(tmp_path / "x.tif", tmp_path / "out", probabilities=True)
    assert len(found.grid.down) == 11 and len(found.strips) > 3
    return found


def whole(plan, run=smooth):
    """The files that come of a plan, made in memory; and away with them."""
    parts = MemoryParts()
    predict_strips(plan, range(len(plan.strips)), run, parts)
    finish(plan, parts)
    found = contents(Path(plan.mask).parent)
    for name in found:
        (Path(plan.mask).parent / name).unlink()
    return found


class Interrupted(Exception):
    pass


def failing(run, calls):
    """`run` that fails after so many calls."""
    left = [calls]

    def compute(batch):
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return run(batch)

    return compute


@settings(max_examples=10, deadline=None)
@given(
    height=st.integers(70, 400),
    width=st.integers(40, 200),
    strip=st.integers(1, 40_000),
    classes=st.sampled_from([2, 3]),
    order=st.randoms(),
)
def test_however_a_raster_is_cut_into_strips_the_bits_are_the_same(
    tmp_path_factory, height, width, strip, classes, order
):
    folder = tmp_path_factory.mktemp("cut")
    raster(folder / "a.tif", height, width, nodata=0, hole=np.s_[40:90, 10:30], seed=height)
    (folder / "out").mkdir()
    run = smooth if classes == 2 else shares
    info = replace(INFO, classes=("a", "b", "c")[:classes])
    one = plan_of(folder / "a.tif", folder / "out", predictor(run, info=info), probabilities=True)
    expected = whole(one, run)
    with pytest.MonkeyPatch.context() as patch:
        many_strips(patch, strip)
        plan = replace(one)
        parts = FolderParts.start(plan, resume=False)
        numbers = list(range(len(plan.strips)))
        order.shuffle(numbers)
        for number in numbers:
            predict_strip(plan, number, run, parts)
        finish(plan, parts)
    assert contents(folder / "out") == expected
    assert not plan.folder.exists()


def test_a_prediction_that_breaks_off_anywhere_ends_in_the_same_bytes(plan):
    expected = whole(plan)
    calls = 0
    while True:
        parts = FolderParts.start(plan, resume=False)
        try:
            predict_strips(plan, range(len(plan.strips)), failing(smooth, calls), parts)
            break
        except Interrupted:
            pass
        again = FolderParts.start(plan, resume=True)
        done = sum(again.has(band, "band") for band in range(11))
        counted = []
        predict_strips(plan, unfinished(plan, again), smooth, again, progress=counted.append)
        assert len(counted) == 11 - done  # nothing that was finished is computed again
        finish(plan, again)
        assert contents(plan.folder.parent) == expected
        calls += 1
    assert calls > 11
    parts.remove()


def test_what_is_computed_again_needs_nothing_that_is_gone(plan):
    expected = whole(plan)
    for gone in range(11):
        parts = FolderParts.start(plan, resume=False)
        predict_strips(plan, range(len(plan.strips)), smooth, parts)
        for kind in ("band", "tail", "head"):
            parts.drop(gone, kind)
        predict_strips(plan, unfinished(plan, parts), smooth, parts)
        finish(plan, parts)
        assert contents(plan.folder.parent) == expected


def test_a_damaged_part_is_noticed_told_and_computed_again(plan):
    expected = whole(plan)
    parts = FolderParts.start(plan, resume=False)
    predict_strips(plan, range(len(plan.strips)), smooth, parts)
    damaged = sorted(plan.folder.glob("0*"))
    for path in damaged:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0x40
        path.write_bytes(raw)
    with pytest.raises(DamagedPart, match="--resume"):
        finish(plan, parts)
    with pytest.warns(RoadsegWarning, match=f"{len(damaged)} damaged parts"):
        assert parts.check() == len(damaged)
    predict_strips(plan, unfinished(plan, parts), smooth, parts)
    finish(plan, parts)
    assert contents(plan.folder.parent) == expected


def test_a_strip_can_be_computed_twice_and_by_two_at_once(plan):
    expected = whole(plan)
    parts = FolderParts.start(plan, resume=False)
    for number in [1, 0, 1, *range(len(plan.strips))]:
        predict_strip(plan, number, smooth, parts)
    assert not unfinished(plan, parts)
    finish(plan, parts)
    assert contents(plan.folder.parent) == expected


def test_a_plan_goes_through_json_and_back(plan):
    again = Plan.from_dict(plan.to_dict())
    assert again == plan and again.key == plan.key and again.strips == plan.strips
    assert replace(plan, threshold=0.4).key != plan.key
    assert replace(plan, mask=plan.mask + "x.tif").key == plan.key
    with pytest.raises(DataError, match="not the plan"):
        Plan.from_dict({"sources": 3})


def test_pixels_of_all_bands_are_the_rasters(plan):
    assert sum(plan.pixels(band) for band in range(11)) == 500 * 180


def test_another_plan_is_not_resumed(plan):
    FolderParts.start(plan, resume=False)
    with pytest.raises(DataError, match=r"threshold was 0\.5 and is 0\.7.*without --resume"):
        FolderParts.start(replace(plan, threshold=0.7), resume=True)
    changed = tuple((name, size + 1, time, digest) for name, size, time, digest in plan.files)
    with pytest.raises(DataError, match="files"):
        FolderParts.start(replace(plan, files=changed), resume=True)


def test_what_is_not_resumed_is_begun_anew_and_told(plan):
    parts = FolderParts.start(plan, resume=False)
    predict_strip(plan, 0, smooth, parts)
    with pytest.warns(RoadsegWarning, match="finished bands.*anew"):
        parts = FolderParts.start(plan, resume=False)
    assert len(unfinished(plan, parts)) == len(plan.strips)
    parts.remove()


def test_stop_ends_after_the_band_under_way(plan):
    parts = FolderParts.start(plan, resume=False)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(KeyboardInterrupt):
        predict_strips(plan, range(len(plan.strips)), smooth, parts, stop=stop)
    assert sum(parts.has(band, "band") for band in range(11)) == 3


def test_a_disk_that_fills_up_leaves_the_finished_bands(plan, monkeypatch):
    expected = whole(plan)
    parts = FolderParts.start(plan, resume=False)
    real = FolderParts.put

    def write(self, band, kind, arrays):
        if (band, kind) == (4, "band"):
            raise OutputError(self._reason(OSError(28, "No space left on device")))
        real(self, band, kind, arrays)

    monkeypatch.setattr(FolderParts, "put", write)
    with pytest.raises(OutputError, match=r"is full.*--resume"):
        predict_strips(plan, range(len(plan.strips)), smooth, parts)
    monkeypatch.undo()
    many_strips(monkeypatch)
    parts = FolderParts.start(plan, resume=True)
    assert [parts.has(band, "band") for band in range(5)] == [True] * 4 + [False]
    predict_strips(plan, unfinished(plan, parts), smooth, parts)
    finish(plan, parts)
    assert contents(plan.folder.parent) == expected


def test_a_folder_that_is_removed_meanwhile_is_named(plan):
    parts = FolderParts.start(plan, resume=False)

    def run(batch):
        shutil.rmtree(plan.folder.parent, ignore_errors=True)
        return smooth(batch)

    with pytest.raises(OutputError, match="has been removed"):
        predict_strips(plan, range(len(plan.strips)), run, parts)
    assert not plan.folder.parent.exists()  # and is not made anew


def test_the_first_error_of_a_thread_is_the_one_that_is_raised(plan, monkeypatch):
    def slabs(self, top, bottom):
        if top > 200:
            raise DataError("rows 300 to 400 are no more")
        return real(self, top, bottom)

    real = strips_module.Slabs.__call__
    monkeypatch.setattr(strips_module.Slabs, "__call__", slabs)
    parts = FolderParts.start(plan, resume=False)
    with pytest.raises(DataError, match="no more"):
        predict_strips(plan, range(len(plan.strips)), smooth, parts)
    assert parts.has(0, "band") and parts.has(3, "band")
    parts.remove()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from streams import predictor, smooth
from roadseg.inference import plan, tiling
from roadseg.inference.outputs import Wanted, predict_files
tiling.STRIP = 180 * 48 * 2
plan.SMALL = 0

def slowly(batch):
    time.sleep(0.02)
    return smooth(batch)

def tell(step):
    print(step.done, flush=True)

wanted = Wanted(resume=True, probabilities=True)
predict_files(predictor(slowly), [Path({source!r})], Path({out!r}), wanted=wanted, progress=tell)
"""


def test_a_process_that_is_killed_is_gone_on_with_to_the_same_bytes(tmp_path, plan):
    expected = whole(plan)
    text = KILLED.format(tests=str(Path(__file__).parent), source=plan.sources[0], out=str(plan.folder.parent))
    words = [sys.executable, "-c", text]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for bands in (2, 5):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for _ in range(bands):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert plan.folder.is_dir() and not Path(plan.mask).exists()
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout.split()
    assert int(done[0]) >= 5 * 48 * 180 and int(done[-1]) == 500 * 180
    assert contents(plan.folder.parent) == expected
    assert not plan.folder.exists()
    again = subprocess.run(words, capture_output=True, text=True, env=environment, check=True).stdout.split()
    assert again == [str(500 * 180)]  # a finished image is not predicted again
    with rasterio.open(plan.mask) as found:
        assert found.shape == (500, 180)
