"""What the supervisor is told by the flight process, and what becomes of it after a crash."""

import json
import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight import last_words, status
from flight.blackbox import SIZE, BlackBox
from flight.clock import wall_s
from flight.executive import Executive
from flight.last_words import LastWords
from flight.orders import FACTORY, LAST_GOOD, Orders
from flight.store import Store
from tests.flight.flight_world import KEYS, MIB, World, config, flown

PLACE = 'Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n  File "/x/flight/payload.py", line 31'


@pytest.fixture
def box():
    made = BlackBox.create()
    yield made
    made.close()


def test_the_page_tells_what_was_written_last(box):
    box.watched = True
    box.note("acquire", "ingesting", 7, 12.5)
    for i in range(20):
        box.event(float(i), f"event-{i}")
    box.begin("chips")
    page = box.read()
    assert (page.mode, page.activity, page.incarnation, page.t_s, page.group) == (
        "acquire",
        "ingesting",
        7,
        12.5,
        "chips",
    )
    assert [event.name for event in page.events] == [f"event-{i}" for i in range(4, 20)]
    assert 9.0 < page.hung_s(page.ping_s + 9.5) < 10.0 and page.where == "rate group chips"
    box.ping()
    assert box.read().group == "" and box.read().hung_s(wall_s()) < 5.0


def test_a_process_that_is_not_watched_never_hangs(box):
    box.note("train", "idle", 1, 0.0)
    box.ping()
    assert box.read().hung_s(wall_s() + 1e6) == 0.0


@given(st.binary(max_size=256), st.integers(0, SIZE - 256))
def test_whatever_the_page_holds_it_can_be_read(content, at):
    made = BlackBox.create()
    os.pwrite(made.descriptor, content, at)
    page = made.read()
    assert len(page.events) <= 16 and page.where
    json.dumps(asdict(page), allow_nan=False)
    made.close()


def test_a_running_executive_pings_and_leaves_its_last_events(tmp_path, box):
    flight = Executive(config(), KEYS, Store(tmp_path), rss_bytes=lambda: 60 * MIB, pulse=box)
    flight.step(3.0, [])
    page = box.read()
    assert (page.t_s, page.incarnation, page.mode) == (3.0, 1, "train")
    assert [event.name for event in page.events] == ["restarted"] and page.ping_s > 0


def restarted(world, **orders):
    world.kill()
    world.flight = Executive(world.config, KEYS, Store(world.where), rss_bytes=world.rss_bytes, orders=Orders(**orders))
    world._step([])


def test_the_last_words_of_a_crash_come_down_as_an_event(tmp_path):
    world = flown(tmp_path)
    words = LastWords("killed by SIGABRT", PLACE, "train", "training", 1, 99.0, 2, ())
    restarted(world, cause="killed by SIGABRT", last_words=words)
    world.until(lambda: world.told("last-words"))
    (told,) = world.told("last-words")
    assert told["place"] == "payload.py:31" and (told["mode"], told["activity"], told["crashes"]) == (
        "train",
        "training",
        2,
    )


def test_with_the_last_good_model_only_what_came_after_it_is_done_again(tmp_path):
    world = World(tmp_path, config(checkpoint_s=1.0, chip_s=0.1, queue_chips=8))
    world.begin()
    world.until(lambda: world.flight.payload.checkpoint_generation >= 3)
    generation = world.flight.payload.checkpoint_generation
    restarted(world, cause="exit code 1", fallback=LAST_GOOD)
    assert world.flight.payload.checkpoint_generation == generation - 1
    assert world.flight.modes.mode == "train" and world.flight.payload.progress.chips > 0
    world.until(lambda: world.told("fallback"))
    assert world.told("fallback")[0]["level"] == LAST_GOOD


def test_with_the_factory_model_flight_is_in_safe_mode_with_its_map_and_labels(tmp_path):
    world = flown(tmp_path)
    restarted(world, cause="exit code 70", fallback=FACTORY)
    assert world.flight.modes.mode == "safe" and world.flight.payload.progress.chips == 0
    assert world.flight.payload.region is not None and world.flight.payload.task_id == 1
    world.until(lambda: world.told("safe-mode-entered"))
    assert world.told("safe-mode-entered")[0]["cause"] == "crashed repeatedly: exit code 70"
    assert world.command("set-mode", mode="idle") == ("executed", "")
    world.restart()
    assert world.flight.modes.mode == "idle"


def test_the_last_checkpoint_there_is_is_never_given_up_for_an_older_one(tmp_path):
    store = Store(tmp_path)
    store.put("checkpoint", b"one")
    assert not store.drop_newest("checkpoint") and store.get("checkpoint") == b"one"
    store.put("checkpoint", b"two")
    assert store.drop_newest("checkpoint") and store.get("checkpoint") == b"one"
    assert store.put("checkpoint", b"three") == 2 and store.get("checkpoint") == b"three"


def test_status_tells_mode_limits_and_last_words_also_as_json(tmp_path, capsys):
    from flight import cli

    world = flown(tmp_path)
    world.board(0.35)
    world.command("set-mode", mode="safe")
    world.kill()
    (tmp_path / "supervisor").mkdir()
    last_words.write(tmp_path / "supervisor", LastWords("hung", PLACE, "train", "training", 1, 9.0, 1, ()))
    found = status.read(tmp_path)
    assert found["mission"] == {
        "mode": "safe", "mode_cause": "telecommand", "limits_tripped": ["battery-low"], "task_id": 1, "incarnation": 1
    }  # fmt: skip
    assert cli.main(["status", "--state", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert cli.main(["status", "--state", str(tmp_path)]) == 0
    assert "last words   hung at payload.py:31, mode train" in capsys.readouterr().out
