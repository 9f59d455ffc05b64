"""What goes into a flight bundle, and how it is put together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite
import numba

from flight import __version__, service
from flight.bundle import CONFIG, ENCODER, HEADER, LIBRARY, UNIT, Manifest, pack
from flight.config import FlightConfig, load
from flight.encoder import EncoderError, EncoderFile
from flight.encoder_slot import limits
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
_COMMAND = """/opt/swath/bin/swath-flight run --fall-back --bundle /opt/swath/flight.bundle \\
    --keys /etc/swath/keys.toml --state /var/lib/swath --radio ipc:///run/swath/radio --camera ipc:///run/swath/camera"""
# What the kernel of the operating system allows the whole service: the flight process steps down at its own cap, beside
# it are the supervisor and perhaps a process in reserve.
_BESIDE_BYTES = 96 << 20


def _encoders(paths: Sequence[Path], config: FlightConfig) -> dict[str, bytes]:
    """Encoder files by their names in the bundle; BuildError says what is wrong with one."""
    found: dict[str, bytes] = {}
    for path in paths:
        try:
            file = EncoderFile.parse(path.read_bytes(), limits(config.encoder))
        except EncoderError as error:
            raise BuildError(f"{path}: {error}") from None
        name = f"{ENCODER}.{file.graph.form}"
        if name in found:
            raise BuildError(f"{path}: is the second encoder in format {file.graph.form}; a bundle has one of each")
        found[name] = file.data
    return found


def library(target: Target) -> bytes:
    """The shared object of all kernels for `target`; BuildError if it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / LIBRARY
        shared_object(intermediate(WIDE in target.attributes.split(",")), target, out)
        return out.read_bytes()


def bundle(target: Target, keys: KeyRing, config: Path | None = None, encoders: Sequence[Path] = ()) -> bytes:
    """A flight bundle for `target`, sealed with the active key.

    Args:
        target: one that a flight process runs on.
        keys: those that the spacecraft has.
        config: TOML, checked as flight does; by default one that asks for these kernels.
        encoders: files of one encoder, in several formats, to carry along; checked as flight does.

    Raises:
        BuildError, ConfigError, OSError: say what is wrong.
    """
    if not target.flies:
        raise BuildError(f"no flight process runs on {target.name}: --library writes its kernels, for a driver in C")
    text = config.read_text(encoding="utf-8") if config is not None else _DEFAULT_CONFIG
    configured = load(config) if config is not None else FlightConfig()
    caps = configured.caps
    unit = service.with_settings(
        {
            "ExecStart": _COMMAND,
            "MemoryMax": str(caps.memory_bytes + _BESIDE_BYTES),
            "CPUQuota": f"{100 * caps.cpu_share:.0f}%",
            "Nice": str(caps.nice),
        }
    )
    files = {LIBRARY: library(target), HEADER: header().encode(), CONFIG: text.encode(), UNIT: unit.encode()}
    files |= _encoders(encoders, configured)
    compiler = f"numba {numba.__version__}, llvmlite {llvmlite.__version__}"
    return pack(Manifest(__version__, compiler, target.name, target.machine, target.needs, abi()), files, keys)
