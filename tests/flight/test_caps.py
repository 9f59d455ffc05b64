"""Caps on a real process."""

import os
import subprocess
import sys

from flight.caps import MemoryWatch, one_blas_thread, status_bytes

MIB = 1 << 20


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_beyond_the_data_cap_a_process_gets_a_memory_error_and_can_go_on():
    code, out, error = run(
        "from flight.caps import limit_data\n"
        "import numpy as np\n"
        "limit_data(32 << 20)\n"
        "small = np.ones(8 << 20, np.uint8)\n"
        "try:\n"
        "    large = np.ones(256 << 20, np.uint8)\n"
        "except MemoryError:\n"
        "    print('refused', small.sum() == 8 << 20)\n",
        **one_blas_thread({}),
    )
    assert (code, out) == (0, "refused True"), error


def test_the_resident_set_is_read_as_the_kernel_reports_it():
    assert abs(MemoryWatch().rss_bytes() - status_bytes("VmRSS")) < 8 * MIB
    assert status_bytes("VmHWM") >= MemoryWatch().rss_bytes() - MIB


def test_a_process_whose_parent_is_gone_ends_at_once():
    code, _, error = run("from flight.caps import die_with_parent; die_with_parent()", SWATH_PARENT_PID="1")
    assert code == 1 and "parent process 1 is gone" in error


def test_priority_is_lowered_and_one_cpu_is_used():
    code, out, _ = run(
        "import os; from flight.caps import lower_priority; lower_priority(12)\n"
        "print(os.nice(0), len(os.sched_getaffinity(0)))"
    )
    nice, cpus = map(int, out.split())
    assert code == 0 and nice >= 12 and cpus == 1


def test_a_child_gets_one_blas_thread_and_the_rest_of_its_environment():
    assert one_blas_thread({"A": "b", "OMP_NUM_THREADS": "8"}) == {
        "A": "b",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
