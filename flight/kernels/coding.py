"""Kernels of the range coder: one decision at a time, with a probability that is given, adaptive, or mixed.

Each kernel both encodes and decodes, as the coder's state says, so that a model is written once: when encoding, `bit`
is coded and returned; when decoding, `bit` is ignored and what was decoded is returned. A coder that learns codes
nothing and returns `bit`: so a model learns from what both sides know.

The coder: Martin, "Range encoding" (1979), with carry propagation and 32 bits of range. Mixing: Mahoney, "Adaptive
weighing of context models for lossless data compression" (2005), section 3: inputs ln(p / (1 - p)), weighted, squashed,
and trained online on the coding error. Probabilities are those of a 1, in 65536ths.

Coder state (see `flight.link.coder`), 9 integers: mode, low, range, code or cache, bytes pending or read past the end,
position, size of the buffer, status, decisions left.
"""

from __future__ import annotations

from flight.kernels import Bytes, Ints

MODE, LOW, RANGE, CODE, PENDING, AT, SIZE, STATUS, LEFT = 0, 1, 2, 3, 4, 5, 6, 7, 8
STATE_SIZE = 9
DECODE, ENCODE, LEARN = 0, 1, 2
OK, FULL, OVERRUN, LIMIT, BAD = 0, 1, 2, 3, 4

TOP = 1 << 24  # the range stays at or above this
ONE = 1 << 16  # probability 1
SLACK = 4  # bytes that a decoder may read past the end, as zeros

# The flat table: squash for -REACH .. REACH, stretch of 4096 probabilities, confidence of 1024 counts.
REACH = 2815  # 11 in units of 1/256
STRETCH_AT = 2 * REACH + 1
CONFIDENCE_AT = STRETCH_AT + 4096
TABLES_SIZE = CONFIDENCE_AT + 1024
NEW = 1 << 31  # adaptive probability 1/2, never seen: 22 bits of probability, 10 of count
WEIGHT_ONE = 1 << 16


def code_bit(rc: Ints, buf: Bytes, p: int, bit: int) -> int:
    """Code one decision whose probability of being 1 is `p` / 65536, with `p` from 1 to 65535."""
    if rc[MODE] == LEARN:
        return bit
    if rc[STATUS] != OK:
        return 0
    left = rc[LEFT] - 1
    if left < 0:
        rc[STATUS] = LIMIT
        return 0
    rc[LEFT] = left
    width = rc[RANGE]
    bound = (width * p) >> 16
    if rc[MODE] == ENCODE:
        if bit != 0:
            width = bound
        else:
            rc[LOW] += bound
            width -= bound
        while width < TOP:
            width <<= 8
            shift_out(rc, buf)
    else:
        code = rc[CODE]
        if code < bound:
            width = bound
            bit = 1
        else:
            code -= bound
            width -= bound
            bit = 0
        while width < TOP:
            width <<= 8
            at = rc[AT]
            code <<= 8
            if at < rc[SIZE]:
                code += buf[at]
                rc[AT] = at + 1
            else:
                rc[PENDING] += 1
                if rc[PENDING] > SLACK:
                    rc[STATUS] = OVERRUN
                    return 0
        rc[CODE] = code
    rc[RANGE] = width
    return bit


def shift_out(rc: Ints, buf: Bytes) -> int:
    """Move the top byte of `low` out of an encoder, keeping back what a carry may still change."""
    low = rc[LOW]
    if low < 0xFF000000 or low > 0xFFFFFFFF:
        carry = low >> 32
        at = rc[AT]
        if at + rc[PENDING] + 1 > rc[SIZE]:
            rc[STATUS] = FULL
            return FULL
        if rc[CODE] >= 0:
            buf[at] = (rc[CODE] + carry) & 255
            at += 1
        for _ in range(rc[PENDING]):
            buf[at] = (255 + carry) & 255
            at += 1
        rc[AT] = at
        rc[PENDING] = 0
        rc[CODE] = (low >> 24) & 255
    else:
        rc[PENDING] += 1
    rc[LOW] = (low & 0x00FFFFFF) << 8
    return OK


def flush(rc: Ints, buf: Bytes) -> int:
    """End an encoder's stream with as few bytes as say where it is; the status."""
    low = rc[LOW]
    last = low + rc[RANGE] - 1
    bits = 32
    while (last >> bits) << bits < low:
        bits -= 1
    rc[LOW] = (last >> bits) << bits
    for _ in range(5):
        shift_out(rc, buf)
    for _ in range(SLACK):
        if rc[AT] > 0 and buf[rc[AT] - 1] == 0:
            rc[AT] -= 1
        else:
            break
    return rc[STATUS]


def code_even(rc: Ints, buf: Bytes, n_bits: int, value: int) -> int:
    """Code an integer of `n_bits` (at most 32), all of whose values are as likely."""
    result = 0
    for i in range(n_bits - 1, -1, -1):
        result = result * 2 + code_bit(rc, buf, ONE // 2, (value >> i) & 1)
    return result


def code_adaptive(rc: Ints, buf: Bytes, bit: int, counts: Ints, slot: int, limit: int) -> int:
    """Code one decision with the adaptive probability at `counts[slot]`, and learn from it.

    After n decisions the probability moves by 1 / (n + 1.5) of the way, with n held at `limit` (at most 1023).
    """
    state = counts[slot]
    p = state >> 16
    if p < 1:
        p = 1
    elif p > ONE - 1:
        p = ONE - 1
    bit = code_bit(rc, buf, p, bit)
    counts[slot] = moved(state, bit, limit)
    return bit


def moved(state: int, bit: int, limit: int) -> int:
    """An adaptive probability after one more decision."""
    p = state >> 10
    n = state & 1023
    if bit != 0:
        p += (((1 << 22) - 1 - p) * 2) // (2 * n + 3)
    else:
        p -= (p * 2) // (2 * n + 3)
    if n < limit:
        n += 1
    return (p << 10) | n


def code_mixed(
    rc: Ints,
    buf: Bytes,
    bit: int,
    counts: Ints,
    slots: Ints,
    n: int,
    limit: int,
    weights: Ints,
    sets: Ints,
    k: int,
    rate: int,
    tables: Ints,
    scratch: Ints,
) -> int:
    """Code one decision with the `n` adaptive probabilities `counts[slots[i]]`, mixed, and learn from it.

    Each of `k` weight sets starts at `weights[sets[j]]`: how often it was used, then n + 1 weights in 65536ths, the
    last for a constant input. Each learns from its own error, at `rate` that is 16 times as high when the set is new;
    the mean of what they say, as logarithms of odds, is coded. `scratch` holds n + 1 + k integers.
    """
    for i in range(n):
        state = counts[slots[i]]
        scratch[i] = (tables[STRETCH_AT + (state >> 20)] * tables[CONFIDENCE_AT + (state & 1023)]) >> 8
    scratch[n] = 256
    total = 0
    for j in range(k):
        at = sets[j] + 1
        dot = 0
        for i in range(n + 1):
            dot += scratch[i] * weights[at + i]
        dot >>= 16
        if dot > REACH:
            dot = REACH
        elif dot < -REACH:
            dot = -REACH
        scratch[n + 1 + j] = dot
        total += dot
    p = tables[REACH + total // k]
    bit = code_bit(rc, buf, p, bit)
    goal = ONE if bit != 0 else 0
    for j in range(k):
        at = sets[j]
        uses = weights[at]
        if uses < 255:
            weights[at] = uses + 1
        step = (goal - tables[REACH + scratch[n + 1 + j]]) * (rate + (15 * rate * 4) // (uses + 4))
        at += 1
        for i in range(n + 1):
            weights[at + i] += (scratch[i] * step + (1 << 19)) >> 20
    for i in range(n):
        slot = slots[i]
        counts[slot] = moved(counts[slot], bit, limit)
    return bit
