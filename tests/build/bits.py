"""Prints what two machines compare: the results of the self-test, and weights after 100 steps of training.

python -m tests.build.bits (--kernels jit | --bundle BUNDLE --keys KEYS)
"""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

from flight import bundle
from flight.kernels.backend import choose
from flight.known_answers import drawn
from flight.learn import Downconv
from flight.link.keys import KeyRing
from flight.selftest import report, run

STEPS = 100


def trained(backend):
    """The weights of a small network after 100 steps on noise."""
    learner = Downconv(
        n_steps=STEPS, bags_per_batch=2, chips_per_bag=2, cells_per_chip=4, reservoir=16, n_hidden=32, seed=1
    ).use(backend)
    n = 16
    learner.partial_fit(drawn(n * 16 * 16 * 3, 1, 256).astype(np.uint8).reshape(n, 16, 16, 3), np.arange(n) % 4)
    counts = 1 + drawn(12, 2, 9).reshape(4, 3)
    learner.set_labels((counts / counts.sum(1, keepdims=True)).astype(np.float32), task_id=1)
    learner.train(STEPS)
    return learner.weights()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--kernels", default="jit")
    options.add_argument("--bundle", type=Path)
    options.add_argument("--keys", type=Path)
    given = options.parse_args()
    backend = bundle.load(given.bundle, KeyRing.load(given.keys)).kernels() if given.bundle else choose(given.kernels)
    verdict = run(backend)
    print(report(verdict, False), file=sys.stderr)
    fresh = backend.renewed()
    weights = trained(fresh)
    if fresh.used:
        print(f"weights after {STEPS} steps: {hashlib.sha256(weights).hexdigest()}")
    print(f"self-test: {verdict.sha256}")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
