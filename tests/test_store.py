"""Decoded pixels in memory or on a map: the same arrays, memory that does not grow, nothing left behind."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import blobs, python, scenes

from roadseg.config import read_config
from roadseg.errors import ImageError, OutputError
from roadseg.imagery import store
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.store import PixelStore, memory_bytes
from roadseg.learning.batches import TrainingBatches


def rows(n: int = 5, seed: int = 0) -> list[tuple[np.ndarray | None, ...]]:
    rng = np.random.default_rng(seed)
    made: list[tuple[np.ndarray | None, ...]] = []
    for k in range(n):
        height, width = rng.integers(1, 40, 2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        made.append((image[:, ::-1], image[..., 0] % 2, image[..., 1] > 9 if k % 2 else None))
    return made


def size_of(made: list[tuple[np.ndarray | None, ...]]) -> int:
    return sum(a.nbytes for row in made for a in row if a is not None)


def test_what_fits_stays_as_it_is_until_the_budget_is_used_up(tmp_path):
    made = rows()
    kept = PixelStore(2 * size_of(made), tmp_path / "state")
    for _ in range(2):
        found = kept.keep(made, size_of(made))
        assert all(ours is theirs for ours, theirs in zip(found, made, strict=True))
    assert kept.mapped == 0 and not (tmp_path / "state").exists()
    found = kept.keep(made, size_of(made))
    assert found[0][0] is not made[0][0] and kept.mapped == size_of(made)


def test_what_does_not_fit_is_the_same_on_a_map_and_cannot_be_written(tmp_path):
    made = rows()
    found = PixelStore(0, tmp_path / "state").keep(made, size_of(made))
    for one, other in zip(found, made, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert a.dtype == b.dtype and type(a) is np.ndarray and not a.flags.writeable
                np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(os.name == "nt", reason="Windows shows the file until it is closed")
def test_the_file_has_no_name(tmp_path):
    found = PixelStore(0, tmp_path / "state").keep(rows(), size_of(rows()))
    assert list((tmp_path / "state").iterdir()) == []
    np.testing.assert_array_equal(found[3][0], rows()[3][0])


def test_a_size_that_was_guessed_too_small_or_too_large_is_no_matter(tmp_path):
    made = rows()
    for guess in (1, 10 * size_of(made)):
        found = PixelStore(0, tmp_path).keep(made, guess)
        np.testing.assert_array_equal(found[-1][0], made[-1][0])


def test_an_error_of_making_the_arrays_passes_and_leaves_nothing(tmp_path):
    def broken():
        yield rows()[0]
        raise ImageError("torn.png: truncated")

    with pytest.raises(ImageError, match=r"torn\.png"):
        PixelStore(0, tmp_path).keep(broken(), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_with_what_to_do(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = [(np.zeros((1000, 1000), np.uint8),)]
    for guess in (1_000_000, 1):  # found out before anything is decoded, and while it is written
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OutputError, match=r"decoded images in .*data\.memory_share"):
                PixelStore(0, tmp_path).keep(big, guess)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OutputError, match="is a file"):
        PixelStore(0, tmp_path / "state").keep(rows(), 1)


def test_a_containers_limit_counts_as_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CGROUP_LIMITS", ())
    whole = memory_bytes()
    for text, expected in (("12345\n", 12345), ("max\n", whole), (f"{2 * whole}", whole), ("", whole)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(store, "CGROUP_LIMITS", (tmp_path / "missing", tmp_path / "limit"))
        assert memory_bytes() == expected


# --- a dataset --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "classes"), [("RGB", 2), ("5-band", 2), ("16-bit", 2), ("L", 4)])
def test_samples_on_a_map_are_the_samples_in_memory(tmp_path, mode, classes):
    opened = open_dataset(blobs(tmp_path / "data", 4, classes=classes, mode=mode))
    order = [2, 0, 3]
    for ours, theirs in zip(
        opened.read_all(order, PixelStore(0, tmp_path / "state")), opened.read_all(order), strict=True
    ):
        assert (ours.stem, ours.hash) == (theirs.stem, theirs.hash)
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert (ours.valid is None) == (theirs.valid is None)


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.5])
def test_batches_from_a_map_are_the_batches_from_memory_to_the_byte(tmp_path, scale):
    opened = open_dataset(scenes(tmp_path / "data", 4))
    config = read_config({"train": {"crop": 32, "batch": 4}, "data": {"scale": scale}})
    kept = PixelStore(0, tmp_path / "state")
    ours = TrainingBatches(opened.read_all(range(4), kept), config, 2, kept)
    theirs = TrainingBatches(opened.read_all(range(4)), config)
    assert ours.steps_per_epoch == theirs.steps_per_epoch
    assert not any(array.flags.writeable for pair in ours.pairs for array in pair)
    for step in range(6):
        for a, b in zip(ours(step), theirs(step), strict=True):
            np.testing.assert_array_equal(a, b)


MEMORY = """
import resource, sys
from pathlib import Path
from roadseg.imagery.dataset import open_dataset
from roadseg.imagery.store import PixelStore
from roadseg.learning.plan import class_shares, pixel_statistics

opened = open_dataset(Path(sys.argv[1]))
opened.read(0)
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
limit = int(fields["VmData"].split()[0]) * 1024 + 48 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
budget = 2**40 if sys.argv[2] == "memory" else 0
try:
    samples = opened.read_all(range(len(opened)), PixelStore(budget, Path(sys.argv[1]) / "state"))
    pixel_statistics(samples), class_shares(samples, 2)
except MemoryError:
    sys.exit("out of memory")
print(sum(s.image.nbytes for s in samples))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_memory_does_not_grow_with_a_mapped_set(tmp_path):
    from PIL import Image

    for kind, value in (("images", (90, 120, 60)), ("masks", 255)):
        (tmp_path / kind).mkdir()
        for k in range(24):
            image = Image.new("RGB" if kind == "images" else "L", (1600, 1600), value)
            image.paste(0, (k, 0, 800, 800))
            image.save(tmp_path / kind / f"{k:02d}.png", compress_level=1)
    mapped = python("-c", MEMORY, str(tmp_path), "map")
    assert mapped.returncode == 0, mapped.stderr
    assert int(mapped.stdout) == 24 * 1600 * 1600 * 3  # 184 MB, 48 MB allowed
    whole = python("-c", MEMORY, str(tmp_path), "memory")
    assert "out of memory" in whole.stderr or "MemoryError" in whole.stderr
