"""The head's loss by kernels, and the learners that stand on it: near numpy, and the same bits whatever happens."""

import numpy as np
import pytest

from flight.kernels.backend import Backend, choose
from flight.learn import LEARNERS, context, load_state, mixnet
from flight.learn.arithmetic import Arithmetic, CompiledArithmetic, padded, whole
from flight.learn.bfloat16 import narrow, widen
from flight.learn.compiled import CompiledEmbedding, CompiledInputs
from flight.learn.features import WIDE_WINDOWS_CELLS, CellFeatures
from flight.learn.lattice import Lattice
from tests.learn.learn_world import FakeEncoder

SIZES = [(51, 9, 20, 7, 3, 5), (18, 20, 30, 0, 17, 40), (32, 16, 128, 11, 5, 9)]  # chips, cells, k, context, C, bags
STANDING = ("swath", "hybrid", "moments")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def problem(jit: Backend, n: int, n_cells: int, k: int, n_context: int, c: int, n_bags: int):
    """The same inputs for numpy in double precision and for kernels, and both losses."""
    r = rng(n)
    cells, places = (r.standard_normal(shape).astype(np.float32) for shape in ((n, n_cells, k), (n, n_context)))
    start = r.standard_normal((n, c)).astype(np.float32)
    matching = (0.02 * r.standard_normal((n_bags, n)) + 1 / n).astype(np.float32)
    target, weight = r.dirichlet(np.full(c, 0.3), n_bags).astype(np.float32), r.dirichlet(np.ones(n_bags))
    target[0] = np.eye(c)[0]
    losses = (
        mixnet.Matched(matching, target, weight.astype(np.float32)),
        mixnet.Targets(r.dirichlet(np.ones(c), n).astype(np.float32)),
    )
    lanes = np.zeros((n, k, whole(n_cells)), np.uint16)
    lanes[:, :, :n_cells] = narrow(cells).transpose(0, 2, 1)
    plain = mixnet.Inputs(narrow(cells), places.astype(float), start.astype(float))
    return plain, CompiledInputs.of(jit, lanes, n_cells, places.T, start), losses


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("loss", [0, 1], ids=["matched", "targets"])
def test_loss_and_gradient_agree_with_double_precision(jit: Backend, sizes, loss) -> None:
    plain, compiled, losses = problem(jit, *sizes)
    x = 0.05 * rng(1).standard_normal(plain.n_weights)
    exact = type(losses[loss])(*(part.astype(float) for part in losses[loss]))
    value, gradient = plain.objective(x, exact, 1e-3)
    found, slope = compiled.objective(x, compiled.ready(losses[loss]), 1e-3)
    assert found == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


def test_proportions_of_cells_agree_with_double_precision(jit: Backend) -> None:
    phi, weights, chip = (rng(i).standard_normal(s).astype(np.float32) for i, s in enumerate(((37, 40), (30, 5), (5,))))
    found = CompiledArithmetic(jit).proportions(phi, weights, chip)
    np.testing.assert_allclose(found, mixnet.softmax(phi[:, 10:].astype(float) @ weights + chip), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("n_cells", "k"), [(144, 28), (36, 50), (16, 3)])
def test_descriptions_agree_with_numpy(jit: Backend, n_cells: int, k: int) -> None:
    codes = rng(k).integers(0, 256, (4, n_cells * k + 5)).astype(np.uint8)
    codes[0, : n_cells * k] = 7  # no spread at all
    low, scale = (rng(i).random(k).astype(np.float32) + np.float32(0.1) for i in (1, 2))
    some = context.correlated(k)
    lattice = Lattice(codes, scale / 64, low, n_cells, k, some)
    found = CompiledArithmetic(jit).describe(lattice)
    assert found.shape == (4, context.length(k, len(some)))
    np.testing.assert_allclose(found, Arithmetic().describe(lattice), rtol=1e-5, atol=2e-5)


def test_what_a_head_is_trained_on_agrees_with_double_precision(jit: Backend) -> None:
    features = CellFeatures((32, 48, 3), WIDE_WINDOWS_CELLS, raw=False)
    embedding = CompiledEmbedding(features, 40, 3, jit)
    n, k, values = 5, features.n_features, embedding.n_out
    r = rng(4)
    codes = r.integers(0, 256, (n, 20 * k + 3)).astype(np.uint8)
    scale, low = (r.random(k).astype(np.float32) / 64 for _ in range(2))
    lattice = Lattice(codes, scale, low, 20, k, context.correlated(k))
    mean, rotation, some = r.standard_normal(values), r.standard_normal((values, 24)), np.array([0, 3, 7, 19])
    places, start = np.zeros((2, n), np.float32), np.zeros((n, 3), np.float32)
    found = widen(embedding.inputs(lattice, some, mean, rotation, places, start).cells[:, :, : len(some)])
    z = np.stack([lattice.cells(i)[0, some] for i in range(n)]).astype(float)
    units = np.maximum(z @ embedding._W.astype(float) + embedding._a, 0)
    exact = ((np.concatenate([units, z], axis=2) - mean) @ rotation).transpose(0, 2, 1)
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-5 * np.abs(exact).max())


def test_vectors_are_filled_up_with_zeros() -> None:
    assert padded(np.ones((2, 17), np.float32)).sum(axis=0).tolist() == [2] * 17 + [0] * 15


def world():
    """Chips of three textures, mixed by municipality."""
    r = rng(4)
    mixture = r.dirichlet(np.full(3, 0.6), 12)
    bag = np.arange(72) // 6
    kinds = np.stack([r.choice(3, (6, 6), p=mixture[b]) for b in bag]).repeat(4, axis=1).repeat(4, axis=2)
    pixels = np.array([60, 120, 170])[kinds] + np.array([4, 12, 25])[kinds] * r.standard_normal(kinds.shape)
    chips = np.clip(pixels, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=3)
    return chips, bag, mixture


CHIPS, BAG, TABLE = world()


ENCODERS = {"alone": None, "through an encoder": FakeEncoder((24, 24, 3))}
with_encoders = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=list(ENCODERS))


def quick(name: str, backend: Backend, encoder: FakeEncoder | None = None):
    params = {"swath": {}, "hybrid": {"penalty": 1e-3}}  # of so few chips, a head that is held less is a matter of luck
    learner = LEARNERS[name](**({} if name == "moments" else {"n_steps": 20, "reservoir": 48} | params[name]))
    return learner.use(backend, encoder)


@with_encoders
@pytest.mark.parametrize("name", STANDING)
def test_no_order_of_chips_labels_slices_and_restarts_changes_a_bit(jit: Backend, name: str, encoder) -> None:
    straight = quick(name, jit, encoder).partial_fit(CHIPS, BAG).set_labels(TABLE)
    mixed = quick(name, jit, encoder).set_labels(TABLE[::-1])
    for part in np.split(rng(5).permutation(72), 4):
        mixed.partial_fit(CHIPS[part], BAG[part], number=part)
        mixed.train(2)
        mixed = load_state(mixed.state(), jit, encoder)
    mixed.set_labels(TABLE)
    while mixed.train(7):
        mixed = load_state(mixed.state(), jit, encoder)
    assert mixed.weights() == straight.weights()
    assert mixed.predict(CHIPS[:9]).tobytes() == straight.predict(CHIPS[:9]).tobytes()


@with_encoders
@pytest.mark.parametrize("name", STANDING)
def test_a_learner_on_kernels_says_what_numpy_says_but_for_rounding(jit: Backend, name: str, encoder) -> None:
    found = [
        quick(name, each, encoder).partial_fit(CHIPS, BAG).set_labels(TABLE).predict(CHIPS)
        for each in (jit, choose("numpy"))
    ]
    assert np.abs(found[0] - found[1]).mean() < 5e-4
    assert np.abs(found[0] - TABLE[BAG]).mean() < 0.15


@with_encoders
@pytest.mark.parametrize("name", STANDING)
def test_summaries_predict_near_what_the_chip_does(jit: Backend, name: str, encoder) -> None:
    learner = quick(name, jit, encoder).partial_fit(CHIPS, BAG).set_labels(TABLE)
    away = learner.predict_summaries(learner.summarise(CHIPS[:20])) - learner.predict(CHIPS[:20])
    assert np.abs(away).mean() < 0.02


@pytest.mark.parametrize("bands", [1, 13])
@pytest.mark.parametrize("n_classes", [2, 20])
def test_other_numbers_of_bands_and_classes_are_learnt(jit: Backend, bands: int, n_classes: int) -> None:
    chips = rng(bands).integers(0, 256, (20, 16, 20, bands)).astype(np.uint8)
    learner = quick("swath", jit).partial_fit(chips, np.arange(20) // 2)
    found = learner.set_labels(rng(6).dirichlet(np.ones(n_classes), 10)).predict_map(chips[:3])
    assert found.shape == (3, 4, 5, n_classes)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
