"""Kernels of a list of names, and of the numbers that go with them."""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers import SLOT_BITS
from flight.kernels.buffers.names import AT, BEFORE, LEFT, LONGEST, N_CONTEXTS, NUMBERS, SET_SIZE, START
from flight.kernels.coding import BAD, MODE, OK, STATUS, code_adaptive, code_even, code_mixed
from flight.kernels.grid import hashed, size_class

LIMIT, RATE = 255, 20


def names(
    rc: Ints,
    buf: Bytes,
    text: Bytes,
    goal: Bytes,
    progress: Ints,
    n_bytes: int,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
) -> int:
    """Code the next `n_bytes` of names, each ended by a zero; 1 if more are left, 0 if not.

    Args:
        text: the names so far; `goal`: all of them, not read when decoding.
        progress: bytes so far, where the current name and the one before it start, names left, bytes of the longest.
    """
    while progress[LEFT] > 0 and n_bytes > 0 and rc[STATUS] == OK:
        n_bytes -= 1
        at, start, before = progress[AT], progress[START], progress[BEFORE]
        place = at - start
        same = 1
        i = 0
        while i < place and same == 1:
            if before + i >= start or text[before + i] != text[start + i]:
                same = 0
            i += 1
        above = text[before + place] if before + place < start else 0
        last = text[at - 1] if at > 0 else 0
        true = goal[at] if rc[MODE] != 0 else 0
        byte = 1
        while byte < 256:
            slots[0] = hashed(byte * 128 + place, above * 2 + same, 0)
            slots[1] = hashed(byte * 128 + place, last, 100 + same) + (1 << SLOT_BITS)
            slots[2] = hashed(byte, same, 200) + (2 << SLOT_BITS)
            sets[0] = same * SET_SIZE
            bit = (true >> (8 - size_class(byte))) & 1
            byte = byte * 2 + code_mixed(
                rc, buf, bit, counts, slots, N_CONTEXTS, LIMIT, weights, sets, 1, RATE, tables, scratch
            )
        text[at] = byte & 255
        progress[AT] = at + 1
        if byte & 255 == 0:
            progress[BEFORE] = start
            progress[START] = at + 1
            progress[LEFT] -= 1
        elif place + 1 > progress[LONGEST]:
            rc[STATUS] = BAD
    return 1 if progress[LEFT] > 0 and rc[STATUS] == OK else 0


def numbers(
    rc: Ints, buf: Bytes, values: Ints, goal: Ints, hints: Ints, first: int, last: int, bits: int, counts: Ints
) -> int:
    """Code `values[first:last]`, of `bits` bits, as differences to those at `hints`, which come before; the status."""
    for i in range(first, last):
        hint = values[hints[i]] if hints[i] >= 0 else 0
        distance = 0
        if rc[MODE] != 0:
            distance = 2 * (goal[i] - hint) if goal[i] >= hint else 2 * (hint - goal[i]) - 1
        size = 0
        true_size = size_class(distance)
        while size <= bits and code_adaptive(rc, buf, 1 if true_size > size else 0, counts, NUMBERS + size, 255) == 1:
            size += 1
        value = 0
        if size > 0:
            value = (1 << (size - 1)) | code_even(rc, buf, size - 1, distance & ((1 << (size - 1)) - 1))
        value = hint + value // 2 if value % 2 == 0 else hint - (value + 1) // 2
        if value < 0 or value >= 1 << bits:
            rc[STATUS] = BAD
            return BAD
        values[i] = value
    return rc[STATUS]
