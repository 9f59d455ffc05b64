"""What flight is started with, and if that cannot be used, what it was last started with: nobody is there to mend it.

A configuration or a bundle that radiation or a torn write has damaged must not end a mission. Once a process is up, it
keeps the two as they were in the record `start`; under `--fall-back` a later one takes them from there, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack

from flight.config import ConfigError, FlightConfig, parse
from flight.disk import FileDisk
from flight.store import Store, StoreError

if TYPE_CHECKING:
    from flight.bundle import Bundle
    from flight.link.keys import KeyRing

RECORD = "start"
FORMAT = 1
MAX_BYTES = 64 << 20
Read = tuple[bytes | None, bytes | None]  # configuration and bundle


@dataclass
class Start:
    """A checked configuration and bundle, the bytes that they were read from, and why they are not those given."""

    config: FlightConfig
    bundle: Bundle | None
    read: Read
    unusable: str = ""

    def keep(self, store: Store) -> None:
        """Remember this start, if it is not the one that is kept; a disk that refuses is told of by others."""
        kept, self.read = msgpack.packb({"format": FORMAT, "read": self.read}), (None, None)
        with suppress(StoreError):
            if not self.unusable and store.get(RECORD) != kept:
                store.put(RECORD, kept, twice=True)


def read(
    config: Path | None,
    bundle: Path | None,
    keys: KeyRing,
    state: Path | None = None,
    check: Callable[[FlightConfig], None] = lambda config: None,
) -> Start:
    """The configuration and the bundle in these files; by default the configuration in the bundle, if any.

    With `state`, the directory of earlier starts, those of the last one where they cannot be used or `check` raises.

    Raises:
        ConfigError, BundleError: they cannot be used, and there are no others.
    """
    try:
        return _checked((_bytes(config), _bytes(bundle)), (str(config), str(bundle)), keys, check)
    except ValueError as error:
        kept = _kept(state) if state is not None else None
        if kept is None:
            raise
        return replace(_checked(kept, (f"{state}/{RECORD}",) * 2, keys, check), unusable=str(error))


def _bytes(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_BYTES} bytes")
    return data


def _checked(given: Read, names: tuple[str, str], keys: KeyRing, check: Callable[[FlightConfig], None]) -> Start:
    (text, sealed), (name, bundle_name), opened = given, names, None
    if sealed is not None:
        from flight import bundle as bundles

        try:
            opened = bundles.parse(sealed, keys)
        except bundles.BundleError as error:
            raise bundles.BundleError(f"{bundle_name}: {error}") from error
    if text is None and opened is not None:
        text, name = opened.config, f"{bundle_name}: configuration"
    config = FlightConfig() if text is None else parse(text, name)
    check(config)
    return Start(config, opened, given)


def _kept(state: Path) -> Read | None:
    """What the record holds; None without one."""
    data = Store(FileDisk(state)).get(RECORD) if state.is_dir() else None
    if data is None:
        return None
    found = msgpack.unpackb(data)
    return (found["read"][0], found["read"][1]) if found["format"] == FORMAT else None
