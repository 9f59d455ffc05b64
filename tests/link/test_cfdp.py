"""The machines of one CFDP transaction, and the tables around them: what other implementations stumbled over."""

import dataclasses
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_world import CONFIG, content

from flight.link.cfdp import checksum, codec
from flight.link.cfdp import pdu as cfdp
from flight.link.cfdp.destination import Destination, State
from flight.link.cfdp.extents import Extents
from flight.link.cfdp.lost import Reordering
from flight.link.cfdp.pdu import (
    Ack,
    Acknowledged,
    Condition,
    Eof,
    FileData,
    Finished,
    Metadata,
    Nak,
    Prompt,
    Transaction,
)
from flight.link.cfdp.source import Source
from flight.link.cfdp.source import State as SourceState
from flight.link.cfdp.timing import Timing
from flight.link.contact import NOW
from flight.link.errors import LinkError, RejectedError
from flight.link.events import FileReceived, FileRefused
from flight.link.packet import FileKind
from flight.link.receiving import REMEMBERED, Receiver
from flight.link.sending import Sender
from flight.link.transfer import File

U32 = st.integers(0, 2**32 - 1)
CONDITIONS = st.sampled_from([Condition.NO_ERROR, Condition.CANCEL_REQUEST_RECEIVED])
LABELS = FileKind.LABEL_SET
WIDTH = 100
ROOM = 250
T = Transaction(1, 2, 7)
TIMING = Timing(1.0, nak_delay_s=0.5, attempts=3, slow_s=6.0)
CANCELS = dataclasses.replace(TIMING, slow_s=None)


def source(data: bytes, timing: Timing = TIMING) -> Source:
    return Source(T, data, ("a", "a"), WIDTH, timing)


def destination(timing: Timing = TIMING) -> Destination:
    return Destination(T, 1 << 20, timing, Reordering())


def taken(end: Source, view_s: float = 0.0, room: int = ROOM) -> list[cfdp.Pdu]:
    sent = []
    while pdu := end.take(room, view_s):
        sent.append(pdu[0])
    return sent


def sent(end: Destination, view_s: float = 0.0, room: int = ROOM) -> list[cfdp.Pdu]:
    found = []
    while end.due() <= view_s and (pdu := end.send(room, view_s)):
        found.append(pdu)
    return found


def pieces(data: bytes) -> list[FileData]:
    return [FileData(start, data[start : start + WIDTH]) for start in range(0, len(data), WIDTH)]


def eof(data: bytes) -> Eof:
    return Eof(checksum.compute(checksum.CRC_32, data), len(data))


def metadata(data: bytes) -> Metadata:
    return Metadata(len(data), "a", "a")


def fed(data: bytes, lost: set[int] = frozenset(), timing: Timing = TIMING, ended: bool = True) -> Destination:
    """A destination that heard all but some pieces of a file."""
    end = destination(timing)
    end.take(metadata(data), 0.0)
    for number, piece in enumerate(pieces(data)):
        if number not in lost:
            end.take(piece, 0.0)
    if ended:
        end.take(eof(data), 0.0)
    return end


# Extents.


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 20)), max_size=30))
def test_extents_are_the_set_of_what_was_added_and_not_removed(steps):
    extents, model = Extents(), set()
    for adds, start, length in steps:
        (extents.add if adds else extents.remove)(start, start + length)
        model = model | set(range(start, start + length)) if adds else model - set(range(start, start + length))
    assert {i for start, end in extents for i in range(start, end)} == model
    assert extents.size == len(model) and extents.end == max(model, default=-1) + 1
    assert {i for start, end in extents.gaps(5, 50) for i in range(start, end)} == set(range(5, 50)) - model
    edges = [edge for extent in extents for edge in extent]
    assert edges == sorted(set(edges)), "extents touch or overlap"


# What trackers of other implementations tell of.


def test_an_eof_that_came_while_suspended_is_acted_upon_after_resume():
    data = content(1000)
    end = fed(data, {3}, ended=False)
    end.suspend()
    end.take(eof(data), 1.0)
    assert [type(pdu) for pdu in sent(end, 1.0)] == [Ack]
    assert sent(end, 100.0) == []
    end.resume(100.0)
    assert sent(end, 100.0) == [Nak(0, 1000, ((300, 400),))]


def test_a_report_that_was_cut_short_by_a_suspension_does_not_stay_due():
    end = fed(content(20_000), set(range(0, 200, 2)))
    assert isinstance(end.send(ROOM, 0.0), Ack) and isinstance(end.send(ROOM, 0.0), Nak)
    end.suspend()
    assert end.due() > 0.0 and end.send(ROOM, 0.0) is None


def test_resume_tells_the_sender_where_to_go_on_even_if_nothing_is_missing_so_far():
    data = content(1000)
    end, out = fed(data[:400], ended=False), source(data)
    out.begun = True
    out.restart()
    end.suspend()
    end.resume(5.0)
    (nak,) = sent(end, 5.0)
    assert nak == Nak(0, 400) and taken(out, 5.0) == [Prompt()]
    out.hear(nak, 5.0)
    assert taken(out, 5.0)[0] == FileData(400, data[400:500])


def test_a_nak_longer_than_a_pdu_goes_on_in_the_next_one():
    data = content(20_000)
    lost = set(range(0, 200, 2))
    end = fed(data, lost)
    found = [pdu for pdu in sent(end) if isinstance(pdu, Nak)]
    assert len(found) > 3
    assert all(len(codec.pack(T, pdu)) <= ROOM for pdu in found)
    assert [request for pdu in found for request in pdu.requests] == [(100 * n, 100 * n + 100) for n in sorted(lost)]
    assert [pdu.start for pdu in found] == [0, *(pdu.end for pdu in found[:-1])] and found[-1].end == 20_000


def test_a_gap_is_reported_once_and_not_before_reordering_could_have_filled_it():
    data = content(1000)
    end = fed(data, {3}, ended=False)
    assert sent(end, 0.4) == []
    assert sent(end, 0.5) == [Nak(0, 500, ((300, 400),))]
    assert sent(end, 60.0) == []


def test_after_late_originals_the_end_of_the_file_does_not_make_them_be_sent_again():
    data = content(1000)
    end = fed(data, {3, 9}, ended=False)
    end.take(pieces(data)[3], 0.3)  # it was only late
    end.take(eof(data), 1.0)
    assert [type(pdu) for pdu in sent(end, 1.0)] == [Ack]
    end.take(pieces(data)[9], 1.2)
    assert sent(end, 1.4) == [] and end.state is State.WHOLE


def test_in_deferred_mode_gaps_are_reported_from_the_eof_on():
    data = content(1000)
    end = fed(data, {3}, dataclasses.replace(TIMING, immediate_nak=False), ended=False)
    assert sent(end, 60.0) == []
    end.take(eof(data), 60.0)
    assert sent(end, 60.0)[1:] == [Nak(0, 1000, ((300, 400),))]


def test_the_nak_limit_counts_naks_without_any_new_data():
    data = content(2000)
    end = fed(data, set(range(1, 19)), CANCELS)
    t = 0.0
    for number in range(18, 0, -1):  # far more repetitions than the limit, each with progress, from the end backwards
        assert any(isinstance(pdu, Nak) for pdu in sent(end, t))
        end.take(pieces(data)[number], t)
        t += 2.1
    assert end.state is State.WHOLE and end.data == data


def test_the_nak_limit_ends_a_transaction_of_which_nothing_comes_any_more():
    end, t = fed(content(1000), {3}, CANCELS), 0.0
    while end.state is State.RECEIVING:
        sent(end, t)
        t += 0.5
        assert t < 20
    assert end.finished.condition is Condition.NAK_LIMIT_REACHED


@given(st.permutations(range(10)), st.lists(st.integers(0, 9), max_size=10), st.integers(1, 99))
def test_a_short_last_segment_may_come_before_the_one_before_it(order, again, last):
    data = content(900 + last)
    end = destination()
    end.take(metadata(data), 0.0)
    for number in [*order, *again]:
        end.take(pieces(data)[number], 0.0)
    end.take(eof(data), 0.0)
    assert end.state is State.WHOLE and end.data == data


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), max_size=30), st.integers(0, 10**6))
def test_segments_of_any_cut_with_any_overlap_make_up_the_file(cuts, seed):
    data = content(500)
    end, parts = destination(), [FileData(start, data[start : start + length]) for start, length in cuts]
    parts += [FileData(start, data[start : start + 90]) for start in range(0, 500, 70)]
    random.Random(seed).shuffle(parts)
    for part in parts:
        end.take(part, 0.0)
    end.take(metadata(data), 0.0)
    end.take(eof(data), 0.0)
    assert end.state is State.WHOLE and end.data == data


def test_data_that_came_twice_with_other_bytes_stay_as_they_came_first():
    data = content(200)
    end = fed(data, {1}, ended=False)
    end.take(FileData(50, bytes(100)), 0.0)
    assert end.data[:100] == data[:100] and end.data[100:] == bytes(50)


def test_every_copy_of_an_eof_is_acknowledged_also_after_the_end():
    data = content(300)
    end = fed(data)
    acks = [pdu for pdu in sent(end) if isinstance(pdu, Ack)]
    end.take(eof(data), 1.0)
    acks += [pdu for pdu in sent(end, 1.0) if isinstance(pdu, Ack)]
    end.finish(Finished(), 2.0)
    sent(end, 2.0)
    end.take(eof(data), 2.5)
    acks += sent(end, 2.5)
    assert acks == [*3 * [Ack(Acknowledged.EOF, Condition.NO_ERROR)], Finished()]


def test_metadata_may_come_last_and_are_asked_for():
    data = content(300)
    end = destination()
    for piece in pieces(data):
        end.take(piece, 0.0)
    end.take(eof(data), 0.0)
    assert sent(end)[1:] == [Nak(0, 300, ((0, 0),))]
    end.take(metadata(data), 1.0)
    assert end.state is State.WHOLE


def test_a_finished_that_comes_again_is_acknowledged_by_a_sender_that_knows_nothing_of_it():
    end = Sender(CONFIG, (1, 2), ROOM, TIMING)
    assert end.hear(T, Finished(), 0.0) == []
    unit = end.take(ROOM, 0.0)
    assert codec.unpack(unit.body) == (T, Ack(Acknowledged.FINISHED, Condition.NO_ERROR, cfdp.Status.UNRECOGNIZED))
    assert end.take(ROOM, 0.0) is None


# The source.


def test_a_source_sends_metadata_data_and_eof_once_and_then_waits():
    data = content(250)
    out = source(data)
    assert taken(out) == [metadata(data), *pieces(data), eof(data)]
    assert out.due() == 1.0
    assert taken(out, 1.0) == [eof(data)]
    out.hear(Ack(Acknowledged.EOF, Condition.NO_ERROR), 1.5)
    assert taken(out, 2.0) == [] and taken(out, 2.5) == [Prompt()]


def test_without_prompts_a_source_leaves_it_to_the_destination_to_ask():
    out = source(content(100), dataclasses.replace(CANCELS, prompts=False, inactivity_s=50.0))
    taken(out)
    out.hear(Ack(Acknowledged.EOF, Condition.NO_ERROR), 1.0)
    assert [t for t in range(2, 50) if taken(out, float(t))] == []
    assert taken(out, 51.0)[0].condition is Condition.INACTIVITY_DETECTED


def test_a_nak_that_claims_more_than_was_sent_makes_a_source_skip_nothing():
    out = source(content(1000))
    out.take(ROOM, 0.0), out.take(ROOM, 0.0)
    out.hear(Nak(0, 1000), 1.0)
    assert taken(out, 1.0)[0].offset == 100


def test_what_was_asked_for_is_sent_again_and_the_receiver_asked_in_the_same_breath():
    data = content(1000)
    out = source(data)
    taken(out)
    out.hear(Ack(Acknowledged.EOF, Condition.NO_ERROR), 5.0)
    out.hear(Nak(0, 1000, ((300, 400), (950, 1000))), 5.0)
    assert taken(out, 5.0) == [FileData(300, data[300:400]), FileData(950, data[950:]), Prompt()]


def test_what_the_receiver_cannot_have_heard_of_yet_is_not_sent_again():
    out = source(content(1000), dataclasses.replace(TIMING, frame_s=0.5))
    taken(out, 5.0)
    out.hear(Nak(0, 1000, ((300, 400),)), 5.2)
    assert taken(out, 5.2) == []
    out.hear(Nak(0, 1000, ((300, 400),)), 5.5)
    assert taken(out, 5.5)[0] == FileData(300, content(1000)[300:400])


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=20), st.integers(0, 2**32 - 1)
)
def test_no_nak_makes_a_source_send_anything_but_the_file(requests, end):
    data = content(1000)
    out = source(data)
    taken(out)
    out.hear(Nak(0, end, tuple(requests)), 5.0)
    for pdu in taken(out, 5.0):
        assert not isinstance(pdu, FileData) or (pdu.data and data[pdu.offset :].startswith(pdu.data))


def test_a_receiver_that_lost_its_state_after_acknowledging_the_eof_hears_it_again():
    data = content(300)
    out, end = source(data), fed(data, ended=False)
    taken(out)
    out.hear(Ack(Acknowledged.EOF, Condition.NO_ERROR), 0.5)
    for t in range(1, 20):
        for pdu in taken(out, float(t)):
            end.take(pdu, float(t))
        for pdu in sent(end, float(t)):
            out.hear(pdu, float(t))
    assert end.state is State.WHOLE


def test_without_any_answer_a_source_slows_down_or_gives_up_as_it_was_told_to():
    patient, impatient = source(content(100)), source(content(100), CANCELS)
    asked = [t for t in range(60) if taken(patient, float(t))]
    assert asked[:4] == [0, 1, 2, 3] and {b - a for a, b in pairwise(asked[3:])} == {6}
    for t in range(60):
        taken(impatient, float(t))
    assert impatient.outcome.condition is Condition.POSITIVE_ACK_LIMIT_REACHED and not impatient.outcome.success


def test_a_cancelled_source_says_how_much_it_sent_and_waits_for_the_acknowledgement_of_that():
    data = content(1000)
    out = source(data)
    out.take(ROOM, 0.0), out.take(ROOM, 0.0), out.take(ROOM, 0.0)
    out.cancel()
    assert taken(out) == [Eof(checksum.compute(checksum.CRC_32, data[:200]), 200, Condition.CANCEL_REQUEST_RECEIVED)]
    out.hear(Ack(Acknowledged.EOF, Condition.NO_ERROR), 0.1)
    out.hear(Nak(0, 200, ((0, 100),)), 0.1)
    assert out.state is SourceState.CANCELLING and taken(out, 0.1) == []
    out.hear(Ack(Acknowledged.EOF, Condition.CANCEL_REQUEST_RECEIVED), 0.2)
    assert out.outcome.condition is Condition.CANCEL_REQUEST_RECEIVED


# The destination.


def test_prompts_are_answered_with_a_nak_or_a_keep_alive():
    end = fed(content(1000), {3}, ended=False)
    end.take(Prompt(), 0.0)
    assert sent(end) == [Nak(0, 1000, ((300, 400),))]
    end.take(Prompt(keep_alive=True), 0.0)
    assert sent(end) == [cfdp.KeepAlive(1000)]


def test_the_finished_pdu_is_repeated_until_it_is_acknowledged():
    end = fed(content(100))
    end.finish(Finished(), 0.0)
    assert sent(end)[1:] == [Finished()] and sent(end, 0.9) == [] and sent(end, 1.0) == [Finished()]
    end.take(Ack(Acknowledged.FINISHED, Condition.NO_ERROR), 1.5)
    assert end.state is State.CLOSED and sent(end, 100.0) == []


def test_a_wrong_checksum_ends_the_transaction():
    data = content(300)
    end = fed(data, ended=False)
    end.take(Eof(1, 300), 0.0)
    assert end.finished.condition is Condition.FILE_CHECKSUM_FAILURE
    assert sent(end)[-1].condition is Condition.FILE_CHECKSUM_FAILURE


@pytest.mark.parametrize("size", [299, 301])
def test_an_eof_with_another_size_than_was_told_ends_the_transaction(size):
    end = fed(content(300), ended=False)
    end.take(Eof(1, size), 0.0)
    assert end.finished.condition is Condition.FILE_SIZE_ERROR


def test_an_eof_cancel_is_acknowledged_and_answered_with_finished():
    end = fed(content(300), ended=False)
    end.take(Eof(0, 300, Condition.CANCEL_REQUEST_RECEIVED), 0.0)
    ack, finished = sent(end)
    assert ack == Ack(Acknowledged.EOF, Condition.CANCEL_REQUEST_RECEIVED)
    assert finished.condition is Condition.CANCEL_REQUEST_RECEIVED and not finished.complete and end.data == b""


# The table of destinations, against input that no honest sender makes.


def receiver(**changes) -> Receiver:
    return Receiver(dataclasses.replace(CONFIG, **changes), (1, 2), TIMING)


def transaction(number: int) -> Transaction:
    return Transaction.smallest(1, 2, number)


def reports(end: Receiver, view_s: float = 0.0) -> list[cfdp.Pdu]:
    found = []
    while body := end.report(ROOM, view_s):
        found.append(codec.unpack(body)[1])
    return found


def rejected(end: Receiver, number: int, pdu: cfdp.Pdu, view_s: float = 0.0) -> str:
    with pytest.raises(RejectedError) as caught:
        end.take(LABELS, transaction(number), pdu, view_s)
    return caught.value.reason


def whole(end: Receiver, number: int, data: bytes) -> list:
    events = []
    for pdu in (Metadata(len(data), "x", "x"), *pieces(data), eof(data)):
        events += end.take(LABELS, transaction(number), pdu, 0.0)
    return events


def test_a_segment_out_of_range_is_refused_and_nothing_is_kept_of_it():
    end = receiver(max_file_bytes=1024)
    assert rejected(end, 1, FileData(1000, bytes(100))) == "segment_out_of_range"
    assert not end.unfinished()
    end.take(LABELS, transaction(1), Metadata(300, "x", "x"), 0.0)
    before = end.save()
    assert rejected(end, 1, FileData(290, bytes(11))) == "segment_out_of_range"
    assert end.save() == before


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (Metadata(1025, "x", "x"), "file_too_large"),
        (Metadata(5, "x", "../x"), "bad_metadata"),
        (Metadata(5, "x", "x", requests=True), "bad_metadata"),
    ],
)
def test_a_file_that_can_never_be_kept_is_refused_for_good_and_the_sender_told(pdu, reason):
    end = receiver(max_file_bytes=1024)
    assert rejected(end, 1, pdu) == reason
    (finished,) = reports(end)
    assert finished.condition is Condition.FILESTORE_REJECTION and finished.message
    assert not end.unfinished()


def test_too_many_transfers_are_refused_until_one_is_done_or_silent_for_long():
    end = receiver(max_open_transfers=2)
    for number in (1, 2):
        end.take(LABELS, transaction(number), Metadata(500, "x", "x"), 0.0)
    assert rejected(end, 3, Metadata(0, "x", "x"), TIMING.inactivity_s - 1) == "too_many_transfers"
    end.take(LABELS, transaction(3), Metadata(0, "x", "x"), TIMING.inactivity_s)
    assert len(end) == 2


def test_a_file_handed_over_keeps_its_place_until_the_owner_has_spoken():
    end = receiver(max_open_transfers=1)
    assert isinstance(whole(end, 1, b"")[-1], FileReceived)
    assert rejected(end, 2, Metadata(0, "x", "x"), 10 * TIMING.inactivity_s) == "too_many_transfers"
    assert end.settle(1)
    end.take(LABELS, transaction(2), Metadata(0, "x", "x"), 0.0)


def test_a_transaction_that_is_over_answers_every_question_and_hands_nothing_over_again():
    end = receiver()
    whole(end, 1, b"abc")
    end.settle(1)
    assert reports(end)[-1] == Finished()
    end.take(None, transaction(1), Ack(Acknowledged.FINISHED, Condition.NO_ERROR), 0.0)
    assert end.take(LABELS, transaction(1), eof(b"abc"), 0.0) == []
    assert reports(end) == [Ack(Acknowledged.EOF, Condition.NO_ERROR, cfdp.Status.TERMINATED), Finished()]
    assert end.take(LABELS, transaction(1), Prompt(), 0.0) == []
    assert reports(end) == [Finished()] and reports(end, 100.0) == []


def test_another_file_under_a_number_that_was_used_is_refused():
    end = receiver()
    whole(end, 1, b"abc")
    end.settle(1)
    reports(end)
    end.take(None, transaction(1), Ack(Acknowledged.FINISHED, Condition.NO_ERROR), 0.0)
    end.take(LABELS, transaction(1), eof(b"xyz"), 0.0)
    assert reports(end)[-1].message == "transfer id was used before"


def test_metadata_that_change_under_way_are_refused():
    end = receiver()
    end.take(LABELS, transaction(1), Metadata(500, "x", "x"), 0.0)
    assert rejected(end, 1, Metadata(400, "x", "y")) == "metadata_changed"
    with pytest.raises(RejectedError):
        end.take(FileKind.REGION, transaction(1), Metadata(500, "x", "x"), 0.0)


def test_pdus_of_other_entities_are_refused():
    with pytest.raises(RejectedError, match="from 1 to 3"):
        receiver().take(LABELS, Transaction(1, 3, 1), Metadata(0, "x", "x"), 0.0)


def test_a_cancelled_file_is_told_to_the_owner():
    end = receiver()
    end.take(LABELS, transaction(1), Metadata(500, "x", "x"), 0.0)
    (event,) = end.take(LABELS, transaction(1), Eof(0, 0, Condition.CANCEL_REQUEST_RECEIVED), 0.0)
    assert event == FileRefused(1, "x", LABELS, "cancel request received")


def test_only_a_file_that_was_handed_over_can_be_accepted():
    end = receiver()
    end.take(LABELS, transaction(1), Metadata(500, "x", "x"), 0.0)
    with pytest.raises(LinkError, match="transfer 1"):
        end.settle(1)
    with pytest.raises(LinkError, match="transfer 2"):
        end.settle(2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.one_of(
                st.builds(FileData, st.integers(0, 1100), st.binary(min_size=1, max_size=100)),
                st.builds(Metadata, st.integers(0, 1100), st.just("x"), st.sampled_from(["x", "y", "/z"])),
                st.builds(Eof, st.integers(0, 1), st.integers(0, 1100), CONDITIONS),
                st.builds(Prompt, st.booleans()),
            ),
        ),
        max_size=100,
    )
)  # fmt: skip
def test_no_input_makes_the_receiver_keep_more_than_its_limits(pdus):
    end = receiver(max_open_transfers=3, max_file_bytes=1024)
    for number, pdu in pdus:
        try:
            end.take(LABELS, transaction(number), pdu, 0.0)
        except RejectedError:
            continue
    assert len(end) <= 3 and len(end._open) <= 6 and len(end._closed) <= REMEMBERED
    assert all(len(entry.destination.buffer) <= 1024 for entry in end._open.values())
    assert len(reports(end)) < 50


def test_tiny_segments_with_gaps_between_cannot_fill_the_memory():
    end = destination()
    with pytest.raises(RejectedError, match="gaps"):
        for start in range(0, 20_000, 2):
            end.take(FileData(start, b"x"), 0.0)


def test_a_report_means_nothing_to_a_sender_that_is_done():
    out = Sender(CONFIG, (1, 2), ROOM, TIMING)
    out.submit(File("x", LABELS, b""), 0)
    done = transaction(1)
    assert len(out.hear(done, Finished(), 0.0)) == 1
    assert out.hear(done, Finished(), 0.0) == [] and out.hear(done, Nak(0, 0), 0.0) == []


def test_a_restarted_sender_is_quiet_until_it_knows_how_far_the_receiver_has_come():
    data = content(2000)
    out = Sender(CONFIG, (1, 2), ROOM, TIMING)
    out.submit(File("x", LABELS, data), 0)
    out.take(ROOM, 0.0)
    saved = out.save()
    again = Sender(CONFIG, (1, 2), ROOM, TIMING)
    again.restore(saved)
    assert codec.unpack(again.take(ROOM, 0.0).body)[1] == Prompt()
    assert again.take(ROOM, 0.9) is None
    again.hear(transaction(1), Nak(0, 1500, ((0, 100),)), 0.9)
    width = again.segment_bytes
    first, second = (codec.unpack(again.take(ROOM, 0.9).body)[1] for _ in range(2))
    assert (first.offset, len(first.data)) == (0, 100) and second.offset == 1500 and len(second.data) <= width
    assert again.unfinished()[0].source.quiet_until == NOW


def test_a_sender_that_falls_silent_before_the_end_is_given_up_where_faults_cancel():
    end = fed(content(1000), ended=False, timing=dataclasses.replace(CANCELS, inactivity_s=20.0))
    assert sent(end, 19.0) == [] and end.due() == 20.0
    (finished,) = sent(end, 20.0)
    assert finished.condition is Condition.INACTIVITY_DETECTED


def test_a_finished_pdu_that_nobody_acknowledges_is_not_repeated_for_ever():
    end = fed(content(100))
    end.finish(Finished(), 0.0)
    times = [t for t in range(2000) if sent(end, float(t))]
    assert times[-1] <= TIMING.inactivity_s and end.state is State.CLOSED
