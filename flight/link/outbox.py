"""Packets that wait for a frame."""

from __future__ import annotations

import heapq
from typing import Any

from flight.link import state
from flight.link.contact import NEVER, NOW


class Outbox:
    """A bounded queue of packets, lower priority number first and then in order; when full, the least urgent goes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[int, int, int, bytes]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, priority: int, apid: int, body: bytes) -> bool:
        """Queue a packet; True if one had to be dropped: the oldest of the least urgent, this one included."""
        heapq.heappush(self._heap, (priority, self._serial, apid, body))
        self._serial += 1
        if len(self._heap) <= self._limit:
            return False
        self._heap.remove(max(self._heap, key=lambda entry: (entry[0], -entry[1])))
        heapq.heapify(self._heap)
        return True

    def take(self, room: int) -> tuple[int, bytes] | None:
        """APID and body of the next packet, if it takes at most `room` bytes."""
        if not self._heap or len(self._heap[0][3]) > room:
            return None
        _, _, apid, body = heapq.heappop(self._heap)
        return apid, body

    def due(self) -> float:
        """Now if something waits."""
        return NOW if self._heap else NEVER

    def save(self) -> list[Any]:
        """The packets in order, as plain values."""
        return [[priority, apid, body] for priority, _, apid, body in sorted(self._heap)]

    def restore(self, saved: Any, path: str) -> None:
        """Queue the packets that were saved."""
        for priority, apid, body in state.entries(saved, path, int, int, bytes):
            self.put(priority, apid, body)
