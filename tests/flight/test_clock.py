"""Mission time by the clock: what happens to it when somebody sets the clock."""

import pytest

from flight.clock import ScaledClock, unix_s


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_does_not_move_mission_time(jump_s, monkeypatch):
    now = unix_s()
    clock = ScaledClock(now - 100.0, 2.0)
    before = clock.now()
    monkeypatch.setattr("flight.clock.time.time", lambda: now + jump_s)
    assert before == pytest.approx(200.0, abs=5.0)
    assert 0.0 <= clock.now() - before < 60.0
    assert clock.wall_until(clock.now() + 10.0) <= 5.0


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="clock rate is 0"):
        ScaledClock(0.0, 0.0)
