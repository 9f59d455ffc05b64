"""An independent CFDP entity, `cfdp-py`, on the tests' clock: its timers read the wall, which is replaced."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cfdppy import (
    CfdpUserBase,
    HostFilestore,
    IndicationConfig,
    LocalEntityConfig,
    PutRequest,
    RemoteEntityConfig,
    RemoteEntityConfigTable,
)
from cfdppy.exceptions import InvalidDestinationId, InvalidPduDirection, PduIgnoredForDest, PduIgnoredForSource
from cfdppy.handler import DestHandler, SourceHandler
from cfdppy.mib import CheckTimerProvider, DefaultFaultHandlerBase
from spacepackets.cfdp import ChecksumType, TransmissionMode
from spacepackets.cfdp.pdu import PduFactory
from spacepackets.countdown import Countdown
from spacepackets.seqcount import SeqCountProvider
from spacepackets.util import ByteFieldGenerator

IGNORED = (InvalidDestinationId, InvalidPduDirection, PduIgnoredForDest, PduIgnoredForSource)


class Faults(DefaultFaultHandlerBase):
    """Faults only go where the handlers of the library send them."""

    def notice_of_suspension_cb(self, transaction_id, cond, progress):
        """Nothing."""

    notice_of_cancellation_cb = abandoned_cb = ignore_cb = notice_of_suspension_cb


class User(CfdpUserBase):
    """Remembers how transactions ended."""

    def __init__(self) -> None:
        super().__init__(HostFilestore())
        self.finished = []

    def transaction_finished_indication(self, params):
        """A transaction ended."""
        self.finished.append(params.finished_params)

    def _nothing(self, *args, **kwargs):
        """Not of interest."""

    transaction_indication = eof_sent_indication = metadata_recv_indication = _nothing
    file_segment_recv_indication = report_indication = suspended_indication = resumed_indication = _nothing
    fault_indication = abandoned_indication = eof_recv_indication = _nothing


class Timers(CheckTimerProvider):
    """Check timers of class 1."""

    def provide_check_timer(self, local_entity_id, remote_entity_id, entity_type):
        """Two seconds."""
        return Countdown(timedelta(seconds=2))


class Peer:
    """One end of a transaction by `cfdp-py`; datagrams in, datagrams out."""

    def __init__(self, entity: int, remote: int, width: int = 1, crc: bool = False, **changes) -> None:
        self.user = User()
        self._remote = ByteFieldGenerator.from_int(width, remote)
        table = RemoteEntityConfigTable()
        settings = {
            "max_file_segment_len": 200,
            "max_packet_len": 256,
            "closure_requested": False,
            "crc_on_transmission": crc,
            "default_transmission_mode": TransmissionMode.ACKNOWLEDGED,
            "crc_type": ChecksumType.CRC_32,
            "positive_ack_timer_interval_seconds": 1.0,
            "positive_ack_timer_expiration_limit": 50,
            "nak_timer_interval_seconds": 1.0,
            "nak_timer_expiration_limit": 50,
        }
        table.add_config(RemoteEntityConfig(self._remote, **(settings | changes)))
        local = LocalEntityConfig(ByteFieldGenerator.from_int(width, entity), IndicationConfig(), Faults())
        self._parts = local, self.user, table, Timers()
        self._handler = None

    def put(self, file: Path, name: str, mode: TransmissionMode = TransmissionMode.ACKNOWLEDGED) -> None:
        """Send a file."""
        self._handler = SourceHandler(*self._parts, SeqCountProvider(16))
        assert self._handler.put_request(PutRequest(self._remote, file, Path(name), mode, None))

    def listen(self) -> None:
        """Take a file."""
        self._handler = DestHandler(*self._parts)

    def cancel(self) -> list[bytes]:
        """Give the transaction up; what it sends."""
        assert self._handler.cancel_request(self._handler.transaction_id)
        return self._sent()

    def step(self, datagram: bytes | None = None) -> list[bytes]:
        """Let it take a datagram, or do what is due; what it sends."""
        try:
            self._handler.state_machine(PduFactory.from_raw(datagram) if datagram else None)
        except IGNORED:
            return []
        return self._sent()

    def _sent(self) -> list[bytes]:
        sent = []
        while self._handler.packets_ready:
            sent.append(bytes(self._handler.get_next_packet().pdu.pack()))
        return sent
