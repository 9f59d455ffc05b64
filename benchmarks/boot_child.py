"""A process that starts cold, does one training step, and says how much memory it took; run by `benchmarks.boot`.

It imports what a flight process needs for it and nothing else: its arguments are a backend, a learner and a bundle.
"""

import sys
from pathlib import Path

import numpy as np

from flight.bundle import load
from flight.clock import cpu_s
from flight.kernels.backend import choose
from flight.learn import LEARNERS

SHAPE, CLASSES, CHIPS, BAGS = (96, 96, 3), 5, 32, 4


def main(name: str, learner_name: str, bundle: str) -> None:
    """Train one step and print "stepped", then the CPU seconds so far and the peak memory [kB]."""
    backend = load(Path(bundle), None).kernels() if bundle else choose(name)
    rng = np.random.Generator(np.random.Philox(0))
    chips = rng.integers(0, 256, (CHIPS, *SHAPE), np.uint8)
    table = rng.dirichlet(np.ones(CLASSES), BAGS).astype(np.float32)
    learner = LEARNERS[learner_name]().use(backend)
    learner.partial_fit(chips, np.arange(CHIPS) * BAGS // CHIPS).set_labels(table)
    if learner.train(1) != 1:
        raise SystemExit(f"{learner_name} had nothing to train")
    print("stepped", flush=True)
    print(cpu_s())
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0"))


if __name__ == "__main__":
    main(*sys.argv[1:4])
