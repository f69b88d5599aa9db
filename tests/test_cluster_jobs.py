"""The job files of examples/cluster: their options, and what they do when a batch system warns and requeues them."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "cluster"
FILES = sorted(EXAMPLES.glob("*/*.*"))
pytestmark = pytest.mark.skipif(os.name != "posix", reason="job files are shell scripts")

OPTIONS = {  # of sbatch and bsub, as their manuals have them: does it take a value?
    "slurm": {
        "--job-name": True,
        "--time": True,
        "--nodes": True,
        "--ntasks": True,
        "--cpus-per-task": True,
        "--mem": True,
        "--gres": True,
        "--output": True,
        "--open-mode": True,
        "--requeue": False,
        "--signal": True,
    },
    "lsf": {
        "-J": True, "-W": True, "-n": True, "-R": True, "-gpu": True, "-o": True, "-r": False, "-Q": True,
        "-wa": True, "-wt": True,
    },
}  # fmt: skip

# Stands in for `roadseg`: notes what it was asked, and trains until it is interrupted, once.
ROADSEG = """#!{python}
import json, signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
with (out / "calls.jsonl").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if not (out / "config.toml").exists():
    (out / "config.toml").touch()
    try:
        (out / "running").touch()
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
        (out / "kept").touch()
        sys.exit(130)
print("finished", flush=True)
"""


started: list["subprocess.Popen[str]"] = []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder whose bin/ has stand-ins for roadseg and for Slurm's and LSF's commands."""
    for name, text in {
        "roadseg": ROADSEG.format(python=sys.executable),
        "scontrol": f'#!/bin/bash\necho "$@" >> {tmp_path}/scontrol.log\n',
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    yield tmp_path
    while started:  # of a test that failed
        with contextlib.suppress(OSError):
            os.killpg(started.pop().pid, signal.SIGKILL)


def variables(place: Path, **more: object) -> dict[str, str]:
    path = f"{place / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SLURM_JOB_ID": "17", **{k: str(v) for k, v in more.items()}}


def start(file: Path, place: Path, **more: object) -> "subprocess.Popen[str]":
    """The job, as the batch system would run it: in a session of its own."""
    job = subprocess.Popen(
        ["bash", str(file)],
        env=variables(place, **more),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and its children with it: not here, where it is what is tested.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    started.append(job)
    return job


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.02)


def calls(out: Path) -> list[list[str]]:
    return [json.loads(line) for line in (out / "calls.jsonl").read_text().splitlines()]


# === What is in them ===


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_job_files_are_sound(file: Path) -> None:
    done = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = file.read_text().splitlines()
    system, sign = file.parent.name, {"slurm": "#SBATCH", "lsf": "#BSUB"}[file.parent.name]
    assert lines[0] == "#!/bin/bash"
    heads = [line for line in lines if line.lstrip("#").startswith(sign.lstrip("#"))]
    first_command = next(k for k, line in enumerate(lines) if line and not line.startswith("#"))
    assert heads and all(lines.index(head) < first_command for head in heads)  # later ones are not read
    for head in heads:
        words = shlex.split(head.lstrip("#").removeprefix(sign.lstrip("#")))
        option, _, value = words[0].partition("=") if system == "slurm" else (words[0], "", " ".join(words[1:]))
        assert option in OPTIONS[system] and bool(value) == OPTIONS[system][option], head
    assert "exec roadseg" in file.read_text()


# === What they do ===


@pytest.mark.parametrize("name", ["train", "study"])
def test_a_warned_slurm_job_is_interrupted_requeued_and_goes_on(place: Path, name: str) -> None:
    file, out = EXAMPLES / "slurm" / f"{name}.sbatch", place / "out"
    asked = {"DATASET": place / "data", "RUN": out, "OUT": out, "WORKERS": 3}
    job = start(file, place, **asked)
    wait_for(out / "running")
    job.send_signal(signal.SIGUSR1)  # --signal=B:USR1@300: to the shell alone
    shown, _ = job.communicate(timeout=60)
    assert job.returncode == 130 and (out / "kept").exists(), shown
    assert (place / "scontrol.log").read_text() == "requeue 17\n"
    again = start(file, place, **asked)
    shown, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "finished" in shown
    first, second = calls(out)
    if name == "train":
        assert first == ["train", str(place / "data"), "--out", str(out), "--minutes", "600"]
        assert second == ["train", str(place / "data"), "--out", str(out), "--resume"]
    else:
        assert first == second == [
            "crossval", str(place / "data"), "--out", str(out), "--minutes", "20", "--workers", "3"
        ]  # fmt: skip
    assert (place / "scontrol.log").read_text() == "requeue 17\n"


@pytest.mark.parametrize("name", ["train", "study"])
def test_a_warned_lsf_job_ends_with_the_code_that_requeues_it(place: Path, name: str) -> None:
    file, out = EXAMPLES / "lsf" / f"{name}.bsub", place / "out"
    asked = {"DATASET": place / "data", "RUN": out, "OUT": out}
    job = start(file, place, **asked)
    wait_for(out / "running")
    for process in children(job.pid):  # LSF signals every process of a job
        os.kill(process, signal.SIGUSR2)
    shown, _ = job.communicate(timeout=60)
    requeues = re.search(r'^#BSUB -Q "(\d+)"$', file.read_text(), re.M)
    assert requeues and job.returncode == int(requeues[1]) and (out / "kept").exists(), shown
    again = start(file, place, **asked)
    shown, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "finished" in shown
    assert ("--resume" in calls(out)[1]) == (name == "train")


@pytest.mark.parametrize("file", [EXAMPLES / "slurm" / "train.sbatch", EXAMPLES / "lsf" / "train.bsub"])
def test_a_cancelled_job_keeps_what_it_has_and_is_not_requeued(place: Path, file: Path) -> None:
    out = place / "out"
    job = start(file, place, DATASET="data", RUN=out)
    wait_for(out / "running")
    job.send_signal(signal.SIGTERM)
    shown, _ = job.communicate(timeout=60)
    assert job.returncode == 130 and (out / "kept").exists(), shown
    assert not (place / "scontrol.log").exists()


def test_a_job_without_its_folders_says_what_it_needs(place: Path) -> None:
    job = start(EXAMPLES / "slurm" / "train.sbatch", place)
    shown, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "DATASET: the dataset folder" in shown


def children(pid: int) -> list[int]:
    """A process and all that it has started; `ps` is everywhere."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for one in found:
        found += [child for child, parent in pairs if parent == one]
    return found


# === Workers as jobs ===


def show(*words: str) -> str:
    """The job file that start_workers.py would hand in."""
    pytest.importorskip("dask_jobqueue")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "start_workers.py"), *words, "--show"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_for_slurm_have_one_thread_and_all_cores() -> None:
    shown = show("slurm", "--queue", "long", "--cores", "12", "--memory", "20GiB", "--option=--gres=gpu:1")
    for line in ("-p long", "-n 1", "--cpus-per-task=12", "--mem=20G", "-t 04:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in shown
    assert "--nthreads 1 " in shown and "--lifetime 13800s" in shown and "--nworkers" not in shown


def test_workers_for_lsf_share_the_cores_of_their_job() -> None:
    shown = show("lsf", "--workers", "3", "--cores", "12", "--walltime", "10:30:00", "--prologue", "source here")
    for line in ("-n 12", "-W 10:30", '-R "span[hosts=1]"'):
        assert f"#BSUB {line}\n" in shown
    assert "--nthreads 1 --" in shown and "--nworkers 3" in shown and "\nsource here\n" in shown


@pytest.mark.parametrize("system", ["slurm", "lsf"])
def test_a_prediction_job_starts_its_workers_uses_them_and_takes_them_back(place: Path, system: str) -> None:
    pytest.importorskip("dask_jobqueue")
    submit = {"slurm": 'cat "$1"', "lsf": "cat"}[system]
    answer = {"slurm": "Submitted batch job 5", "lsf": "Job <5> is submitted to queue <normal>."}[system]
    names = {"slurm": ("sbatch", "scancel"), "lsf": ("bsub", "bkill")}[system]
    run = f"setsid bash {place}/handed_in > {place}/worker.log 2>&1 & echo $! > {place}/worker.pid"
    (place / "bin" / names[0]).write_text(f"#!/bin/bash\n{submit} > {place}/handed_in\n{run}\necho '{answer}'\n")
    (place / "bin" / names[1]).write_text(
        f"#!/bin/bash\necho $1 > {place}/cancelled\nkill -- -$(cat {place}/worker.pid)\n"
    )
    (place / "bin" / "roadseg").write_text(
        f"#!{sys.executable}\nimport sys, distributed\n"
        "client = distributed.Client(scheduler_file=sys.argv[sys.argv.index('--dask') + 1])\n"
        "print('words', *sys.argv[1:], client.submit(sum, [40, 2]).result(timeout=30), flush=True)\nclient.close()\n"
    )
    for name in (*names, "roadseg"):
        (place / "bin" / name).chmod(0o755)
    job = start(
        EXAMPLES / system / f"dask.{ {'slurm': 'sbatch', 'lsf': 'bsub'}[system] }",
        place,
        MODEL="m.keras",
        INPUT="country.vrt",
        OUT=place / "masks",
        JOBS=1,
        CORES=1,
        MEMORY="1GB",
        START_WORKERS=EXAMPLES / "start_workers.py",
    )
    shown, _ = job.communicate(timeout=120)
    assert job.returncode == 0, shown
    assert f"words predict m.keras country.vrt --out {place / 'masks'} --resume --dask " in shown and " 42\n" in shown
    assert "--nthreads 1" in (place / "handed_in").read_text()
    assert (place / "cancelled").read_text() == "5\n" and not list((place / "masks").glob(".scheduler-*"))
