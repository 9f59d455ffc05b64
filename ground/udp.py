"""CFDP over UDP sockets on the wall clock: the edge around `ground.cfdp`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flight.clock import ScaledClock, unix_s
from flight.link.cfdp.pdu import Transaction
from ground.cfdp import MAX_DATAGRAM_BYTES, Receiving, Sending

Address = tuple[str, int]
LONGEST_WAIT_S = 0.5
_BUFFER_BYTES = 1 << 22


def parse_address(text: str) -> Address:
    """HOST:PORT; ValueError if it is not that."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def bound(address: Address) -> Iterator[socket.socket]:
    """A UDP socket at a local address; OSError if that cannot be had."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        try:
            link.bind(address)
        except OSError as error:
            raise OSError(error.errno, error.strerror or "cannot be bound", f"{address[0]}:{address[1]}") from error
        yield link


def _incoming(link: socket.socket, wait_s: float) -> Iterator[tuple[bytes, Address]]:
    """All datagrams that are there, or that come within `wait_s`."""
    link.settimeout(max(0.0, wait_s) or 1e-6)
    try:
        while True:
            data, sender = link.recvfrom(MAX_DATAGRAM_BYTES)
            yield data, (sender[0], sender[1])
            link.settimeout(1e-6)
    except (TimeoutError, BlockingIOError, ConnectionRefusedError):
        return


def send(
    link: socket.socket,
    sending: Sending,
    remote: Address,
    rate_bps: float,
    linger_s: float,
    watch: Callable[[float], None],
) -> None:
    """Run one transaction to its end, and acknowledge repeated Finished PDUs for `linger_s` after it.

    `watch` is called with the seconds since the start, often. The remote entity's PDUs are taken from wherever they
    come. Interrupted (Ctrl-C), the transaction is cancelled and the far end told.
    """
    clock = ScaledClock(unix_s())
    next_s, done_s = 0.0, None
    while done_s is None or clock.now() < done_s + linger_s:
        try:
            now = clock.now()
            if done_s is None and sending.outcome is not None:
                done_s = now
            while next_s <= now and (datagram := sending.poll(now)):
                link.sendto(datagram, remote)
                next_s = max(next_s, now - LONGEST_WAIT_S) + 8 * len(datagram) / rate_bps
            watch(now)
            due = max(sending.due(), next_s) if done_s is None else done_s + linger_s
            for data, _ in _incoming(link, min(due - now, LONGEST_WAIT_S)):
                sending.hear(data, clock.now())
        except KeyboardInterrupt:
            sending.source.cancel()


def receive(
    link: socket.socket,
    receiving: Receiving,
    reply_to: Address | None,
    goes_on: Callable[[float], bool],
) -> None:
    """Take files until `goes_on`, asked with the seconds since the start, says no.

    Replies go to `reply_to`, or to where the transaction's last PDU came from.
    """
    clock = ScaledClock(unix_s())
    senders: dict[Transaction, Address] = {}
    while goes_on(clock.now()):
        now = clock.now()
        while reply := receiving.poll(now):
            to = reply_to or senders.get(reply[0])
            if to is not None:
                link.sendto(reply[1], to)
        for data, sender in _incoming(link, min(receiving.due() - now, LONGEST_WAIT_S)):
            transaction = receiving.hear(data, clock.now())
            if transaction is not None:
                senders.pop(transaction, None)
                senders[transaction] = sender
                if len(senders) > 4096:
                    del senders[next(iter(senders))]
