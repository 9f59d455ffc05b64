from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.config import LinkConfig
from flight.link import pack as wire
from flight.link.product import CodecError, Product, pack, unpack

CONFIG = LinkConfig()


def make(cells: list[int], classes: int = 5, levels: int = 64, seed: int = 1) -> Product:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.dirichlet(np.full(classes, 0.3), len(cells)).astype(np.float32)
    return Product(7, 2, 3, bytes(range(248, 256)), levels, np.array(sorted(cells), np.int32), table)


def content(product: Product) -> tuple[object, ...]:
    ids = (product.region_id, product.task_id, product.label_version, product.levels, product.model_digest)
    return (*ids, product.cells.tolist(), product.proportions.tobytes())


products = st.builds(
    make,
    cells=st.lists(st.integers(0, CONFIG.max_region_chips - 1), min_size=1, max_size=80, unique=True)
    | st.integers(0, 1000).map(lambda start: list(range(start, start + 50))),
    classes=st.integers(2, 20),
    levels=st.integers(2, 255),
    seed=st.integers(0, 2**32),
)


@given(products)
@settings(max_examples=60, deadline=None)
def test_the_ground_gets_the_cells_and_the_counts_that_were_sent(product: Product) -> None:
    data = pack(product)
    decoded = unpack(data, CONFIG)
    assert content(decoded) == content(product.quantised())
    assert pack(decoded) == data


def test_every_truncation_is_refused() -> None:
    data = pack(make([3, 4, 5, 900, 901, 40_000]))
    for n in range(len(data)):
        with pytest.raises(CodecError):
            unpack(data[:n], CONFIG)


def test_every_damaged_byte_is_refused_or_harmless() -> None:
    data = pack(make([3, 4, 5, 900, 901, 40_000]))
    expected, refused = content(unpack(data, CONFIG)), 0
    for at in range(len(data)):
        for flip in (*(1 << bit for bit in range(8)), 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG)) == expected
            except CodecError:
                refused += 1
    assert refused > 8 * len(data)


def test_a_deflate_bomb_is_refused_without_being_inflated() -> None:
    bomb = wire.deflate(bytes(50_000_000))
    out = wire.Writer(wire.PRODUCT)
    out.integer(7, 2, 3, 64, 10, 5, 1)
    out.raw(bytes(8))
    out.integer(len(bomb))
    with pytest.raises(CodecError, match="does not inflate to the 8 bytes announced"):
        unpack(out.finish(0) + bomb, CONFIG)


def test_cells_beyond_the_largest_grid_are_refused() -> None:
    with pytest.raises(CodecError, match="cell 5000 lies outside"):
        unpack(pack(make([1, 5000])), LinkConfig(max_region_chips=5000))


@pytest.mark.parametrize("cells", [[3, 3], [4, 3], [-1, 3]])
def test_cells_out_of_order_are_not_packed(cells: list[int]) -> None:
    with pytest.raises(CodecError, match="ascending"):
        Product(1, 1, 1, bytes(8), 64, np.array(cells, np.int32), np.full((2, 2), 0.5, np.float32))


def test_a_strip_of_chips_takes_at_most_four_bytes_a_chip() -> None:
    strip = [row * 300 + col for row in range(40) for col in range(100, 150)]
    assert len(pack(make(strip))) <= 4 * len(strip)
