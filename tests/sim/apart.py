"""Flies a short mission twice, flight on this machine and in a process of another Python, and compares the weights.

    python -m tests.sim.apart --python PYTHON --keys KEYS --here BUNDLE --there BUNDLE

PYTHON runs `swath-flight listen`: of another environment, or of another processor, emulated. It flies the kernels of
the bundle `--there`, in lockstep over TCP and CurveZMQ. Both bundles are sealed with KEYS (`swath-ground build`).
"""

import argparse
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from flight.bundle import load, pack
from flight.clock import wall_s
from flight.link.keys import KeyRing
from ground.cli import app as ground_app
from sim.flatsat import Board
from sim.mission import Mission
from sim.plan import make_plan
from sim.scenario import load_scenario

STOP_TIMEOUT_S = 60.0


SCENARIO = """
duration_h = 12
[world]
rows = 8
cols = 8
municipalities = 12
[executive]
kernels = "aot"
[[faults]]           # kill -9 of the flight process
at_h = 6.5
kind = "kill-flight"
"""


def ground(*arguments):
    """Run swath-ground."""
    result = CliRunner().invoke(ground_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@contextmanager
def listening(python, directory, bundle):
    """`swath-flight listen` of another Python, away from this checkout; where it listens."""
    arguments = [
        "--keys",
        directory / "keys/board",
        "--state",
        directory,
        "--bundle",
        bundle,
        "--at",
        "tcp://127.0.0.1:*",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "flight.cli", "listen", *arguments]
    board = subprocess.Popen(list(map(str, command)), cwd=directory, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = board.stdout.readline()
        yield "tcp://127.0.0.1:" + re.search(r":(\d+)$", line)[1]
    finally:
        board.terminate()
        board.stdout.close()
        assert board.wait(STOP_TIMEOUT_S) == 0


def flown(plan, directory, **how):
    """The digest of the weights at the end of a mission, restarts of flight, and the seconds that it took."""
    began_s = wall_s()
    mission = Mission(plan, directory, **how)
    mission.fly()
    return mission.lockstep.report("flight")["weights_sha256"], mission.restarts, wall_s() - began_s


def main():
    options = argparse.ArgumentParser()
    for name in ("python", "keys", "here", "there"):
        options.add_argument(f"--{name}", type=Path, required=True)
    given = options.parse_args()
    seal = KeyRing.load(given.keys)
    with tempfile.TemporaryDirectory(prefix="swath-apart-") as name:
        directory = Path(name)
        (directory / "short.toml").write_text(SCENARIO, encoding="utf-8")
        plan = make_plan(load_scenario(str(directory / "short.toml")))
        ground("keys", "flatsat", directory / "keys")
        there = load(given.there, seal)
        sealed = pack(there.manifest, there.files, KeyRing.load(directory / "keys/board/keys.toml"))
        (directory / "flight.bundle").write_bytes(sealed)
        here, restarts, here_s = flown(plan, directory / "here", bundle=load(given.here, seal))
        with listening(given.python.absolute(), directory, directory / "flight.bundle") as endpoint:
            board = Board(endpoint, directory / "keys/desk")
            _, machine, *_ = board.ask("hello")
            far, restarts_far, far_s = flown(plan, directory / "there", board=board)
    print(f"one machine: {here} in {here_s:.0f} s")
    print(f"flight on {machine}: {far} in {far_s:.0f} s, {restarts_far} restart")
    return 0 if here == far != "" and restarts == restarts_far == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
