"""The network of `downconv` on kernels, against the same in double precision and against finite differences."""

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn import convnet, losses
from flight.learn.convnet import Weights
from flight.learn.networks import Convnet
from tests.kernels.net_world import N_CHIPS, N_CLASSES, RNG, SHARES, TARGET, Scene, bag_loss, double, flat, slope

SEED = 77


def weights(n_inputs: int, n_hidden: int, n_classes: int = N_CLASSES) -> Weights:
    w = convnet.initial(n_inputs, n_hidden, n_classes, RNG)
    biases = (RNG.normal(0, 0.1, part.shape).astype(np.float32) for part in (w.b1, w.b2))
    return w._replace(b1=next(biases), b2=next(biases))


def exact(scene: Scene, w: Weights, dropout: float, n_hidden: int) -> tuple[np.ndarray, Weights]:
    """Proportions of chips and gradient, in double precision and by numpy."""
    w64, x, dropped = Weights(*double(w)), scene.whitened(), convnet.dropped(dropout)
    keep = convnet.dropout(SEED, x.shape[0], x.shape[1], n_hidden, dropped).astype(np.float64) if dropped else None
    done = convnet.forward(w64, x, keep)
    q = done.cells.mean(axis=1)
    return q, convnet.backward(w64, x, done, bag_loss(q), keep)


@pytest.mark.parametrize(
    ("per_chip", "n_hidden", "bands", "dropout"),
    [(None, 96, 3, 0.0), (None, 96, 3, 0.1), (37, 50, 3, 0.1), (1, 7, 1, 0.0), (20, 33, 13, 0.5)],
)
def test_gradients_agree_with_double_precision(
    jit: Backend, per_chip: int | None, n_hidden: int, bands: int, dropout: float
) -> None:
    scene = Scene(4, per_chip, bands=bands)
    w = weights(scene.grid.n_inputs, n_hidden)
    network = Convnet(jit, scene.grid.n_inputs, n_hidden, N_CLASSES, 1, dropout)
    seen = []

    def loss(q: np.ndarray) -> np.ndarray:
        seen.append(q.copy())
        return bag_loss(q)

    found = network.gradient(w, scene.patches(), scene.white.P, loss, SEED)
    q, expected = exact(scene, w, dropout, n_hidden)
    np.testing.assert_allclose(seen[0], q, rtol=1e-5)
    assert np.linalg.norm(flat(found) - flat(expected)) <= 1e-5 * np.linalg.norm(flat(expected))


def test_gradients_agree_with_finite_differences(jit: Backend) -> None:
    scene = Scene(4, None)
    w = weights(scene.grid.n_inputs, 40)
    found = Convnet(jit, scene.grid.n_inputs, 40, N_CLASSES, 1).gradient(
        w, scene.patches(), scene.white.P, bag_loss, SEED
    )
    w64, x = Weights(*double(w)), scene.whitened()
    direction = double(found)

    def value() -> float:
        return losses.bag_loss(convnet.forward(w64, x).cells.mean(axis=1), SHARES, TARGET)[0]

    assert slope(value, w64, direction) == pytest.approx(np.square(flat(direction)).sum(), rel=1e-4)


@pytest.mark.parametrize("n_classes", [1, 2, 4, 9])
def test_any_number_of_classes_is_predicted_as_by_numpy(jit: Backend, n_classes: int) -> None:
    scene = Scene(4, None, side=20)
    w = weights(scene.grid.n_inputs, 24, n_classes)
    network = Convnet(jit, scene.grid.n_inputs, 24, n_classes, 1)
    chips = scene.chips[scene.which]
    x = np.stack([scene.grid.all(chip) for chip in chips]) / np.float32(255)
    cells = convnet.forward(w, x).cells
    every = scene.grid.batch(chips, np.arange(N_CHIPS))
    np.testing.assert_allclose(network.predict(w, every), cells.mean(axis=1), rtol=1e-5)
    one = scene.grid.batch(chips, np.array([2]))
    np.testing.assert_allclose(network.predict_cells(w, one), cells[2], rtol=1e-4, atol=1e-6)


def test_threads_and_shards_change_no_bit(jit: Backend) -> None:
    scene = Scene(4, 30)
    w = weights(scene.grid.n_inputs, 40)
    found = []
    for threads in (1, 2, 3, 4):
        network = Convnet(jit, scene.grid.n_inputs, 40, N_CLASSES, threads, 0.1)
        g = network.gradient(w, scene.patches(), scene.white.P, bag_loss, SEED)
        found.append(flat(g).tobytes() + network.predict(w, scene.patches()).tobytes())
    assert len(set(found)) == 1


def test_the_last_patch_of_the_last_chip_is_read_to_its_end_and_no_further(jit: Backend) -> None:
    scene = Scene(4, None, side=16)
    w = weights(scene.grid.n_inputs, 16)
    network = Convnet(jit, scene.grid.n_inputs, 16, N_CLASSES, 1)
    page = np.full(scene.chips.size + 64, 255, np.uint8)
    inside = page[: scene.chips.size].reshape(scene.chips.shape)
    inside[:] = scene.chips
    before = network.predict(w, scene.grid.batch(inside, scene.which))
    page[scene.chips.size :] = 0
    np.testing.assert_array_equal(network.predict(w, scene.grid.batch(inside, scene.which)), before)
    np.testing.assert_array_equal(network.predict(w, scene.grid.batch(scene.chips, scene.which)), before)


def test_dropout_drops_the_share_that_it_says_and_keeps_the_mean() -> None:
    keep = convnet.dropout(SEED, 8, 64, 96, convnet.dropped(0.1))
    assert convnet.dropped(0.1) == 26
    assert (keep == 0).mean() == pytest.approx(26 / 256, abs=0.003)
    assert keep.mean() == pytest.approx(1, abs=0.003)
    assert not np.array_equal(keep, convnet.dropout(SEED + 1, 8, 64, 96, 26))
