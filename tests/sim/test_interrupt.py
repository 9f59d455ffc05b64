"""Ctrl-C on a mission of real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flight.clock import wall_s

LIMIT_S = 60.0
SCENARIO = "duration_h = 300\n[world]\nrows = 12\ncols = 12\nmunicipalities = 12\n"


def processes_of(marker: str) -> dict[int, str]:
    """Command lines of all processes that mention `marker`, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it has just ended
            continue
        if marker in line and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = line
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_mission_says_so_once_ends_soon_with_its_code_and_leaves_no_orphan(number, code, tmp_path):
    (tmp_path / "long.toml").write_text(SCENARIO)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sim.entry", "run", str(tmp_path / "long.toml"), "--out", str(out)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        deadline_s = wall_s() + LIMIT_S
        while len(processes_of(str(out))) < 6:  # itself, three nodes, the supervisor and the flight process
            assert run.poll() is None and wall_s() < deadline_s, run.stderr.read().decode()
            signal.sigtimedwait([], 0.1)
        os.kill(run.pid, number)
        interrupted_s = wall_s()
        output, errors = run.communicate(timeout=LIMIT_S)
        assert wall_s() - interrupted_s < 8.0
    finally:
        run.kill()
    assert run.returncode == code
    assert errors.decode().count("stopping…") == 1 and "Traceback" not in errors.decode()
    assert output == b""
    while processes_of(str(out)) and wall_s() < interrupted_s + 5.0:  # a killed one may still be in the table
        signal.sigtimedwait([], 0.1)
    assert processes_of(str(out)) == {}
