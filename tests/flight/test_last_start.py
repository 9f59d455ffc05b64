"""Starting with a configuration or a bundle that is damaged: refused at a desk, survived in orbit."""

import pytest

from flight import last_start, preflight
from flight.bundle import LIBRARY, BundleError, pack
from flight.config import ConfigError
from flight.store import Store
from tests.build.test_bundle import manifest
from tests.flight.flight_world import KEYS

GOOD = b"[executive]\nsettle_s = 7.0\n"


@pytest.fixture
def files(tmp_path):
    """A configuration and a bundle that flight was once started with, and its state directory."""
    config, bundle, state = tmp_path / "flight.toml", tmp_path / "flight.bundle", tmp_path / "state"
    config.write_bytes(GOOD)
    bundle.write_bytes(pack(manifest(), {LIBRARY: b"kernels"}, KEYS))
    last_start.read(config, bundle, KEYS).keep(Store(state))
    return config, bundle, state


DAMAGE = {
    "no TOML": b"[executive",
    "no text": b"\xff" + GOOD,
    "no such field": GOOD.replace(b"settle", b"sattle"),
    "out of range": GOOD.replace(b"7.0", b"-7.0"),
    "over its cap": b"[caps]\nmemory_bytes = 40000000\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_configuration_is_refused_unless_flight_is_to_fall_back_to_the_last_one(files, damage):
    config, bundle, state = files
    config.write_bytes(DAMAGE[damage])
    with pytest.raises(ConfigError):
        last_start.read(config, bundle, KEYS, None, preflight.check)
    found = last_start.read(config, bundle, KEYS, state, preflight.check)
    assert found.config.executive.settle_s == 7.0 and found.bundle.files[LIBRARY] == b"kernels"
    assert found.unusable


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_bit_of_the_bundle_that_has_flipped_costs_neither_kernels_nor_configuration(files, at):
    config, bundle, state = files
    damaged = bytearray(bundle.read_bytes())
    damaged[at] ^= 4
    bundle.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"flight\.bundle: "):
        last_start.read(config, bundle, KEYS)
    found = last_start.read(config, bundle, KEYS, state)
    assert found.bundle.files[LIBRARY] == b"kernels" and "flight.bundle" in found.unusable


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_gone_is_as_good_as_a_damaged_one(files, which):
    files[which].unlink()
    with pytest.raises(ConfigError, match="No such file"):
        last_start.read(*files[:2], KEYS)
    assert "No such file" in last_start.read(*files[:2], KEYS, files[2]).unusable


def test_without_an_earlier_start_there_is_nothing_to_fall_back_to(tmp_path):
    (tmp_path / "flight.toml").write_bytes(b"[")
    for state in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match=r"flight\.toml"):
            last_start.read(tmp_path / "flight.toml", None, KEYS, state)


def test_what_is_kept_is_the_last_start_that_worked_and_is_written_when_it_changes(files):
    config, bundle, state = files
    store = Store(state)
    generation = store.generation(last_start.RECORD)
    last_start.read(config, bundle, KEYS, state).keep(store)
    config.write_bytes(b"[")
    last_start.read(config, bundle, KEYS, state).keep(store)
    assert store.generation(last_start.RECORD) == generation
    config.write_bytes(GOOD.replace(b"7", b"8"))
    last_start.read(config, bundle, KEYS, state).keep(store)
    config.write_bytes(b"[")
    assert last_start.read(config, bundle, KEYS, state).config.executive.settle_s == 8.0


def test_a_disk_that_refuses_is_no_reason_not_to_start(files, monkeypatch):
    config, _, state = files
    store = Store(state)
    monkeypatch.setattr(store.disk, "rename", lambda old, new: (_ for _ in ()).throw(OSError(30, "read-only")))
    config.write_bytes(GOOD.replace(b"7", b"8"))
    last_start.read(config, None, KEYS).keep(store)
    assert last_start.read(None, config, KEYS, state).config.executive.settle_s == 7.0
