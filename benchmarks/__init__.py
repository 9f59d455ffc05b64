"""Benchmarks that a user can run: ``python -m benchmarks NAME``."""

import os
import sys

# numpy's OpenBLAS reads these when it is loaded: a stray processor name or cache size would slow every figure, and a
# flight process has one thread. Where numpy is loaded already, children must compute as this process does.
if "numpy" not in sys.modules:
    for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(_name, None)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
