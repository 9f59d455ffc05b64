"""The parameter table: what of the configuration may be changed in flight, and the rules that a table must keep.

A table is TOML text with the sections and fields of the configuration; what it leaves out has the value that the
spacecraft was started with. `[[limits]]` replaces the table of limits whole. Nothing that decides what a learner's
weights become, or that both ends of the link must agree on, may be changed.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from flight import config as configuration
from flight import housekeeping, limits
from flight.config import ConfigError, FlightConfig
from flight.link.dictionary import encode
from flight.link.errors import LinkError
from flight.updates import Slot, UpdateError

if TYPE_CHECKING:
    from flight.executive import Executive

SLOT = "parameters"
MAX_BYTES = 8192
CHANGEABLE = {
    "executive": (
        "cycle_s", "housekeeping_s", "checkpoint_s", "settle_s", "train_within_s", "product_levels",
        "product_chips",
    ),
    "caps": ("cpu_share", "throttle_share"),
}  # fmt: skip


def changed(base: FlightConfig, table: bytes) -> FlightConfig:
    """`base` with the values of a table; UpdateError names what may not be changed, or has a wrong value."""
    if len(table) > MAX_BYTES:
        raise UpdateError(f"{len(table)} bytes, a table has at most {MAX_BYTES}")
    try:
        values = tomllib.loads(table.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateError(f"is not TOML: {error}") from error
    plain: dict[str, Any] = configuration.dump(base)
    if "limits" in values:
        plain["limits"] = values.pop("limits")
    for section, fields in values.items():
        known = CHANGEABLE.get(section)
        if known is None or not isinstance(fields, dict):
            raise UpdateError(f"{section}: may not be changed in flight, only {', '.join(CHANGEABLE)}")
        for name, value in fields.items():
            if name not in known:
                raise UpdateError(f"{section}.{name}: may not be changed in flight, only {', '.join(known)}")
            plain[section][name] = value
    try:
        config = configuration.build(FlightConfig, plain)
        limits.check(config.limits)
        return config
    except ConfigError as error:
        raise UpdateError(str(error)) from error


def slot(flight: Executive) -> Slot:
    """The slot of the parameter table of an executive; its self-test is a housekeeping packet with them in use."""

    def check(table: bytes) -> None:
        changed(flight.start_config, table)

    def use(table: bytes | None) -> None:
        before = flight.config
        flight.use(flight.start_config if table is None else changed(flight.start_config, table))
        if not flight.up:
            return
        try:
            encode("housekeeping", housekeeping.housekeeping(flight))
        except (ArithmeticError, ValueError, LinkError) as error:
            flight.use(before)
            raise UpdateError(f"no housekeeping with them: {error}") from error

    return Slot(MAX_BYTES, check, use)
