"""Checksums of whole files (727.0-B-5 4.2), by their number in SANA's registry of checksum types."""

from __future__ import annotations

import zlib

import numpy as np

MODULAR, CRC_32C, CRC_32, NULL = 0, 2, 3, 15
NAMES = {"modular": MODULAR, "crc-32c": CRC_32C, "crc-32": CRC_32, "null": NULL}
# Castagnoli's polynomial, bits reversed (RFC 3385).
_POLYNOMIAL_32C = 0x82F63B78


def _table() -> tuple[int, ...]:
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL_32C if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE_32C = _table()


def supported(checksum_type: int) -> bool:
    """Whether `compute` knows this type."""
    return checksum_type in NAMES.values()


def compute(checksum_type: int, data: bytes | bytearray) -> int:
    """The 32-bit checksum of a file; 0 for the null type, and for one that is not known (4.2.2.8)."""
    if checksum_type == CRC_32:
        return zlib.crc32(data)
    if checksum_type == MODULAR:
        return _modular(data)
    if checksum_type == CRC_32C:
        return _crc_32c(data)
    return 0


def _modular(data: bytes | bytearray) -> int:
    """Sum modulo 2^32 of big-endian words, the last one filled up with zeros (4.2.2)."""
    padded = bytes(data) + bytes(-len(data) % 4)
    return int(np.frombuffer(padded, ">u4").sum(dtype=np.uint64)) & 0xFFFFFFFF


def _crc_32c(data: bytes | bytearray) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE_32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
