"""Writes the known answers of `swath-flight selftest`: python -m tests.kernels.answers (needs numba)."""

import json

from flight.kernels.backend import JIT, choose
from flight.selftest import ANSWERS, results


def text() -> str:
    """The file, as the present kernels give it."""
    return json.dumps(results(choose(JIT)), indent=1) + "\n"


if __name__ == "__main__":
    ANSWERS.write_text(text(), encoding="utf-8")
