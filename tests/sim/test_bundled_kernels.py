"""A mission carries kernels that were compiled ahead of time to flight, in a bundle that flight will believe."""

import dataclasses
from types import SimpleNamespace

import pytest

from flight import __version__
from flight.bundle import LIBRARY, Bundle, BundleError, Manifest, load
from flight.kernels.registry import abi
from flight.link.keys import KeyRing
from sim.fleet import Processes
from sim.mission import Mission
from sim.plan import make_plan
from sim.scenario import WorldSection, load_scenario

BUNDLE = Bundle(Manifest(__version__, "none", "host", "riscv128", (), abi()), {LIBRARY: b"no machine code"})


@pytest.fixture(scope="module")
def plan():
    return make_plan(dataclasses.replace(load_scenario("demo"), world=WorldSection(12, 12, 12)))


def test_the_bundle_is_sealed_anew_with_the_missions_keys(plan, tmp_path):
    mission = Mission(plan, tmp_path, bundle=BUNDLE)
    mission._prepare()
    carried = load(tmp_path / "spec" / "kernels.bundle", KeyRing.load(tmp_path / "spec" / "keys.toml"))
    assert carried.files == BUNDLE.files
    with pytest.raises(BundleError, match="seal"):
        load(tmp_path / "spec" / "kernels.bundle", KeyRing({1: bytes(32), 2: bytes(32)}, 1))


@pytest.mark.parametrize("bundle", [None, BUNDLE])
def test_flight_is_told_of_the_bundle_if_there_is_one(plan, tmp_path, monkeypatch, bundle):
    started = {}

    def start(name, arguments, log):
        started[name] = arguments
        return SimpleNamespace(name=name)

    monkeypatch.setattr("sim.fleet.Child", start)
    monkeypatch.setattr("sim.fleet.Control", lambda endpoint: SimpleNamespace(endpoint=endpoint))
    monkeypatch.setattr("sim.fleet.ProcessNode", lambda name, control, child: child)
    mission = Mission(plan, tmp_path, bundle=bundle)
    mission._prepare()
    Processes(plan, tmp_path, tmp_path)
    assert ("--bundle" in started["flight"]) == (bundle is not None)
