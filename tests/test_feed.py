"""The share of an epoch that waits for its batches, on a clock of our own."""

import pytest

from roadseg.learning import feed
from roadseg.learning.feed import DataWait, Feed


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ours = Clock()
    monkeypatch.setattr(feed, "time", ours)
    return ours


def play(clock: Clock, wait: DataWait, ready: list[float], ends: list[float], epoch: int = 0, begin: float = 0.0):
    """An epoch that begins at `begin`, whose batches are ready and whose steps end at these times."""
    for k, when in enumerate(ready):
        clock.now = when
        wait.feed(epoch * len(ends) + k)
    clock.now = begin
    wait.on_epoch_begin(epoch)
    for k, when in enumerate(ends):
        clock.now = when
        wait.on_train_batch_end(k)
    logs: dict[str, float] = {}
    wait.on_epoch_end(epoch, logs)
    return logs["data_wait"]


def test_a_feed_makes_what_it_is_told(clock):
    made = Feed(lambda step: step * 2)
    clock.now = 7.0
    assert made(3) == 6 and made.ready == {3: 7.0}


def test_batches_that_are_ready_in_time_are_not_waited_for(clock):
    wait = DataWait(Feed(lambda step: step), 3)
    assert play(clock, wait, [-1.0, 0.5, 1.5], [1.0, 2.0, 3.0]) == 0


def test_a_step_waits_from_the_end_of_the_one_before(clock):
    wait = DataWait(Feed(lambda step: step), 3)
    # ready at 1 (waited 1 from the begin), at 2.5 (0.5 after step 0 ended at 2), in time
    assert play(clock, wait, [1.0, 2.5, 3.0], [2.0, 4.0, 5.0]) == pytest.approx(1.5 / 5)
    assert wait.seconds == pytest.approx(1.5)


def test_each_epoch_stands_alone_and_a_resumed_run_counts_from_its_own(clock):
    wait = DataWait(Feed(lambda step: step), 2)
    assert play(clock, wait, [10.0, 10.0], [11.0, 12.0], epoch=5, begin=10.0) == 0
    assert play(clock, wait, [21.0, 21.0], [22.0, 24.0], epoch=6, begin=20.0) == pytest.approx(1 / 4)
    assert wait.seconds == pytest.approx(1.0) and not wait.feed.ready


def test_no_more_than_the_whole_step_is_counted(clock):
    """A batch whose end was noted late by another thread."""
    wait = DataWait(Feed(lambda step: step), 1)
    assert play(clock, wait, [9.0], [2.0]) == 1.0


def test_an_epoch_without_a_step_is_no_division_by_zero(clock):
    wait = DataWait(Feed(lambda step: step), 4)
    assert play(clock, wait, [], []) == 0
