"""What a step, a validation and a checkpoint cost here: measured before a run whose length is given in minutes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..imagery.dataset import Sample
from .callbacks import StepTimer
from .checkpoint import capture, restore
from .plan import Plan

__all__ = ["PROBE", "Costs", "measure"]

PROBE = Plan(steps=10, epochs=1, steps_per_epoch=10)
SHARE = 0.95  # of the time that is planned with: machines are not always as fast as in their first seconds


@dataclass(frozen=True)
class Costs:
    """Seconds.

    Attributes:
        step: one, the wait for data included.
        epoch: what comes after the steps of one: validation and checkpoint.
        finish: last validation, pictures, saving.
    """

    step: float
    epoch: float
    finish: float

    def steps_in(self, seconds: float, steps_per_epoch: int) -> int:
        """Steps of a run that fits into `seconds`; none or less where it is too short."""
        left = seconds - self.finish
        return int(SHARE * left / (self.step + self.epoch / steps_per_epoch))


def measure(
    model: Any,
    fit: Callable[[Plan, list[Any]], None],
    validate: Callable[[Sequence[Sample]], object],
    samples: Sequence[Sample],
) -> Costs:
    """Train a compiled model for a few steps and validate it on a few images; it is left as it was.

    Args:
        fit: trains `model` for a plan, with callbacks.
        validate: scores it on images.
        samples: those of the validation; none: it is not timed.
    """
    before = capture(model)
    timer = StepTimer()
    fit(PROBE, [timer])
    restore(model, before)
    step = statistics.median(timer.seconds[PROBE.steps // 2 :])
    check = finish = 0.0
    if samples:
        few = samples[:4]
        validate(few)  # compiles
        start = time.perf_counter()
        validate(few)
        pixels, timed = (sum(s.mask.size for s in some) for some in (samples, few))
        check = (time.perf_counter() - start) * pixels / timed
        finish = 2.5 * check + 4  # the last pass is in float32 and compiles once more; pictures
    start = time.perf_counter()
    capture(model)
    state = 2 * (time.perf_counter() - start) + 0.1  # a checkpoint: it is written beside the next steps
    finish += 3 + model.count_params() / 4e6
    return Costs(step, check + state, finish)
