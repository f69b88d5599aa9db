"""Trainings in processes of their own, one after the other: kept, gone on with, failed, interrupted, locked."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import TINIEST, scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import COMMAND, epoch, finish, plan, starts, wait_for

from roadseg.config import Config, read_config
from roadseg.errors import ConfigError, ModelError, RunError
from roadseg.learning.runs import RunFolder
from roadseg.studies.asked import from_order, state_of, to_order, write_asked
from roadseg.studies.jobs import Job, Outcome, check_jobs, run_jobs
from roadseg.studies.locks import training_lock

NOBODY = ["/nowhere/to/be/found"]  # a command that cannot be started
KEEPS_STATE = (
    "import sys; from roadseg.studies import child; child.drop_state = lambda job: None; sys.exit(child.work())"
)


def job(folder: Path, name: str = "one", **more: object) -> Job:
    return replace(Job(name, folder / name, folder / "data", Config(), (0, 5)), **more)  # type: ignore[arg-type]


def jobs_in(folder: Path, *names: str) -> list[Job]:
    return [job(folder, name) for name in names]


def states(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.job.name, outcome.state) for outcome in outcomes]


# === Real trainings ===


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, list[Outcome], list[Outcome]]:
    """A failing and a good job done for real: the good one, the outcomes, those of `on_done`."""
    folder = tmp_path_factory.mktemp("jobs")
    data = scenes(folder / "data", 4)
    config = read_config({}, (*TINIEST, "train.epochs=1", "train.seed=3"))
    good = Job("fold 0", folder / "fold_0", data, config, (0, 2), fold_seed=7)
    bad = replace(good, name="fold 8", out=folder / "fold_8", fold=(8, 9))  # of four images
    seen: list[Outcome] = []
    outcomes = run_jobs([bad, good], on_done=seen.append, command=[sys.executable, "-c", KEEPS_STATE])
    return good, outcomes, seen


def test_a_failed_job_says_why_and_the_next_is_trained(trained: tuple[Job, list[Outcome], list[Outcome]]) -> None:
    good, (first, second), seen = trained
    assert (first.state, second.state) == ("failed", "trained")
    assert first.message.startswith("fold 8/9: 9 folds need 9 images or groups, found 4")
    assert not first.job.out.exists()
    assert seen == [first, second] and second.job is good and second.seconds > 0.1
    metrics = RunFolder.open(good.out).read_json("metrics.json")
    assert metrics["complete"] and metrics["epochs"] == 1
    assert RunFolder.open(good.out).read_json("split.json")["rule"] == "fold 0 of 2, seed 7"
    assert RunFolder.open(good.out).read_config().train.seed == 3
    assert from_order(json.loads(good.asked_file.read_text())) == good.absolute()
    assert not good.lock_file.exists()


def test_an_interrupted_run_goes_on_and_its_state_goes_when_it_is_finished(
    trained: tuple[Job, list[Outcome], list[Outcome]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, _, _ = trained
    again = replace(good, out=tmp_path / "begun")
    shutil.copytree(good.out, again.out)
    for name in ("metrics.json", "model.keras"):
        (again.out / name).unlink()
    write_asked(again)
    assert state_of(again) == "begun"
    (outcome,) = run_jobs([again])
    assert outcome.state == "trained", outcome.message
    shown = capfd.readouterr().out
    assert "[1/1] fold 0\n" in shown and "fold 0: trained in" in shown
    assert "epoch 1/1" not in shown  # that epoch was there already
    assert state_of(again) == "finished" and not (again.out / "state").exists()


def test_a_finished_run_is_kept_without_starting_anything(
    trained: tuple[Job, list[Outcome], list[Outcome]], capsys: pytest.CaptureFixture[str]
) -> None:
    good, _, _ = trained
    before = (good.out / "metrics.json").stat().st_mtime_ns
    seen: list[Outcome] = []
    outcomes = run_jobs([good], command=NOBODY, on_done=seen.append)
    assert states(outcomes) == [("fold 0", "kept")] and seen == outcomes
    assert (good.out / "metrics.json").stat().st_mtime_ns == before
    assert "fold 0: kept" in capsys.readouterr().out


# === What was asked ===


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": read_config({}, ["train.learning_rate=0.1"])}, r"train.learning_rate = 0.002 there, 0.1 now"),
        ({"config": read_config({}, ["perturb.noise.strength=0.5"])}, r"perturb.noise.strength = 0.03 there, 0.5 now"),
        ({"fold": (1, 5)}, r"fold = 0/5 there, 1/5 now"),
        ({"fold_seed": 44}, r"fold_seed = 43 there, 44 now"),
        ({"group": "^a"}, r'group = null there, "\^a" now'),
    ],
)
@pytest.mark.parametrize("make", [finish, epoch])
def test_a_run_that_was_asked_otherwise_is_refused_with_the_key(
    tmp_path: Path, make: Callable[[Path], None], change: dict[str, object], named: str
) -> None:
    make(job(tmp_path).out)
    write_asked(job(tmp_path))
    check_jobs([job(tmp_path)])
    check_jobs([job(tmp_path, skip_bad=True, dataset=tmp_path / "elsewhere")])  # no other result
    with pytest.raises(RunError, match=f"run '.*one' was asked otherwise: {named}"):
        check_jobs([job(tmp_path, **change)])
    with pytest.raises(RunError, match=named):
        run_jobs([job(tmp_path, "two"), job(tmp_path, **change)], command=COMMAND)
    assert not starts(tmp_path)  # the other one was not begun


def test_other_first_weights_are_refused_and_moved_ones_are_not(tmp_path: Path) -> None:
    for name, data in (("a.keras", b"weights"), ("b.keras", b"weights"), ("c.keras", b"others")):
        (tmp_path / name).write_bytes(data)
    finish(job(tmp_path).out)
    write_asked(job(tmp_path, init=tmp_path / "a.keras"))
    check_jobs([job(tmp_path, init=tmp_path / "b.keras")])
    for init in (tmp_path / "c.keras", None):
        with pytest.raises(RunError, match="init_hash = "):
            check_jobs([job(tmp_path, init=init)])
    with pytest.raises(ModelError, match="no model at"):
        check_jobs([job(tmp_path, init=tmp_path / "d.keras")])


def test_a_setting_that_came_into_roadseg_later_has_its_default(tmp_path: Path) -> None:
    finish(job(tmp_path).out)
    order = to_order(job(tmp_path))
    del order["config"]["train"]["ema"]
    job(tmp_path).asked_file.write_text(json.dumps(order))
    check_jobs([job(tmp_path)])
    with pytest.raises(RunError, match=r"train.ema = 0.995 there, 0.5 now"):
        check_jobs([job(tmp_path, config=read_config({}, ["train.ema=0.5"]))])


@settings(deadline=None, max_examples=25)
@given(
    fold=st.integers(2, 9).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    fold_seed=st.integers(0, 2**32 - 1),
    group=st.none() | st.text(max_size=9),
    rate=st.floats(1e-6, 1e3),
    skip_bad=st.booleans(),
    name=st.text(max_size=9),
)
def test_a_job_travels_as_json(
    fold: tuple[int, int], fold_seed: int, group: str | None, rate: float, skip_bad: bool, name: str
) -> None:
    config = read_config({"train": {"learning_rate": rate}, "data": {"classes": ["a", "ü"]}})
    there = Job(name, Path("/a/b"), Path("/c d"), config, fold, fold_seed, group, None, skip_bad)
    assert from_order(json.loads(json.dumps(to_order(there)))) == there


def test_two_jobs_with_one_folder_and_impossible_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'one' and 'two' would both be written to"):
        check_jobs([job(tmp_path, "one"), replace(job(tmp_path, "two"), out=tmp_path / "one")])
    with pytest.raises(ConfigError, match="0 workers"):
        run_jobs([], workers=0)
    with pytest.raises(ConfigError, match="not both"):
        run_jobs([], workers=2, dask="tcp://127.0.0.1:1")


def test_what_is_not_a_run_of_a_study_is_left_alone(tmp_path: Path) -> None:
    strange, by_hand, stuck, damaged = jobs_in(tmp_path, "strange", "by_hand", "stuck", "damaged")
    strange.out.mkdir()
    (strange.out / "letter.txt").write_text("dear")
    finish(by_hand.out)
    finish(stuck.out)
    write_asked(stuck)
    (stuck.out / "metrics.json").write_text('{"complete": false}')
    shutil.rmtree(stuck.out / "state")
    finish(damaged.out)
    damaged.asked_file.write_text("{")
    for one, message in (
        (strange, "is in the way: it is not a run folder"),
        (by_hand, "was not made by a study: there is no 'by_hand.job.json'"),
        (stuck, "is not finished and its state/ is gone"),
        (damaged, "'.*damaged.job.json' is damaged"),
    ):
        with pytest.raises(RunError, match=message):
            run_jobs([one], command=COMMAND)
    assert not starts(tmp_path) and (strange.out / "letter.txt").exists() and (by_hand.out / "model.keras").exists()


# === Processes ===


def test_how_a_training_ended_is_told_and_the_others_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan(tmp_path, a="badly", b="killed", c="crashes", d="forgets")
    outcomes = run_jobs(jobs_in(tmp_path, "a", "b", "c", "d", "e"), command=COMMAND)
    assert [outcome.state for outcome in outcomes] == ["failed"] * 4 + ["trained"]
    messages = [outcome.message for outcome in outcomes]
    assert messages[0] == "no luck with 'this'"
    assert messages[1] == "killed (SIGKILL): out of memory?"
    assert messages[2] == "ended with exit code 1: ValueError: boom"
    assert messages[3].startswith("ended well, and yet")
    shown = capfd.readouterr()
    assert "epoch 1 went by" in shown.out and "the sky is falling" in shown.err  # as they came
    assert "[5/5] e\n" in shown.out and "e: trained in 0 s (5/5)" in shown.out.replace("in 1 s", "in 0 s")
    assert "a: failed: no luck with 'this' (1/5)" in shown.out
    assert not list(tmp_path.glob("*.lock"))


def test_a_run_without_a_finished_epoch_begins_anew_with_all_that_is_asked_now(tmp_path: Path) -> None:
    begun = job(tmp_path, group="^(a)", fold=(1, 4), skip_bad=True)
    epoch(begun.out)
    (begun.out / "state" / "checkpoint.npz").unlink()
    write_asked(job(tmp_path, fold=(3, 4)))  # nothing has come of it: it may be asked otherwise
    (outcome,) = run_jobs([begun], command=COMMAND)
    assert outcome.state == "trained", outcome.message
    (start,) = starts(tmp_path)
    words = start["words"]
    assert words[:4] == ["train", str(begun.dataset), "--out", str(begun.out)] and "--resume" not in words
    assert words[words.index("--fold") + 1] == "1/4"
    assert {"--fold-seed=43", "--group=^(a)", "--skip-bad"} <= set(words)
    check_jobs([begun])
    assert not (begun.out / "state").exists()


def test_relative_folders_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Job("here", Path("runs/here"), Path("data"), Config(), (0, 5))
    (outcome,) = run_jobs([relative], command=COMMAND)
    assert outcome.state == "trained" and outcome.job is relative
    assert starts(tmp_path / "runs")[0]["words"][1] == str(tmp_path / "data")


# A script that does two jobs, to which signals can be sent.
CALLER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs tests in the background has it ignored
from pathlib import Path
from stand_in import COMMAND
from test_jobs import jobs_in
from roadseg.studies.jobs import run_jobs
where = sys.argv[2]
try:
    options = {"workers": int(where)} if where.isdigit() else {"dask": where}
    run_jobs(jobs_in(Path(sys.argv[1]), "a", "b"), command=COMMAND, **options)
except KeyboardInterrupt as stop:
    print("stopped:", stop)
"""


def caller(folder: Path, where: str = "1") -> "subprocess.Popen[str]":
    """It in a process: `where` is the number of workers, or the address of a Dask scheduler."""
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", CALLER, str(folder), where],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def ends(pid: int) -> bool:
    """Whether the process ends within half a minute."""
    until = time.monotonic() + 30
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(pid)


def test_an_interruption_keeps_the_epoch_and_the_next_call_goes_on(tmp_path: Path) -> None:
    plan(tmp_path, a="until interrupted")
    process = caller(tmp_path)
    wait_for(tmp_path / "a.running")
    process.send_signal(signal.SIGINT)  # to the caller alone
    out, _ = process.communicate(timeout=60)
    assert "stopped: finished runs are kept; call again to go on" in out
    assert (tmp_path / "a.interrupted").exists() and not list(tmp_path.glob("*.lock"))
    assert [start["name"] for start in starts(tmp_path)] == ["a"]  # b was not begun
    assert not alive(starts(tmp_path)[0]["pid"])
    assert states(run_jobs(jobs_in(tmp_path, "a", "b"), command=COMMAND)) == [("a", "trained"), ("b", "trained")]
    assert "--resume" in starts(tmp_path, "a")[1]["words"]


def test_an_interrupt_that_is_lost_is_repeated(tmp_path: Path) -> None:
    plan(tmp_path, a="swallows an interrupt")
    process = caller(tmp_path)
    wait_for(tmp_path / "a.running")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=40)
    assert "stopped: " in out and (tmp_path / "a.interrupted").exists()


def test_a_training_whose_caller_is_killed_ends_and_leaves_its_folder(tmp_path: Path) -> None:
    plan(tmp_path, a="until interrupted")
    process = caller(tmp_path)
    wait_for(tmp_path / "a.running")
    process.kill()
    process.communicate(timeout=60)
    wait_for(tmp_path / "a.interrupted")
    assert ends(starts(tmp_path)[0]["pid"]) and not (tmp_path / "a.lock").exists()


# === Locks ===


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path: Path) -> None:
    one = job(tmp_path)
    with training_lock(one.lock_file):
        (outcome,) = run_jobs([one], command=COMMAND)
        assert outcome.state == "failed"
        assert f"is being trained by process {os.getpid()} on {platform.node()} since" in outcome.message
        assert not starts(tmp_path) and not one.asked_file.exists()
    assert states(run_jobs([one], command=COMMAND)) == [("one", "trained")]


def test_the_lock_of_a_process_of_this_host_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    one = job(tmp_path)
    # The number is that of a living process: it has been given anew since.
    one.lock_file.write_text(json.dumps({"host": platform.node(), "pid": os.getpid(), "since": "yesterday"}))
    assert states(run_jobs([one], command=COMMAND)) == [("one", "trained")]
    assert not one.lock_file.exists()


def test_the_lock_of_another_host_is_respected_and_how_to_remove_it_is_said(tmp_path: Path) -> None:
    lock = tmp_path / "fold_0.lock"
    lock.write_text(json.dumps({"host": "far-away", "pid": 7, "since": "yesterday"}))
    os.utime(lock, (time.time() - 500, time.time() - 500))
    with (
        pytest.raises(
            RunError, match=r"by process 7 on far-away, its last sign of life 50\d s ago.*remove '.*fold_0.lock'"
        ),
        training_lock(lock),
    ):
        pass
    lock.unlink()
    with training_lock(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_one_who_waits_for_a_lock_gets_it_when_it_is_let_go(tmp_path: Path) -> None:
    lock = tmp_path / "fold_0.lock"
    hold = (
        "import sys, time; from pathlib import Path; from roadseg.studies.locks import training_lock\n"
        "with training_lock(Path(sys.argv[1])): print(flush=True); sys.stdin.readline()"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(RunError, match=f"process {holder.pid}"), training_lock(lock):
        pass
    holder.stdin.close()
    with training_lock(lock, patience=30):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    holder.wait(10)
    holder.stdout.close()
