"""Looks a board over before flight runs on it: what is there, what is missing, and how to mend it. Changes nothing.

Reads of /proc and /sys go through a root directory, so that recorded boards can be looked over in tests.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from flight import kernels
from flight.clock import unix_s, wall_s

OK, WARNING, FAILED = "ok", "warning", "failed"
LIBRARIES = ("numpy", "pyzmq", "msgpack")
RUNTIMES = {"ai_edge_litert": "litert", "onnxruntime": "onnx", "tflite_runtime": "tflite"}  # module: extra
LEAST_UNIX_S = 1_735_689_600  # 2025-01-01: a clock that says earlier was never set
LEAST_FREE_BYTES, LEAST_MEMORY_BYTES = 256 << 20, 400 << 20
SLOW_SYNC_S = 0.25
HOT_DEGC = 75.0
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"  # Raspberry Pi; bits as in vcgencmd's documentation
_UNDER_VOLTAGE, _UNDER_VOLTAGE_SEEN, _SLOWED = 1 << 0, 1 << 16, 0b1110


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, what was found, and what to do about it unless it is `ok`."""

    what: str
    verdict: str
    found: str
    mend: str = ""


def examine(state: Path | None = None, keys: Path | None = None, root: Path = Path("/")) -> list[Finding]:
    """Everything that can be looked at: of the state directory and the key file only where they are given."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        python, libraries, kernel_backends, encoder_runtimes, lambda: clock(root), lambda: memory(root),
        lambda: heat(root), lambda: power(root),
    ]  # fmt: skip
    if state is not None:
        checks.append(lambda: disk(state, root))
    if keys is not None:
        checks.append(lambda: key_file(keys))
    return [finding for check in checks for finding in check()]


def python() -> Iterator[Finding]:
    """Interpreter and machine."""
    found = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    if sys.maxsize < 2**32 or platform.system() != "Linux":
        yield Finding("Python", FAILED, found, "64-bit Linux is what flies: install a 64-bit system")
    else:
        yield Finding("Python", OK, found)


def libraries() -> Iterator[Finding]:
    """What flight imports."""
    versions = {name: _version(name) for name in LIBRARIES}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if missing:
        yield Finding("libraries", FAILED, found, f"pip install {' '.join(missing)}")
        return
    yield Finding("libraries", OK, found)
    import zmq

    if not zmq.has("curve"):
        yield Finding(
            "CurveZMQ", FAILED, "this ZeroMQ has none", "install pyzmq from its wheel: pip install --force pyzmq"
        )


def kernel_backends() -> Iterator[Finding]:
    """What runs the inner loops."""
    if kernels.has_jit():
        yield Finding(
            "kernels", OK, f"numba {_version('numba')} can compile them; a bundle starts faster and is smaller"
        )
    else:
        mend = "at a desk: swath-ground build; here: swath-flight run --bundle, or pip install '.[jit]' in the checkout"
        yield Finding("kernels", WARNING, "numpy only, unless a bundle brings them", mend)


def encoder_runtimes() -> Iterator[Finding]:
    """What could run a frozen encoder."""
    there = [module for module in RUNTIMES if importlib.util.find_spec(module) is not None]
    if not there:
        mend = "needed for encoders only: pip install '.[litert]' in swath's checkout"
        yield Finding("encoder runtime", WARNING, "none", mend)
        return
    found = ", ".join(f"{module} {_version(module.replace('_', '-'))}" for module in there)
    numpy = _version("numpy") or "0"
    if there == ["tflite_runtime"] and int(numpy.partition(".")[0]) >= 2:
        mend = (
            "tflite-runtime needs numpy 1: in swath's checkout, pip install '.[tflite]' in an environment "
            "of its own, or '.[litert]'"
        )
        yield Finding("encoder runtime", FAILED, f"{found} with numpy {numpy}", mend)
    else:
        yield Finding("encoder runtime", OK, found)


def clock(root: Path) -> Iterator[Finding]:
    """Whether the time is set, and kept."""
    if unix_s() < LEAST_UNIX_S:
        yield Finding("clock", FAILED, "was never set", "set it: sudo date -s, or sudo timedatectl set-ntp true")
        return
    synchronised = (root / "run/systemd/timesync/synchronized").exists() or _kernel_says_synchronised()
    if synchronised:
        yield Finding("clock", OK, "set, and synchronised")
    else:
        mend = "for flights in wall time: sudo timedatectl set-ntp true; stepped time does not need it"
        yield Finding("clock", WARNING, "set, but not synchronised", mend)


def memory(root: Path) -> Iterator[Finding]:
    """Memory there is, and whether systemd can cap it."""
    total = _meminfo(root).get("MemTotal", 0)
    found = f"{total >> 20} MB"
    if total < LEAST_MEMORY_BYTES:
        yield Finding("memory", WARNING, found, "lower [caps] memory_bytes in the configuration, and add no encoder")
    else:
        yield Finding("memory", OK, found)
    controllers = _text(root / "sys/fs/cgroup/cgroup.controllers")
    if controllers is not None and "memory" not in controllers.split():
        mend = (
            "Raspberry Pi OS: add cgroup_enable=memory to /boot/firmware/cmdline.txt, reboot; else MemoryMax is ignored"
        )
        yield Finding("memory control group", WARNING, "off", mend)


def heat(root: Path) -> Iterator[Finding]:
    """Temperature of the hottest zone."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [int(text) / 1000 for zone in zones if (text := _text(zone)) and text.lstrip("-").isdigit()]
    if not degrees:
        yield Finding("temperature", OK, "this machine does not tell")
    elif max(degrees) > HOT_DEGC:
        yield Finding(
            "temperature", WARNING, f"{max(degrees):.0f} degC", "it will slow down: cool it, or lower the load"
        )
    else:
        yield Finding("temperature", OK, f"{max(degrees):.0f} degC")


def power(root: Path) -> Iterator[Finding]:
    """Supply, as far as the board tells: a Raspberry Pi says so when it was too low."""
    text = _text(root / _THROTTLED)
    if text is None:
        return
    bits = int(text, 16)
    if bits & _UNDER_VOLTAGE:
        yield Finding(
            "power", FAILED, "voltage is too low now", "use the supply made for this board, and a short cable"
        )
    elif bits & (_UNDER_VOLTAGE_SEEN | _SLOWED):
        mend = "use the supply made for this board, and cool it: figures measured now would be too low"
        yield Finding("power", WARNING, "it was slowed down for low voltage or heat since it started", mend)
    else:
        yield Finding("power", OK, "never too low since it started")


def disk(state: Path, root: Path) -> Iterator[Finding]:
    """Whether the state can be kept in `state`: writable, room, kept over a restart, in reasonable time."""
    if not state.is_dir():
        mend = f"mkdir -m 700 {state}"
        yield Finding("state directory", FAILED, f"{state} is not a directory", mend)
        return
    try:
        sync_s = _sync_s(state)
    except OSError as error:
        yield Finding("state directory", FAILED, f"{state}: {error.strerror}", f"sudo chown -R {os.getuid()} {state}")
        return
    if state.stat().st_mode & 0o077:
        yield Finding("state directory", WARNING, f"others may read {state}", f"chmod 700 {state}")
    found = os.statvfs(state)
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", FAILED, f"{free >> 20} MB free", f"free {LEAST_FREE_BYTES >> 20} MB, or use another disk")
    elif _file_system(state, root) in ("tmpfs", "ramfs"):
        yield Finding("disk", FAILED, "is memory: nothing survives a restart", "put --state on a disk")
    elif sync_s > SLOW_SYNC_S:
        yield Finding(
            "disk", WARNING, f"a synced write takes {sync_s:.2f} s", "use a faster card: every checkpoint waits"
        )
    else:
        yield Finding("disk", OK, f"{free >> 20} MB free, a synced write takes {1000 * sync_s:.0f} ms")


def key_file(keys: Path) -> Iterator[Finding]:
    """Whether the key file is there and nobody else's."""
    from flight.link.keys import KeyFileError, KeyRing

    try:
        KeyRing.load(keys)
    except (KeyFileError, OSError) as error:
        yield Finding("keys", FAILED, str(error), "swath-ground keys new makes a key file; both ends need the same")
        return
    if stat.S_IMODE(keys.stat().st_mode) & 0o077:
        yield Finding("keys", FAILED, f"others may read {keys}", f"chmod 600 {keys}")
    else:
        yield Finding("keys", OK, str(keys))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _meminfo(root: Path) -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    lines = (line.split() for line in (_text(root / "proc/meminfo") or "").splitlines())
    return {parts[0].rstrip(":"): int(parts[1]) << 10 for parts in lines if len(parts) > 1 and parts[1].isdigit()}


def _kernel_says_synchronised() -> bool:
    buffer = ctypes.create_string_buffer(512)  # struct timex with modes = 0: read only
    return int(ctypes.CDLL(None).adjtimex(buffer)) not in (-1, _TIME_ERROR)


def _file_system(path: Path, root: Path) -> str:
    """The type of the file system that holds `path`."""
    best, kind = "", ""
    for line in (_text(root / "proc/mounts") or "").splitlines():
        parts = line.split()
        if len(parts) > 2 and path.resolve().is_relative_to(parts[1]) and len(parts[1]) >= len(best):
            best, kind = parts[1], parts[2]
    return kind


def _sync_s(directory: Path) -> float:
    """Seconds that it takes to write and sync a small file."""
    begun_s = wall_s()
    with tempfile.NamedTemporaryFile(dir=directory, prefix="doctor-") as file:
        file.write(b"\0" * 4096)
        file.flush()
        os.fsync(file.fileno())
    return wall_s() - begun_s
