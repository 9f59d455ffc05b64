"""Kernel of bytes of any kind: text, tables, weights.

A byte is eight decisions, from its highest bit down. Contexts are the one, two and three bytes before it, for text; and
its place within eight bytes, and that within four with the byte four places before it, for tables of 32- and 64-bit
numbers.
"""

from __future__ import annotations

from flight.kernels import Bytes, Ints
from flight.kernels.buffers import SLOT_BITS
from flight.kernels.buffers.bytewise import BY_NOTHING, BY_PLACE, N_CONTEXTS, SET_SIZE
from flight.kernels.coding import MODE, OK, STATUS, code_mixed
from flight.kernels.grid import hashed

LIMIT, RATE = 255, 6
_BITS = 8


def content(
    rc: Ints,
    buf: Bytes,
    text: Bytes,
    first: int,
    last: int,
    counts: Ints,
    weights: Ints,
    tables: Ints,
    slots: Ints,
    sets: Ints,
    scratch: Ints,
) -> int:
    """Code the bytes `text[first:last]`, those before it being known; the status."""
    for at in range(first, last):
        if rc[STATUS] != OK:
            break
        one = text[at - 1] if at > 0 else 0
        two = text[at - 2] if at > 1 else 0
        three = text[at - 3] if at > 2 else 0
        four = text[at - 4] if at > 3 else 0
        place = at & 3
        sets[0] = place * SET_SIZE
        true = text[at] if rc[MODE] != 0 else 0
        node = 1
        for i in range(_BITS - 1, -1, -1):
            slots[0] = hashed(node, one, 1)
            slots[1] = hashed(node, one * 256 + two, 2) + (1 << SLOT_BITS)
            slots[2] = hashed(node, (one * 256 + two) * 256 + three, 3) + (2 << SLOT_BITS)
            slots[3] = hashed(node, four * 4 + place, 4) + (3 << SLOT_BITS)
            slots[4] = BY_PLACE + (at & 7) * 256 + node
            slots[5] = BY_NOTHING + node
            bit = (true >> i) & 1
            node = node * 2 + code_mixed(
                rc, buf, bit, counts, slots, N_CONTEXTS, LIMIT, weights, sets, 1, RATE, tables, scratch
            )
        text[at] = node & 255
    return rc[STATUS]
