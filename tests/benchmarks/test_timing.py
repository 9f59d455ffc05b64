"""Contenders take turns, what warms up is not counted, and a share is that of the limit that binds."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.limits import BANDWIDTH, FMA, Limits, Work, figure
from benchmarks.timing import Times, on_cores, race
from flight.kernels.backend import NUMPY, Backend


class Clock:
    """A stopwatch that work moves by what it takes."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def work(self, name, seconds, first=0.0):
        def call():
            self.now += seconds + (first if name not in self.calls else 0.0)
            self.calls.append(name)

        return call


def test_contenders_take_turns_and_the_first_call_of_each_is_not_counted():
    clock = Clock()
    times = race({"a": clock.work("a", 0.05, first=9.0), "b": clock.work("b", 0.1)}, 3, slice_s=0.02, stopwatch=clock)
    assert times["a"].seconds == pytest.approx([0.05] * 3)
    assert times["b"].seconds == pytest.approx([0.1] * 3)
    assert clock.calls[-6:] == ["a", "b", "b", "a", "a", "b"]


def test_short_work_is_repeated_until_a_slice_is_full():
    clock = Clock()
    times = race({"a": clock.work("a", 0.001)}, 1, slice_s=0.02, stopwatch=clock)
    assert times["a"].seconds == pytest.approx([0.001])
    assert len(clock.calls) >= 20 + 1


def test_calls_that_fill_the_caches_again_are_not_counted():
    clock, last = Clock(), []

    def call(name):
        clock.now += 0.001 if last[-1:] == [name] else 0.003
        last.append(name)

    times = race({name: lambda name=name: call(name) for name in "ab"}, 4, slice_s=0.02, stopwatch=clock)
    assert times["a"].seconds == pytest.approx([0.001] * 4)
    assert times["b"].seconds == pytest.approx([0.001] * 4)


def test_a_ratio_is_that_of_rounds_and_a_round_that_was_disturbed_does_not_count():
    ours, theirs = Times((1.0, 2.0, 30.0)), Times((2.0, 4.0, 6.0))
    assert ours.speed_beside(theirs) == 2.0
    row = figure("step", ours, 1.0, "steps/s", ("theirs", theirs))
    assert (row.compared, row.against) == (2.0, ("theirs", 0.25))


def test_no_garbage_is_collected_while_contenders_run():
    seen = []
    race({"a": lambda: seen.append(gc.isenabled())}, 2, slice_s=0.0)
    assert seen[-1] is False
    assert gc.isenabled()


def test_a_rate_is_the_median_and_not_the_mean():
    times = Times((1.0, 1.0, 10.0))
    assert times.rate(5.0) == 5.0
    assert times.rate_spread(5.0) == pytest.approx(2.598, abs=1e-3)


def test_this_thread_stays_on_the_core_that_was_asked_for():
    before = os.sched_getaffinity(0)
    with on_cores({max(before)}):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before


@pytest.fixture
def limits():
    """A machine of 100 operations a second and 10 bytes a second."""
    found = Limits(Backend(NUMPY))
    found._amounts = {FMA: 100.0, BANDWIDTH: 10.0}
    return found


ONE_SECOND = {FMA: Times((1.0,)), BANDWIDTH: Times((1.0,))}


def test_arithmetic_binds_a_kernel_that_computes_much_on_few_bytes(limits):
    assert limits.bound(Work(1.0, "chips/s", 1000.0, 10.0), ONE_SECOND) == (FMA, Times((10.0,)))


def test_memory_binds_a_kernel_that_moves_many_bytes(limits):
    assert limits.bound(Work(1.0, "chips/s", 100.0, 1000.0), ONE_SECOND) == (BANDWIDTH, Times((100.0,)))


def test_without_a_measured_peak_there_is_no_share_of_it(limits):
    assert limits.bound(Work(1.0, "chips/s", 100.0, 1.0), {BANDWIDTH: Times((1.0,))}) is None


def test_work_that_nothing_bounds_has_no_share(limits):
    assert limits.bound(Work(1.0, "steps/s"), ONE_SECOND) is None


def test_threads_that_wait_for_work_move_along():
    before = os.sched_getaffinity(0)
    with ThreadPoolExecutor(1) as pool:
        with on_cores({max(before)}):
            assert pool.submit(os.sched_getaffinity, 0).result() == {max(before)}
        assert pool.submit(os.sched_getaffinity, 0).result() == before
