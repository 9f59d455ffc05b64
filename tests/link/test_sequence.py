"""Command sequences as files: what comes up is checked step by step, whoever packed it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link import dictionary, pack
from flight.link.dictionary import Telecommand
from flight.link.pack import CodecError
from flight.link.sequence import (
    MAX_DELAY_S,
    MAX_STEPS,
    NOT_IN_A_SEQUENCE,
    Sequence,
    SequenceStep,
    pack_sequence,
    unpack_sequence,
)

PING = Telecommand("ping", {"echo": 7})


def packed(embedded, delay_ms=0):
    """A sequence of one step, as one would pack it who checks nothing."""
    writer = pack.Writer(pack.SEQUENCE)
    writer.integer(1, 1, delay_ms, len(embedded))
    writer.raw(embedded)
    return writer.finish(pack.crc((1, 1), delay_ms.to_bytes(4, "big") + embedded))


@given(st.lists(st.tuples(st.integers(0, int(MAX_DELAY_S * 1000)), st.integers(0, 2**16 - 1)), min_size=1, max_size=20))
def test_what_was_packed_is_unpacked(steps):
    made = Sequence(3, tuple(SequenceStep(ms / 1000, Telecommand("ping", {"echo": echo})) for ms, echo in steps))
    assert unpack_sequence(pack_sequence(made)) == made


def test_a_step_that_is_no_command_is_refused_by_its_number():
    assert unpack_sequence(packed(dictionary.embed(PING))).steps == (SequenceStep(0.0, PING),)
    with pytest.raises(CodecError, match="step 1: "):
        unpack_sequence(packed(b"\xff\x00"))
    with pytest.raises(CodecError, match=r"step 1: ping\.echo: value -1 is not between 0"):
        pack_sequence(Sequence(1, (SequenceStep(0.0, Telecommand("ping", {"echo": -1})),)))


@pytest.mark.parametrize("after_s", [-1.0, MAX_DELAY_S + 1])
def test_a_delay_that_is_none_is_refused_by_the_step(after_s):
    with pytest.raises(CodecError, match=r"step 1: after_s .* is not between 0 and"):
        pack_sequence(Sequence(1, (SequenceStep(after_s, PING),)))


def test_a_sequence_may_not_start_another_whoever_packed_it():
    nested = Telecommand("start-sequence", {"sequence_id": 2})
    assert nested.name in NOT_IN_A_SEQUENCE
    with pytest.raises(CodecError, match="step 1: start-sequence may not be in a sequence"):
        pack_sequence(Sequence(1, (SequenceStep(0.0, nested),)))
    with pytest.raises(CodecError, match="step 1: start-sequence may not be in a sequence"):
        unpack_sequence(packed(dictionary.embed(nested)))


@pytest.mark.parametrize(("number", "steps"), [(0, 1), (1 << 16, 1), (1, 0), (1, MAX_STEPS + 1)])
def test_a_number_or_a_count_of_steps_out_of_range_is_refused_with_the_range(number, steps):
    with pytest.raises(CodecError, match=r"sequence: (sequence_id|number of steps) is \d+, not between 1 and \d+"):
        pack_sequence(Sequence(number, (SequenceStep(0.0, PING),) * steps))
