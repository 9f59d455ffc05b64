"""The payload by itself: what it refuses, what it keeps, and learning from very little."""

import dataclasses

import numpy as np
import pytest

from flight.errors import RefusedError
from flight.link import labelset, layout, region_codec, region_patch
from flight.link.classes import relate
from flight.link.region import Region
from flight.payload import Payload
from flight.region_intake import Kept
from flight.store import Store
from flight.telemetry import EventLog
from tests.flight.flight_world import EARTH, LEARNERS_TESTED, config, label_set, make_chip, make_region, region_file


def payload(directory, learner="moments", **changes):
    log = EventLog()
    made = Payload(config(learner, **changes), Store(directory), lambda name, **values: log.add(0.0, name, **values))
    made.log = log
    return made


def events(made):
    return [event.name for event in made.log.recent]


def ready(directory, learner="moments", **labels):
    made = payload(directory, learner)
    made.receive_region(region_file().data)
    made.receive_labels(labelset.pack(label_set(**labels)))
    return made


def test_without_a_region_nothing_is_learned(tmp_path):
    made = payload(tmp_path)
    with pytest.raises(RefusedError, match="no region"):
        made.ingest([make_chip(0)])
    with pytest.raises(RefusedError, match="unknown region 1"):
        made.receive_labels(labelset.pack(label_set()))


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
@pytest.mark.parametrize(
    "chips",
    [
        [make_chip(0)],
        [make_chip(i, image=np.zeros((24, 24, 3), np.uint8)) for i in range(12)],
        [make_chip(i, image=np.full((24, 24, 3), 255, np.uint8)) for i in range(12)],
        [make_chip(i) for i in range(6)],
        [make_chip(i, image=np.full((16, 16, 1), i, np.uint8)) for i in range(12)],
    ],
    ids=["one chip", "black", "white", "one municipality", "one band"],
)
def test_the_least_imagery_gives_a_model_and_predictions(learner, chips, tmp_path):
    made = ready(tmp_path, learner)
    made.ingest(chips)
    while made.pending_steps:
        made.train(1000)
    product = made.products.predict(100)
    assert len(product.cells) == len(chips)
    assert np.allclose(product.proportions.sum(axis=1), 1.0, atol=1e-3)
    assert events(made)[-1] == "model-ready"


@pytest.mark.parametrize("learner", LEARNERS_TESTED)
def test_one_labelled_municipality_is_enough_and_none_is_not_a_fault(learner, tmp_path):
    made = ready(tmp_path / "one", learner, share=0.125)
    none = ready(tmp_path / "none", learner, share=0.0)
    for each in (made, none):
        each.ingest([make_chip(i) for i in range(48)])
        while each.pending_steps:
            each.train(1000)
    assert made.has_model and made.products.to_predict == 48
    assert not none.has_model and none.products.to_predict == 0 and none.products.predict(10) is None
    with pytest.raises(RefusedError, match="no model"):
        none.model()


def test_chips_that_nobody_owns_are_predicted_and_teach_no_municipality(tmp_path):
    sea = make_region()
    bags, weights = sea.bags.copy(), sea.weights.copy()
    bags[:6], weights[:6] = -1, 0
    made = payload(tmp_path)
    made.receive_region(region_codec.pack(dataclasses.replace(sea, bags=bags, weights=weights)))
    made.receive_labels(labelset.pack(label_set()))
    made.ingest([make_chip(i) for i in range(12)])
    made.train(1)
    assert made.products.predict(100).cells.tolist() == list(range(12))


def test_as_many_municipalities_as_the_link_allows_can_be_learned(tmp_path):
    n = 70_000
    bags = np.full((n, 4), -1, np.int32)
    bags[:, 0] = np.arange(n)
    weights = np.zeros((n, 4), np.uint8)
    weights[:, 0] = 255
    many = Region(1, n // 100, 100, tuple(map(str, range(n))), bags, weights)
    payload(tmp_path).store.put("region", Kept(many, (many.digest,), n).dump())
    made = payload(tmp_path, max_municipalities=n)
    made.ingest([dataclasses.replace(make_chip(0), row=699, col=99)])
    assert made.progress.chips == 1


def test_a_checkpoint_holds_everything_and_goes_on_in_the_middle_of_training(tmp_path):
    made = ready(tmp_path, "downconv")
    made.ingest([make_chip(i) for i in range(48)])
    made.train(7)
    made.checkpoint()
    again = payload(tmp_path, "downconv")
    again.resume_task(1)
    assert again.checkpoint_generation == 1
    assert (again.pending_steps, len(again.summaries)) == (made.pending_steps, 48)
    for each in (made, again):
        each.train(1000)
    assert again.progress == made.progress
    np.testing.assert_array_equal(again.products.predict(48).proportions, made.products.predict(48).proportions)


def test_the_same_labels_again_do_not_train_again(tmp_path):
    made = ready(tmp_path)
    made.ingest([make_chip(i) for i in range(48)])
    made.train(1)
    made.products.predict(48)
    made.receive_labels(labelset.pack(label_set(version=2)))
    assert made.label_version == 2 and made.pending_steps == 0 and made.products.to_predict == 0


def test_labels_that_come_late_take_nothing_back(tmp_path):
    made = ready(tmp_path, share=0.5)
    made.receive_labels(labelset.pack(label_set(version=2)))
    with pytest.raises(RefusedError, match="version 1 of task 1: 2 is on board"):
        made.receive_labels(labelset.pack(label_set(share=0.5)))
    assert made.label_version == 2
    again = payload(tmp_path)
    again.resume_task(1)
    assert again.label_version == 2 and not again.labels.missing.any()


def test_labels_may_come_twice_but_not_in_two_forms_of_one_version(tmp_path):
    made = ready(tmp_path)
    made.receive_labels(labelset.pack(label_set()))
    with pytest.raises(RefusedError, match="version 1 of task 1 is on board, with other content"):
        made.receive_labels(labelset.pack(label_set(share=0.5)))
    assert not made.labels.missing.any()


def test_labels_that_are_not_to_be_activated_wait_until_they_are_asked_for(tmp_path):
    made = ready(tmp_path)
    made.receive_labels(labelset.pack(label_set(2, activate=False)))
    assert made.task_id == 1
    made.set_task(2)
    assert made.task_id == 2 and events(made)[-1] == "labels-loaded"


def test_labels_of_the_active_task_are_used_at_once_whatever_they_say(tmp_path):
    made = ready(tmp_path)
    made.receive_labels(labelset.pack(label_set(version=2, activate=False)))
    assert made.label_version == 2


def test_a_delta_becomes_the_table_that_is_kept(tmp_path):
    made = ready(tmp_path)
    base = label_set().quantised()
    table = base.proportions.copy()
    table[2] = table[3]
    later = dataclasses.replace(base, version=2, proportions=table)
    order = layout.map_order(region_codec.unpack(region_file().data, made.config.link))
    delta = labelset.pack(later, order, base)
    made.receive_labels(delta)
    np.testing.assert_array_equal(made.labels.proportions, table)
    again = payload(tmp_path)
    again.resume_task(1)
    np.testing.assert_array_equal(again.labels.proportions, table)
    with pytest.raises(RefusedError, match=r"delta against version 1 of task 1 .* on board is version 2 of task 1"):
        again.receive_labels(delta)
    np.testing.assert_array_equal(again.labels.proportions, table)


def test_a_task_of_merged_classes_is_taught_by_a_delta_against_another_task(tmp_path):
    made = ready(tmp_path)
    base = label_set().quantised()
    merged = np.stack([base.proportions[:, 0], base.proportions[:, 1:].sum(1)], axis=1)
    later = dataclasses.replace(base, task_id=5, classes=("class 0", "rest"), proportions=merged)
    relation = relate(base.classes, later.classes, [(name, "rest") for name in base.classes[1:]])
    made.receive_labels(labelset.pack(later, None, base, relation))
    assert made.task_id == 5
    np.testing.assert_array_equal(made.labels.proportions, later.quantised().proportions)


def many_products(directory):
    """A payload with a model, all chips, and products so small that they do not fit into one."""
    made = ready(directory)
    executive = dataclasses.replace(made.config.executive, product_chips=16, quick_look_chips=2)
    made.config = dataclasses.replace(made.config, executive=executive)
    made.products.begin_again()
    made.ingest([make_chip(i) for i in range(len(EARTH.chips))])
    made.train(1000)
    return made


def next_product(made):
    return next(product for product in iter(lambda: made.products.predict(16), made) if product is not None)


def predicted(made):
    """All products of what is archived, as they come."""
    products = []
    while made.products.to_predict:
        product = made.products.predict(16)
        products += [] if product is None else [product]
    return products


def test_a_quick_look_comes_before_chips_that_need_several_products(tmp_path):
    made = many_products(tmp_path)
    look, *chips = predicted(made)
    assert look.block == 2 and {each.block for each in chips} == {1}
    assert sum(len(each.cells) for each in chips) == len(EARTH.chips)
    cells = np.concatenate([each.cells for each in chips])
    table = np.concatenate([each.proportions for each in chips])[np.argsort(cells)]
    corner = table.reshape(make_region().rows, -1, table.shape[1])[:2, :2]
    np.testing.assert_allclose(look.proportions[0], corner.mean((0, 1)), atol=1e-5)
    assert not made.products.predict(16)
    made.products.begin_again()
    assert predicted(made)[0].block == 2


def test_a_quick_look_that_could_not_be_sent_is_made_again_and_coarser_if_it_was_too_large(tmp_path):
    made = many_products(tmp_path)
    first = next_product(made)
    made.products.take_back(first, 0)
    second = made.products.predict(16)
    np.testing.assert_array_equal(second.proportions, first.proportions)
    made.products.take_back(second, 0, too_large=True)
    third = next_product(made)
    assert (first.block, second.block, third.block) == (2, 2, 4)
    for _ in range(8):
        made.products.take_back(third, 0, too_large=True)
        third = next_product(made)
        if third.block == 1:
            return
    pytest.fail("quick-looks without end")


def test_limits_that_were_lowered_make_records_unusable_and_nothing_worse(tmp_path):
    made = ready(tmp_path)
    made.ingest([make_chip(i) for i in range(len(EARTH.chips))])
    made.checkpoint()
    again = payload(tmp_path, max_region_chips=20)
    again.resume_task(1)
    assert again.region is None and again.labels is None
    assert events(again) == ["record-damaged"] * 2
    assert again.progress.next_number == len(EARTH.chips)


def grown(base: Region) -> Region:
    """`base` with a municipality that takes over the column of nobody's cells at its right, and a share beside it."""
    bags, weights = (
        base.bags.reshape(base.rows, base.cols, 4).copy(),
        base.weights.reshape(base.rows, base.cols, 4).copy(),
    )
    new = len(base.codes)
    bags[:, -1, 0], weights[:, -1, 0] = new, 255
    bags[:, -2, 1], weights[:, -2, :2] = new, (159, 96)
    return dataclasses.replace(
        base, codes=(*base.codes, "new"), bags=bags.reshape(-1, 4), weights=weights.reshape(-1, 4)
    )


def with_sea() -> Region:
    region = make_region()
    bags, weights = (
        region.bags.reshape(region.rows, region.cols, 4),
        region.weights.reshape(region.rows, region.cols, 4),
    )
    bags[:, -1], weights[:, -1] = -1, 0
    return region


@pytest.fixture
def patched(tmp_path):
    """A payload that has learned from chips under a region that then gets another municipality."""
    base = with_sea()
    made = payload(tmp_path)
    made.receive_region(region_codec.pack(base))
    made.receive_labels(labelset.pack(label_set()))
    made.ingest([make_chip(i) for i in range(24)])
    made.train(1)
    made.checkpoint()
    made.receive_region(region_patch.pack_patch(base, grown(base)))
    return made


def test_a_municipality_that_joins_leaves_chips_labels_and_statistics_as_they_are(patched, tmp_path):
    assert len(patched.region.codes) == len(make_region().codes) + 1
    assert patched.progress.chips == 24 and patched.labels.missing[-1] and patched.learner.n_chips_ == 24


def test_a_kill_after_a_municipality_joined_loses_no_statistics(patched, tmp_path):
    again = payload(tmp_path)
    assert again.region.digest == patched.region.digest and again.progress.chips == 24


def test_a_municipality_that_is_split_starts_statistics_anew(tmp_path):
    base = make_region()
    made = payload(tmp_path)
    made.receive_region(region_codec.pack(base))
    made.ingest([make_chip(i) for i in range(24)])
    bags = base.bags.copy()
    bags[: base.cols // 2, 0] = len(base.codes)
    new = dataclasses.replace(base, codes=(*base.codes, "new"), bags=bags)
    made.receive_region(region_patch.pack_patch(base, new))
    assert made.region.digest == new.quantised().digest and made.learner.n_chips_ == 0


def test_a_patch_of_another_version_is_refused_and_changes_nothing(patched):
    base = with_sea()
    version = patched.region.digest
    with pytest.raises(RefusedError, match=f"on board is {version & 0xFFFF:04x}"):
        patched.receive_region(region_patch.pack_patch(base, grown(base)))
    assert patched.region.digest == version
