from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.config import LinkConfig
from flight.link.product import CodecError, Product, pack, quick_look, unpack

CONFIG = LinkConfig()


def make(
    cells: list[int], classes: int = 5, levels: int = 64, seed: int = 1, cols: int = 300, block: int = 1
) -> Product:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.dirichlet(np.full(classes, 0.3), len(cells)).astype(np.float32)
    digest = bytes(range(248, 256))
    return Product(7, 2, 3, digest, levels, np.array(sorted(cells), np.int32), table, cols, block)


def content(product: Product) -> tuple[object, ...]:
    ids = (product.region_id, product.task_id, product.label_version, product.levels, product.model_digest)
    return (*ids, product.cols, product.block, product.cells.tolist(), product.proportions.tobytes())


products = st.builds(
    make,
    cells=st.lists(st.integers(0, CONFIG.max_region_chips - 1), min_size=1, max_size=80, unique=True)
    | st.integers(0, 1000).map(lambda start: list(range(start, start + 50))),
    classes=st.integers(2, 20),
    levels=st.integers(2, 255),
    seed=st.integers(0, 2**32),
    cols=st.integers(0, 500),
    block=st.integers(1, 64),
)


@given(products)
@settings(max_examples=40, deadline=None)
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
        for flip in (1, 4, 64, 255):
            damaged = bytearray(data)
            damaged[at] ^= flip
            try:
                assert content(unpack(bytes(damaged), CONFIG)) == expected
            except CodecError:
                refused += 1
    assert refused > 3.9 * len(data)


@given(st.binary(max_size=100), st.integers(8, 45))
@settings(max_examples=60, deadline=None)
def test_noise_behind_a_good_start_is_refused(noise: bytes, start: int) -> None:
    with pytest.raises(CodecError, match="product: "):
        unpack(pack(make([3, 4, 5, 900, 901, 40_000]))[:start] + noise, CONFIG)


def test_cells_beyond_the_largest_grid_are_refused() -> None:
    with pytest.raises(CodecError, match="cell 5000 lies outside"):
        unpack(pack(make([1, 5000])), LinkConfig(max_region_chips=5000))


@pytest.mark.parametrize("cells", [[3, 3], [4, 3], [-1, 3]])
def test_cells_out_of_order_are_not_packed(cells: list[int]) -> None:
    with pytest.raises(CodecError, match="ascending"):
        Product(1, 1, 1, bytes(8), 64, np.array(cells, np.int32), np.full((2, 2), 0.5, np.float32))


def fields(rows: int, cols: int) -> np.ndarray:
    """Proportions that change slowly over a grid, as a model's do."""
    rng = np.random.Generator(np.random.PCG64(4))
    noise = rng.normal(0, 1, (rows + 8, cols + 8, 5))
    smooth = sum(noise[i : i + rows, j : j + cols] for i in range(8) for j in range(8)) / 4
    table = np.exp(smooth + rng.normal(0, 0.2, smooth.shape)).reshape(-1, 5)
    return (table / table.sum(1, keepdims=True)).astype(np.float32)


def test_a_strip_of_chips_takes_at_most_two_bytes_a_chip_and_less_than_in_no_known_place() -> None:
    strip = np.array([row * 300 + col for row in range(30) for col in range(100, 130)], np.int32)
    placed = Product(7, 2, 3, bytes(8), 64, strip, fields(30, 30), 300)
    assert len(pack(placed)) <= 2 * len(strip)
    assert len(pack(placed)) < len(pack(replace(placed, cols=0)))


def test_a_quick_look_of_blocks_is_a_small_part_of_the_chips() -> None:
    chips = Product(7, 2, 3, bytes(8), 64, np.arange(40 * 40, dtype=np.int32), fields(40, 40), 40)
    look = quick_look(chips, 8)
    assert (look.cols, look.block, len(look.cells)) == (5, 8, 25)
    first = chips.proportions.reshape(5, 8, 5, 8, 5).mean((1, 3)).reshape(25, 5)
    assert np.allclose(look.proportions, first, atol=1e-6)
    assert len(pack(look)) < 0.05 * len(pack(chips))
