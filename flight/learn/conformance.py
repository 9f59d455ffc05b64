"""What every learner promises, as checks of a class: those of `flight.learn`, and yours.

    python -m flight.learn.conformance mine:MyLearner --params '{"n_steps": 30}'

or `check(MyLearner)` from Python, or one test a promise under pytest:

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
    def test_my_learner_keeps(promise):
        promise(Subject(MyLearner, n_steps=30))

Nothing here is imported on board.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.integrity import Seal
from flight.learn.base import Learner, NotReadyError
from flight.learn.state import StateError

SIDE = 24  # pixels of a chip of the made-up Earth
CHIP = (SIDE, SIDE, 3)
_LEVEL = np.array([[60, 90, 60], [120, 110, 90], [170, 170, 180]])
_ROUGH = np.array([4.0, 12.0, 25.0])


class BrokenPromiseError(AssertionError):
    """A learner does not do what every learner promises; the message says what it does instead."""


@dataclass
class World:
    """Chips with their municipalities, true proportions, and the table of the municipalities."""

    chips: NDArray[np.uint8]
    bag: NDArray[np.int32]
    labels: NDArray[np.uint8]
    proportions: NDArray[np.float64]
    table: NDArray[np.float32]


def world(n: int = 96, per_bag: int = 6, seed: int = 0, bands: int = 3) -> World:
    """A made-up Earth: chips of coloured, textured cells, and municipalities that differ in their mixture of three."""
    rng = np.random.Generator(np.random.PCG64(seed))
    bag = (np.arange(n) // per_bag).astype(np.int32)
    mixture = rng.dirichlet([0.6, 0.6, 0.6], int(bag.max()) + 1)
    cells = np.stack([rng.choice(3, (SIDE // 4, SIDE // 4), p=mixture[b]) for b in bag])
    labels = cells.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    level = _LEVEL[labels][..., np.arange(bands) % 3]
    pixels = level + _ROUGH[labels][..., None] * rng.standard_normal((*labels.shape, bands))
    chips = np.clip(pixels, 0, 255).astype(np.uint8)
    proportions = np.stack([(labels == c).mean(axis=(1, 2)) for c in range(3)], axis=1)
    table = np.stack([proportions[bag == b].mean(axis=0) for b in range(len(mixture))]).astype(np.float32)
    return World(chips, bag, labels, proportions, table)


EARTH = world()


class Subject:
    """A class under test; `quick` are arguments that make it quick, for all promises but that it learns something."""

    def __init__(self, cls: type[Learner], **quick: Any) -> None:
        self.cls, self.parameters = cls, quick

    def new(self, shape: tuple[int, ...] = CHIP, **params: Any) -> Learner:
        """A fresh learner for chips of `shape`."""
        return self.cls(**params)

    def restored(self, state: bytes, shape: tuple[int, ...] = CHIP) -> Learner:
        """The learner whose state that was."""
        return self.cls.from_state(state)

    def quick(self, shape: tuple[int, ...] = CHIP, **params: Any) -> Learner:
        """A fresh learner, quick."""
        return self.new(shape, **{**self.parameters, **params})

    def fitted(self, **params: Any) -> Learner:
        """A quick learner with all that is needed to train."""
        return self.quick(**params).partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)


Promise = Callable[[Subject], None]


def constructor_stores_its_arguments_and_does_nothing_else(subject: Subject) -> None:
    """All arguments are keywords with defaults, `seed` and `max_municipalities` among them; no memory is taken yet."""
    parameters = inspect.signature(subject.cls).parameters
    _hold({"seed", "max_municipalities"} <= set(parameters), f"arguments are {', '.join(parameters)}")
    _hold(all(p.kind is p.KEYWORD_ONLY for p in parameters.values()), "not all arguments are keyword-only")
    learner = subject.new(seed=7)
    _same(learner.params(), {k: p.default for k, p in parameters.items()} | {"seed": 7}, "params()")
    _same(learner.n_bytes, 0, "n_bytes")


def predictions_lie_on_the_simplex(subject: Subject) -> None:
    """Of chips and of cells: float32, not negative, and sum to 1."""
    learner, rows = subject.fitted(), SIDE // 4
    for shape, predicted in (
        ((96, 3), learner.predict(EARTH.chips)),
        ((96, rows, rows, 3), learner.predict_map(EARTH.chips)),
    ):
        _same((predicted.shape, predicted.dtype), (shape, np.dtype(np.float32)), "shape and dtype")
        _hold(bool((predicted >= 0).all()), f"least proportion is {predicted.min()}")
        _hold(bool(np.allclose(predicted.sum(axis=-1), 1, atol=1e-5)), "proportions do not sum to 1")


def learns_more_than_the_mean_label(subject: Subject) -> None:
    """On other land the error is less than half of that of the mean of the table."""
    learner = subject.new().partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table)
    other = world(seed=1)
    error = float(np.abs(learner.predict(other.chips) - other.proportions).mean())
    mean = float(np.abs(EARTH.table.mean(axis=0) - other.proportions).mean())
    _hold(error < 0.5 * mean, f"error is {error:.3f}, that of the mean label {mean:.3f}")


def weights_do_not_depend_on_the_order_of_chips_labels_and_slices(subject: Subject) -> None:
    """They are a function of sets: of the chips, the last labels and the seed."""
    n = len(EARTH.chips)
    numbers = np.arange(n) + 1000
    straight = subject.quick().partial_fit(EARTH.chips, EARTH.bag, number=numbers).set_labels(EARTH.table)
    mixed = subject.quick().set_labels(np.full((4, 2), 0.5), task_id=3)
    order = np.random.Generator(np.random.PCG64(5)).permutation(n)
    for part in np.array_split(order, [1, 3, 40, 41, 70]):
        mixed.partial_fit(EARTH.chips[part], EARTH.bag[part], number=numbers[part])
        mixed.train(3)
        mixed.set_labels(np.roll(EARTH.table, 1, axis=1), version=1)
        mixed.train(1)
    mixed.set_labels(EARTH.table, version=2)
    while mixed.train(7):
        pass
    _same_weights(mixed, straight)
    _hold(bool((mixed.predict(EARTH.chips) == straight.predict(EARTH.chips)).all()), "predictions differ")


def a_kill_in_the_middle_of_training_changes_no_bit(subject: Subject) -> None:
    """What `from_state` makes of `state()` goes on with the same training."""
    undisturbed, killed = subject.fitted(), subject.fitted()
    while killed.pending_steps:
        killed.train(4)
        killed = subject.restored(killed.state())
    _same_weights(killed, undisturbed)
    _hold(killed.state() == undisturbed.state(), "the states at the end differ")


def a_restored_learner_goes_on_learning_as_if_nothing_had_happened(subject: Subject) -> None:
    """Chips and labels that come after a restart are learned from with those before it."""
    first, second = slice(0, 50), slice(50, 96)
    undisturbed = subject.quick().partial_fit(EARTH.chips[first], EARTH.bag[first])
    killed = subject.restored(undisturbed.state())
    for learner in (undisturbed, killed):
        learner.partial_fit(EARTH.chips[second], EARTH.bag[second]).set_labels(EARTH.table)
    _same_weights(killed, undisturbed)


def a_learner_that_has_seen_nothing_can_be_stored(subject: Subject) -> None:
    """Its state has its parameters and its region."""
    learner = subject.quick()
    learner.region_id = 9
    again = subject.restored(learner.state())
    _same((again.region_id, again.params(), again.chip_shape_), (9, learner.params(), None), "what was restored")


def state_names_region_task_and_label_version(subject: Subject) -> None:
    """And how many chips there were."""
    learner = subject.quick().partial_fit(EARTH.chips, EARTH.bag).set_labels(EARTH.table, task_id=4, version=17)
    learner.region_id = 6
    again = subject.restored(learner.state())
    _same((again.region_id, again.task_id, again.version, again.n_chips_), (6, 4, 17, 96), "what was restored")


def the_same_labels_under_a_new_version_need_no_training(subject: Subject) -> None:
    """Training is pending only when something that weights depend on has changed."""
    learner = subject.fitted()
    learner.train(learner.pending_steps)
    learner.set_labels(EARTH.table, version=5)
    _same((learner.pending_steps, learner.version), (0, 5), "pending steps and version")


def another_number_of_classes_is_another_head(subject: Subject) -> None:
    """As if there had never been the task before."""
    learner = subject.fitted()
    learner.predict(EARTH.chips[:1])
    two = np.stack([EARTH.table[:, 0], EARTH.table[:, 1:].sum(axis=1)], axis=1)
    learner.set_labels(two, task_id=1)
    _hold(learner.pending_steps > 0, "no training is pending")
    _same(learner.predict(EARTH.chips[:2]).shape, (2, 2), "shape of predictions")
    _same_weights(learner, subject.quick().partial_fit(EARTH.chips, EARTH.bag).set_labels(two, task_id=1))


def prediction_finishes_pending_training(subject: Subject) -> None:
    """Nothing is predicted with half-trained weights."""
    learner = subject.fitted()
    _hold(learner.ready and learner.pending_steps > 0, "with chips and labels, training is not pending")
    learner.predict(EARTH.chips[:1])
    _same((learner.pending_steps, learner.train(5)), (0, 0), "steps pending after a prediction, and done then")


def training_does_no_more_steps_than_it_may(subject: Subject) -> None:
    """A slice of training has a length."""
    learner = subject.fitted()
    pending = learner.pending_steps
    _same((learner.train(0), learner.train(1)), (0, 1), "steps done")
    _same(learner.pending_steps, pending - 1, "steps pending")


def a_prediction_does_not_depend_on_its_company(subject: Subject) -> None:
    """To the bit: not on which chips are predicted with it, nor on their order."""
    learner = subject.fitted()
    together = learner.predict(EARTH.chips)
    _hold(bool((learner.predict(EARTH.chips[3:4])[0] == together[3]).all()), "alone a chip is predicted differently")
    _hold(bool((learner.predict(EARTH.chips[::-1])[::-1] == together).all()), "the order of chips matters")


def asking_too_early_says_what_is_missing(subject: Subject) -> None:
    """NotReadyError names `set_labels`, then `partial_fit`, then that no chip lies in a labelled municipality."""
    learner = subject.quick()
    _not_ready(lambda: learner.predict(EARTH.chips), "set_labels")
    learner.set_labels(EARTH.table)
    _not_ready(lambda: learner.predict(EARTH.chips), "partial_fit")
    learner.partial_fit(EARTH.chips, np.full(96, -1))
    _same((learner.ready, learner.pending_steps), (False, 0), "ready, and steps pending")
    _not_ready(learner.weights, "labelled municipality")


def municipalities_without_a_row_are_not_learnt_from(subject: Subject) -> None:
    """A row of NaN is as none."""
    table = EARTH.table.copy()
    table[1::2] = np.nan
    learner = subject.quick().partial_fit(EARTH.chips, EARTH.bag).set_labels(table)
    _finite(learner)
    _same_weights(subject.quick().partial_fit(EARTH.chips, EARTH.bag).set_labels(table[:15]), learner)


def one_labelled_municipality_is_enough_for_a_prediction(subject: Subject) -> None:
    """However bad it is."""
    table = np.full_like(EARTH.table, np.nan)
    table[2] = [0.2, 0.3, 0.5]
    _finite(subject.quick().partial_fit(EARTH.chips, EARTH.bag).set_labels(table))


def overlaps_with_all_weight_on_one_municipality_equal_that_municipality(subject: Subject) -> None:
    """A share of 0 is none."""
    bags = np.stack([EARTH.bag, (EARTH.bag + 1) % 16, np.full(96, -1)], axis=1)
    weights = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (96, 1))
    learner = subject.quick().partial_fit(EARTH.chips, bags, weights).set_labels(EARTH.table)
    difference = float(np.abs(learner.predict(EARTH.chips) - subject.fitted().predict(EARTH.chips)).max())
    _hold(difference <= 1e-6, f"predictions differ by {difference}")


def overlap_weights_matter(subject: Subject) -> None:
    """A chip on a border counts in each municipality by its share."""
    bags = np.stack([EARTH.bag, (EARTH.bag + 1) % 16], axis=1)
    even = subject.quick().partial_fit(EARTH.chips, bags).set_labels(EARTH.table)
    weights = np.tile(np.array([0.9, 0.1], np.float32), (96, 1))
    uneven = subject.quick().partial_fit(EARTH.chips, bags, weights).set_labels(EARTH.table)
    _hold(even.weights() != uneven.weights(), "weights are the same for shares of .5 and .5 as for .9 and .1")


def takes_one_to_thirteen_bands(subject: Subject) -> None:
    """Whatever the sensor."""
    for bands in (1, 4, 13):
        earth = world(n=24, bands=bands)
        shape = earth.chips.shape[1:]
        learner = subject.quick(shape).partial_fit(earth.chips, earth.bag).set_labels(earth.table)
        _same(learner.predict(earth.chips).shape, (24, 3), f"shape of predictions with {bands} bands")
        _same_weights(subject.restored(learner.state(), shape), learner)


def chips_need_not_be_square(subject: Subject) -> None:
    """Maps have the chips' proportions."""
    earth = world(n=24)
    chips = earth.chips[:, :16]
    learner = subject.quick(chips.shape[1:]).partial_fit(chips, earth.bag).set_labels(earth.table)
    _same(learner.predict_map(chips).shape, (24, 4, SIDE // 4, 3), "shape of maps")


def memory_is_reported_and_parameters_counted(subject: Subject) -> None:
    """`n_bytes` is no less than the weights, and `n_parameters` no more than they can hold."""
    learner = subject.fitted()
    weights = learner.weights()
    _hold(learner.n_bytes >= len(weights), f"n_bytes is {learner.n_bytes}, weights have {len(weights)}")
    _hold(0 < learner.n_parameters <= len(weights) // 4, f"n_parameters is {learner.n_parameters}")


def summaries_predict_nearly_what_the_imagery_does(subject: Subject) -> None:
    """Or there are none, and `predict_summaries` says so."""
    learner = subject.fitted()
    # A summary may keep every other cell of every other row: here these are as many of each kind of cell.
    chips = np.tile(EARTH.chips[:, : SIDE // 2, : SIDE // 2], (1, 2, 2, 1))
    summaries = learner.summarise(chips)
    if summaries is None:
        try:
            learner.predict_summaries(np.zeros((1, 1), np.uint8))
        except TypeError:
            return
        raise BrokenPromiseError("predict_summaries takes what summarise never makes")
    _same(summaries.dtype, np.dtype(np.uint8), "dtype of summaries")
    predicted = learner.predict(chips)
    difference = float(np.abs(learner.predict_summaries(summaries) - predicted).mean())
    apart = float(np.abs(predicted - np.roll(predicted, 6, axis=0)).mean())  # of another municipality
    _hold(difference < 0.25 * apart, f"predictions differ by {difference:.3f}, municipalities by {apart:.3f}")


def every_corrupt_byte_of_a_state_is_noticed(subject: Subject) -> None:
    """StateError, and never another model."""
    data = subject.quick().set_labels(EARTH.table).state()
    for at in range(len(data)):
        try:
            subject.restored(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        except StateError:
            continue
        raise BrokenPromiseError(f"byte {at} of {len(data)} can be changed unnoticed")


def arrays_written_in_place_are_named(subject: Subject) -> None:
    """In `absorbed`, `trained` and `scratch`: flight takes changes of all other arrays for flipped bits."""
    learner, seal = subject.quick(), Seal()

    def holds(call: str, written: tuple[str, ...]) -> None:
        paths = tuple(f"learner.{path}" for path in learner.scratch + written)
        part = seal.renew_after(paths, learner=learner)
        _hold(not part, f"{call} writes in {part.removeprefix('learner.')}, which is not named")

    for chips in np.array_split(np.arange(len(EARTH.chips)), 6):
        learner.partial_fit(EARTH.chips[chips], EARTH.bag[chips], number=chips)
        summaries = learner.summarise(EARTH.chips[chips])
        holds("partial_fit", learner.absorbed)
        learner.set_labels(EARTH.table)
        holds("set_labels", ())
        learner.train(3)
        holds("train", learner.trained)
    while learner.pending_steps:
        learner.train(5)
        holds("train", learner.trained)
    for _ in range(2):
        learner.predict(EARTH.chips[:3])
        if summaries is not None:
            learner.predict_summaries(summaries)
        holds("predict", ())


PROMISES: tuple[Promise, ...] = (
    constructor_stores_its_arguments_and_does_nothing_else, predictions_lie_on_the_simplex,
    learns_more_than_the_mean_label, weights_do_not_depend_on_the_order_of_chips_labels_and_slices,
    a_kill_in_the_middle_of_training_changes_no_bit, a_restored_learner_goes_on_learning_as_if_nothing_had_happened,
    a_learner_that_has_seen_nothing_can_be_stored, state_names_region_task_and_label_version,
    the_same_labels_under_a_new_version_need_no_training, another_number_of_classes_is_another_head,
    prediction_finishes_pending_training, training_does_no_more_steps_than_it_may,
    a_prediction_does_not_depend_on_its_company, asking_too_early_says_what_is_missing,
    municipalities_without_a_row_are_not_learnt_from, one_labelled_municipality_is_enough_for_a_prediction,
    overlaps_with_all_weight_on_one_municipality_equal_that_municipality, overlap_weights_matter,
    takes_one_to_thirteen_bands, chips_need_not_be_square, memory_is_reported_and_parameters_counted,
    summaries_predict_nearly_what_the_imagery_does, every_corrupt_byte_of_a_state_is_noticed,
    arrays_written_in_place_are_named,
)  # fmt: skip


def broken(subject: Subject) -> Iterator[tuple[Promise, Exception | None]]:
    """Every promise, and how it is broken; None where it is kept."""
    for promise in PROMISES:
        try:
            promise(subject)
        except Exception as error:  # whatever a learner raises where it should not
            yield promise, error
        else:
            yield promise, None


def check(cls: type[Learner], **quick: Any) -> None:
    """BrokenPromiseError unless objects of `cls` keep every promise; `quick` are arguments that make them quick."""
    found = [f"{promise.__name__}: {error!r}" for promise, error in broken(Subject(cls, **quick)) if error is not None]
    if found:
        raise BrokenPromiseError(
            f"{cls.__name__} breaks {len(found)} of {len(PROMISES)} promises:\n" + "\n".join(found)
        )


def main(arguments: list[str] | None = None) -> int:
    """Check the class that the command line names; the exit code."""
    options = argparse.ArgumentParser(prog="python -m flight.learn.conformance", description="Check a learner's class.")
    options.add_argument("learner", help="MODULE:CLASS, such as mine:MyLearner for a class in mine.py")
    options.add_argument("--params", type=json.loads, default={}, help="JSON object: arguments that make it quick")
    given = options.parse_args(arguments)
    module, _, name = given.learner.partition(":")
    sys.path.insert(0, "")
    kept = True
    for promise, error in broken(Subject(getattr(importlib.import_module(module), name), **given.params)):
        print(f"{'ok' if error is None else 'BROKEN':<7} {promise.__name__.replace('_', ' ')}", flush=True)
        if error is not None:
            kept = False
            print(f"        {type(error).__name__}: {error}")
    print("keeps every promise" if kept else "is not ready to fly")
    return 0 if kept else 1


def _hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise BrokenPromiseError(otherwise)


def _same(found: object, expected: object, what: str) -> None:
    _hold(found == expected, f"{what}: {found!r}, expected {expected!r}")


def _same_weights(found: Learner, expected: Learner) -> None:
    _hold(found.weights() == expected.weights(), "the weights are others")


def _finite(learner: Learner) -> None:
    _hold(bool(np.isfinite(learner.predict(EARTH.chips)).all()), "predictions are not finite")


def _not_ready(action: Callable[[], object], word: str) -> None:
    try:
        action()
    except NotReadyError as error:
        _hold(word in str(error), f"NotReadyError says {str(error)!r}, without {word!r}")
        return
    raise BrokenPromiseError(f"no NotReadyError that says {word!r}")


if __name__ == "__main__":
    raise SystemExit(main())
