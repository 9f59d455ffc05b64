"""The encoders of a mission: what flight is started with, what goes up later, and the same at the desk for scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flight.config import ConfigError
from flight.encoder import Encoder, EncoderError, EncoderFile, open_encoder
from flight.link import parcel
from flight.link.packet import FileKind
from flight.link.transfer import File
from ground.encoders import released
from ground.encoders.sizes import SLOT
from ground.station import Order
from sim.scenario import Scenario


def read(scenario: Scenario) -> tuple[bytes, ...]:
    """The files that flight is started with; ConfigError for one that cannot be read."""
    found = list[bytes]()
    for i, name in enumerate(scenario.encoder.files):
        if name == released.NAME:
            found += released.files()
            if not found:
                raise ConfigError(f"encoder.files[{i}]: this copy of swath comes without an encoder")
            continue
        try:
            found.append(Path(name).read_bytes())
        except OSError as error:
            raise ConfigError(f"encoder.files[{i}]: {name}: {error.strerror}") from None
    return tuple(found)


class DeskEncoders:
    """The encoders of a mission as the desk runs them, by digest; of `files` and of updates among `orders`."""

    def __init__(self, files: Iterable[bytes], orders: Iterable[Order]) -> None:
        self._files: dict[str, bytes] = {}
        self._open: dict[str, Encoder | None] = {"": None}
        self.problem = ""
        updates = [order.item for order in orders if isinstance(order.item, File)]
        contents = [_content(item) for item in updates if item.kind == FileKind.UPDATE]
        for data in (*files, *contents):
            try:
                self._files[EncoderFile.parse(data).digest] = data
            except EncoderError:
                continue  # flight will say what is wrong with it

    def knows(self, digest: str) -> bool:
        """Whether the encoder with this digest can be run here; an empty one stands for none, and needs nothing."""
        if digest not in self._open and digest in self._files:
            try:
                self._open[digest] = open_encoder(self._files[digest])
            except EncoderError as error:
                self.problem = str(error)
        return digest in self._open

    def get(self, digest: str) -> Encoder | None:
        """The encoder with a digest that is known."""
        return self._open[digest]


def _content(item: File) -> bytes:
    """The encoder in an update, or nothing."""
    update = parcel.unpack_update(item.data, 1 << 26)
    return update.content if update.slot == SLOT else b""
