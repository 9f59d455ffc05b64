"""What goes down: housekeeping, events, time reports, and a frame whenever the radio is free and there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight import housekeeping
from flight.link.dictionary import Telemetry
from flight.step import NEVER, Output

if TYPE_CHECKING:
    from flight.executive import Executive

HOUSEKEEPING_PRIORITY, EVENT_PRIORITY, TIME_PRIORITY = 20, 30, 5
REJECTION_PERIOD_S = 10.0  # refused frames are told of in sums, at most so often


class Downlink:
    """Tells the ground, and transmits, for one flight process."""

    def __init__(self, flight: Executive) -> None:
        self.flight = flight
        self._in_contact = False
        self._radio_free_s = self._housekeeping_s = self._rejections_s = self._time_report_s = 0.0

    def report_by(self, t: float) -> None:
        """Send housekeeping at mission time `t` or before."""
        self._housekeeping_s = min(self._housekeeping_s, t)

    def serve(self) -> list[Output]:
        """Hand what is to be told to the link, and transmit; nothing out of contact."""
        in_contact = self.flight.endpoint.in_contact(self.flight.t)
        if in_contact and not self._in_contact:
            self.flight.log.begin_contact(self.flight.t)
        self._in_contact = in_contact
        if not in_contact:
            return []
        self._tell()
        return self._transmit()

    def _tell(self) -> None:
        flight, t = self.flight, self.flight.t
        if t >= self._housekeeping_s:
            flight.endpoint.send(Telemetry("housekeeping", housekeeping.housekeeping(flight)), HOUSEKEEPING_PRIORITY)
            self._housekeeping_s = t + flight.config.executive.housekeeping_s
        rejected = flight.uplink.rejected
        if rejected and t >= self._rejections_s:
            for (what, reason), count in rejected.items():
                flight.emit(f"{what}-rejected", cause=reason, **{what: count})
            rejected.clear()
            self._rejections_s = t + REJECTION_PERIOD_S
        self.send_events()

    def send_events(self) -> None:
        """Hand events to the link, as many as it should hold."""
        flight = self.flight
        room = flight.config.link.max_queued_packets // 2 - flight.endpoint.queued_packets
        for event in flight.log.take(room, flight.t):
            flight.endpoint.send(event, EVENT_PRIORITY)

    def _transmit(self) -> list[Output]:
        """One frame, if the radio is free; if what it would promise cannot reach the disk, one of telemetry alone."""
        flight = self.flight
        if flight.t < self._radio_free_s:
            return []
        saved = not flight.endpoint.needs_save or flight.save()
        frame = flight.endpoint.poll(flight.t, telemetry_only=not saved)
        if frame is None or (saved and flight.endpoint.needs_save and not flight.save()):
            return []
        self._radio_free_s = flight.t + flight.endpoint.frame_time_s(frame)
        self._correlate()
        return [Output(flight.t, "radio", frame)]

    def _correlate(self) -> None:
        """Tell the ground, in a frame to come, at which on-board time this one has begun to leave."""
        flight = self.flight
        if flight.t >= self._time_report_s:
            frame, now_s = flight.endpoint.frame_sent, flight.time.read(flight.t)
            flight.send("time-report", TIME_PRIORITY, frame=frame, frame_s=now_s, times_set=flight.time.times_set)
            self._time_report_s = flight.t + flight.config.executive.time_report_s

    def due_s(self) -> float:
        """When there is something to tell or to transmit."""
        flight = self.flight
        if not flight.endpoint.in_contact(flight.t):
            return NEVER
        radio_s = max(flight.endpoint.next_due(flight.t), self._radio_free_s)
        if flight.endpoint.needs_save:
            radio_s = max(radio_s, flight.write_s)
        return min(radio_s, self._housekeeping_s, flight.log.repeat_s)
