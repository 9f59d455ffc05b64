"""What goes into a flight bundle, and how it is put together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import llvmlite
import numba

from flight import __version__, service
from flight.bundle import CONFIG, ENCODER, HEADER, LIBRARY, UNIT, Manifest, pack
from flight.config import FlightConfig, load
from flight.kernels.registry import abi, header
from flight.link.keys import KeyRing
from ground.build import BuildError
from ground.build.back import shared_object
from ground.build.front import WIDE, intermediate
from ground.build.targets import Target

_DEFAULT_CONFIG = """# What `swath-flight run --bundle` uses without --config. What is left out keeps its default.
[executive]
kernels = "aot"
"""
_COMMAND = """/opt/swath/bin/swath-flight run --bundle /opt/swath/flight.bundle --keys /etc/swath/keys.toml \\
    --state /var/lib/swath --radio ipc:///run/swath/radio --camera ipc:///run/swath/camera"""


def library(target: Target) -> bytes:
    """The shared object of all kernels for `target`; BuildError if it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / LIBRARY
        shared_object(intermediate(WIDE in target.attributes.split(",")), target, out)
        return out.read_bytes()


def bundle(target: Target, keys: KeyRing, config: Path | None = None, encoder: Path | None = None) -> bytes:
    """A flight bundle for `target`, sealed with the active key.

    Args:
        target: one that a flight process runs on.
        keys: those that the spacecraft has.
        config: TOML, checked as flight does; by default one that asks for these kernels.
        encoder: a model file to carry along.

    Raises:
        BuildError, ConfigError, OSError: say what is wrong.
    """
    if not target.flies:
        raise BuildError(f"no flight process runs on {target.name}: --library writes its kernels, for a driver in C")
    text = config.read_text(encoding="utf-8") if config is not None else _DEFAULT_CONFIG
    caps = (load(config) if config is not None else FlightConfig()).caps
    unit = service.with_settings(
        {
            "ExecStart": _COMMAND,
            "MemoryMax": str(caps.memory_bytes),
            "CPUQuota": f"{100 * caps.cpu_share:.0f}%",
            "Nice": str(caps.nice),
        }
    )
    files = {LIBRARY: library(target), HEADER: header().encode(), CONFIG: text.encode(), UNIT: unit.encode()}
    if encoder is not None:
        files[ENCODER + encoder.suffix] = encoder.read_bytes()
    compiler = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    return pack(Manifest(__version__, compiler, target.name, target.machine, target.needs, abi()), files, keys)
