"""Two small cores that play ping-pong, and an entry point that runs one as a process in lockstep."""

import hashlib
import json
import sys

from flight.caps import die_with_parent
from flight.edge import PortSpec
from flight.runner import run_stepped
from flight.step import NEVER, Message, Output, Step


class Player:
    """Serves every `period_s`; returns each ball `delay_s` later; remembers everything that it was given."""

    def __init__(self, period_s: float, delay_s: float, balls: int = 40) -> None:
        self.period_s, self.delay_s, self.balls = period_s, delay_s, balls
        self.serve_at_s: float | None = None
        self.seen: list[tuple[float, str, str]] = []

    def step(self, t: float, inputs: list[Message]) -> Step:
        if self.serve_at_s is None:
            self.serve_at_s = t
        outputs = []
        for message in inputs:
            self.seen.append((message.t, message.source, message.body.decode()))
            if len(message.body) < 20:
                outputs.append(Output(t + self.delay_s, "court", message.body + b"."))
        while self.serve_at_s <= t and self.balls:
            outputs.append(Output(t, "court", b"ball %d " % self.balls))
            self.serve_at_s += self.period_s
            self.balls -= 1
        return Step(outputs, self.serve_at_s if self.balls else NEVER)

    def report(self) -> dict:
        digest = hashlib.sha256(json.dumps(self.seen).encode()).hexdigest()
        return {"seen": len(self.seen), "digest": digest}


PLAYERS = {"left": (1.0, 0.25), "right": (0.7, 0.1)}

if __name__ == "__main__":
    die_with_parent()
    name, endpoint, control = sys.argv[1:]
    ports = [PortSpec("court", endpoint, bind=name == "left")]
    run_stepped(Player(*PLAYERS[name]), name, ports, control)
