"""Memory: what is refused before the start, and what is done as it comes near its cap."""

import pytest

from flight import budget, preflight
from flight.config import (
    CapsConfig,
    ConfigError,
    EncoderConfig,
    ExecutiveConfig,
    FlightConfig,
    LearnerConfig,
    LinkConfig,
    WatchdogConfig,
)
from flight.learn import LEARNERS, Learner
from tests.flight.flight_world import MIB, SLOW, World, config


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_default_limits_fit_the_default_cap_with_every_learner(learner):
    preflight.check(FlightConfig(learner=LearnerConfig(learner)))


def test_an_encoder_runtime_that_does_not_exist_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"encoder\.runtime: 'torch' is unknown; known are "):
        preflight.check(FlightConfig(encoder=EncoderConfig(runtime="torch")))


def test_a_learner_that_predicts_nothing_which_could_come_down_is_refused_before_it_flies(monkeypatch):
    monkeypatch.setattr(LEARNERS["moments"], "summarise", Learner.summarise)
    with pytest.raises(ConfigError, match=r"learner\.name: 'moments' makes no summaries of chips.*give it `summarise`"):
        preflight.check(FlightConfig(learner=LearnerConfig("moments")))


def test_a_configuration_that_may_need_too_much_is_refused_with_the_sum_part_by_part():
    large = FlightConfig(link=LinkConfig(max_file_bytes=16 << 20), caps=CapsConfig(memory_bytes=256 * MIB))
    with pytest.raises(
        ConfigError, match=r"caps\.memory_bytes: .* may need .*, allowed are 256\.0: .*transfers 512\.0"
    ):
        preflight.check(large)
    assert sum(budget.parts(large).values()) > 512 * MIB


@pytest.mark.parametrize(
    "change",
    [
        {"link": LinkConfig(max_region_chips=1 << 22)},
        {"link": LinkConfig(max_label_cells=1 << 23)},
        {"link": LinkConfig(max_municipalities=1 << 17)},
        {"link": LinkConfig(max_open_transfers=64)},
        {"executive": ExecutiveConfig(queue_chips=1024)},
        {"executive": ExecutiveConfig(max_chip_bytes=1 << 20)},
    ],
)
def test_each_limit_that_lets_memory_grow_counts(change):
    assert sum(budget.parts(FlightConfig(**change)).values()) > sum(budget.parts(FlightConfig()).values()) + 40 * MIB


def test_an_unknown_start_mode_and_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match=r"executive\.start_mode: 'fly'"):
        preflight.check(FlightConfig(executive=ExecutiveConfig(start_mode="fly")))
    with pytest.raises(ConfigError, match=r"watchdog\.warn_s: 9 s"):
        preflight.check(FlightConfig(watchdog=WatchdogConfig(warn_s=9.0, fatal_s=9.0)))


def test_short_memory_shortens_slices_then_drops_chips_that_come_again_and_the_mission_is_complete(
    tmp_path, undisturbed
):
    reading = [60 * MIB]
    world = World(tmp_path, config(**SLOW, memory_bytes=100 * MIB), rss_bytes=lambda: reading[0])
    world.begin()
    world.until(lambda: world.flight.payload.progress.chips > 10)
    reading[0] = 86 * MIB
    world.until(lambda: world.flight.memory.tight)
    assert world.flight.chips.how_many(0.05, 1000) == 2  # of 20 in a whole cycle
    assert world.flight.log.counts["load-shed"] == 0
    reading[0] = 94 * MIB
    world.until(lambda: world.flight.log.counts["load-shed"])
    assert len(world.flight.queue) == 0
    reading[0] = 60 * MIB
    world.settle()
    assert world.weights() == undisturbed["moments"].weights()
    assert world.flight.log.counts["load-shed"] == 1


def test_load_is_shed_once_each_time_that_memory_comes_near_the_cap(tmp_path):
    world = World(tmp_path, config(**SLOW, memory_bytes=100 * MIB), rss_bytes=lambda: 94 * MIB)
    world.begin()
    world.settle()
    assert world.flight.payload.progress.chips == 48
    assert world.flight.log.counts["load-shed"] == 1


def test_a_training_slice_ends_early_when_memory_is_short(tmp_path):
    reading = [60 * MIB]
    world = World(tmp_path, config("downconv", memory_bytes=100 * MIB, cycle_s=60.0), rss_bytes=lambda: reading[0])
    world.begin()
    world.until(lambda: world.flight.cpu.activity == "training")
    reading[0] = 86 * MIB
    world.until(lambda: world.flight.payload.progress.steps > 0)
    assert world.flight.payload.progress.steps == 4  # an eighth of thirty
    reading[0] = 60 * MIB
    world.settle()
    assert world.flight.payload.progress.steps == 30
