"""Features of cells and their embedding by kernels, against definitions in double precision."""

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn.arithmetic import Arithmetic
from flight.learn.compiled import CompiledEmbedding
from flight.learn.embedding import Embedding
from flight.learn.features import CELL_PX, LEVEL, LOG_GRADIENT, LOG_STD, WIDE_WINDOWS_CELLS, CellFeatures

SHAPES = [((96, 96, 3), WIDE_WINDOWS_CELLS, False), ((16, 24, 13), (1, 3, 7), True), ((16, 16, 1), (15,), True)]


def chip_of(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(seed))
    smooth = rng.integers(0, 200, (shape[0] // 8, shape[1] // 8, shape[2])).repeat(8, axis=0).repeat(8, axis=1)
    return (smooth + rng.integers(0, 56, shape)).astype(np.uint8)


def direct(chip: np.ndarray, windows: tuple[int, ...], raw: bool) -> np.ndarray:
    """Features by mirroring the chip and looking at each window's pixels, in double precision."""
    height, width, bands = chip.shape
    x = chip.astype(np.float64)
    grey = x.mean(axis=2)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :-1], down[:-1] = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    margin = CELL_PX * (max(windows) // 2)
    wide = [np.pad(a, ((margin, margin), (margin, margin)) + ((0, 0),) * (a.ndim - 2), mode="symmetric")
            for a in (x, (across + down) / 2)]  # fmt: skip
    rows = []
    for r in range(0, height, CELL_PX):
        for c in range(0, width, CELL_PX):
            row = [(x[r : r + CELL_PX, c : c + CELL_PX].ravel() - LEVEL[0]) / LEVEL[1]] if raw else []
            for window in windows:
                reach, side = CELL_PX * (window // 2), CELL_PX * window
                at = (
                    slice(r + margin - reach, r + margin - reach + side),
                    slice(c + margin - reach, c + margin - reach + side),
                )
                pixels = wide[0][at].reshape(-1, bands)
                row += [
                    (pixels.mean(axis=0) - LEVEL[0]) / LEVEL[1],
                    (np.log1p(pixels.std(axis=0)) - LOG_STD[0]) / LOG_STD[1],
                    [(np.log1p(wide[1][at].mean()) - LOG_GRADIENT[0]) / LOG_GRADIENT[1]],
                ]
            rows.append(np.concatenate(row))
    return np.array(rows)


@pytest.mark.parametrize(("shape", "windows", "raw"), SHAPES)
def test_features_are_those_of_the_pixels_of_each_window(jit: Backend, shape, windows, raw) -> None:
    chip = chip_of(shape)
    found, _ = CompiledEmbedding(CellFeatures(shape, windows, raw=raw), 20, 0, jit).summary(chip)
    np.testing.assert_allclose(found, direct(chip, windows, raw), rtol=1e-5, atol=2e-6)


def test_a_chip_of_one_colour_and_one_of_extremes_have_finite_features(jit: Backend) -> None:
    embedding = CompiledEmbedding(CellFeatures((32, 32, 3), WIDE_WINDOWS_CELLS, raw=False), 20, 0, jit)
    for chip in (np.full((32, 32, 3), 255, np.uint8), np.indices((32, 32, 3)).sum(axis=0).astype(np.uint8) % 2 * 255):
        z, mean = embedding.summary(chip)
        assert np.isfinite(z).all()
        assert np.isfinite(mean).all()
        np.testing.assert_allclose(z, direct(chip, WIDE_WINDOWS_CELLS, False), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("shape", "windows", "raw"), SHAPES)
@pytest.mark.parametrize("n_units", [1, 33, 228])
def test_embeddings_and_their_mean_agree_with_double_precision(jit: Backend, shape, windows, raw, n_units) -> None:
    chip, features = chip_of(shape), CellFeatures(shape, windows, raw=raw)
    embedding = CompiledEmbedding(features, n_units, 3, jit)
    z = embedding.summary(chip)[0].astype(np.float64)
    units = np.maximum(z @ embedding._W.astype(np.float64) + embedding._a, 0.0)
    phi, mean = embedding.cells(chip)
    scale = np.abs(phi).max()
    np.testing.assert_allclose(phi, np.column_stack([units, z]), rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_allclose(mean, np.column_stack([units, z]).mean(axis=0), rtol=1e-5, atol=1e-6 * scale)


def test_random_directions_are_those_of_numpy_but_for_rounding(jit: Backend) -> None:
    features = CellFeatures((96, 96, 3), WIDE_WINDOWS_CELLS, raw=False)
    by_numpy, by_kernels = Embedding(features, 228, 5, Arithmetic()), CompiledEmbedding(features, 228, 5, jit)
    np.testing.assert_allclose(by_kernels._W, by_numpy._W, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(by_kernels._a, by_numpy._a)
