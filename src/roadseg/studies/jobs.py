"""Many trainings: one after the other here, or several at once by Dask. Each in a process of its own.

A run that is finished is kept, one that was interrupted goes on, one that fails does not stop the others.
"""

from collections.abc import Callable, Sequence

from ..errors import ConfigError
from .asked import Job, Outcome, check_jobs, drop_state, state_of
from .parent import train

__all__ = ["Job", "Outcome", "check_jobs", "run_jobs"]

INTERRUPTED = "finished runs are kept; call again to go on"


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    dask: str | None = None,
    on_done: Callable[[Outcome], None] | None = None,
    command: Sequence[str] | None = None,
) -> list[Outcome]:
    """Do all jobs; what became of each, in their order.

    Args:
        workers: trainings at once on this machine; each gets its share of the cores, and of the GPUs one in turn.
        dask: instead, the address of a Dask scheduler, or the path of its scheduler file. All workers must see the
            dataset and the run folders under the same paths; a worker's threads are the trainings it does at once.
        on_done: called in this process as each job ends, in the order in which they end.
        command: the process that trains; another one in tests.

    Raises:
        ConfigError: both `workers` and `dask`, or two jobs with one run folder.
        RunError: a run that is there was asked otherwise; nothing has been trained.
        BackendError: `distributed` is not installed, or the cluster cannot be reached or does not see the folders.
        KeyboardInterrupt: interrupted; finished runs and finished epochs are kept, and nothing is left running.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers: 1 or more are needed")
    if workers > 1 and dask is not None:
        raise ConfigError("give workers (on this machine) or the address of a Dask scheduler, not both")
    absolute = [job.absolute() for job in jobs]
    check_jobs(absolute)
    outcomes: dict[int, Outcome] = {}

    def done(k: int, outcome: Outcome) -> None:
        # The job is the caller's own, paths as given.
        outcomes[k] = Outcome(jobs[k], outcome.state, outcome.message, outcome.seconds)
        print(_line(outcomes[k], len(outcomes), len(jobs)), flush=True)
        if on_done is not None:
            on_done(outcomes[k])

    left: dict[int, Job] = {}
    for k, job in enumerate(absolute):
        if state_of(job) == "finished":
            drop_state(job)
            done(k, Outcome(job, "kept"))
        else:
            left[k] = job
    try:
        if left and (workers > 1 or dask is not None):
            from .dask_jobs import run_on_dask

            run_on_dask(left, workers=min(workers, len(left)), address=dask, command=command, done=done)
        else:
            for k, job in left.items():
                print(f"[{len(outcomes) + 1}/{len(jobs)}] {job.name}", flush=True)
                outcome, _ = train(job, command=command)  # its output is shown as it comes
                done(k, outcome)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(INTERRUPTED) from None
    return [outcomes[k] for k in range(len(jobs))]


def _line(outcome: Outcome, number: int, total: int) -> str:
    """`fold 2, seed 0: trained in 312 s (4/10)`."""
    what = {
        "kept": "kept, it was finished before",
        "trained": f"trained in {outcome.seconds:.0f} s",
        "failed": f"failed: {outcome.message}",
    }[outcome.state]
    return f"{outcome.job.name}: {what} ({number}/{total})"
