"""The encoder of an executive: the file that flight was started with, or an update in its place; or none.

Whatever keeps an encoder from its work is told by an event, and learners then see chips by the statistics of their
cells. Summaries and sums that were made through another encoder are of no use beside new ones: they start anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flight.encoder.file import EncoderFile, Limits
from flight.encoder.graph import EncoderError
from flight.integrity import MemoryFaultError
from flight.learn import LEARNERS
from flight.payload import SHOWN_BYTES
from flight.telemetry import short
from flight.updates import Slot, UpdateError

if TYPE_CHECKING:
    from flight.config import EncoderConfig, FlightConfig
    from flight.encoder.encoder import Encoder
    from flight.executive import Executive

SLOT = "encoder"
PART = "encoder"  # of memory, as events name it


def limits(config: EncoderConfig) -> Limits:
    """What a file may come to."""
    return Limits(config.max_bytes, config.max_activation_bytes, config.max_macs)


def learns_with(config: FlightConfig) -> bool:
    """Whether the learner that is configured can see chips through an encoder."""
    return LEARNERS[config.learner.name].takes_encoder


class EncoderSlot:
    """The encoder of an executive.

    `released` are the contents of the files that flight was started with: one and the same encoder in several formats,
    of which the first one that can be run is used.
    """

    def __init__(self, flight: Executive, released: Sequence[bytes]) -> None:
        self.flight, self.released = flight, tuple(released)
        self.current: Encoder | None = None
        self._content: bytes | None = None  # of the update in use

    def start(self) -> None:
        """Use what flight was started with, before any update."""
        self._use_released()

    def slot(self) -> Slot:
        """The slot for updates; its self-test is that of the encoder."""
        return Slot(self.flight.config.encoder.max_bytes, self._check, self._use)

    def _check(self, content: bytes) -> None:
        config = self.flight.config
        if not learns_with(config):
            raise UpdateError(f"learner {config.learner.name} learns without an encoder")
        try:
            file = EncoderFile.parse(content, limits(config.encoder))
        except EncoderError as error:
            raise UpdateError(str(error)) from error
        if not self.flight.up:
            return
        shape = self.flight.payload.chip_shape
        if shape not in (None, file.header.chip):
            raise UpdateError(f"it takes chips of {_times(file.header.chip)}, the camera's are {_times(shape or ())}")

    def _use(self, content: bytes | None) -> None:
        if content == self._content and self.current is not None:
            return  # as after a trial that failed
        if content is None:
            self._content = None
            self._use_released()
            return
        try:
            encoder = self._open(content)
        except EncoderError as error:
            raise UpdateError(str(error)) from error
        self._content = content
        self._put(encoder)

    def _use_released(self) -> None:
        """The first of the released files that can be run; none, with an event, if there are some and none can be."""
        if self.released and not learns_with(self.flight.config):
            self._missing(f"learner {self.flight.config.learner.name} takes none")
        elif self.released:
            reasons = list[str]()
            for content in self.released:
                try:
                    self._put(self._open(content))
                    return
                except EncoderError as error:
                    reasons.append(str(error))
            self._missing(reasons[0])
        self._put(None)

    def _open(self, content: bytes) -> Encoder:
        from flight.encoder.encoder import open_encoder

        config = self.flight.config.encoder
        return open_encoder(content, config.runtime, limits(config))

    def _put(self, encoder: Encoder | None) -> None:
        self.current = encoder
        if encoder is not None:
            header = encoder.file.header
            told = {"digest": bytes.fromhex(encoder.digest)[:SHOWN_BYTES], "runtime": short(encoder.runtime)}
            self.flight.emit("encoder-loaded", encoder=short(header.name), precision=header.precision, **told)
        if self.flight.up:
            self.flight.payload.use_encoder(encoder)
            self.flight.after_new_statistics()

    def _missing(self, reason: str) -> None:
        self.flight.emit("encoder-missing", reason=short(reason))

    def damaged(self) -> bool:
        """Whether the encoder no longer says of known chips what it said at first, or its file has changed."""
        return self.current is not None and not self.current.intact()

    def reopen(self) -> None:
        """Start the encoder anew from its file; MemoryFaultError, to end the process, if that is damaged as well."""
        if self.current is None:
            return
        try:
            self.current = self._open(self.current.file.data)
        except EncoderError as error:
            raise MemoryFaultError(f"{PART}: {error}") from error


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
