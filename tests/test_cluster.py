"""Strips on a Dask cluster: the bytes of one process, lost workers, interruptions, and clusters that are no help."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import SRC
from hypothesis import given
from hypothesis import strategies as st
from light_model import light_model, light_plan, raster

from roadseg import dask_cluster
from roadseg.errors import BackendError, ConfigError, ImageError, ModelError
from roadseg.inference import cluster as strips_on_dask
from roadseg.inference.assemble import finish
from roadseg.inference.cluster import open_cluster, runs
from roadseg.inference.parts import FolderParts, unfinished
from roadseg.inference.plan import Plan, open_engine
from roadseg.inference.strips import predict_strip
from roadseg.machine import cores

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, `r.tif` of a few strips, and what one process predicts of it in `one/`."""
    folder = tmp_path_factory.mktemp("cluster")
    light_model(folder / "m.keras")
    plan = plan_for(folder, "one", raster(folder / "r.tif", 900, 500))
    parts = FolderParts.start(plan, resume=False)
    run = open_engine(plan, 1)
    for number in unfinished(plan, parts):
        predict_strip(plan, number, run, parts)
    finish(plan, parts)
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of two workers in processes of their own, which are started again when they die."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0
        ) as here,
    ):
        yield here.scheduler_address


def plan_for(folder: Path, out: str, source: Path | None = None) -> Plan:
    return light_plan(source or folder / "r.tif", folder / out, folder / "m.keras", threads=1)


def same(folder: Path, out: str) -> bool:
    return all((folder / "one" / name).read_bytes() == (folder / out / name).read_bytes() for name in FILES)


FILES = ("r.tif", "r_prob.tif")


# === The bytes ===


def test_two_workers_here_give_the_bytes_of_one_process(folder: Path) -> None:
    plan = plan_for(folder, "two")
    told: list[int] = []
    with open_cluster(2) as cluster:
        assert (cluster.workers, cluster.threads) == (2, max(1, cores() // 2))
        parts = FolderParts.start(plan, resume=False)
        assert len(unfinished(plan, parts)) > 2
        cluster(plan, parts, unfinished(plan, parts), told.append)
        assert sum(told) == plan.height * plan.width and len(told) == len(plan.grid.down)
        assert not list(parts.folder.glob(".roadseg-*"))
    finish(plan, parts)
    assert same(folder, "two") and not parts.folder.exists()


def test_workers_by_address_go_on_with_what_is_left_and_take_another_model(folder: Path, address: str) -> None:
    plan = plan_for(folder, "far")
    parts = FolderParts.start(plan, resume=False)
    predict_strip(plan, 1, open_engine(plan, 1), parts)
    left = unfinished(plan, parts)
    told: list[int] = []
    with open_cluster(dask=address) as cluster:
        assert cluster.workers == 4 and cluster.threads == max(1, cores() // 4)
        cluster(plan, parts, left, told.append)
        done = sum(plan.pixels(band) for band in plan.strips[1])
        assert 1 not in left and sum(told) == plan.height * plan.width - done
        finish(plan, parts)
        assert same(folder, "far")

        light_model(folder / "other.keras", seed=5)
        plan = light_plan(folder / "r.tif", folder / "other", folder / "other.keras")
        parts = FolderParts.start(plan, resume=False)
        cluster(plan, parts, unfinished(plan, parts), lambda _: None)
        finish(plan, parts)
        assert not same(folder, "other")


def test_a_killed_worker_costs_its_task_and_not_a_byte(folder: Path, address: str) -> None:
    plan = plan_for(folder, "killed")
    parts = FolderParts.start(plan, resume=False)
    with distributed.Client(address) as client, open_cluster(dask=address) as cluster:
        before = set(client.run(os.getpid).values())

        def kill() -> None:
            until = time.monotonic() + 60
            while not list(parts.folder.glob("*.band")) and time.monotonic() < until:
                time.sleep(0.001)
            os.kill(min(before), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        told: list[int] = []
        cluster(plan, parts, unfinished(plan, parts), told.append)
        killer.join()
        client.wait_for_workers(2)
        assert set(client.run(os.getpid).values()) != before
    assert sum(told) == plan.height * plan.width  # each pixel once, though bands were begun twice
    finish(plan, parts)
    assert same(folder, "killed")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
def test_ctrl_c_ends_the_workers_and_keeps_finished_bands(folder: Path) -> None:
    large = raster(folder / "large.tif", 6000, 500)
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from light_model import light_plan
from roadseg.inference.cluster import open_cluster, runs
from roadseg.inference.parts import FolderParts, unfinished
if __name__ == "__main__":
    plan = light_plan(Path({str(large)!r}), Path({str(folder / "stopped")!r}), Path({str(folder / "m.keras")!r}))
    parts = FolderParts.start(plan, resume=True)
    try:
        with open_cluster(2) as cluster:
            print("workers", *cluster._client.run(__import__("os").getpid).values(), flush=True)
            cluster(plan, parts, unfinished(plan, parts), lambda pixels: print("band", flush=True))
        print("done", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    (folder / "script.py").write_text(script)
    variables = {**os.environ, "PYTHONPATH": str(SRC)}
    words = [sys.executable, str(folder / "script.py")]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and its children with it: not here, where it is what is tested.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()[1:]]
    assert len(pids) == 2 and process.stdout.readline() == "band\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them hear it
    out, errors = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted" and not errors, errors
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    plan = light_plan(large, folder / "stopped", folder / "m.keras")
    parts = FolderParts.start(plan, resume=True)
    kept = len(list(parts.folder.glob("*.band")))
    assert 0 < kept < len(plan.grid.down) and not parts.check()


def test_an_engine_computes_with_the_threads_it_is_given_and_the_same(folder: Path) -> None:
    plan = plan_for(folder, "threads")
    windows = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    answers = {}
    for threads in (1, 2):
        run = open_engine(plan, threads)
        assert run._compiled.get_property("INFERENCE_NUM_THREADS") == threads  # type: ignore[attr-defined]
        answers[threads] = run(windows)
    np.testing.assert_array_equal(answers[1], answers[2])


@given(st.integers(0, 500), st.integers(1, 50))
def test_every_strip_is_in_one_task_and_tasks_get_shorter(count: int, workers: int) -> None:
    numbers = list(range(3, 3 + count))
    found = runs(numbers, workers)
    assert [number for task in found for number in task] == numbers
    lengths = [len(task) for task in found]
    assert lengths == sorted(lengths, reverse=True) and max(lengths, default=1) <= 8
    if count > 4 * workers:
        assert lengths[-4 * workers :] == [1] * (4 * workers)


# === What goes wrong ===


def test_a_damaged_raster_ends_the_work_with_the_file_s_own_error(folder: Path, address: str) -> None:
    source = raster(folder / "short.tif", 900, 500)
    plan = plan_for(folder, "short", source)
    parts = FolderParts.start(plan, resume=False)
    with source.open("r+b") as file:
        file.truncate(source.stat().st_size * 2 // 3)
    with open_cluster(dask=address) as cluster:
        with pytest.raises(ImageError, match=r"short\.tif"):
            cluster(plan, parts, unfinished(plan, parts), lambda _: None)
        assert list(parts.folder.glob("*.band"))  # finished ones stay
        assert not any(cluster._client.run(lambda: dict(strips_on_dask._works)).values())


def test_a_part_that_was_damaged_is_computed_again(folder: Path, address: str) -> None:
    plan = plan_for(folder, "mended")
    with open_cluster(dask=address) as cluster:
        parts = FolderParts.start(plan, resume=False)
        cluster(plan, parts, unfinished(plan, parts), lambda _: None)
        damaged = parts.folder / "000004.band"
        damaged.write_bytes(damaged.read_bytes()[:-40])
        with pytest.warns(UserWarning, match="1 damaged part"):
            assert parts.check() == 1
        assert len(unfinished(plan, parts)) == 1
        cluster(plan, parts, unfinished(plan, parts), lambda _: None)
    finish(plan, parts)
    assert same(folder, "mended")


def test_another_model_under_the_same_name_is_noticed(folder: Path, address: str) -> None:
    light_model(folder / "changed.keras", seed=1)
    plan = light_plan(folder / "r.tif", folder / "changed", folder / "changed.keras")
    parts = FolderParts.start(plan, resume=False)
    light_model(folder / "changed.keras", seed=2)
    with open_cluster(dask=address) as cluster, pytest.raises(ModelError, match=r"changed\.keras' is not the model"):
        cluster(plan, parts, unfinished(plan, parts), lambda _: None)


def test_a_folder_that_a_worker_does_not_see_is_named(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(folder, "unseen")
    parts = FolderParts.start(plan, resume=False)
    monkeypatch.setattr(dask_cluster, "SIGHT_S", 0.0)
    monkeypatch.setattr(
        dask_cluster, "write_text", lambda path, text: None
    )  # on a disk of the caller's own, as it were
    with open_cluster(dask=address) as cluster:
        with pytest.raises(BackendError, match=r"Dask worker tcp://.* does not see '.*unseen/\.r\.tif\.parts'"):
            cluster(plan, parts, unfinished(plan, parts), lambda _: None)
        monkeypatch.undo()
        gone = light_plan(raster(folder / "gone.tif", 100, 100), folder / "unseen", folder / "m.keras")
        (folder / "gone.tif").unlink()
        with pytest.raises(BackendError, match=r"does not see '.*gone.tif': it must be there under the same path"):
            cluster(gone, FolderParts.start(gone, resume=False), [0], lambda _: None)


def test_strips_that_end_their_workers_again_and_again_are_an_error(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(folder, "deadly")
    parts = FolderParts.start(plan, resume=False)
    monkeypatch.setattr(strips_on_dask, "_predict_there", lambda *_: os._exit(1))
    with (
        open_cluster(dask=address) as cluster,
        pytest.raises(BackendError, match=r"2 workers were lost one after the other with strip 0: .*--resume goes on"),
    ):
        cluster(plan, parts, [0], lambda _: None)


def test_a_scheduler_that_is_not_there_is_an_error_and_not_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    with (
        pytest.raises(BackendError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        open_cluster(dask="tcp://127.0.0.1:1"),
    ):
        pass
    with (
        pytest.raises(BackendError, match=r"no Dask scheduler file at '.*nothing.json'"),
        open_cluster(dask=str(tmp_path / "nothing.json")),
    ):
        pass


def test_workers_and_an_address_exclude_each_other() -> None:
    for words in ({}, {"workers": 2, "dask": "tcp://127.0.0.1:1"}, {"workers": 0}):
        with pytest.raises(ConfigError, match="--workers"), open_cluster(**words):  # type: ignore[arg-type]
            pass


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendError, match=r"roadseg\[dask\]"), open_cluster(2):
        pass


def test_queued_workers_are_waited_for_as_dask_s_configuration_says() -> None:
    import dask

    assert dask_cluster.patience(10) == 10
    with dask.config.set({dask_cluster.QUEUED: "2h"}):
        assert dask_cluster.patience(10) == 7200
