"""The network of `qkm` on kernels, against the same in double precision and against finite differences."""

import numpy as np
import pytest

from flight.kernels.backend import Backend
from flight.learn import losses, qkmnet
from flight.learn.networks import Qkmnet
from flight.learn.qkmnet import Weights
from tests.kernels.net_world import N_CHIPS, N_CLASSES, RNG, SHARES, TARGET, Scene, bag_loss, double, flat, slope


def weights(scene: Scene, n: int, n_classes: int = N_CLASSES) -> Weights:
    x = scene.whitened().reshape(-1, scene.grid.n_inputs)
    w = qkmnet.initial(x[RNG.integers(0, len(x), n)].astype(np.float32), n_classes, RNG)
    return w._replace(log_w=RNG.normal(0, 0.3, n).astype(np.float32), log_s=w.log_s - np.float32(0.7))


def parts_of(scene: Scene, n: int, n_classes: int = N_CLASSES, *, jit: Backend, threads: int = 1) -> Qkmnet:
    return Qkmnet(jit, scene.grid.n_inputs, n, n_classes, threads)


@pytest.mark.parametrize(("per_chip", "n", "bands"), [(None, 64, 3), (37, 50, 3), (1, 7, 1), (20, 33, 13)])
def test_gradients_agree_with_double_precision(jit: Backend, per_chip: int | None, n: int, bands: int) -> None:
    scene = Scene(2, per_chip, bands=bands)
    w = weights(scene, n)
    seen = []

    def loss(q: np.ndarray) -> np.ndarray:
        seen.append(q.copy())
        return bag_loss(q)

    found = parts_of(scene, n, jit=jit).gradient(w, scene.patches(), scene.white.P, loss, 0)
    w64, x = Weights(*double(w)), scene.whitened()
    done = qkmnet.forward(w64, x)
    q = done.mean @ qkmnet.class_rows(w64)
    np.testing.assert_allclose(seen[0], q, rtol=1e-5)
    expected = qkmnet.backward(w64, x, done, bag_loss(q))
    assert np.linalg.norm(flat(found) - flat(expected)) <= 1e-5 * np.linalg.norm(flat(expected))


def test_gradients_agree_with_finite_differences(jit: Backend) -> None:
    scene = Scene(2, None)
    w = weights(scene, 24)
    found = parts_of(scene, 24, jit=jit).gradient(w, scene.patches(), scene.white.P, bag_loss, 0)
    w64, x = Weights(*double(w)), scene.whitened()
    direction = double(found)

    def value() -> float:
        return losses.bag_loss(qkmnet.forward(w64, x).mean @ qkmnet.class_rows(w64), SHARES, TARGET)[0]

    assert slope(value, w64, direction) == pytest.approx(np.square(flat(direction)).sum(), rel=1e-4)


@pytest.mark.parametrize("n_classes", [1, 2, 9])
def test_any_number_of_classes_is_predicted_as_by_numpy(jit: Backend, n_classes: int) -> None:
    scene = Scene(2, None, side=20)
    w = weights(scene, 24, n_classes)
    network = parts_of(scene, 24, n_classes, jit=jit)
    chips = scene.chips[scene.which]
    cells = [qkmnet.proportions(w, scene.grid.all(chip) / np.float32(255)) for chip in chips]
    every = scene.grid.batch(chips, np.arange(N_CHIPS))
    np.testing.assert_allclose(network.predict(w, every), [c.mean(axis=0) for c in cells], rtol=1e-5)
    one = scene.grid.batch(chips, np.array([2]))
    np.testing.assert_allclose(network.predict_cells(w, one), cells[2], rtol=1e-4, atol=1e-6)


def test_threads_and_shards_change_no_bit(jit: Backend) -> None:
    scene = Scene(2, 30)
    w = weights(scene, 40)
    found = []
    for threads in (1, 2, 3, 4):
        network = parts_of(scene, 40, jit=jit, threads=threads)
        g = network.gradient(w, scene.patches(), scene.white.P, bag_loss, 0)
        found.append(flat(g).tobytes() + network.predict(w, scene.patches()).tobytes())
    assert len(set(found)) == 1


def test_a_patch_far_from_every_prototype_still_has_shares(jit: Backend) -> None:
    scene = Scene(2, None, side=16)
    w = weights(scene, 16)
    w = w._replace(log_s=np.full(1, -6.0, np.float32))
    found = parts_of(scene, 16, jit=jit).predict(w, scene.grid.batch(scene.chips, scene.which))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
