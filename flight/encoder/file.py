"""An encoder file: a TFLite or ONNX network that says of itself, in its metadata, what it takes and gives.

The metadata are one JSON object. Its `sha256` is of the whole file, with the place of that digest filled with zeros: so
a file shows any damage, whatever brought it. Everything here is checked before a runtime sees the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.encoder.graph import EncoderError, Graph

FORMAT = 1
BLANK = "0" * 64
PRECISIONS = ("fp32", "int8")
ANSWER_CHIPS = 2  # chips with known answers
ANSWER_CELLS = 3  # values of each: the first cell, one in the middle, the mean of all
_COUNTS = 255
_MARK = b'"sha256": "'
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What a file may come to: its bytes, bytes of activations at once, and products for one chip."""

    file_bytes: int = 1 << 20
    activation_bytes: int = 8 << 20
    macs: int = 500_000_000


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes:
        name: of the encoder.
        precision: "fp32" or "int8".
        bands: the name of each band.
        mean, std: how bytes become what the first layer takes, (byte - mean) / std; done within the network.
        chip: (height, width, bands).
        grid: (rows, cols, width) of an embedding.
        low, top: (width,) least and greatest value of each component on calibration chips.
        frozen: digest of the frozen encoder that it was made of.
        trained: how that was trained.
        answers: of each chip of `known_chips`, `ANSWER_CELLS` lists of (width,) counts of `counts`.
    """

    name: str
    precision: str
    bands: tuple[str, ...]
    mean: int
    std: tuple[float, ...]
    chip: tuple[int, int, int]
    grid: tuple[int, int, int]
    low: tuple[float, ...]
    top: tuple[float, ...]
    frozen: str
    trained: dict[str, Any]
    answers: tuple[tuple[tuple[int, ...], ...], ...]

    def counts(self, grid: Floats) -> list[list[int]]:
        """The known answer of one chip (rows, cols, width): values as 0 to 255 from `low` to `top`, nearest ones."""
        low, top = np.array(self.low, np.float64), np.array(self.top, np.float64)
        cells = np.stack([grid[0, 0], grid[grid.shape[0] // 2, grid.shape[1] // 2], grid.mean((0, 1), np.float64)])
        found: list[list[int]] = np.rint(_COUNTS * (cells - low) / (top - low)).astype(int).tolist()
        return found


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """A file that was checked: its bytes, what it says of itself, its network, and its digest in hex."""

    data: bytes
    header: Header
    graph: Graph
    digest: str

    @classmethod
    def parse(cls, data: bytes, limits: Limits | None = None) -> EncoderFile:
        """The file in `data`; EncoderError says what is wrong with it."""
        most = limits or Limits()
        if len(data) > most.file_bytes:
            raise EncoderError(f"{len(data)} bytes; at most {most.file_bytes} are taken")
        from flight.encoder import flatbuffer, protobuf  # 600 lines that a flight without an encoder does without

        parse = flatbuffer.parse if data[4:8] == flatbuffer.IDENTIFIER else protobuf.parse
        digest = _check_digest(data)
        graph, metadata = parse(data)
        header = _header(metadata)
        if graph.peak > most.activation_bytes or graph.macs > most.macs:
            raise EncoderError(
                f"it takes {graph.peak} bytes of activations and {graph.macs} products a chip; allowed are "
                f"{most.activation_bytes} and {most.macs}"
            )
        for name, shape, kind in ((graph.input, header.chip, "uint8"), (graph.output, header.grid, "float32")):
            tensor = graph.tensors[name]
            if (tensor.shape, tensor.kind) != ((1, *shape), kind):
                raise EncoderError(f"the network has {tensor.kind} {tensor.shape} where {kind} {(1, *shape)} is said")
        return cls(data, header, graph, digest)

    def check_digest(self) -> None:
        """EncoderError if the bytes are no longer what they were."""
        _check_digest(self.data)


def metadata(header: Header) -> bytes:
    """The metadata of a file that is being made; `sealed` fills in its digest afterwards."""
    plain = {"format": FORMAT, "sha256": BLANK, **{f.name: getattr(header, f.name) for f in fields(header)}}
    return json.dumps(plain).encode()


def sealed(data: bytes) -> bytes:
    """A file that was just made with `metadata`, with its digest."""
    at = _place(data)
    if data[at : at + 64] != BLANK.encode():
        raise EncoderError("it has a digest already")
    return data[:at] + hashlib.sha256(data).hexdigest().encode() + data[at + 64 :]


def _place(data: bytes) -> int:
    """Where the digest is."""
    at = data.find(_MARK)
    if at < 0 or data.find(_MARK, at + 1) >= 0:
        raise EncoderError("not an encoder file of swath's, or damaged: make one with swath-ground encoder export")
    return at + len(_MARK)


def _check_digest(data: bytes) -> str:
    at = _place(data)
    said = data[at : at + 64]
    digest = hashlib.sha256(data[:at] + BLANK.encode() + data[at + 64 :]).hexdigest()
    if said != digest.encode():
        raise EncoderError(f"its SHA-256 is {digest[:16]}..., not {said[:16].decode('ascii', 'replace')}... as it says")
    return digest


def _header(metadata: bytes) -> Header:
    try:
        found = json.loads(metadata)
        if found.pop("format") != FORMAT:
            raise EncoderError(f"its metadata are not of format {FORMAT}")
        found.pop("sha256")
        header = Header(**{name: _tuples(value) for name, value in found.items()})
        _check_header(header)
        return header
    except EncoderError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise EncoderError(f"its metadata cannot be read: {error}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _check_header(header: Header) -> None:
    width = header.grid[2]
    sizes = [len(header.chip), len(header.grid), len(header.bands), len(header.std), len(header.low), len(header.top)]
    if sizes != [3, 3, header.chip[2], header.chip[2], width, width]:
        raise EncoderError(f"its metadata have lists of {sizes} values, which do not fit")
    if not all(isinstance(text, str) for text in (header.name, header.frozen, *header.bands)):
        raise EncoderError("its metadata have a name that is not text")
    if header.precision not in PRECISIONS or not isinstance(header.trained, dict):
        raise EncoderError(f"its metadata tell of a network in {header.precision!r}; known are {', '.join(PRECISIONS)}")
    ends = np.array([header.low, header.top], np.float64)
    if not np.isfinite(ends).all() or not (ends[0] < ends[1]).all():
        raise EncoderError("its metadata have a range that is none")
    if np.array(header.answers, np.int64).shape != (ANSWER_CHIPS, ANSWER_CELLS, width):
        raise EncoderError("its metadata have not the known answers")


def known_chips(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Chips (`ANSWER_CHIPS`, *shape) that are the same everywhere: blocks of a few colours, with some texture."""
    chip, row, col, band = np.indices((ANSWER_CHIPS, *shape), np.uint32)
    mixed = (row // 12 * 2654435761 ^ col // 12 * 2246822519 ^ (band + 5 * chip) // 2 * 3266489917) & 0xFFFFFFFF
    texture = (row * 31 + col * 17 + row * col * 7 + band) % 13
    chips: NDArray[np.uint8] = (64 + (mixed >> np.uint32(13)) % 97 + 2 * texture).astype(np.uint8)
    return chips
