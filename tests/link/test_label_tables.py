"""Label tables of real municipalities, where their data are at hand: what a file takes, and that it comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import regions, tables
from flight.config import LinkConfig
from flight.link.labelset import LabelSet, pack, unpack
from flight.link.layout import MapOrder, map_order

NORTH = Path(__file__).parents[3] / "shared" / "data" / "spain_north.npz"


@pytest.fixture(scope="module")
def order() -> MapOrder:
    if not NORTH.exists():
        pytest.skip(f"{NORTH.name} is not here")
    return map_order(regions.read(NORTH).quantised())


def label_set(name: str) -> LabelSet:
    return tables.label_set(tables.read(NORTH)[name], 32)


@pytest.mark.parametrize(("name", "times"), [("proportions_5", 11), ("proportions_11", 14.5)])
def test_a_table_takes_less_than_a_tenth_of_float16(name: str, times: float, order: MapOrder) -> None:
    labels = label_set(name)
    data = pack(labels, order)
    assert times * len(data) < labels.proportions.size * 2
    decoded = unpack(data, LinkConfig(), order)
    np.testing.assert_array_equal(decoded.proportions, labels.quantised().proportions)


@pytest.mark.parametrize("how", ["moved", "drawn anew", "moved in places"])
def test_a_delta_of_a_tenth_of_the_rows_takes_less_than_a_fifth_of_the_table(how: str, order: MapOrder) -> None:
    base = label_set("proportions_5").quantised()
    later = tables.changed(base, order.places, how, seed=5)
    data = pack(later, order, base)
    assert 5 * len(data) < len(pack(later, order))
    decoded = unpack(data, LinkConfig(), order, base)
    np.testing.assert_array_equal(decoded.proportions, later.quantised().proportions)


def test_the_map_is_worth_a_quarter_of_the_bytes(order: MapOrder) -> None:
    labels = label_set("proportions_5")
    assert len(pack(labels, order)) < 0.75 * len(pack(labels))
