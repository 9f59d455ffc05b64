"""Real processes, real files, real SIGKILL: the small part of `python -m benchmarks.kills`."""

import json
import subprocess
import sys

import pytest

from flight.store import Store
from sim.disk import SimDisk


def test_after_real_kills_around_writes_the_state_is_whole_and_nothing_that_was_said_is_lost(tmp_path):
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "24", "--seed", "7", "--directory", str(tmp_path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["kills"] == 24 and found["in_a_write"] > 0 and found["records"] > 0
    assert [found[each] for each in ("unreadable", "damaged", "gone_back", "archive_lost")] == [0, 0, 0, 0]


@pytest.mark.parametrize("side", [0, 1])
def test_whatever_byte_a_file_ends_at_the_other_generation_is_read(side):
    disk = SimDisk()
    store = Store(disk)
    store.put("state", b"older" * 9)
    store.put("state", b"newer" * 9)
    whole, expected = disk.read(f"state.{side}"), [b"newer" * 9, b"older" * 9][side]
    for length in range(len(whole)):
        for name in (f"state.{side}", f"state.{side}.tmp"):
            disk.place(f"state.{side}", whole)
            disk.place(name, whole[:length])
            again = Store(disk)
            again.sweep()
            assert again.get("state") == (expected if name.endswith(str(side)) else b"newer" * 9)
            assert again.names() == ["state"]
