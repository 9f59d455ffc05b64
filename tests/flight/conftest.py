"""Fixtures of the tests of flight."""

import pytest

from tests.flight.flight_world import LEARNERS_TESTED, SLOW, flown, label_file, quick_learners


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick_learners(monkeypatch)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """By learner, a slow mission that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        quick_learners(patch)
        return {name: flown(tmp_path_factory.mktemp(name), name, **SLOW) for name in LEARNERS_TESTED}


@pytest.fixture
def idle(tmp_path):
    """A mission with everything on board, in contact, with nothing to do."""
    world = flown(tmp_path)
    world.upload(label_file(2, activate=False))
    world.settle()
    world.run(20.0)
    return world
