from hypothesis import given
from hypothesis import strategies as st

from flight.link.contact import NEVER, Contact


def test_time_in_view_stands_still_between_passes():
    contact = Contact()
    assert contact.extend(100.0, NEVER)
    contact.lose(160.0)
    assert contact.view_s(5000.0) == 60.0
    assert contact.extend(6000.0, NEVER)
    assert contact.view_s(6010.0) == 70.0


def test_a_deadline_after_the_end_of_contact_is_not_due_in_this_pass():
    contact = Contact()
    contact.extend(100.0, 115.0)
    assert contact.when(14.0) == 114.0
    assert contact.when(15.0) == NEVER


def test_contact_that_goes_on_does_not_begin_again():
    contact = Contact()
    assert contact.extend(0.0, 15.0)
    assert not contact.extend(10.0, 25.0)
    assert contact.extend(25.0, 40.0)
    assert contact.view_s(30.0) == 30.0


@given(st.lists(st.tuples(st.floats(0.1, 1e5), st.floats(0.1, 1e5)), min_size=1, max_size=20))
def test_the_seconds_in_view_are_those_of_the_passes(passes):
    contact, t, total = Contact(), 0.0, 0.0
    for gap, length in passes:
        t += gap
        contact.extend(t, NEVER)
        t += length
        contact.lose(t)
        total += length
        assert abs(contact.view_s(t + 1e6) - total) < 1e-3
