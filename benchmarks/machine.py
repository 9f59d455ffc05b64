"""The machine that figures were measured on, before and after they were."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.board import identity, power, state
from benchmarks.board.system import System
from benchmarks.timing import ALL_CORES
from flight.kernels.registry import abi

_KIB = 1024


class Machine:
    """Describes the machine: what it is, and how its clock and temperature went from when this was made."""

    def __init__(self, system: System | None = None, architecture: str | None = None) -> None:
        self.system = system or System()
        self.architecture = architecture or platform.machine()
        self._clock = state.clock(self.system)
        self._temperatures = state.temperatures_c(self.system)
        self._throttling = state.throttling(self.system)

    @property
    def emulated(self) -> str | None:
        """How it is known that an emulator runs this process; None if nothing tells so."""
        return identity.emulated(self.system, self.architecture)

    def describe(self) -> dict[str, Any]:
        """What a report says of it; None stands for what nothing here tells."""
        board, clock = identity.board(self.system), state.clock(self.system)
        throttling = state.throttling(self.system)
        meter = power.meter(self.system)
        return {
            "board": board.name,
            "board_source": board.source,
            "release": board.release,
            "processor": identity.processor(self.system, self.architecture),
            "architecture": self.architecture,
            "cores": os.cpu_count(),
            "cores_usable": len(ALL_CORES),
            "load_average": os.getloadavg()[0],
            "memory_bytes": _memory_bytes(self.system),
            "system": platform.platform(),
            "virtual": identity.virtual(self.system),
            "emulated": self.emulated,
            "clock_hz": {"start": self._clock.now_hz, "end": clock.now_hz, "most": clock.most_hz},
            "clock_source": clock.source,
            "governors": list(clock.governors),
            "temperature_c": {
                "start": state.processor_c(self._temperatures),
                "end": state.processor_c(state.temperatures_c(self.system)),
            },
            "throttled": state.throttled_since(self._throttling, throttling),
            "throttled_source": throttling.source,
            "power_meter": meter if isinstance(meter, str) else f"{meter.source}: {meter.covers}",
            "blas_kernel": _blas_kernel(),
            "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        }


def headline(described: dict[str, Any]) -> str:
    """One line of it for people."""
    clock = described["clock_hz"]["end"]
    parts = [
        described["board"] or described["system"],
        described["processor"],
        f"{clock / 1e9:.2f} GHz" if clock else "clock unknown",
        *described["governors"],
    ]
    if (celsius := described["temperature_c"]["end"]) is not None:
        parts.append(f"{celsius:.0f} °C")
    if described["throttled"]:
        parts.append("THROTTLED: " + ", ".join(described["throttled"]))
    return "; ".join(parts)


def versions() -> dict[str, str]:
    """Versions of Python, swath and what it computes with; of kernels, what they are called and take."""
    found = {"python": platform.python_version(), "kernel_abi": abi()}
    for name in ("swath", "numpy", "numba", "llvmlite", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _memory_bytes(system: System) -> int | None:
    told = re.search(r"^MemTotal:\s+(\d+) kB$", system.text("proc/meminfo") or "", re.MULTILINE)
    return int(told[1]) * _KIB if told else None


def peak_memory_bytes(pid: int | str = "self") -> int | None:
    """Peak resident memory (VmHWM) of a process; None if it is not told. A child's `ru_maxrss` is its parent's."""
    told = re.search(r"^VmHWM:\s+(\d+) kB$", System().text(f"proc/{pid}/status") or "", re.MULTILINE)
    return int(told[1]) * _KIB if told else None


def _blas_kernel() -> str:
    """OpenBLAS's kernel in this process, asked of the library itself; for others, the name that numpy was built with"""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    for path in sorted({line.split()[-1] for line in lines if "openblas" in line}):
        library = ctypes.CDLL(path)
        for symbol in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename", "openblas_get_corename"):
            function = getattr(library, symbol, None)
            if function is not None:
                function.restype = ctypes.c_char_p
                return f"OpenBLAS {function().decode()}"
    built: Any = np.show_config(mode="dicts")
    return str(built.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown"))
