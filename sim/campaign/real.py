"""A mission of the campaign with real processes, real signals and real files: supervisor, flight, station and the rest.

Mission time is stepped; a kill is a real SIGKILL, at any moment of wall time, in the middle of a step or between two.
What is on disk is a real directory, and what is flipped in it is flipped while the process that owns it is dead.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from flight import last_start
from flight.store import Store
from ground.archive import LOG
from sim import node
from sim.campaign import encoder, short
from sim.campaign.faults import Fault
from sim.campaign.keys import KEYS
from sim.campaign.nodes import flip_bits
from sim.campaign.recovery import Recovery
from sim.campaign.short import Recipe
from sim.fleet import Processes
from sim.lockstep import Lockstep, LockstepError
from sim.processes import ProcessNode
from sim.radio import Outage
from sim.record import PassRecord

MAX_ROUNDS = 200_000
KILL_WITHIN_S = 0.02  # of wall time, after the step at which a kill is due has begun
REAP_TIMEOUT_S = 10.0


@dataclass
class RealMission:
    """The mission of `recipe` with `faults`, flown by processes; the same plan as in one process."""

    recipe: Recipe
    faults: tuple[Fault, ...]
    deaths: dict[str, int] = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    peak_rss_bytes: int = 0

    def __post_init__(self) -> None:
        self.plan = short.plan(self.recipe)
        radio = self.plan.scenario.radio
        outages = [Outage(f.at_s / 3600, f.length_s) for f in self.faults if f.kind == "cut-pass"]
        self.plan.scenario = replace(self.plan.scenario, radio=replace(radio, outages=tuple(outages)))
        self.contacts: list[PassRecord] = self.plan.contacts
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._accepted = 0
        self.first, self.encoder = 0, self.recipe.encoder
        self.lockstep = Lockstep([], {})
        self._end: dict[str, Any] = {}

    def fly(self) -> None:
        """Fly, and read what is left on disk when everybody has ended."""
        with tempfile.TemporaryDirectory(prefix="swath-campaign-") as name:
            directory = Path(name)
            (directory / "spec").mkdir()
            (directory / "sockets").mkdir(mode=0o700)
            node.write_spec(self.plan, directory / "spec", KEYS)
            self.directory = directory
            self.fleet = Processes(self.plan, directory, directory / "sockets")
            try:
                self._fly()
            except BaseException:
                self.fleet.close(at_once=True)
                raise
            self._end = {kind: self.lockstep.report(kind) for kind in ("flight", "station", "camera")}
            self.fleet.close()
            self._end["mission"] = self._state()
            self._end["told"] = [json.loads(line) for line in (directory / "ground" / LOG).read_text().splitlines()]

    def _fly(self) -> None:
        nodes: list[Any] = list(self.fleet.nodes)
        self._nodes: dict[str, ProcessNode] = {each.name: each for each in nodes}
        self.lockstep = Lockstep(nodes, node.WIRING, on_death=self._died)
        for name in ("camera", "channel", "station", "flight"):
            self.lockstep.start(name)
        for fault in self.faults:
            action = getattr(self, "_" + fault.kind.replace("-", "_"), None)
            if action is not None:
                self._at(fault.at_s, lambda action=action, fault=fault: action(fault))
        for _ in range(MAX_ROUNDS):
            due = min(self.lockstep.next_due(), short.END_S)
            if self._agenda and self._agenda[0][0] <= due:
                at_s, _, action = heapq.heappop(self._agenda)
                self.lockstep.run_until(at_s)
                action()
            elif due >= short.END_S or (self.lockstep.t > short.PASSES_S[-1][0] and self._settled()):
                return
            else:
                self.lockstep.round()
                self._watch()
        raise LockstepError(f"the mission has not ended after {MAX_ROUNDS} rounds")

    def _settled(self) -> bool:
        if not (self.lockstep.is_up("flight") and self.lockstep.is_up("station")):
            return False
        flight, station = self.lockstep.report("flight"), self.lockstep.report("station")
        work = flight["pending_steps"] or flight["to_predict"] or flight["acknowledged"] < short.N_CHIPS
        work = work or flight["events_waiting"]
        return not (work or station["orders_left"] or station["commands_open"])

    def _watch(self) -> None:
        flight, station = self.lockstep.report("flight"), self.lockstep.report("station")
        self.peak_rss_bytes = max(self.peak_rss_bytes, int(flight.get("peak_rss_bytes") or 0))
        accepted = int(station.get("frames_accepted", 0))
        if accepted > self._accepted:
            for recovery in self.recoveries:
                if recovery.heard_s is None and recovery.ended_s <= self.lockstep.t:
                    recovery.heard_s = self.lockstep.t
        self._accepted = accepted

    def _at(self, t: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (t, len(self.trace) * 1000 + len(self._agenda), action))

    def _note(self, text: str) -> None:
        self.trace.append(f"T+{self.lockstep.t:.1f} s {text}")

    # Life and death

    def _died(self, name: str) -> None:
        self.deaths[name] = self.deaths.get(name, 0) + 1
        self._note(f"{name} is dead")
        self._at(self.lockstep.t + self.plan.scenario.costs.restart_s, lambda: self._return(name))

    def _return(self, name: str) -> None:
        if not self.lockstep.is_up(name):
            self.lockstep.start(name)
            self._note(f"{name} is back")

    def _interrupts(self, fault: Fault) -> None:
        self.recoveries.append(Recovery(fault, self.lockstep.t))

    def _kill_flight(self, fault: Fault) -> None:
        """SIGKILL within so many milliseconds from now, whatever flight is doing then."""
        self._interrupts(fault)
        pid = self._nodes["flight"].pid
        delay_s = float(np.random.default_rng([fault.seed, 0x51]).uniform(0, KILL_WITHIN_S))
        timer = threading.Timer(delay_s, _kill, (pid,))
        timer.start()
        with suppress(LockstepError):
            if self.lockstep.next_due() < short.END_S:
                self.lockstep.round()
        timer.join()
        self._note(f"flight, process {pid}, was sent SIGKILL")

    def _kill_ground(self, fault: Fault) -> None:
        self._interrupts(fault)
        self._replace("station")

    def _kill_supervisor(self, fault: Fault) -> None:
        """The supervisor dies, and the system starts another one, as systemd does."""
        self._interrupts(fault)
        self._replace("flight")

    def _replace(self, name: str) -> None:
        """Kill the process that the mission itself has started, let its children end, and start it again."""
        each = self._nodes[name]
        each.child.popen.kill()
        each.child.popen.wait(REAP_TIMEOUT_S)
        self._gone(name)
        each.child = self.fleet.start_again(name)

    def _gone(self, name: str) -> None:
        """Take a process out of the lockstep."""
        each = self._nodes[name]
        each.control.current.pop(name, None)
        each.control.joined[name].clear()
        if self.lockstep.is_up(name):
            self.lockstep.drop(name)
            self._died(name)

    def _flip_file(self, fault: Fault) -> None:
        """Everything of flight dies, a bit of one of its files is flipped, and it is started again."""
        self._interrupts(fault)
        self._while_dead(lambda: self._flip(fault))

    def _flip(self, fault: Fault) -> None:
        rng = np.random.default_rng([fault.seed, 0xF1])
        files = [
            path for path in sorted((self.directory / "flight").iterdir()) if path.is_file() and path.stat().st_size
        ]
        if files:
            path = files[int(rng.integers(len(files)))]
            path.write_bytes(flip_bits(path.read_bytes(), rng, 1))
            self._note(f"a bit of {path.name} is flipped")

    def _corrupt_config(self, fault: Fault) -> None:
        """Everything of flight dies, and its configuration is corrupt from then on.

        If no flight process has ever been up, none can start: then it is mended by hand.
        """
        self._interrupts(fault)
        path = self.directory / "spec" / node.CONFIG
        whole = path.read_bytes()
        rng = np.random.default_rng([fault.seed, 0xCF])

        def corrupt() -> None:
            path.write_bytes(rng.bytes(200) if rng.random() < 0.5 else whole[: int(rng.integers(1, len(whole)))] + b"[")

        each = self._while_dead(corrupt)
        self._note("the configuration is corrupt")
        if Store(self.directory / "flight").get(last_start.RECORD) is not None:
            return
        code = each.child.popen.wait(REAP_TIMEOUT_S)
        self._note(f"the supervisor ended with exit code {code}")
        path.write_bytes(whole)
        each.child = self.fleet.start_again("flight")

    def _corrupt_encoder(self, fault: Fault) -> None:
        """Everything of flight dies, and its encoder's file is gone or corrupt from then on."""
        self._interrupts(fault)
        path = self.directory / "spec" / node.ENCODER.format(0)

        def spoil() -> None:
            if not self.encoder:
                return
            rng = np.random.default_rng([fault.seed, 0xEC])
            path.write_bytes(encoder.spoilt(path.read_bytes(), rng))
            if not path.stat().st_size:
                path.unlink()
            self.first, self.encoder = short.next_chip(Store(self.directory / "flight")), False
            self._note("the encoder's file is gone, or none")

        self._while_dead(spoil)

    def _while_dead(self, action: Callable[[], None]) -> ProcessNode:
        each = self._nodes["flight"]
        each.child.popen.kill()
        each.child.popen.wait(REAP_TIMEOUT_S)
        _wait_for_end(each.pid)
        self._gone("flight")
        action()
        each.child = self.fleet.start_again("flight")
        return each

    # What is left

    def _state(self) -> dict[str, Any]:
        saved = Store(self.directory / "flight").get("mission")
        return dict(msgpack.unpackb(saved)) if saved is not None else {}

    def weights(self) -> str:
        """The digest of the last model; empty without one."""
        return str(self._end.get("flight", {}).get("weights_sha256", ""))

    def told(self) -> list[str]:
        """Names of the telemetry and events that the ground has received."""
        return [str(name) for _, _, name, _ in self._end["told"]]

    def judge(self) -> list[str]:
        """Every invariant that does not hold, in words: those that can be seen from outside."""
        flight, station, camera = (self._end[name] for name in ("flight", "station", "camera"))
        made = replace(self.recipe, encoder=self.encoder)
        expected, found = short.expected(made, short.world(self.recipe.world), self.first), []
        if not self.lockstep.is_up("flight"):
            return ["commandable: flight is down at the end"]
        if station["orders_left"] or station["commands_open"] or station["failed"]:
            found.append(f"commandable: {station['orders_left']} orders are left, failed: {station['failed']}")
        found += [
            f"recovered: after {each.fault} flight was never heard again"
            for each in self.recoveries
            if each.heard_s is None
        ]
        if flight["chips"] != expected.chips or camera["chips_acknowledged"] > short.N_CHIPS:
            found.append(f"chips_kept: flight has taken in {flight['chips']} of {expected.chips}")
        if flight["weights_sha256"] != expected.weights_sha256:
            found.append(f"same_weights: {flight['weights_sha256'][:12]}, undisturbed {expected.weights_sha256[:12]}")
        if self.encoder != self.recipe.encoder and "encoder-missing" not in self.told():
            found.append("encoder_told: the encoder is gone, and nobody was told")
        cap = self.plan.scenario.caps.memory_bytes
        if self.peak_rss_bytes > cap:
            found.append(f"memory: VmHWM was {self.peak_rss_bytes} bytes, the cap is {cap}")
        return found + self._commands()

    def _commands(self) -> list[str]:
        counts = short.adjustments(self._end["mission"]["time"][0])
        if counts is None:
            return [f"commands_once: the clock is off by {self._end['mission']['time'][0]} s"]
        found = [
            f"commands_once: adjust-time {n} was executed {counts[n]} times" for n in short.DIRECT if counts[n] != 1
        ]
        others = (*short.TAGGED, *short.STEPS)
        return found + [
            f"commands_once: adjust-time {n} was executed {counts[n]} times" for n in others if counts[n] > 1
        ]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child is gone, or only waits to be reaped."""
    with suppress(ProcessLookupError, OSError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], REAP_TIMEOUT_S)
        finally:
            os.close(descriptor)
