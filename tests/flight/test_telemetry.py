"""The event log."""

import pytest

from flight.link.schema import FieldError
from flight.telemetry import LOG_LENGTH, EventLog, short


def test_a_burst_of_events_keeps_the_latest_and_counts_all():
    log = EventLog()
    for i in range(LOG_LENGTH + 50):
        log.add(float(i), "write-failed", reason="disk full")
    assert log.counts["write-failed"] == LOG_LENGTH + 50
    assert len(log.unsent) == len(log.recent) == LOG_LENGTH
    assert log.unsent[0].values["t_s"] == 50.0


@pytest.mark.parametrize("values", [{}, {"reason": "x" * 49}, {"reason": "x", "more": 1}, {"reason": "é"}])
def test_an_event_is_as_the_dictionary_declares_it(values):
    log = EventLog()
    with pytest.raises(FieldError, match="write-failed"):
        log.add(0.0, "write-failed", **values)
    assert not log.unsent and not log.counts


def test_any_reason_can_be_made_to_fit():
    log = EventLog()
    for reason in ("x" * 500, "línea\n", None, OSError("\0")):
        log.add(0.0, "write-failed", reason=short(reason))
    assert short("día\n" * 30, 6) == "d?a?d?"
