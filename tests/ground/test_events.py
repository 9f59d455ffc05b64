"""Events under loss: each comes down, is archived once, and leaves the memory on board once it is confirmed."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.telemetry import LOG_LENGTH, EventLog
from ground.events import CONFIRM_AFTER_S, KNOWN, EventsHeard

STEPS = st.sampled_from(["event", "event", "event", "contact", "save", "restart flight", "restart station"])


class Pass:
    """An event log, a station's memory, and a radio that loses what `lose` says, both ways; telecommands are repeated.

    Both ends save before they say that they have something, as the executive and the station do.
    """

    def __init__(self, seed: int, loss: float) -> None:
        self.chance, self.loss, self.t = random.Random(seed), loss, 0.0
        self.log, self.heard = EventLog(), EventsHeard()
        self.saved, self.saved_heard = self.log.save(), self.heard.save()
        self.made: dict[int, int] = {}  # what is on disk on board, by its reason: how often it was archived
        self.unsaved: list[int] = []
        self.commands: list[tuple[int, int]] = []
        self.n = 0

    def event(self) -> None:
        self.n += 1
        self.log.add(self.t, "write-failed", reason=str(self.n))
        self.unsaved.append(self.n)

    def save(self) -> None:
        self.saved = self.log.save()
        self.made |= dict.fromkeys(self.unsaved, 0)
        self.unsaved.clear()

    def restart_flight(self) -> None:
        self.log = EventLog()
        self.log.restore(self.saved)
        self.unsaved.clear()

    def restart_station(self) -> None:
        self.heard = EventsHeard()
        self.heard.restore(self.saved_heard)

    def contact(self, loss: float | None = None) -> None:
        loss = self.loss if loss is None else loss
        self.log.begin_contact(self.t)
        for _ in range(4):
            self.t += CONFIRM_AFTER_S
            self.save()
            for event in self.log.take(LOG_LENGTH, self.t):
                n = int(event.values["reason"])
                if self.chance.random() >= loss:
                    self.made[n] += self.heard.hear(event.values["serial"], event.values["t_s"], self.t)
            self.t += CONFIRM_AFTER_S
            for run in self.heard.to_confirm(self.t):
                self.commands.append(run)
                self.heard.confirmed(*run, self.t)
            self.saved_heard = self.heard.save()
            arrived = [run for run in self.commands if self.chance.random() >= loss]
            self.commands = [run for run in self.commands if run not in arrived]
            for run in arrived:
                self.log.confirm(*run)
            self.save()


@given(st.lists(STEPS, max_size=60), st.integers(0, 1 << 32), st.sampled_from([0.0, 0.2, 0.8, 1.0]))
@settings(max_examples=60, deadline=None)
def test_every_event_on_disk_is_archived_once_whatever_is_lost_and_restarted(steps, seed, loss):
    world = Pass(seed, loss)
    for step in steps:
        getattr(world, step.replace(" ", "_"))()
    for _ in range(3):
        world.contact(loss=0.0)
    assert set(world.made.values()) <= {1}
    assert not world.log.unconfirmed and not world.heard.to_confirm(world.t + 10)


def test_one_burst_that_takes_every_event_costs_none():
    world = Pass(1, 0.0)
    for _ in range(200):
        world.event()
    world.contact(loss=1.0)
    assert not any(world.made.values())
    world.contact(loss=0.0)
    assert set(world.made.values()) == {1} and len(world.made) == 200


def test_runs_are_confirmed_in_few_telecommands():
    heard = EventsHeard()
    for serial in (1, 2, 3, 7, 9, 8, 65536):
        assert heard.hear(serial, 0.0, 10.0)
    assert not heard.to_confirm(10.0)
    assert heard.to_confirm(10.0 + CONFIRM_AFTER_S) == [(1, 3), (7, 9), (65536, 65536)]


def test_a_number_that_comes_again_for_another_event_is_another_event():
    heard = EventsHeard()
    assert heard.hear(5, 100.0, 0.0) and not heard.hear(5, 100.0, 1.0) and heard.hear(5, 101.0, 2.0)
    assert heard.copies == 1


def test_memory_is_bounded():
    heard = EventsHeard()
    for serial in range(3 * KNOWN):
        heard.hear(serial, 0.0, 0.0)
    assert all(len(kept) <= KNOWN for kept in heard.save().values())
