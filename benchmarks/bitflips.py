"""Single bit flips in what a flight process holds: how many it finds in time and repairs, and what looking costs.

``python -m benchmarks.bitflips [--flips N] [--seed S] [--learner NAME]`` prints one JSON object.

A flight core with a trained model stands idle, or takes in chips, while one bit of its memory or of its records is
flipped at a random instant of the scrub period. It must tell of it within one period, and afterwards hold, bit for bit,
what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.clock import cpu_s
from flight.config import CapsConfig, FlightConfig, LearnerConfig
from flight.executive import Executive
from flight.ingest import Chip
from flight.integrity import arrays
from flight.link import labelset, region_codec
from flight.link.keys import KeyRing
from flight.link.labelset import LabelSet
from flight.link.region import OVERLAPS, Region
from flight.step import Message
from flight.store import Store
from sim.disk import SimDisk

ROWS, COLS, N_CLASSES = 40, 50, 4
RECORDS = ("region", "labels-1", "mission", "checkpoint")


class Board:
    """A flight core on a simulated disk, with a map, labels and a trained model, and a camera that knows every chip."""

    def __init__(self, learner: str, n_chips: int, side: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        config = FlightConfig(learner=LearnerConfig(learner), caps=CapsConfig(memory_bytes=1 << 34))
        self.disk = SimDisk(seed)
        self.t = 0.0
        self.flight = Executive(config, KeyRing.generate(os.urandom), Store(self.disk))
        self._due_s = self.flight.step(0.0, []).next_due
        self.flight.payload.receive_region(region_codec.pack(_region()))
        table = rng.dirichlet(np.ones(N_CLASSES), ROWS).astype(np.float32)
        names = tuple(f"class {i}" for i in range(N_CLASSES))
        self.flight.payload.receive_labels(labelset.pack(LabelSet(1, 1, 1, names, table, 64)))
        self._images = rng.integers(0, 256, (n_chips, side, side, 3), np.uint8)
        self._sent = self._serial = 0
        self.run(config.executive.settle_s + 3 * config.executive.checkpoint_s)

    def run(self, seconds: float) -> None:
        """Let mission time go on, the camera sending what is asked for."""
        end_s = self.t + seconds
        while True:
            chips = self._asked()
            due_s = self.t if chips else min(max(self._due_s, self.t), end_s)
            self.t = due_s
            step = self.flight.step(self.t, chips)
            self._due_s = step.next_due
            if not chips and self.t >= end_s:
                return

    def _asked(self) -> list[Message]:
        """The chips that the last request of flight asks for; after a rewind, from its beginning again."""
        queue, found = self.flight.queue, []
        last = min(len(self._images), queue.next_number + queue.capacity - len(queue))
        for number in range(queue.next_number, last):
            row, col = divmod(number * 31 % (ROWS * COLS), COLS)
            self._serial += 1
            body = Chip(number, self.t, row, col, 0, self._images[number]).pack()
            found.append(Message(self.t, "camera", self._serial, "camera", body))
        return found

    def held(self) -> tuple[bytes, bytes, bytes]:
        """What must be as it was: learner, map and labels."""
        payload = self.flight.payload
        assert payload.region is not None and payload.labels is not None  # noqa: S101 (given to it above)
        table = payload.labels.proportions.tobytes()
        return payload.learner.state(), payload.region.bags.tobytes() + payload.region.weights.tobytes(), table

    def told(self) -> int:
        """Faults found so far."""
        counts = self.flight.log.counts
        return counts["memory-repaired"] + counts["record-damaged"]

    def memory(self) -> list[tuple[str, NDArray[Any]]]:
        """Every array of the learner, of the labels and of the map."""
        payload = self.flight.payload
        assert payload.region is not None and payload.labels is not None  # noqa: S101
        where = {"bags": payload.region.bags, "weights": payload.region.weights}
        held = {"learner": payload.learner, "labels": payload.labels.proportions, "region": where}
        return [(path, array) for path, array in arrays(held) if array.flags.writeable and array.nbytes]


def _region() -> Region:
    bags = np.full((ROWS * COLS, OVERLAPS), -1, np.int32)
    bags[:, 0] = np.arange(ROWS * COLS) // COLS
    weights = np.zeros((ROWS * COLS, OVERLAPS), np.uint8)
    weights[:, 0] = 255
    return Region(1, ROWS, COLS, tuple(f"M{i:02d}" for i in range(ROWS)), bags, weights)


def campaign(flips: int, seed: int, learner: str = "swath", n_chips: int = 64, side: int = 96) -> dict[str, Any]:
    """Flip `flips` bits, one after another, four of five in memory and the others in records; what became of them.

    Returns counts, latencies in mission seconds, and where a flip was missed or not repaired (the first ten).
    """
    rng = np.random.default_rng([seed, 2])
    board = Board(learner, n_chips, side, seed)
    period_s = board.flight.config.executive.scrub_s
    found, repaired, latencies_s, failed = 0, 0, [], []
    for flip in range(flips):
        before, told = board.held(), board.told()
        board.run(float(rng.uniform(0, period_s)))
        where = _flip_memory(board, rng) if flip % 5 else _flip_record(board, rng)
        since_s = board.t
        while board.told() == told and board.t < since_s + period_s:
            board.run(max(0.0, min(board.flight.scrub.due_s(), since_s + period_s) - board.t))
        found += board.told() > told
        latencies_s.append(board.t - since_s)
        board.run(3 * board.flight.config.executive.checkpoint_s)  # what was taken in since the checkpoint comes again
        whole = board.held() == before and all(board.flight.store.check(name) for name in RECORDS)
        repaired += whole
        if not whole or board.told() == told:
            failed.append(where)
    return {
        "learner": learner, "flips": flips, "found": found, "repaired": repaired, "failed": failed[:10],
        "state_bytes": sum(array.nbytes for _, array in board.memory()), "scrub_period_s": period_s,
        "latency_s": {"median": float(np.median(latencies_s)), "max": max(latencies_s)},
    }  # fmt: skip


def _flip_memory(board: Board, rng: np.random.Generator) -> str:
    """Flip a bit of an array, each as likely as any other; where it is."""
    found = board.memory()
    sizes = np.array([array.nbytes for _, array in found])
    path, array = found[int(rng.choice(len(found), p=sizes / sizes.sum()))]
    data, bit = array.view(np.uint8).reshape(-1), int(rng.integers(array.nbytes * 8))
    data[bit // 8] ^= 1 << bit % 8
    return f"{path}, bit {bit}"


def _flip_record(board: Board, rng: np.random.Generator) -> str:
    files = [name for name in board.disk.names() if name[:-2] in RECORDS]
    file = files[int(rng.integers(len(files)))]
    bit = int(rng.integers(8 * board.disk.size(file)))
    board.disk.flip(file, bit)
    return f"{file}, bit {bit}"


def share(seed: int, learner: str = "swath", n_chips: int = 1024, side: int = 96) -> dict[str, float]:
    """What checks and scrubbing take of the CPU while chips are taken in, trained on and predicted; and when idle."""
    started_s = cpu_s()
    board = Board(learner, n_chips, side, seed)
    busy_s, checked_s = cpu_s() - started_s, spent_cpu_s(board.flight)
    board.run(board.flight.config.executive.scrub_s)
    period_s = spent_cpu_s(board.flight) - checked_s
    return {
        "busy_percent": 100 * checked_s / busy_s,
        "idle_percent": 100 * period_s / board.flight.config.executive.scrub_s,
    }


def spent_cpu_s(flight: Executive) -> float:
    """What a flight process has spent on checks and scrubbing [s of CPU]."""
    return flight.scrub.spent_cpu_s + flight.payload.guard.spent_cpu_s


def main() -> None:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bitflips", description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learner", default="swath")
    options = parser.parse_args()
    found = campaign(options.flips, options.seed, options.learner)
    print(json.dumps({**found, "cpu": share(options.seed, options.learner)}, indent=1))


if __name__ == "__main__":
    main()
