"""Trainings on Dask workers: here and by address, lost workers, workers that see nothing, nobody there."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_in import COMMAND, plan, starts, wait_for
from test_jobs import alive, caller, ends, job, jobs_in, states

from roadseg import dask_cluster
from roadseg.errors import BackendError
from roadseg.machine import cores
from roadseg.studies import dask_jobs
from roadseg.studies.jobs import Outcome, run_jobs
from roadseg.studies.locks import training_lock
from roadseg.studies.seats import seats

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two workers in processes of their own, which are started again when they die."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 2}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0
        ) as here,
    ):
        yield here.scheduler_address


def data(folder: Path) -> None:
    """Workers are asked whether they see the dataset."""
    (folder / "data").mkdir(parents=True, exist_ok=True)


# === On this machine ===


def test_two_trainings_run_at_once_each_with_its_share_of_the_cores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROADSEG_NOTE", "from the caller")
    data(tmp_path)
    plan(tmp_path, a="with the others", b="with the others", c="badly")
    seen: list[Outcome] = []
    outcomes = run_jobs(jobs_in(tmp_path, "a", "b", "c"), workers=2, command=COMMAND, on_done=seen.append)
    assert states(outcomes) == [("a", "trained"), ("b", "trained"), ("c", "failed")]
    assert sorted(states(seen)) == sorted(states(outcomes)) and seen[-1].job.name == "c"
    share = str(max(1, cores() // 2))
    for start in starts(tmp_path):
        found = start["variables"]
        assert found["ROADSEG_NOTE"] == "from the caller"
        assert [found[k] for k in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")] == [share] * 3
    shown = capsys.readouterr()
    assert "(3/3)" in shown.out and "c: failed: no luck with 'this' (see '" in shown.out
    assert "the sky is falling" in shown.err and "epoch 1 went by" not in shown.out
    log = (tmp_path / "c.log").read_text()
    assert "epoch 1 went by" in log and "the sky is falling" in log  # all that it printed
    kept = run_jobs(jobs_in(tmp_path, "a", "b"), workers=2, command=["/nowhere"])
    assert states(kept) == [("a", "kept"), ("b", "kept")]


def test_an_interruption_ends_all_of_them_with_their_epochs(tmp_path: Path) -> None:
    data(tmp_path)
    plan(tmp_path, a="until interrupted", b="until interrupted")
    process = caller(tmp_path, "2")
    wait_for(tmp_path / "a.running", tmp_path / "b.running")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert "stopped: finished runs are kept; call again to go on" in out
    assert (tmp_path / "a.interrupted").exists() and (tmp_path / "b.interrupted").exists()
    assert not any(alive(start["pid"]) for start in starts(tmp_path)) and not list(tmp_path.glob("*.lock"))


def test_without_distributed_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BackendError, match=r"roadseg\[dask\]"):
        run_jobs(jobs_in(tmp_path, "a", "b"), workers=2, command=COMMAND)


# === By address ===


def test_jobs_run_where_a_worker_is_free_and_a_lost_worker_s_job_goes_on_elsewhere(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "of the caller")
    data(tmp_path)
    plan(tmp_path, a="until interrupted", b="well", c="badly")
    with distributed.Client(cluster) as client:
        before = client.run(os.getpid)

        def lose_worker() -> None:
            wait_for(tmp_path / "a.running")
            parent = Path(f"/proc/{starts(tmp_path, 'a')[0]['pid']}/stat").read_text().rpartition(")")[2].split()[1]
            assert int(parent) in before.values()
            os.kill(int(parent), signal.SIGKILL)

        killer = threading.Thread(target=lose_worker)
        killer.start()
        outcomes = run_jobs(jobs_in(tmp_path, "a", "b", "c"), dask=cluster, command=COMMAND)
        killer.join()
    assert states(outcomes) == [("a", "trained"), ("b", "trained"), ("c", "failed")]
    first, second = starts(tmp_path, "a")
    assert "--resume" not in first["words"] and "--resume" in second["words"]
    assert (tmp_path / "a.interrupted").exists() and not alive(first["pid"])  # it did not train on beside the second
    assert first["variables"]["KERAS_BACKEND"] == "of the caller"
    assert not list(tmp_path.glob(".roadseg-*"))  # the marker


def test_a_job_whose_workers_die_again_and_again_has_failed(tmp_path: Path, cluster: str) -> None:
    data(tmp_path)
    plan(tmp_path, a="kills its worker")
    outcomes = run_jobs(jobs_in(tmp_path, "a", "b"), dask=cluster, command=COMMAND)
    assert states(outcomes) == [("a", "failed"), ("b", "trained")]
    assert "3 workers were lost one after the other" in outcomes[0].message
    assert len(starts(tmp_path, "a")) == 3


def test_a_caller_that_is_killed_leaves_nothing_running_on_the_workers(tmp_path: Path, cluster: str) -> None:
    data(tmp_path)
    plan(tmp_path, a="until interrupted", b="until interrupted")
    process = caller(tmp_path, cluster)
    wait_for(tmp_path / "a.running", tmp_path / "b.running")
    process.kill()
    process.communicate(timeout=60)
    wait_for(tmp_path / "a.interrupted", tmp_path / "b.interrupted")
    assert all(ends(start["pid"]) for start in starts(tmp_path)) and not list(tmp_path.glob("*.lock"))


def test_a_folder_that_is_being_trained_is_not_trained_twice(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_jobs, "PATIENCE_S", 0.0)
    data(tmp_path)
    with training_lock(job(tmp_path).lock_file):
        (outcome,) = run_jobs([job(tmp_path)], dask=cluster, command=COMMAND)
    assert outcome.state == "failed" and f"is being trained by process {os.getpid()}" in outcome.message
    assert not starts(tmp_path)


def test_a_worker_that_does_not_see_the_folders_is_named(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match=r"Dask worker tcp://.* does not see '.*data': it must be there"):
        run_jobs([job(tmp_path)], dask=cluster, command=COMMAND)
    data(tmp_path)
    monkeypatch.setattr(dask_cluster, "SIGHT_S", 0.0)
    monkeypatch.setattr(
        dask_cluster, "write_text", lambda path, text: None
    )  # on a disk of the caller's own, as it were
    with pytest.raises(BackendError, match=f"does not see '{tmp_path}': all workers need the folder under this path"):
        run_jobs([job(tmp_path)], dask=cluster, command=COMMAND)
    assert not starts(tmp_path)


def test_a_scheduler_that_is_not_there_is_an_error_and_not_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    with pytest.raises(BackendError, match="no Dask scheduler answers at"):
        run_jobs([job(tmp_path)], dask="tcp://127.0.0.1:1", command=COMMAND)
    with pytest.raises(BackendError, match=r"no Dask scheduler file at '.*nothing.json'"):
        run_jobs([job(tmp_path)], dask=str(tmp_path / "nothing.json"), command=COMMAND)
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(BackendError, match=r"'.*empty.json' is not a Dask scheduler file"):
        run_jobs([job(tmp_path)], dask=str(tmp_path / "empty.json"), command=COMMAND)


def test_a_scheduler_without_workers_says_how_to_start_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "WORKERS_S", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty,
        pytest.raises(BackendError, match=r"has no workers: start some, e\.g\. `dask worker tcp://"),
    ):
        run_jobs([job(tmp_path)], dask=empty.scheduler_address, command=COMMAND)


# === Seats ===

hosts = st.lists(
    st.tuples(st.integers(1, 64), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 4)),
    min_size=1,
    max_size=3,
)


def views(described: list[tuple[int, list[int], int]]) -> dict[str, dict[str, Any]]:
    return {
        f"tcp://{host}:{port}": {
            "host": f"h{host}",
            "threads": n,
            "cores": count,
            "gpus": [str(g) for g in range(gpus)],
        }
        for host, (count, threads, gpus) in enumerate(described)
        for port, n in enumerate(threads)
    }


@given(hosts)
def test_cores_are_shared_and_gpus_go_round(described: list[tuple[int, list[int], int]]) -> None:
    found = seats(views(described))
    for host, (count, threads, gpus) in enumerate(described):
        mine = [found[f"tcp://{host}:{port}"] for port in range(len(threads))]
        assert [len(seat) for seat in mine] == threads
        flat = [seat for worker in mine for seat in worker]
        shares = [int(seat["OMP_NUM_THREADS"]) for seat in flat]
        assert len(set(shares)) == 1 and (sum(shares) <= count or set(shares) == {1})
        assert count < 2 * sum(shares) or len(flat) > count  # none idle that could be given
        used = [seat.get("CUDA_VISIBLE_DEVICES") for seat in flat]
        if not gpus:
            assert set(used) == {None}
            continue
        counts = [used.count(str(g)) for g in range(gpus)]
        assert sum(counts) == len(flat) and max(counts) - min(counts) <= 1
        for seat in flat:
            memory = float(seat.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0.9))
            assert memory * max(counts) <= 0.91 and ("TF_FORCE_GPU_ALLOW_GROWTH" in seat) == (max(counts) > 1)


def test_workers_whose_gpus_were_dealt_out_keep_to_them() -> None:
    seen = views([(8, [1, 1], 2)])
    seen["tcp://0:0"]["gpus"], seen["tcp://0:1"]["gpus"] = ["1", "0"], ["0", "1"]  # as dask-cuda does
    found = seats(seen)
    assert [found[f"tcp://0:{k}"][0]["CUDA_VISIBLE_DEVICES"] for k in (0, 1)] == ["1", "0"]
