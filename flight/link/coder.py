"""The range coder: streams, tables and models for the kernels of `flight.kernels.coding`.

Every probability is an integer in 65536ths and every table is made by integer arithmetic, so that the ground and the
satellite agree to the bit whatever their processors. A codec consists of one kernel file, which both encodes and
decodes, and of a caller like this:

    coder = encoder(capacity, backend)          # or decoder(data, max_decisions, backend)
    counts = adaptive(n_contexts, backend)      # probabilities 1/2, never seen
    kernel(coder.state, coder.buffer, counts, ...)
    data = coder.finish()                       # CodecError if the stream was too long, cut short or had bytes left

Within the kernel, `coding.code_bit`, `code_even`, `code_adaptive` and `code_mixed` code one decision each. A kernel
looks at `state[STATUS]` now and then and returns when it is not OK; decisions after an error are zeros, so that a loop
whose length was checked before always ends. Mixed decisions also need `mixer(n_sets, n_inputs, backend)` for weights,
`tables(backend)`, and `scratch`.
"""

from __future__ import annotations

import hashlib
from array import array
from functools import cache

from flight.kernels import Bytes, Ints, coding, integers, octets

from .pack import CodecError

TABLES_SHA256 = "f10acfc044e2a95d0e27642c3ff7d3a582965a7a11307bad6b9b631446352555"
_PLACES = 96  # binary places of the fixed-point numbers that the tables are made with
_ERRORS = {
    coding.FULL: "the stream is longer than it may be",
    coding.OVERRUN: "the stream ends too early",
    coding.LIMIT: "the stream holds more decisions than it may",
    coding.BAD: "the stream decodes to what cannot be",
}


class Coder:
    """A stream being coded: `state` and `buffer` are for the kernels, `finish` ends it."""

    def __init__(self, state: Ints, buffer: Bytes) -> None:
        self.state = state
        self.buffer = buffer

    @property
    def bits(self) -> int:
        """Bits of information that have been encoded so far."""
        whole = self.state[coding.AT] + self.state[coding.PENDING] + (self.state[coding.CODE] >= 0)
        return int(8 * whole + 32 - int(self.state[coding.RANGE]).bit_length())

    def check(self) -> None:
        """CodecError if the stream has gone wrong."""
        if self.state[coding.STATUS] != coding.OK:
            raise CodecError(_ERRORS[int(self.state[coding.STATUS])])

    def finish(self) -> bytes:
        """The stream that was encoded, or b"" at the end of one decoded; CodecError unless all of it was right."""
        if self.state[coding.MODE] == coding.ENCODE:
            if self.state[coding.STATUS] == coding.OK:
                coding.flush(self.state, self.buffer)
            self.check()
            return bytes(memoryview(self.buffer)[: int(self.state[coding.AT])])  # type: ignore[arg-type]
        self.check()
        if self.state[coding.AT] < self.state[coding.SIZE]:
            raise CodecError(f"the stream has {self.state[coding.SIZE] - self.state[coding.AT]} bytes too many")
        return b""


def encoder(capacity: int, backend: str) -> Coder:
    """A coder that writes a stream of at most `capacity` bytes."""
    state = [coding.ENCODE, 0, 0xFFFFFFFF, -1, 0, 0, capacity, coding.OK, 1 << 62]
    return Coder(integers(state, backend), octets(capacity, backend))


def decoder(data: bytes, max_decisions: int, backend: str) -> Coder:
    """A coder that reads the stream `data`, of at most `max_decisions` decisions."""
    head = data[: coding.SLACK]
    code = int.from_bytes(head.ljust(coding.SLACK, b"\0"), "big")
    missing = coding.SLACK - len(head)
    state = [coding.DECODE, 0, 0xFFFFFFFF, code, missing, len(head), len(data), coding.OK, max_decisions]
    return Coder(integers(state, backend), octets(data, backend))


def learner(backend: str) -> Coder:
    """A coder that codes nothing, for models to learn from what both sides know."""
    return Coder(integers([coding.LEARN, 0, 0, 0, 0, 0, 0, coding.OK, 0], backend), octets(1, backend))


def adaptive(n_slots: int, backend: str) -> Ints:
    """`n_slots` adaptive probabilities of 1/2."""
    return integers(n_slots, backend, coding.NEW)


def mixer(n_sets: int, n_inputs: int, backend: str, weight: int = 0) -> Ints:
    """Weights of `n_sets` sets for `n_inputs` inputs each; set i starts at i x (n_inputs + 2). `weight` in 65536ths.

    Weights are 1.2 / n_inputs at first, or `weight`; that of the constant input is 0.
    """
    first = weight or 6 * coding.WEIGHT_ONE // (5 * n_inputs)
    return integers([0, *[first] * n_inputs, 0] * n_sets, backend)


def scratch(n_inputs: int, n_sets: int, backend: str) -> Ints:
    """Working space of `code_mixed`."""
    return integers(n_inputs + 1 + n_sets, backend)


def tables(backend: str) -> Ints:
    """Logistic function, its inverse, and confidence, as one table."""
    return integers(_tables(), backend)


@cache
def _tables() -> array[int]:
    """squash(x) = 65536 / (1 + exp(-x / 256)), its inverse, and 256 n / (n + 0.4) for n decisions seen.

    Made by exact integer arithmetic. RuntimeError if the result is not the one that streams are made with.
    """
    one = 1 << _PLACES
    term, step, n = one, one, 0  # exp(1 / 256) by its series
    while term:
        n += 1
        term //= 256 * n
        step += term
    power, squash = one, [coding.ONE // 2]
    for _ in range(coding.REACH):
        power = power * step >> _PLACES
        squash.append(min(coding.ONE * power // (one + power), coding.ONE - 1))
    squash = [coding.ONE - p for p in squash[:0:-1]] + squash
    stretch, x = [], 0
    for i in range(4096):
        while x < 2 * coding.REACH and squash[x] < 16 * i + 8:
            x += 1
        stretch.append(x - coding.REACH)
    confidence = [256 * 5 * n // (5 * n + 2) for n in range(1024)]
    table = array("q", [*squash, *stretch, *confidence])
    if (found := hashlib.sha256(",".join(map(str, table)).encode()).hexdigest()) != TABLES_SHA256:
        raise RuntimeError(f"coder tables have SHA-256 {found}, expected {TABLES_SHA256}")
    return table
