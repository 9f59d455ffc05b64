"""What label sets, regions, products and sequences share: an envelope, small integers, and deflate with a hard limit.

Every file starts alike, and says itself what it holds and how it is coded:

    offset  size  what
    0       1     kind: ``L`` label set, ``R`` region, ``P`` product, ``T`` municipal product, ``Q`` sequence,
                  ``U`` update, ``M`` model, ``E`` event log
    1       1     format: how the rest is coded; 1 is deflate (RFC 1951), 2 a range coder (`flight.link.coder`), and
                  3 the same, for a patch of what is on board already
    2       4     CRC-32 of the *decoded* content, big-endian
    6       ..    fields: unsigned LEB128 integers, and blocks (compressed length as LEB128, then a deflate stream)

A reader knows the exact decoded size of every block before it inflates it, so no input makes it allocate more than the
limits in `flight.config.LinkConfig` allow. Whatever does not fit them is a `CodecError`, and nothing else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LABEL_SET, REGION, PRODUCT, MUNICIPAL = b"L", b"R", b"P", b"T"
SEQUENCE, UPDATE, MODEL, EVENT_LOG = b"Q", b"U", b"M", b"E"
DEFLATE, RANGE, PATCH = 1, 2, 3
MAX_NAME_BYTES = 64
STORE_MAGIC = b"SWST"  # how records of `flight.store` begin
P = ParamSpec("P")
T = TypeVar("T")
_ENVELOPE = struct.Struct(">ccI")
_NAMES = {
    LABEL_SET: "label set",
    REGION: "region",
    PRODUCT: "product",
    MUNICIPAL: "municipal product",
    SEQUENCE: "sequence",
    UPDATE: "update",
    MODEL: "model",
    EVENT_LOG: "event log",
}
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
_U32 = 2**32 - 1


class CodecError(ValueError):
    """A file that cannot be decoded, or content that cannot be coded; the message says which part and why."""


def kind_of(data: bytes) -> str:
    """What a packed file says it is, such as "label set"; CodecError if it is none of them."""
    try:
        return _NAMES[data[:1]]
    except KeyError:
        known = ", ".join(_NAMES.values())
        raise CodecError(f"none of {known}: starts with {data[:4].hex() or 'nothing'}") from None


def crc(fields: tuple[int, ...], *parts: bytes | memoryview) -> int:
    """CRC-32 of decoded content: its header `fields` as 32-bit integers, then its `parts`."""
    value = zlib.crc32(struct.pack(f">{len(fields)}I", *fields))
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def deflate(data: bytes) -> bytes:
    """`data` as the smallest raw deflate stream among zlib's strategies."""
    streams = []
    for strategy in _STRATEGIES:
        coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        streams.append(coder.compress(data) + coder.flush())
    return min(streams, key=len)


class Writer:
    """Collects the fields of one file of `kind` in format `form`."""

    def __init__(self, kind: bytes, form: int = DEFLATE) -> None:
        self._kind = kind
        self._form = form
        self._body = bytearray()

    def integer(self, *values: int) -> None:
        """Append unsigned integers below 2**32."""
        for value in values:
            if not 0 <= value <= _U32:
                raise CodecError(f"{_NAMES[self._kind]}: {value} does not fit into 32 bits")
            while value > 127:
                self._body.append(value & 127 | 128)
                value >>= 7
            self._body.append(value)

    def raw(self, data: bytes) -> None:
        """Append bytes as they are, which their reader knows the number of."""
        self._body += data

    def block(self, data: bytes) -> None:
        """Append a compressed block, which its reader knows the decoded size of; nothing if that is 0."""
        if data:
            stream = deflate(data)
            self.integer(len(stream))
            self._body += stream

    def finish(self, content_crc: int) -> bytes:
        """The file."""
        return _ENVELOPE.pack(self._kind, bytes([self._form]), content_crc) + bytes(self._body)


class Reader:
    """Takes the fields of one file of `kind`, in one of `forms`, in the order in which they were written."""

    def __init__(self, kind: bytes, data: bytes, forms: tuple[int, ...] = (DEFLATE,)) -> None:
        self.name = _NAMES[kind]
        if len(data) < _ENVELOPE.size:
            raise self.error(f"{len(data)} bytes are too few for its envelope of {_ENVELOPE.size}")
        found, form, self._crc = _ENVELOPE.unpack_from(data)
        if found != kind:
            raise self.error(_stranger(data))
        self.form = form[0]
        if self.form not in forms:
            raise self.error(f"format {self.form} is not known here, only {' and '.join(map(str, forms))}")
        self._data = data
        self._at = _ENVELOPE.size

    def error(self, what: str) -> CodecError:
        """A CodecError that names the kind of file."""
        return CodecError(f"{self.name}: {what}")

    def integer(self, name: str, low: int = 0, high: int = _U32) -> int:
        """The next integer; CodecError if it is not within `low` and `high`."""
        value = 0
        for shift in range(0, 35, 7):
            if self._at >= len(self._data):
                raise self.error(f"ends within {name}")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
        else:
            raise self.error(f"{name} is longer than 32 bits")
        if not low <= value <= high:
            raise self.error(f"{name} is {value}, not between {low} and {high}")
        return value

    def raw(self, name: str, size: int) -> bytes:
        """The next `size` bytes as they are."""
        data = self._data[self._at : self._at + size]
        if len(data) < size:
            raise self.error(f"ends within {name}: {len(data)} of {size} bytes")
        self._at += size
        return data

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.raw("the rest", len(self._data) - self._at)

    def decoded(self, decode: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """What `decode` makes of a stream; its CodecError then names the kind of file."""
        try:
            return decode(*arguments, **options)
        except CodecError as error:
            raise self.error(str(error)) from None

    def block(self, name: str, size: int) -> bytes:
        """The next block, which must inflate to exactly `size` bytes."""
        if not size:
            return b""
        stream = self.raw(name, self.integer(f"the length of {name}", 1))
        decoder = zlib.decompressobj(-15)
        try:
            data = decoder.decompress(stream, size + 1)
        except zlib.error as error:
            raise self.error(f"{name} does not inflate ({error})") from None
        if len(data) != size or not decoder.eof or decoder.unused_data:
            raise self.error(f"{name} does not inflate to the {size} bytes announced")
        return data

    def finish(self, content_crc: int) -> None:
        """Check that nothing is left and that the decoded content has the CRC that was sent."""
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes too many at its end")
        if content_crc != self._crc:
            raise self.error(f"CRC-32 of the decoded content is {content_crc:08x}, expected {self._crc:08x}")


def _stranger(data: bytes) -> str:
    """What a file is that is not of the kind expected."""
    if data[:1] in _NAMES:
        return f"the file is a {_NAMES[data[:1]]}"
    if data.startswith(STORE_MAGIC):
        return "the file is a record of the flight segment's store, which holds such files in a form of its own"
    return f"the file is none: it starts with {data[:4].hex()}"


def join_names(names: tuple[str, ...], what: str) -> bytes:
    """Names as one string of bytes, each ended by NUL; CodecError if one is empty, too long or there twice."""
    encoded = [name.encode("utf-8", "replace") for name in names]
    for name, text in zip(names, encoded, strict=True):
        if not 1 <= len(text) <= MAX_NAME_BYTES or b"\0" in text or text.decode() != name:
            raise CodecError(f"{what} {name!r}: needs 1 to {MAX_NAME_BYTES} bytes of UTF-8 without NUL")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CodecError(f"{what} {name!r} is there twice")
        seen.add(name)
    return b"".join(text + b"\0" for text in encoded)


def split_names(data: bytes, count: int, what: str) -> tuple[str, ...]:
    """The inverse of `join_names`."""
    try:
        names = tuple(data.decode().split("\0"))
    except UnicodeDecodeError as error:
        raise CodecError(f"{what}: {error}") from None
    if len(names) != count + 1 or names[-1]:
        raise CodecError(f"{what}: {len(names) - 1} names, expected {count}")
    join_names(names[:-1], what)
    return names[:-1]
