"""A small part of the campaign of transfers that `python -m benchmarks link` flies in full."""

import statistics

import pytest

from benchmarks.link_files import LOSSES, Case, fly, ideal_s


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("size", "seeds"), [(20_000, 8), (200_000, 1)])
def test_files_arrive_and_their_sender_knows_in_no_more_passes_than_were_lost(size, seeds, loss):
    for seed in range(seeds):
        result = fly(Case(size, loss, seed, faults=True))
        assert result.intact and result.known and result.extra_passes == 0, f"seed {seed}"


@pytest.mark.parametrize(("loss", "bound"), [(0.0, 1.02), (0.05, 1.25), (0.2, 1.5)])
def test_airtime_is_close_to_that_of_a_sender_who_knows_what_was_lost(loss, bound):
    airtimes_s = [fly(Case(20_000, loss, seed, faults=False)).airtime_s for seed in range(30)]
    assert statistics.fmean(airtimes_s) < bound * ideal_s(20_000, loss)


def test_the_same_seed_gives_the_same_transfer():
    assert fly(Case(20_000, 0.2, 5, True)) == fly(Case(20_000, 0.2, 5, True))
