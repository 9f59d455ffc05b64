"""The watchdogs above the supervisor: systemd's (sd_notify) and a hardware timer, stroked only while flight is well.

sd_notify is a datagram to the socket in NOTIFY_SOCKET (systemd, sd_notify(3)). A hardware watchdog is a device such as
/dev/watchdog: each write restarts its timer, and the letter V before closing disarms it (Linux,
Documentation/watchdog/watchdog-api.rst).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


class Watchdogs:
    """Tells those that watch the supervisor; without any it does nothing. OSError if the device cannot be opened."""

    def __init__(self, device: Path | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._device = os.open(device, os.O_WRONLY | os.O_CLOEXEC) if device is not None else None

    def stroke(self) -> None:
        """All is well."""
        self._notify("WATCHDOG=1")
        if self._device is not None:
            with suppress(OSError):
                os.write(self._device, b"\0")

    def ready(self, status: str) -> None:
        """Flight is up."""
        self._notify(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """A word for `systemctl status`."""
        self._notify(f"STATUS={status}")

    def end(self) -> None:
        """Stop watching: the end is wanted."""
        self._notify("STOPPING=1")
        if self._device is not None:
            with suppress(OSError):
                os.write(self._device, b"V")
            os.close(self._device)
            self._device = None

    def _notify(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
