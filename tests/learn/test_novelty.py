"""Novelty: what it flags, what it promises about false alarms, and what it does not promise."""

from __future__ import annotations

import numpy as np
import pytest
from learn_world import DATA, world
from sklearn.metrics import roc_auc_score

from flight.learn.kdm import NotFittedError
from flight.learn.novelty import Novelty
from flight.learn.state import StateError, pack, unpack

USUAL, OTHER = world(n=240), world(n=60, seed=1)


def fitted(**params):
    return Novelty(n_prototypes=16, **params).partial_fit(USUAL.chips, number=np.arange(240))


def auroc(usual, strange):
    return roc_auc_score(np.arange(len(usual) + len(strange)) >= len(usual), np.concatenate([usual, strange]))


def test_chips_of_another_sensor_are_flagged():
    darker = (OTHER.chips * 0.6).astype(np.uint8)
    model = fitted()
    assert auroc(model.score(OTHER.chips), model.score(darker)) > 0.98
    assert (model.p_value(darker) < 0.05).mean() > 0.9


def test_real_chips_of_another_sensor_are_flagged():
    files = [DATA / f"{name}_llp.npz" for name in ("eurosat_mosaic96", "dubai")]
    if not all(file.exists() for file in files):
        pytest.skip("the imagery is not here")
    (chips, split), (other, other_split) = ((d["chips"], d["split"]) for d in map(np.load, files))
    model = Novelty(capacity=512)
    model.partial_fit(chips[split == 0][:512], number=np.arange(512))
    assert auroc(model.score(chips[split == 2][:80]), model.score(other[other_split == 2][:80])) > 0.97


def test_false_alarms_on_usual_chips_are_as_rare_as_promised():
    p = fitted().p_value(OTHER.chips)
    assert (p <= 0.1).mean() <= 0.2  # 60 chips: 0.1, and 2.6 standard errors
    assert p.min() > 0


def test_scores_do_not_depend_on_the_order_of_chips_or_on_chips_given_twice():
    order = np.random.Generator(np.random.PCG64(1)).permutation(240)
    mixed = Novelty(n_prototypes=16, capacity=100)
    for part in np.array_split(order, 7):
        mixed.partial_fit(USUAL.chips[part], number=part)
    mixed.partial_fit(USUAL.chips[:50], number=np.arange(50))
    np.testing.assert_array_equal(mixed.score(OTHER.chips), fitted(capacity=100).score(OTHER.chips))


def test_memory_stays_within_its_capacity():
    assert len(fitted(capacity=64).state()) < 64 * 180 + 500


def test_a_restored_model_goes_on_as_if_nothing_had_happened():
    model = Novelty(n_prototypes=8).partial_fit(USUAL.chips[:100], number=np.arange(100))
    restored = Novelty.from_state(model.state())
    for each in (model, restored):
        each.partial_fit(USUAL.chips[100:], number=np.arange(100, 240))
    np.testing.assert_array_equal(restored.score(OTHER.chips), model.score(OTHER.chips))
    assert Novelty.from_state(Novelty(seed=3).state()).seed == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda h, a: h.update(novelty=None),
        lambda h, a: h.update(novelty={"capacity": 1, "n_prototypes": 8, "seed": 0}),
        lambda h, a: h.update(chip_shape=[1 << 20, 24, 3]),
        lambda h, a: h.update(chip_shape="24"),
        lambda h, a: a.update(numbers=a["numbers"][::-1].copy()),
        lambda h, a: a.update(rows=a["rows"][:, :3]),
        lambda h, a: a.pop("rows"),
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(change):
    header, arrays = unpack(fitted().state())
    change(header, arrays)
    with pytest.raises(StateError):
        Novelty.from_state(pack(header, arrays))


def test_constant_chips_break_nothing():
    flat = np.full((40, 16, 16, 3), 90, np.uint8)
    flat[1::2] = 120
    model = Novelty().partial_fit(flat, number=np.arange(40))
    assert np.isfinite(model.score(flat)).all()


def test_asking_too_early_says_how_many_chips_are_missing():
    model = Novelty().partial_fit(USUAL.chips[:5], number=np.arange(5))
    with pytest.raises(NotFittedError, match="seen 5 chips, it needs 32"):
        model.score(USUAL.chips)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: Novelty(capacity=3).partial_fit(USUAL.chips, number=np.arange(240)), "capacity is 3"),
        (lambda: fitted().score(USUAL.chips[:, :16]), "as before"),
        (lambda: fitted().partial_fit(USUAL.chips[:2], number=[1]), "number"),
    ],
)
def test_bad_arguments_are_named(work, message):
    with pytest.raises(ValueError, match=message):
        work()
