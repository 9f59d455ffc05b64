"""Memory, CPU and thread caps on the flight process, and the readings they need. Linux only.

The order matters: one BLAS thread before numpy is imported; nice level and affinity at any time; `RLIMIT_DATA` only
after everything is imported and allocated, when a breach is a clean MemoryError (set before, imports die of it).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import weakref
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PARENT_VARIABLE = "SWATH_PARENT_PID"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # <malloc.h>
_LARGE_BYTES = 1 << 14
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def one_blas_thread(environment: dict[str, str]) -> dict[str, str]:
    """`environment` for a child whose numpy starts one thread (a second would cost 70 MB of data segment)."""
    return {**environment, **dict.fromkeys(_THREAD_VARIABLES, "1")}


def give_back_at_once() -> None:
    """Let the C library return the memory of what is large as soon as it is freed; for the start of a process.

    glibc learns from the largest block that was freed, up to 32 MB, to keep such memory: the holes in its heap cost
    6 MB of a mission's peak. Other libraries have no such habit.
    """
    with suppress(OSError, AttributeError):
        tune = ctypes.CDLL(None).mallopt
        for parameter in (_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD):
            tune(parameter, _LARGE_BYTES)
        tune(_M_ARENA_MAX, 1)


def without_openssl() -> None:
    """Let `hashlib` and `hmac` use Python's own SHA-256, for the start of a process: OpenSSL costs 3.7 MB.

    A frame takes 4 us more to authenticate; at the rates of a radio that is nothing.
    """
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]  # an import of it fails, as where there is none


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; exit now if it is dead already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None and os.getppid() != int(expected):
        raise SystemExit(f"parent process {expected} is gone")


def lower_priority(nice: int) -> None:
    """Run at nice level `nice` on one of the CPUs that this process may use (the highest, away from interrupts)."""
    os.nice(max(0, nice - os.nice(0)))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def limit_data(headroom_bytes: int) -> int:
    """Cap the data segment at what it is now plus `headroom_bytes`; the cap [bytes]. Call after warm-up."""
    limit = status_bytes("VmData") + headroom_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return limit


def status_bytes(field: str) -> int:
    """A size from /proc/self/status [bytes], such as VmHWM (peak resident) or VmData; KeyError if it is not there."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - a kernel file, read each housekeeping
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(field)


class MemoryWatch:
    """Reads the resident set cheaply: /proc/self/statm stays open."""

    def __init__(self) -> None:
        self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def rss_bytes(self) -> int:
        """Resident set of this process [bytes]."""
        return int(os.pread(self._file, 64, 0).split()[1]) * _PAGE_BYTES


def oom_kills() -> int:
    """How many processes of this cgroup (v2) the kernel has killed for memory; 0 where it does not say."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            group = next(line.strip()[3:] for line in file if line.startswith("0::"))
        with open(f"/sys/fs/cgroup{group}/memory.events", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0
