"""The dictionary as a Markdown page."""

from __future__ import annotations

from flight.link.dictionary import TABLES, body_bytes
from flight.link.packet import Apid

_TITLES = {
    Apid.COMMAND: "Telecommands",
    Apid.ACKNOWLEDGEMENT: "Acknowledgement",
    Apid.HOUSEKEEPING: "Telemetry",
    Apid.EVENT: "Events",
}
_INTRODUCTION = """# Telecommand and telemetry dictionary

What travels is Space Packets (CCSDS 133.0-B). Their data fields are packed, numbers big-endian and of the size given
below, so that any decoder can be told of them: `swath-ground dictionary xtce -o swath.xml` writes all of this as XTCE.

| APID | data field |
| --- | --- |
| telecommand, acknowledgement | id (u8), number of the telecommand (u32), fields |
| telemetry, event | secondary header: `t_s`; then id (u8), other fields |

`CUC 4+2` is the CCSDS unsegmented time code (301.0-B) with four octets of seconds and two of fraction since
1970-01-01T00:00:00 UTC, without its P-field (which would be 0x2E). On-board time counts from the mission's start until
it is set. A text, or bytes of no fixed length, begins with a length octet. Whatever is not exactly as declared is
refused.

Telecommands are `vital` or `critical` by ISO 14950 where they say so: the ground sends either only when its operator
confirms it, and on board a critical one needs an `arm` that names it before. In a schedule or a sequence a telecommand
is *embedded* as its id (u8) and its fields.
"""


def page() -> str:
    """The page docs/dictionary.md."""
    lines = [_INTRODUCTION]
    for apid, table in TABLES.items():
        lines += [f"## {_TITLES[apid]} (APID 0x{apid:02x})", ""]
        for declared in table:
            lines += [f"### {declared.id} `{declared.name}`" + "".join(f", {mark}" for mark in declared.marks), ""]
            lines += [f"{declared.help} At most {body_bytes(apid, declared)} bytes.", ""]
            if declared.fields:
                lines += ["| field | type | layout | range | unit | meaning |", "| --- | --- | --- | --- | --- | --- |"]
                lines += [
                    f"| {f.name} | {f.kind} | {f.layout} | {f.range} | {f.unit} | {f.help} |" for f in declared.fields
                ] + [""]
    return "\n".join(lines)
