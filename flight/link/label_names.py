"""Names of classes in five bits a letter: there are too few of them for a compressor to learn anything.

Codes 0 to 25 are a to z, then space, ``-`` and ``_``; 29 ends a name; 30 stands before a capital, as its lower-case
letter; 31 before any other byte of UTF-8, in eight bits.
"""

from __future__ import annotations

from . import pack as wire

_LETTERS = b"abcdefghijklmnopqrstuvwxyz -_"
_END, _CAPITAL, _BYTE = 29, 30, 31


def pack_names(names: tuple[str, ...]) -> bytes:
    """Names as bytes; CodecError if one is empty, too long or there twice."""
    bits = ""
    for byte in wire.join_names(names, "class"):
        if byte == 0:
            bits += f"{_END:05b}"
        elif byte in _LETTERS:
            bits += f"{_LETTERS.index(byte):05b}"
        elif byte | 32 in _LETTERS[:26]:
            bits += f"{_CAPITAL:05b}{_LETTERS.index(byte | 32):05b}"
        else:
            bits += f"{_BYTE:05b}{byte:08b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def read_names(reader: wire.Reader, n: int) -> tuple[str, ...]:
    """The next `n` names; CodecError for what cannot be."""
    bits = _Bits(reader)
    text = bytearray()
    longest = n * (wire.MAX_NAME_BYTES + 1)
    ends = 0
    while ends < n:
        code = bits.take(5)
        if code == _END:
            ends += 1
            text.append(0)
        elif code == _CAPITAL:
            code = bits.take(5)
            if code >= 26:
                raise reader.error(f"letter {code} of a class name has no capital")
            text.append(_LETTERS[code] ^ 32)
        else:
            text.append(bits.take(8) if code == _BYTE else _LETTERS[code])
        if len(text) > longest:
            raise reader.error(f"the class names are longer than {longest} bytes")
    return wire.split_names(bytes(text), n, "class")


class _Bits:
    """Bits of what a reader has, from the highest of each byte."""

    def __init__(self, reader: wire.Reader) -> None:
        self._reader = reader
        self._value = self._n = 0

    def take(self, n: int) -> int:
        """The next `n` bits."""
        while self._n < n:
            self._value = self._value << 8 | self._reader.raw("the class names", 1)[0]
            self._n += 8
        self._n -= n
        taken = self._value >> self._n
        self._value &= (1 << self._n) - 1
        return taken
