"""Benchmarks that a user can run: ``python -m benchmarks NAME``."""

import os
import sys

# Libraries read these when they are loaded: a stray processor name or cache size would slow every figure, and a flight
# process has one thread. Where numpy is loaded already, children must compute as this process does.
if "numpy" not in sys.modules:
    for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(_name, None)
    for _name in (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ):
        os.environ[_name] = "1"
