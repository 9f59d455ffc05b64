"""Cell features, projection and hashes against their definitions, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flight.learn.counter import generator, splitmix64
from flight.learn.features import LEVEL, LOG_GRADIENT, LOG_STD, CellFeatures, patches
from flight.learn.simplex import project


def chip_of(shape, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape).astype(np.uint8)


def statistics_of(chip, row, col, window):
    """One window's statistics by the definition: mirror the image, cut the window, take moments."""
    pad = (window - 4) // 2
    values = np.pad(chip.astype(float), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    cut = values[4 * row : 4 * row + window, 4 * col : 4 * col + window]
    grey = chip.astype(float).mean(axis=2)
    slope = np.zeros(grey.shape)
    slope[:, :-1] += np.abs(np.diff(grey, axis=1))
    slope[:-1] += np.abs(np.diff(grey, axis=0))
    slope = np.pad(slope, pad, mode="symmetric")[4 * row : 4 * row + window, 4 * col : 4 * col + window]
    return np.concatenate([
        (cut.mean(axis=(0, 1)) - LEVEL[0]) / LEVEL[1],
        (np.log1p(cut.std(axis=(0, 1))) - LOG_STD[0]) / LOG_STD[1],
        [(np.log1p(slope.mean() / 2) - LOG_GRADIENT[0]) / LOG_GRADIENT[1]],
    ])  # fmt: skip


@pytest.mark.parametrize("shape", [(16, 24, 3), (32, 16, 1), (24, 24, 4)])
def test_features_are_the_patch_and_statistics_of_three_mirrored_windows(shape):
    chip = chip_of(shape)
    extract = CellFeatures(shape)
    found = extract(chip)
    assert found.shape == (shape[0] * shape[1] // 16, 16 * shape[2] + 3 * (2 * shape[2] + 1))
    for row in range(extract.rows):
        for col in range(extract.cols):
            raw = (chip[4 * row : 4 * row + 4, 4 * col : 4 * col + 4].reshape(-1).astype(float) - LEVEL[0]) / LEVEL[1]
            expected = np.concatenate([raw, *(statistics_of(chip, row, col, window) for window in (4, 12, 28))])
            np.testing.assert_allclose(found[row * extract.cols + col], expected, atol=2e-5)


def test_features_stay_within_their_limits():
    for chip in (np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8), chip_of((16, 16, 3))):
        extract = CellFeatures(chip.shape)
        found = extract(chip)
        assert (found >= extract.low - 1e-6).all()
        assert (found <= extract.top + 1e-6).all()


def test_patches_are_cells_in_reading_order():
    chip = np.arange(16 * 20 * 2).reshape(16, 20, 2).astype(np.uint8)
    np.testing.assert_array_equal(patches(chip)[6].reshape(4, 4, 2), chip[4:8, 4:8])


@settings(deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-50, 50)))
def test_projection_is_the_nearest_point_of_the_simplex(points):
    nearest = project(points)
    assert (nearest >= 0).all()
    np.testing.assert_allclose(nearest.sum(axis=1), 1, atol=1e-9)
    # Optimality: no corner of the simplex lies in a direction that improves the distance.
    slack = ((points - nearest)[:, None, :] * (np.eye(points.shape[1]) - nearest[:, None, :])).sum(axis=2)
    assert (slack <= 1e-7).all()


def test_hashes_are_one_to_one_and_depend_on_the_seed():
    numbers = np.arange(100_000)
    assert len(np.unique(splitmix64(numbers, 0))) == len(numbers)
    assert (splitmix64(numbers, 0) != splitmix64(numbers, 1)).all()


def test_splitmix_agrees_with_the_published_first_outputs():
    # The sequence from seed 0: its n-th output is the finaliser at (n + 1) times the golden gamma.
    state = np.array([0, 0x9E3779B97F4A7C15], np.uint64)
    expected = np.array([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4], np.uint64)
    np.testing.assert_array_equal(splitmix64(state, 0), expected)


def test_random_numbers_of_a_step_do_not_depend_on_other_steps():
    first = generator(1, 2, 30).random(5)
    generator(1, 2, 29).random(1000)
    np.testing.assert_array_equal(generator(1, 2, 30).random(5), first)
    assert not np.array_equal(generator(1, 2, 31).random(5), first)
