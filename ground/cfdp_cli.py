"""``swath-ground cfdp``: one file out, or files in, as CFDP PDUs over UDP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flight.clock import unix_s
from flight.link.cfdp import checksum
from flight.link.cfdp.pdu import Finished, Transaction
from flight.link.cfdp.source import Source
from flight.link.cfdp.timing import Timing
from ground import udp
from ground.cfdp import Arrival, Receiving, Sending, safe_name
from ground.facts import show
from ground.files import write_bytes

MAX_FILE_BYTES = 1 << 28
app = typer.Typer(
    help="CFDP (CCSDS 727.0-B-5) class 2 with other entities, bare PDUs over UDP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

AckTimeout = Annotated[float, typer.Option(min=0.01, max=3600, help="Seconds until an unanswered PDU is repeated.")]
AckLimit = Annotated[int, typer.Option(min=1, max=1000, help="Repetitions before the transaction is given up.")]
Inactivity = Annotated[float, typer.Option(min=0.1, max=86400, help="Seconds of silence before it is given up.")]
PduBytes = Annotated[int, typer.Option(min=64, max=60_000, help="Greatest PDU sent.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def _fail(message: str) -> typer.Exit:
    typer.echo(f"swath-ground: {message}", err=True)
    return typer.Exit(1)


def _address(text: str) -> udp.Address:
    try:
        return udp.parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


class _Ticker:
    """A line of progress on stderr, at most once a second, if someone watches."""

    def __init__(self, quiet: bool) -> None:
        self._next_s = 1.0
        self._quiet = quiet or not sys.stderr.isatty()

    def __call__(self, now_s: float, text: str) -> None:
        if not self._quiet and now_s >= self._next_s:
            self._next_s = now_s + 1.0
            typer.echo(text, err=True)


@app.command("send")
def send(
    file: Annotated[Path, typer.Argument(help="File to send.", exists=True, dir_okay=False)],
    to: Annotated[str, typer.Option("--udp", metavar="HOST:PORT", help="Where the remote entity listens.")],
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where this entity listens; port 0 is any.")] = ":0",
    entity: Annotated[int, typer.Option(min=0, help="Entity id of this end.")] = 1,
    remote: Annotated[int, typer.Option(min=0, help="Entity id of the remote end.")] = 2,
    id_bytes: Annotated[int | None, typer.Option(min=1, max=8, help="Length of entity ids.  \\[shortest]")] = None,
    number: Annotated[int | None, typer.Option(min=0, help="Transaction sequence number.  [Unix time]")] = None,
    number_bytes: Annotated[int | None, typer.Option(min=1, max=8, help="Length of the number.  \\[shortest]")] = None,
    name: Annotated[str | None, typer.Option("--as", help="Name at the destination.  \\[the same]")] = None,
    checksum_type: Annotated[
        str, typer.Option("--checksum", help=f"Of the file: {', '.join(checksum.NAMES)}.")
    ] = "crc-32",
    crc: Annotated[bool, typer.Option(help="A CRC on every PDU.")] = False,
    large: Annotated[bool, typer.Option(help="64-bit sizes and offsets.")] = False,
    pdu_bytes: PduBytes = 1024,
    rate_bps: Annotated[float, typer.Option(min=100, help="Greatest rate of PDUs \\[bit/s].")] = 1e7,
    prompt: Annotated[bool, typer.Option(help="Ask for NAKs with Prompt PDUs once the EOF is acknowledged.")] = False,
    ack_timeout: AckTimeout = 1.0,
    ack_limit: AckLimit = 10,
    inactivity: Inactivity = 60.0,
    as_json: AsJson = False,
) -> None:
    """Send a file, and wait for the remote entity's word that it is complete."""
    if checksum_type not in checksum.NAMES:
        raise typer.BadParameter(f"--checksum: {checksum_type!r} is none of {', '.join(checksum.NAMES)}")
    number = int(unix_s()) & 0xFFFFFFFF if number is None else number
    shortest = Transaction.smallest(entity, remote, number)
    widths = id_bytes or shortest.id_bytes, number_bytes or shortest.number_bytes
    if max(entity, remote) >> 8 * widths[0] or number >> 8 * widths[1]:
        raise typer.BadParameter("--id-bytes and --number-bytes are too short for the ids and the number")
    transaction = Transaction(entity, remote, number, *widths, True, crc, large)
    names = (file.name, file.name if name is None else name)
    if not all(0 < len(each.encode()) < 256 for each in names):
        raise typer.BadParameter("--as: a name has 1 to 255 bytes")
    target, local = _address(to), _address(bind)
    if bind == ":0":
        local = ("::" if ":" in target[0] else "0.0.0.0", 0)  # noqa: S104 (replies may come from anywhere)
    timing = Timing(ack_timeout, attempts=ack_limit, inactivity_s=inactivity, prompts=prompt)
    try:
        data = _read(file)
        width = pdu_bytes - transaction.segment_overhead_bytes
        source = Source(transaction, data, names, width, timing, checksum.NAMES[checksum_type])
        sending, tick = Sending(source), _Ticker(as_json)

        def watch(now_s: float) -> None:
            tick(now_s, f"{file.name}: {len(data) - source.left_bytes} of {len(data)} bytes sent, {now_s:.0f} s")

        with udp.bound(local) as link:
            udp.send(link, sending, target, rate_bps, ack_timeout, watch)
    except OSError as error:
        raise _fail(f"{error.filename or to}: {error.strerror or error}") from None
    _report_sent(sending, names[1], len(data), as_json)


def _read(file: Path) -> bytes:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise OSError(27, f"has {file.stat().st_size} bytes, at most {MAX_FILE_BYTES} are sent", str(file))
    return file.read_bytes()


def _told(finished: Finished) -> dict[str, Any]:
    return {
        "success": finished.success,
        "condition": finished.condition.name.lower(),
        "complete": finished.complete,
        "file_status": finished.file_status.name.lower(),
        "message": finished.message,
    }


def _report_sent(sending: Sending, name: str, size: int, as_json: bool) -> None:
    outcome = sending.outcome or Finished(complete=False)
    number = sending.source.transaction.number
    facts = {"file": name, "bytes": size, "transaction": number, **_told(outcome), "ignored": sending.ignored}
    if as_json or outcome.success:
        show(f"{name}: delivered", facts, as_json)
    if not outcome.success:
        raise _fail(f"{name}: not delivered: {outcome.reason}")


@app.command("receive")
def receive(
    at: Annotated[str, typer.Option("--udp", metavar="HOST:PORT", help="Where this entity listens.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where files go.", exists=True, file_okay=False)],
    reply_to: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where replies go.  \\[to where PDUs come from]")
    ] = None,
    entity: Annotated[int | None, typer.Option(min=0, help="Entity id of this end.  \\[any]")] = None,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many transactions; 0 for no end.")] = 0,
    timeout: Annotated[float, typer.Option(min=0, help="Stop after so many seconds; 0 for no end.")] = 0.0,
    deferred: Annotated[bool, typer.Option(help="Report gaps only from the end of the file on.")] = False,
    nak_delay: Annotated[float, typer.Option(min=0, max=3600, help="Age of a gap that is reported \\[s].")] = 0.2,
    pdu_bytes: PduBytes = 1024,
    ack_timeout: AckTimeout = 1.0,
    ack_limit: AckLimit = 10,
    inactivity: Inactivity = 60.0,
    as_json: AsJson = False,
) -> None:
    """Receive files into a directory; one of the same name is replaced. A name's directories are left out."""
    timing = Timing(
        ack_timeout, nak_delay_s=nak_delay, attempts=ack_limit, inactivity_s=inactivity, immediate_nak=not deferred
    )

    def keep(name: str, data: bytes) -> None:
        write_bytes(directory / safe_name(name), data)

    receiving, tick, told = Receiving(keep, timing, MAX_FILE_BYTES, pdu_bytes, entity), _Ticker(as_json), 0

    def goes_on(now_s: float) -> bool:
        nonlocal told
        for arrival in receiving.arrivals[told:]:
            told += 1
            if not as_json:
                typer.echo(_line(arrival))
        for name, got, size in receiving.progress():
            tick(now_s, f"{name or '?'}: {got} of {size or '?'} bytes received")
        enough = count and len(receiving.arrivals) >= count and not len(receiving)
        return not enough and not (timeout and now_s >= timeout)

    local, answers = _address(at), _address(reply_to) if reply_to else None
    try:
        with udp.bound(local) as link:
            udp.receive(link, receiving, answers, goes_on)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise _fail(f"{error.filename or at}: {error.strerror or error}") from None
    _report_received(receiving, count, as_json)


def _line(arrival: Arrival) -> str:
    transaction = f"transaction {arrival.transaction.number} of entity {arrival.transaction.source}"
    if arrival.finished.success:
        return f"{arrival.name}: {arrival.size_bytes} bytes, {transaction}"
    return f"{arrival.name or '?'}: refused: {arrival.finished.reason}, {transaction}"


def _report_received(receiving: Receiving, count: int, as_json: bool) -> None:
    files = [
        {
            "file": arrival.name,
            "bytes": arrival.size_bytes,
            "source": arrival.transaction.source,
            "transaction": arrival.transaction.number,
            **_told(arrival.finished),
        }
        for arrival in receiving.arrivals
    ]
    if as_json:
        show("", {"files": files, "ignored": receiving.ignored}, True)
    kept = sum(arrival.finished.success for arrival in receiving.arrivals)
    if kept < max(count, len(files)):
        raise _fail(f"{kept} of {max(count, len(files))} files were received")
