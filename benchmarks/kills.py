"""Real `kill -9` around writes of the state: how often a record, or what was acknowledged, is lost. It must be never.

``python -m benchmarks.kills [--kills N] [--seed S] [--directory D]`` prints one JSON object.

A process writes records and an archive as fast as the disk takes them, and says after each write what it has written.
It dies by SIGKILL: every other time at a random moment, else by its own hand before one of the steps of a write. The
next process must read at least what was said.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from flight.archive import Archive
from flight.disk import FileDisk
from flight.store import Damage, Store

MAX_RECORD_BYTES = 1 << 17
LONGEST_S = 0.06
RECORD_BYTES = 64
_SAID = struct.Struct("<QQ")  # number of the last record, records in the archive


class MortalDisk(FileDisk):
    """The file system, under a process that kills itself before the n-th step; in the middle of a write."""

    def __init__(self, directory: Path, dies_at: int = 0) -> None:
        super().__init__(directory)
        self.left = dies_at

    def _step(self) -> bool:
        self.left -= 1
        return self.left == 0

    def write(self, name: str, data: bytes, at: int = 0) -> None:
        """Write; or a half of it, and die."""
        if self._step():
            super().write(name, data[: len(data) // 2], at)
            _die()
        super().write(name, data, at)

    def sync(self, name: str) -> None:
        """Sync, or die."""
        if self._step():
            _die()
        super().sync(name)

    def rename(self, old: str, new: str) -> None:
        """Rename, or die."""
        if self._step():
            _die()
        super().rename(old, new)

    def sync_names(self) -> None:
        """Sync the directory, or die."""
        if self._step():
            _die()
        super().sync_names()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def content(number: int) -> bytes:
    """The record of that number: of a length and with bytes that follow from it."""
    rng = np.random.default_rng(number)
    data: bytes = rng.bytes(int(rng.integers(1, MAX_RECORD_BYTES)))
    return struct.pack("<Q", number) + data


def entry(number: int) -> bytes:
    """The archive's record of that number."""
    return struct.pack("<QI", number, zlib.crc32(b"%d" % number)).ljust(RECORD_BYTES, b".")


def write_for_ever(disk: FileDisk, number: int, archived: int, say: int) -> None:
    """Write record after record, each with one more archived, and say so on a file descriptor."""
    store, kept = Store(disk), Archive(disk, "archive.bin", RECORD_BYTES, 1 << 20, archived)
    store.sweep(known=["archive.bin"])
    while True:
        kept.append(entry(kept.n_records))
        kept.sync()
        number += 1
        store.put("state", content(number), twice=number % 2 == 0)
        os.write(say, _SAID.pack(number, kept.n_records))


def campaign(kills: int, seed: int, directory: Path) -> dict[str, Any]:
    """Kill `kills` processes in turn, and read after each what it has left.

    Returns how many were killed in the middle of a write, and counts of what must never be: a store that cannot be
    read, records that went back, archived ones that are lost.
    """
    rng = np.random.default_rng(seed)
    counts = dict.fromkeys(("in_a_write", "unreadable", "damaged", "gone_back", "archive_lost"), 0)
    number = archived = 0
    for kill in range(kills):
        dies_at = int(rng.integers(1, 14)) if kill % 2 else 0
        said = _one_life(directory, number, archived, dies_at, float(rng.uniform(0, LONGEST_S)))
        counts["in_a_write"] += any(path.suffix == ".tmp" for path in directory.iterdir())
        damages: list[Damage] = []
        found = Store(directory, damages.append).get("state")
        counts["damaged"] += len(damages)
        now = struct.unpack_from("<Q", found)[0] if found else 0
        counts["unreadable"] += (found is None and said[0] > 0) or (found is not None and found != content(now))
        counts["gone_back"] += now < said[0]
        kept = Archive(FileDisk(directory), "archive.bin", RECORD_BYTES, 1 << 20, said[1])
        counts["archive_lost"] += kept.read(0, said[1]) != [entry(i) for i in range(said[1])]
        number, archived = max(now, said[0]), said[1]
    return {"kills": kills, "seed": seed, "records": number, "archived": archived, **counts}


def _one_life(directory: Path, number: int, archived: int, dies_at: int, after_s: float) -> tuple[int, int]:
    """A process that writes until it is killed, or kills itself; what it has said last."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_for_ever(MortalDisk(directory, dies_at), number, archived, say)
        finally:  # whatever goes wrong, this process must not go on as its parent
            os._exit(1)
    os.close(say)
    said = (number, archived)
    left = b""
    while not dies_at and select.select([hear], [], [], after_s)[0]:
        left += os.read(hear, 1 << 12)
        after_s *= 0.7  # it goes on writing: the moment is as random as before
        if after_s < LONGEST_S / 20:
            break
    if not dies_at:
        os.kill(child, signal.SIGKILL)
    while chunk := os.read(hear, 1 << 12):
        left += chunk
    os.close(hear)
    os.waitpid(child, 0)
    whole = len(left) // _SAID.size
    return _SAID.unpack_from(left, (whole - 1) * _SAID.size) if whole else said


def main() -> None:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where the state is written; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="swath-kills-", dir=options.directory) as directory:
        print(json.dumps(campaign(options.kills, options.seed, Path(directory)), indent=1))


if __name__ == "__main__":
    main()
