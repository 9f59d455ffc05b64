"""What an attacker without a key gets accepted: nothing. `python -m benchmarks link` tries a million frames."""

import pytest

from benchmarks.__main__ import main
from benchmarks.hostile import RECORDED, Attacker, attack
from benchmarks.link_frames import overhead_bytes
from flight.config import LinkConfig
from flight.link.errors import RejectedError
from flight.link.frame import Direction, crc16

WAYS = pytest.mark.parametrize("way", Direction, ids=["uplink", "downlink"])


@WAYS
def test_of_many_hostile_frames_none_is_accepted(way):
    attacker = Attacker(way, seed=7)
    before = attacker.target.save()
    accepted, reasons = attack(attacker, 15_000)
    assert accepted == 0 and sum(reasons.values()) == 15_000
    assert attacker.target.save() == before
    assert reasons["bad_tag"] + reasons["replayed"] > 5_000


@WAYS
def test_the_same_frames_unharmed_are_accepted_once(way):
    attacker = Attacker(way, seed=7)
    attack(attacker, 500)
    for frame in attacker.unseen:
        attacker.target.open(frame)
        with pytest.raises(RejectedError, match="replayed"):
            attacker.target.open(frame)


@WAYS
def test_most_hostile_frames_have_a_correct_crc_so_that_the_tag_is_what_is_tested(way):
    attacker = Attacker(way, seed=7)
    assert sum(crc16(attacker.frame()) == 0 for _ in range(2_000)) > 1_800


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("forged", {"bad_tag"}),
        ("rewritten", {"bad_tag"}),
        ("replayed", {"replayed"}),
        ("wrong_key", {"bad_tag", "unknown_key"}),
    ],
)
@WAYS
def test_each_kind_is_refused_for_its_own_reason(way, kind, reasons):
    attacker = Attacker(way, seed=7)
    found = set()
    for _ in range(RECORDED):
        with pytest.raises(RejectedError) as caught:
            attacker.target.open(getattr(attacker, kind)())
        found.add(caught.value.reason)
    assert found == reasons


@pytest.mark.parametrize("role", ["ground", "space"])
def test_all_but_file_data_takes_at_most_20_5_percent_of_a_full_frame(role):
    config = LinkConfig()
    assert overhead_bytes(role, config) <= 0.205 * config.frame_bytes


def test_the_benchmark_prints_its_rows(capsys):
    assert main(["link", "--quick", "--part", "frames"]) == 0
    text = capsys.readouterr().out
    assert "hostile frames / accepted" in text and "decoded and authenticated" in text
