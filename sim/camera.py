"""The camera and its recorder: takes chips as the overpasses bring them, and hands them to flight over the bus.

Chips are numbered from 0 in the order in which they are taken. The recorder holds `recorder_bytes` of pixels; a chip
taken when it is full is lost, and flight learns of that by a `Gap` in place of the chip. Images are generated when they
are sent, since the imagery source can always generate them again; the bytes of every chip held count all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flight.ingest import Chip, Gap, IngestError, RecorderRequest
from flight.step import NEVER, Message, Output, Step
from ground.imagery import Imagery
from sim.overpass import Overpass

PORT = "flight"


class Camera:
    """The camera's core; its one port is "flight".

    Chips are read out in batches of up to `batch_chips`: they can be sent from the moment at which the batch is
    complete, and the messages of a batch arrive together, when its last byte has crossed the bus.

    Args:
        imagery: where images come from; cells of the grid without a chip (sea) are passed over.
        overpasses: what is imaged when (`sim.overpass.plan_overpasses`), in time order.
        recorder_bytes: capacity of the recorder, in pixels' bytes.
        bus_bytes_per_s: rate of the bus to flight.
        batch_chips: chips read out and sent at once.
    """

    def __init__(
        self,
        imagery: Imagery,
        overpasses: Sequence[Overpass],
        *,
        recorder_bytes: int,
        bus_bytes_per_s: float = 10e6,
        batch_chips: int = 64,
    ) -> None:
        if recorder_bytes < 0 or not bus_bytes_per_s > 0 or batch_chips < 1:
            raise ValueError(
                f"camera: recorder of {recorder_bytes} bytes, bus of {bus_bytes_per_s} bytes/s and batches of "
                f"{batch_chips} chips must be at least 0, above 0 and at least 1"
            )
        self.imagery = imagery
        self.chip_bytes = int(np.prod(imagery.chip_shape))
        self.recorder_bytes = recorder_bytes
        self.bus_bytes_per_s = bus_bytes_per_s
        self.batch_chips = batch_chips
        self._plan(overpasses)
        self._taken = 0  # chips taken so far, kept or lost
        self._acknowledged = 0  # flight has these on disk
        self._cursor = 0  # next number to send
        self._until = 0  # flight has room for numbers below this
        self._sent_up_to = 0  # highest number ever sent
        self._busy_until_s = -np.inf  # the bus
        self._counters = dict.fromkeys(
            ("chips_sent", "chips_resent", "gaps_sent", "bytes_sent", "requests", "requests_refused"), 0
        )
        self._peak_chips = 0

    def step(self, t: float, inputs: Sequence[Message]) -> Step:
        """Take what has come into view, obey requests, send a batch if the bus is free."""
        for message in inputs:
            self._take(message.t)
            self._obey(message.body)
        self._take(t)
        outputs = self._send(t) if t >= self._busy_until_s else []
        return Step(outputs, self._next_due(t))

    def report(self) -> dict[str, Any]:
        """Counters: chips planned, taken, lost to a full recorder, acknowledged, sent; recorder bytes and peak."""
        return {
            "chips_planned": len(self._index),
            "chips_taken": self._taken,
            "chips_lost": int(np.count_nonzero(~self._kept[: self._taken])),
            "chips_acknowledged": self._acknowledged,
            **self._counters,
            "recorder_bytes": self._held_chips() * self.chip_bytes,
            "recorder_bytes_peak": self._peak_chips * self.chip_bytes,
        }

    def _plan(self, overpasses: Sequence[Overpass]) -> None:
        """One entry a chip number: which chip, which scene, when it is taken and when its batch can be read out."""
        chip_at = np.full(self.imagery.rows * self.imagery.cols, -1, dtype=np.int64)
        cell = np.asarray(self.imagery.cell, dtype=np.int64)
        chip_at[cell[:, 0] * self.imagery.cols + cell[:, 1]] = np.arange(len(cell))
        indices, scenes, times, ready = [], [], [], []
        for overpass in overpasses:
            if overpass.cells.size and int(overpass.cells.max()) >= chip_at.size:
                raise ValueError(
                    f"overpass {overpass.scene} images cell {int(overpass.cells.max())}, but the imagery "
                    f"{self.imagery.name!r} has a grid of {self.imagery.rows} x {self.imagery.cols} cells"
                )
            index = chip_at[overpass.cells]
            t_s = overpass.t_s[index >= 0]
            last = np.minimum((np.arange(t_s.size) // self.batch_chips + 1) * self.batch_chips, t_s.size) - 1
            indices.append(index[index >= 0])
            scenes.append(np.full(t_s.size, overpass.scene))
            times.append(t_s)
            ready.append(t_s[last])
        none = [np.zeros(0)]
        self._end_s = np.array([t_s[-1] for t_s in times if t_s.size])
        self._index = np.concatenate(indices or none).astype(np.int64)
        self._scene = np.concatenate(scenes or none).astype(np.int64)
        self._t_s = np.concatenate(times or none)
        self._ready_s = np.concatenate(ready or none)
        self._kept = np.zeros(self._index.size, dtype=bool)
        if np.any(np.diff(self._t_s) < 0):
            raise ValueError("overpasses are not in time order, or overlap")

    def _held_chips(self) -> int:
        return int(np.count_nonzero(self._kept[self._acknowledged : self._taken]))

    def _take(self, t: float) -> None:
        """Record the chips taken up to `t`, as many as there is room for; the newest are lost."""
        taken = int(np.searchsorted(self._t_s, t, side="right"))
        if taken <= self._taken:
            return
        free = self.recorder_bytes // self.chip_bytes - self._held_chips()
        self._kept[self._taken : min(taken, self._taken + free)] = True
        self._taken = taken
        self._peak_chips = max(self._peak_chips, self._held_chips())

    def _obey(self, body: bytes) -> None:
        self._counters["requests"] += 1
        try:
            request = RecorderRequest.unpack(body)
            if request.wanted_from > self._taken:
                raise IngestError(f"chip {request.wanted_from} is wanted next, but only {self._taken} were taken")
        except IngestError:
            self._counters["requests_refused"] += 1
            return
        self._acknowledged = max(self._acknowledged, request.acknowledged)
        self._until = min(request.wanted_until, self._index.size)
        self._cursor = request.wanted_from if request.rewind else max(self._cursor, request.wanted_from)

    def _send(self, t: float) -> list[Output]:
        """The next batch in the window, to arrive together when its last byte has crossed the bus."""
        bodies: list[bytes] = []
        limit = min(self._until, int(np.searchsorted(self._ready_s, t, side="right")))
        while self._cursor < limit and len(bodies) < self.batch_chips:
            end = min(self._run_end(self._cursor), limit, self._cursor + self.batch_chips - len(bodies))
            if self._held(self._cursor):
                bodies += self._chips(self._cursor, end)
                self._cursor = end
            else:
                end = self._run_end(self._cursor)
                bodies.append(Gap(self._cursor, end).pack())
                self._counters["gaps_sent"] += 1
                self._cursor = end
        if not bodies:
            return []
        size = sum(map(len, bodies))
        self._counters["bytes_sent"] += size
        self._busy_until_s = t + size / self.bus_bytes_per_s
        return [Output(self._busy_until_s, PORT, body) for body in bodies]

    def _held(self, number: int) -> bool:
        return number >= self._acknowledged and bool(self._kept[number])

    def _run_end(self, number: int) -> int:
        """End of the run of chips from `number` on that can be handled alike: held and of one scene, or not held."""
        if number < self._acknowledged:
            return self._acknowledged
        rest = slice(number, self._taken)
        same = self._kept[rest] == self._kept[number]
        if self._kept[number]:
            same &= self._scene[rest] == self._scene[number]
        return number + (int(np.argmin(same)) if not same.all() else same.size)

    def _chips(self, first: int, end: int) -> list[bytes]:
        """Messages of chips `first` to `end` - 1, which are of one scene."""
        index, scene = self._index[first:end], int(self._scene[first])
        again = max(0, min(end, self._sent_up_to) - first)
        self._counters["chips_resent"] += again
        self._counters["chips_sent"] += end - first
        self._sent_up_to = max(self._sent_up_to, end)
        bodies = []
        for k, image in enumerate(self.imagery.chips(index, scene)):
            row, col = (int(x) for x in self.imagery.cell[index[k]])
            bodies.append(Chip(first + k, float(self._t_s[first + k]), row, col, scene, image).pack())
        return bodies

    def _next_due(self, t: float) -> float:
        """When the bus is free and a chip that flight has room for can be read out, or when an overpass ends."""
        end = int(np.searchsorted(self._end_s, t, side="right"))
        due = float(self._end_s[end]) if end < self._end_s.size else NEVER
        if self._cursor < self._until:
            due = min(due, max(float(self._ready_s[self._cursor]), self._busy_until_s))
        return due
