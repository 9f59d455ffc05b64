"""The radio: what arrives, when, and what is lost."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.config import build
from flight.step import NEVER, Message
from sim.channel import Channel
from sim.radio import LOSS, UPLINK_BPS, Outage, RadioConfig
from sim.record import PassRecord

FRAME = bytes(range(256))
LONG = [PassRecord(0.0, 1e6, "A", 90.0)]
QUIET = RadioConfig(loss="none")


def frames(count: int, every_s: float, port: str = "ground", start_s: float = 0.0, size: int = 256) -> list[Message]:
    return [Message(start_s + n * every_s, port, n, port, n.to_bytes(4, "big") + bytes(size - 4)) for n in range(count)]


def send(channel: Channel, messages: list[Message]) -> list[tuple[float, int]]:
    """Arrival times and numbers of the frames that arrive."""
    outputs = [o for m in messages for o in channel.step(m.t, [m]).outputs]
    return [(o.t, int.from_bytes(o.body[:4], "big")) for o in outputs]


def lost_runs(arrived: list[tuple[float, int]], count: int) -> np.ndarray:
    """Lengths of the runs of frames that did not arrive."""
    lost = np.ones(count + 2, dtype=int)
    lost[[0, -1]] = 0
    lost[1 + np.array([n for _, n in arrived])] = 0
    change = np.diff(lost)
    return np.flatnonzero(change == -1) - np.flatnonzero(change == 1)


@pytest.mark.parametrize("preset", sorted(UPLINK_BPS))
def test_frames_sent_without_a_pause_arrive_exactly_at_the_preset_s_rate(preset):
    config = RadioConfig(uplink=preset, loss="none")
    air_s = 256 * 8 / UPLINK_BPS[preset]
    arrived = send(Channel(config, LONG, 1), frames(50, air_s))
    expected = config.turnaround_s + config.delay_s + air_s * np.arange(1, 51)
    assert np.allclose([t for t, _ in arrived], expected, atol=1e-9)


def test_up_and_down_have_their_own_rates_and_do_not_wait_for_each_other():
    config = RadioConfig(uplink_bps=1000, downlink_bps=100_000, loss="none", turnaround_s=0, delay_s=0)
    channel = Channel(config, LONG, 1)
    up = Message(10.0, "ground", 0, "ground", bytes(125))
    down = Message(10.0, "space", 0, "space", bytes(125))
    outputs = channel.step(10.0, [up, down]).outputs
    assert [(o.port, pytest.approx(o.t)) for o in outputs] == [("space", 11.0), ("ground", 10.01)]


def test_a_transmitter_that_fell_silent_pays_the_turnaround_again():
    arrived = send(Channel(QUIET, LONG, 1), frames(3, every_s=60.0))
    assert np.allclose([t - 60 * n for t, n in arrived], 0.2 + 0.005 + 2048 / 9600)


def test_coding_takes_an_eighth_of_the_uplink():
    charged = replace(QUIET, charge_coding=True)
    arrived = send(Channel(charged, LONG, 1), frames(10, 0.25))
    assert np.allclose(np.diff([t for t, _ in arrived]), 2048 / 8400)
    assert charged.up_bps == 8400


def test_a_frame_is_dropped_and_counted_while_more_than_the_allowed_backlog_waits():
    channel = Channel(replace(QUIET, max_backlog_s=1.0, turnaround_s=0.0), LONG, 1)
    arrived = send(channel, frames(20, every_s=0.0))
    assert len(arrived) == 5  # four take 0.85 s; the fifth still finds less than a second waiting
    assert channel.report()["up"]["lost"] == {"queue_full": {"frames": 15, "bytes": 15 * 256}}


def test_frames_outside_every_pass_are_lost_and_so_is_one_that_los_cuts_off():
    contacts = [PassRecord(100.0, 200.0, "A", 40.0), PassRecord(500.0, 600.0, "B", 40.0)]
    channel = Channel(QUIET, contacts, 1)
    times = [99.9, 100.0, 150.0, 199.9, 200.0, 350.0, 599.0, 700.0]
    arrived = send(channel, [Message(t, "ground", n, "ground", n.to_bytes(4, "big") * 64) for n, t in enumerate(times)])
    assert [n for _, n in arrived] == [1, 2, 6]
    lost = channel.report()["up"]["lost"]
    assert (lost["no_contact"]["frames"], lost["cut_by_los"]["frames"]) == (4, 1)


@pytest.mark.parametrize("preset", ["clean", "nominal", "poor", "interference", "hostile"])
def test_loss_and_burst_length_are_those_of_the_preset(preset):
    mean, burst = LOSS[preset]
    count = 40_000
    arrived = send(Channel(RadioConfig(loss=preset), LONG, 7), frames(count, 0.25))
    runs = lost_runs(arrived, count)
    leave = 1 / burst
    memory = 1 - leave - mean * leave / (1 - mean)  # correlation of one frame's state with the next one's
    sd = np.sqrt(mean * (1 - mean) * (1 + memory) / (1 - memory) / count)
    assert 1 - len(arrived) / count == pytest.approx(mean, abs=4 * sd)
    # burst lengths are geometric: mean 1 / r, variance (1 - r) / r^2, a share r of length 1
    assert runs.mean() == pytest.approx(burst, abs=4 * np.sqrt((1 - leave) / leave**2 / len(runs)) + 1e-12)
    single = 4 * np.sqrt(leave * (1 - leave) / len(runs)) + 1e-12
    assert np.mean(runs == 1) == pytest.approx(leave, abs=single)


def test_loss_is_the_same_for_the_first_frame_of_a_pass_as_for_any_later_one():
    contacts = [PassRecord(100.0 * n, 100.0 * n + 50, "A", 20) for n in range(4000)]
    arrived = np.zeros((4000, 12), bool)
    channel = Channel(RadioConfig(loss="hostile"), contacts, 3)
    for n in range(4000):
        for _, k in send(channel, frames(12, 0.25, start_s=100.0 * n)):
            arrived[n, k] = True
    assert np.allclose(1 - arrived.mean(axis=0), 0.2, atol=4 * np.sqrt(0.16 / 4000))


def test_independent_losses_come_singly():
    config = replace(QUIET, independent_loss=0.1)
    arrived = send(Channel(config, LONG, 5), frames(20_000, 0.25))
    assert len(arrived) / 20_000 == pytest.approx(0.9, abs=0.01)
    assert lost_runs(arrived, 20_000).mean() == pytest.approx(1 / 0.9, abs=0.05)


def test_named_passes_are_lost_whole_in_both_directions():
    contacts = [PassRecord(100.0 * n, 100.0 * n + 50, "A", 20) for n in range(4)]
    channel = Channel(replace(QUIET, lost_passes=(2, 4)), contacts, 1)
    for port in ("ground", "space"):
        arrived = send(channel, [m for n in range(4) for m in frames(5, 1.0, port, start_s=100.0 * n)])
        assert [int(t // 100) for t, _ in arrived] == [0] * 5 + [2] * 5
    assert [c.lost for c in channel.contacts] == [False, True, False, True]


def test_whole_passes_are_lost_with_the_probability_asked_for_and_the_same_ones_each_time():
    contacts = [PassRecord(100.0 * n, 100.0 * n + 50, "A", 20) for n in range(2000)]
    config = replace(QUIET, pass_loss=0.2)
    lost = [c.lost for c in Channel(config, contacts, 11).contacts]
    assert np.mean(lost) == pytest.approx(0.2, abs=0.04)
    assert lost == [c.lost for c in Channel(config, contacts, 11).contacts]
    assert lost != [c.lost for c in Channel(config, contacts, 12).contacts]


def test_bits_flip_at_the_error_rate_and_only_when_asked_for():
    for rate in (0.0, 1e-3):
        channel = Channel(replace(QUIET, bit_error_rate=rate), LONG, 1)
        messages = [Message(n * 0.3, "ground", n, "ground", FRAME) for n in range(1000)]
        bodies = [o.body for m in messages for o in channel.step(m.t, [m]).outputs]
        assert {len(b) for b in bodies} == {256}
        flipped = sum((int.from_bytes(b) ^ int.from_bytes(FRAME)).bit_count() for b in bodies)
        assert flipped / (1000 * 2048) == pytest.approx(rate, rel=0.1)
        assert channel.report()["up"]["damaged"]["frames"] == sum(b != FRAME for b in bodies)


def test_frames_that_are_held_back_are_overtaken():
    arrived = send(Channel(replace(QUIET, reorder=1.0, reorder_s=2.0), LONG, 1), frames(100, 0.25))
    order = [n for _, n in sorted(arrived)]
    assert sorted(order) == list(range(100)) and order != list(range(100))


messages_strategy = st.lists(
    st.tuples(st.sampled_from(["ground", "space"]), st.integers(0, 400), st.integers(4, 300)), max_size=60
).map(
    lambda rows: [
        Message(t / 4, port, n, port, n.to_bytes(4, "big") + bytes(size - 4))
        for n, (port, t, size) in enumerate(sorted(rows, key=lambda r: r[1]))
    ]
)


@settings(max_examples=60, deadline=None)
@given(messages=messages_strategy, cuts=st.lists(st.integers(0, 60), max_size=10), seed=st.integers(0, 5))
def test_how_steps_are_sliced_changes_neither_losses_nor_bits_nor_counts(messages, cuts, seed):
    config = replace(
        RadioConfig(loss="hostile"),
        bit_error_rate=1e-3,
        reorder=0.3,
        reorder_s=0.1,
        duplicate=0.2,
        independent_loss=0.1,
    )
    contacts = [PassRecord(5.0, 40.0, "A", 20), PassRecord(40.0, 60.0, "B", 20), PassRecord(70.0, 100.0, "A", 20)]
    one, other = Channel(config, contacts, seed), Channel(config, contacts, seed)
    expected = [o for m in messages for o in one.step(m.t, [m]).outputs]
    got = []
    edges = sorted({0, *(c for c in cuts if c < len(messages)), len(messages)})
    for begin, end in pairwise(edges):
        batch = messages[begin:end]
        got += other.step(batch[-1].t, batch).outputs
        got += other.step(batch[-1].t, []).outputs
    assert [(o.port, o.body) for o in got] == [(o.port, o.body) for o in expected]
    assert all(late.t >= o.t for late, o in zip(got, expected, strict=True))
    assert one.report() == other.report()


@settings(max_examples=40, deadline=None)
@given(messages=messages_strategy, seed=st.integers(0, 5))
def test_the_books_balance_in_each_direction_and_pass(messages, seed):
    config = replace(RadioConfig(loss="hostile"), max_backlog_s=0.3, lost_passes=(2,))
    contacts = [PassRecord(5.0, 40.0, "A", 20), PassRecord(50.0, 60.0, "B", 20)]
    channel = Channel(config, contacts, seed)
    for m in messages:
        assert channel.step(m.t, [m]).next_due == NEVER
    report = json.loads(json.dumps(channel.report()))
    for port, name in (("ground", "up"), ("space", "down")):
        for unit in ("frames", "bytes"):
            tallies = [report[name], *(p[name] for p in report["passes"] if name in p)]
            for tally in tallies:
                lost = sum(cause[unit] for cause in tally["lost"].values())
                assert tally["offered"][unit] == tally["delivered"][unit] + lost
            outside = report[name]["lost"].get("no_contact", {unit: 0})[unit]
            assert report[name]["offered"][unit] == outside + sum(t["offered"][unit] for t in tallies[1:])
        assert report[name]["offered"]["frames"] == sum(m.port == port for m in messages)


def test_the_fate_of_the_uplink_does_not_depend_on_what_the_downlink_carries():
    config = RadioConfig(loss="hostile")
    alone = send(Channel(config, LONG, 4), frames(500, 0.25))
    both = Channel(config, LONG, 4)
    messages = sorted(frames(500, 0.25) + frames(700, 0.23, "space"), key=lambda m: m.order)
    outputs = [o for m in messages for o in both.step(m.t, [m]).outputs if o.port == "space"]
    assert [(o.t, int.from_bytes(o.body[:4], "big")) for o in outputs] == alone


def test_a_scenario_s_table_becomes_a_radio_and_a_bad_field_is_named():
    config = build(RadioConfig, {"uplink_bps": 1200, "lost_passes": [3]}, "radio")
    assert Channel(config, [PassRecord(n, n + 1, "A", 20) for n in range(3)], 1).contacts[2].lost
    bad = {
        r"radio\.delay_s: -1\.0 is not between": {"delay_s": -1},
        r"radio\.loss: 'perfect' is unknown; known are none, clean, nominal": {"loss": "perfect"},
        r"radio\.downlink_loss: 'perfect'": {"downlink_loss": "perfect"},
        r"radio\.mean_burst_frames: 2 is too short for a mean loss of 0\.8": {"mean_loss": 0.8, "mean_burst_frames": 2},
        r"radio\.lost_passes\[0\]: 0 is not between 1": {"lost_passes": [0]},
        r"radio\.elevation_loss\[0\]: \[95\.0, 0\.0\] is not": {"elevation_loss": [[95, 0]]},
        r"radio\.elevation_loss\[1\]: 5 degrees is not above the 10": {"elevation_loss": [[10, 0.5], [5, 0.1]]},
        r"radio\.outages\[0\]\.direction: 'sideways'": {"outages": [{"direction": "sideways"}]},
    }
    for message, values in bad.items():
        with pytest.raises(ValueError, match=message):
            build(RadioConfig, values, "radio")
    with pytest.raises(ValueError, match=r"radio\.lost_passes: there is no pass 2; the mission has 1"):
        Channel(RadioConfig(lost_passes=(2,)), LONG, 1)
    with pytest.raises(ValueError, match=r"radio\.elevation_loss: a contact comes without"):
        Channel(RadioConfig(elevation_loss=((10.0, 0.5),)), LONG, 1)


def test_overlapping_contacts_are_refused():
    with pytest.raises(ValueError, match=r"sim\.orbit\.contacts"):
        Channel(QUIET, [PassRecord(0, 10, "A", 20), PassRecord(5, 20, "B", 20)], 1)


@pytest.mark.parametrize(("size", "share"), [(256, 0.0203), (1024, 0.0787)])
def test_a_bit_error_rate_of_1e_5_damages_two_percent_of_short_and_eight_of_long_frames(size, share):
    channel = Channel(replace(QUIET, bit_error_rate=1e-5, uplink="sband-256k"), LONG, 2)
    count = 8000
    assert len(send(channel, frames(count, 0.25, size=size))) == count  # they arrive all the same
    assert share == pytest.approx(1 - (1 - 1e-5) ** (8 * size), abs=1e-4)
    damaged = channel.report()["up"]["damaged"]["frames"]
    assert damaged / count == pytest.approx(share, abs=4 * np.sqrt(share / count))


def test_frames_arrive_twice_at_the_rate_asked_for_and_the_copy_comes_later():
    channel = Channel(replace(QUIET, duplicate=0.1, duplicate_s=2.0), LONG, 5)
    arrived = send(channel, frames(5000, 0.25))
    times = [[t for t, n in arrived if n == number] for number in {n for _, n in arrived}]
    gaps = [late - first for first, late in (t for t in times if len(t) == 2)]
    assert len(times) == 5000 and len(gaps) / 5000 == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 5000))
    assert min(gaps) >= 0 and max(gaps) <= 2.0 and np.mean(gaps) == pytest.approx(1.0, abs=0.11)
    assert channel.report()["up"]["duplicated"]["frames"] == len(gaps)


def test_nothing_passes_in_an_outage_and_only_its_direction_is_struck():
    outage = Outage(at_h=20 / 3600, length_s=10.0, direction="up")
    for port, lost in (("ground", True), ("space", False)):
        channel = Channel(replace(QUIET, outages=(outage,)), LONG, 1)
        arrived = {n for _, n in send(channel, frames(60, 1.0, port))}
        silent = set(range(60)) - arrived
        assert silent == (set(range(20, 30)) if lost else set())
    air_s = 0.2 + 2048 / 9600  # turnaround and frame: one that ends as the outage begins passes, a later one does not
    channel = Channel(replace(QUIET, outages=(outage,)), LONG, 1)
    edge = [Message(20 - air_s - 1e-6, "ground", 0, "ground", bytes(256))]
    assert channel.step(edge[0].t, edge).outputs
    edge = [Message(25.0, "ground", 1, "ground", bytes(256)), Message(30.0, "ground", 2, "ground", bytes(256))]
    assert [len(channel.step(m.t, [m]).outputs) for m in edge] == [0, 1]


def test_loss_follows_the_elevation_of_the_satellite():
    rising = PassRecord(0.0, 4000.0, "A", 90.0, elevations_deg=(10.0, 90.0, 10.0))
    channel = Channel(replace(QUIET, elevation_loss=((10.0, 0.6), (50.0, 0.0))), [rising], 3)
    arrived = np.zeros(16_000, bool)
    arrived[[n for _, n in send(channel, frames(16_000, 0.25))]] = True
    lost = 1 - arrived.reshape(-1, 1000).mean(axis=1)  # 16 stretches of 250 s
    elevation = 10 + 80 * (1 - np.abs(np.arange(16) * 250 + 125 - 2000) / 2000)
    expected = np.interp(elevation, (10, 50), (0.6, 0.0))
    assert np.allclose(lost, expected, atol=4 * np.sqrt(0.25 / 1000))
    assert channel.report()["up"]["lost"].keys() == {"elevation", "cut_by_los"}


def test_on_a_half_duplex_radio_the_two_ways_are_never_on_the_air_together():
    config = replace(QUIET, half_duplex=True, max_backlog_s=30.0)
    channel = Channel(config, LONG, 1)
    air_s = 2048 / 9600
    messages = sorted(frames(20, 1.1) + frames(20, 0.9, "space"), key=lambda m: m.order)
    on_air = []
    for m in messages:
        for output in channel.step(m.t, [m]).outputs:
            on_air.append((output.t - config.delay_s - air_s, output.port))
    on_air.sort()
    assert len(on_air) == 40
    for (start, one), (after, other) in pairwise(on_air):
        pause_s = after - start - air_s
        assert pause_s >= -1e-9 if one == other else pause_s >= config.turnaround_s + config.delay_s - 1e-9
    both = Channel(replace(config, half_duplex=False), LONG, 1)
    at_once = [o.t - config.delay_s - air_s for m in messages for o in both.step(m.t, [m]).outputs]
    assert sum(start for start, _ in on_air) > sum(at_once) + 1.0


IMPAIRMENTS = {
    "independent_loss": 0.2,
    "bit_error_rate": 1e-3,
    "duplicate": 0.3,
    "reorder": 0.5,
    "pass_loss": 0.3,
    "outages": (Outage(at_h=100 / 3600, length_s=30.0),),
    "mean_loss": 0.2,
}


@pytest.mark.parametrize("name", IMPAIRMENTS)
def test_switching_one_impairment_on_leaves_what_the_others_do_as_it_was(name):
    """Whatever the one more impairment lets through meets the same fate as without it."""
    others = {key: value for key, value in IMPAIRMENTS.items() if key != name}
    contacts = [PassRecord(100.0 * n, 100.0 * n + 90, "A", 20) for n in range(5)]
    messages = [m for n in range(5) for m in frames(100, 0.8, start_s=100.0 * n)]

    def arrivals(values):
        channel = Channel(replace(QUIET, **values), contacts, 9)
        return [[(round(o.t, 9), o.body) for o in channel.step(m.t, [m]).outputs] for m in messages]

    compared = 0
    for without, found in zip(arrivals(others), arrivals(IMPAIRMENTS), strict=True):
        if not found:
            continue  # lost, perhaps by the impairment itself
        assert without, "a frame that was lost is not brought back"
        compared += 1
        if name == "reorder":
            assert [body for _, body in found] == [body for _, body in without]
        elif name == "bit_error_rate":
            assert [t for t, _ in found] == [t for t, _ in without]
        elif name == "duplicate":
            assert found[0] == without[0]
        else:
            assert found == without
    assert compared > 50
