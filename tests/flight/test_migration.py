"""A state directory as version 0.1.0 wrote it: gone on with if its formats are those of today, else left alone."""

import zipfile
from pathlib import Path

import msgpack
import pytest

from flight.checkpoints import FORMAT as CHECKPOINT_FORMAT
from flight.mission_state import FORMAT as MISSION_FORMAT
from flight.store import StateFormatError, Store
from tests.flight.flight_world import World, config, flown

KEPT = Path(__file__).parent / "data" / "state-0.1.zip"
WEIGHTS = "70600ef379741471885fbd31e5cf206ee40cbe1c0690f85383289210a64df073"


@pytest.fixture
def kept(tmp_path):
    with zipfile.ZipFile(KEPT) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def formats(directory):
    return {name: msgpack.unpackb(Store(directory).get(name))["format"] for name in ("mission", "checkpoint")}


def test_the_state_of_the_version_before_is_gone_on_with_or_refused_and_left_as_it_was(kept):
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    if formats(kept) != {"mission": MISSION_FORMAT, "checkpoint": CHECKPOINT_FORMAT}:
        with pytest.raises(StateFormatError, match=r"state of format \d, this version reads \d"):
            World(kept, config())
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
        return
    world = World(kept, config())
    assert world.weights() == WEIGHTS
    assert world.flight.payload.progress.chips == 48 and world.flight.payload.task_id == 1
    assert world.flight.time.offset_s == pytest.approx(100.0)
    assert set(world.flight.log.counts) == {"region-loaded", "labels-loaded", "restarted"}
    world.flight.payload.set_task(2)
    assert world.flight.payload.label_version == 1


@pytest.mark.parametrize("name", ["mission", "checkpoint"])
def test_a_state_of_a_later_format_is_refused_and_left_as_it_was(name, kept):
    store = Store(kept)
    state = msgpack.unpackb(store.get(name))
    store.put(name, msgpack.packb({**state, "format": state["format"] + 1 + max(MISSION_FORMAT, CHECKPOINT_FORMAT)}))
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    with pytest.raises(StateFormatError, match=name if formats(kept)["mission"] == MISSION_FORMAT else "mission"):
        World(kept, config())
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_mission_record_with_a_mode_that_is_none_is_refused_and_left_as_it_was(tmp_path):
    flown(tmp_path)
    store = Store(tmp_path)
    store.put("mission", msgpack.packb({**msgpack.unpackb(store.get("mission")), "mode": ["dream", ""]}), twice=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StateFormatError, match="mission: mode 'dream' is unknown"):
        World(tmp_path, config())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
