"""Benchmarks that a user can run: ``python -m benchmarks NAME``."""

import os

# numpy's OpenBLAS reads these when it is loaded: a stray processor name or cache size would slow every figure, and a
# flight process has one thread.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
