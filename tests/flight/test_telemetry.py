"""The event log."""

import pytest

from flight.link.schema import FieldError
from flight.telemetry import LOG_LENGTH, EventLog, short


def test_a_burst_of_events_keeps_the_latest_and_counts_all():
    log = EventLog()
    for i in range(LOG_LENGTH + 50):
        log.add(float(i), "write-failed", reason="disk full")
    assert log.counts["write-failed"] == LOG_LENGTH + 50
    assert len(log.unconfirmed) == len(log.recent) == LOG_LENGTH
    assert log.take(1, 0.0)[0].values["t_s"] == 50.0


@pytest.mark.parametrize("values", [{}, {"reason": "x" * 49}, {"reason": "x", "more": 1}, {"reason": "é"}])
def test_an_event_is_as_the_dictionary_declares_it(values):
    log = EventLog()
    with pytest.raises(FieldError, match="write-failed"):
        log.add(0.0, "write-failed", **values)
    assert not log.unconfirmed and not log.counts


def serials(events):
    return [event.values["serial"] for event in events]


def test_an_event_goes_down_once_in_a_contact_and_again_in_the_next_until_it_is_confirmed():
    log = EventLog()
    for _ in range(5):
        log.add(0.0, "write-failed", reason="")
    assert serials(log.take(3, 0.0)) == [0, 1, 2] and serials(log.take(10, 0.0)) == [3, 4] and not log.take(10, 0.0)
    log.confirm(0, 1)
    log.begin_contact(100.0)
    assert serials(log.take(10, 0.0)) == [2, 3, 4]


def test_what_was_sent_before_a_confirmed_event_and_is_not_confirmed_goes_down_again_at_once():
    log = EventLog()
    for _ in range(6):
        log.add(0.0, "write-failed", reason="")
    log.take(6, 0.0)
    log.confirm(2, 3)
    assert serials(log.take(10, 0.0)) == [0, 1]


def test_within_a_contact_what_is_not_confirmed_goes_down_again_ever_more_rarely_until_something_is():
    log = EventLog()
    log.begin_contact(0.0)
    log.add(0.0, "write-failed", reason="")
    times = [t for t in range(400) if log.take(10, float(t))]
    assert times == [0, 30, 90, 210] and log.repeat_s == 450.0
    log.add(0.0, "write-failed", reason="")
    log.confirm(0, 0)
    assert serials(log.take(10, 400.0)) == [1] and serials(log.take(10, 450.0)) == [1]
    assert log.repeat_s == 510.0
    log.confirm(1, 1)
    assert log.repeat_s == float("inf")


def test_a_restart_gives_no_number_twice_and_sends_what_is_not_confirmed_first():
    log, again = EventLog(), EventLog()
    for name in ("a", "b"):
        log.add(1.0, "write-failed", reason=name)
    log.take(2, 0.0)
    log.confirm(0, 0)
    saved = log.save()
    log.add(2.0, "write-failed", reason="after the save")
    again.add(3.0, "write-failed", reason="before the state was read")
    again.restore(saved)
    again.add(4.0, "write-failed", reason="d")
    events = again.take(10, 0.0)
    assert serials(events) == [1, 65536, 65537]
    assert [event.values["reason"] for event in events] == ["b", "before the state was read", "d"]
    assert serials(again.recent) == [65536, 65537]


def test_any_reason_can_be_made_to_fit():
    log = EventLog()
    for reason in ("x" * 500, "línea\n", None, OSError("\0")):
        log.add(0.0, "write-failed", reason=short(reason))
    assert short("día\n" * 30, 6) == "d?a?d?"
