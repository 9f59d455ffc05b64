"""A fixed random embedding of cells, and its 8-bit code for a chip's mean."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flight.kernels import aligned
from flight.learn import mixnet
from flight.learn.arithmetic import Arithmetic
from flight.learn.bfloat16 import narrow
from flight.learn.counter import generator
from flight.learn.features import LEVEL, LOG_GRADIENT, LOG_STD, CellFeatures
from flight.learn.lattice import Lattice

_STREAM = 1
KNOTS = 0.5


class Embedding:
    """phi(z) = [max(0, W z + a), z] of each cell's features z, W ~ N(0, 1/K) and a ~ U(-1/2, 1/2) from a seed.

    Columns of W are orthogonal, K at a time: Yu et al., "Orthogonal random features" (2016). With an encoder, half of
    the units see what it says and nothing else, the others the rest.

    Attributes:
        n_out: length of an embedding, units and features together.
        digest: 16 hexadecimal digits that name the features, their standardisation and the random weights; 16 more
            for an encoder.
    """

    scratch: ClassVar[tuple[str, ...]] = ("_phi", "features._out")  # arrays that calls write over

    def __init__(self, features: CellFeatures, n_units: int, seed: int, arithmetic: Arithmetic) -> None:
        self.features, self.n_units = features, n_units
        self.n_out = n_units + features.n_features
        rng = generator(seed, _STREAM)
        self._W = _weights(features, n_units, rng, arithmetic).astype(np.float32)
        self._a = rng.uniform(-KNOTS, KNOTS, n_units).astype(np.float32)
        self._phi: NDArray[np.float32] | None = None
        self._top, self._low = self._ranges()
        constants = repr((LEVEL, LOG_STD, LOG_GRADIENT, features.windows, features.bands, n_units)).encode()
        self.digest = hashlib.sha256(constants + self._W.tobytes() + self._a.tobytes()).hexdigest()[:16]
        if features.grid.digest:
            self.digest += "/" + features.grid.digest

    @property
    def n_bytes(self) -> int:
        """Bytes of the random weights, of the working buffer, and of what an encoder said of the last chips."""
        buffer = 0 if self._phi is None else self._phi.nbytes
        return int(self._W.nbytes + self._a.nbytes + buffer + self.features.grid.n_bytes)

    def cells(self, chip: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embeddings (n_cells, n_out) of the cells of `chip`, in an array that the next call uses again; their mean."""
        phi = self.embed(self.features(chip), self._buffer())
        return phi, np.full(len(phi), 1.0 / len(phi), np.float32) @ phi

    def summary(self, chip: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n_cells, n_features) of the cells of `chip`, in an array used again; the mean of the embeddings."""
        phi, mean = self.cells(chip)
        return phi[:, self.n_units :], mean

    def _buffer(self) -> NDArray[np.float32]:
        if self._phi is None:
            self._phi = aligned.empty((self.features.n_cells, self.n_out))
        return self._phi

    def embed(self, z: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of features z (n, n_features), written to `out` (n, n_out)."""
        units = out[:, : self.n_units]
        np.matmul(z, self._W, out=units)
        units += self._a
        np.maximum(units, 0.0, out=units)
        out[:, self.n_units :] = z
        return out

    def inputs(
        self, lattice: Lattice, some: NDArray[np.int64], mean: NDArray[np.float64], rotation: NDArray[np.float64],
        places: NDArray[np.float32], start: NDArray[np.float32],
    ) -> mixnet.Inputs:  # fmt: skip
        """What a head is trained on.

        Args:
            lattice: cells of n chips.
            some: (n_cells,), which cells of each chip.
            mean, rotation: (n_values,), (n_values, n_features): what is taken from the last values of an embedding, and
                how they are then turned.
            places: (n_context, n), where chips are among chips.
            start: (n, classes), scores that do not depend on weights.
        """
        centre, turn = mean.astype(np.float32), rotation.astype(np.float32)
        phi = np.empty((len(some), self.n_out), np.float32)
        cells = np.empty((len(start), len(some), turn.shape[1]), np.uint16)
        for i, of_chip in enumerate(cells):
            of_chip[:] = narrow((self.embed(lattice.cells(i)[0, some], phi)[:, -len(mean) :] - centre) @ turn)
        return mixnet.Inputs(cells, places.T, start)

    def encode(self, mean: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A chip's mean embedding at 8 bits a value; units are companded by a square root, as most are small."""
        share = np.clip((mean - self._low) / (self._top - self._low), 0.0, 1.0)
        share[: self.n_units] = np.sqrt(share[: self.n_units])
        return np.rint(share * 255.0).astype(np.uint8)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Mean embeddings (n, n_out) from their codes."""
        share = codes / 255.0
        share[:, : self.n_units] **= 2
        return self._low + share * (self._top - self._low)

    def _ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Greatest and least value of each part of a mean that the code can hold.

        A feature has its own limits. Features of one kind go up and down together, so a unit's range follows the
        sum of its weights for each kind; components of an encoder's embedding do not, so it follows the root of the sum
        of squares of theirs. What little lies beyond is clipped.
        """
        totals = (np.abs(self._W[self.features.kinds == kind].sum(axis=0)) for kind in range(3))
        level, std, gradient = (total.astype(np.float64) for total in totals)
        units = 1.0 + 2.5 * level + 1.5 * std + 2.0 * gradient
        units += 2.5 * np.sqrt(np.square(self._W[self.features.kinds == 3], dtype=np.float64).sum(axis=0))
        low = np.concatenate([np.zeros(self.n_units), self.features.low])
        return np.concatenate([units, self.features.top]), low


def _weights(
    features: CellFeatures, n_units: int, rng: np.random.Generator, arithmetic: Arithmetic
) -> NDArray[np.float64]:
    """W (n_features, n_units)."""
    n_seeing = n_units // 2 if features.grid.width else 0
    W = np.zeros((features.n_features, n_units))
    W[: features.n_own, n_seeing:] = _directions(features.n_own, n_units - n_seeing, rng, arithmetic)
    if n_seeing:
        W[features.n_own :, :n_seeing] = _directions(features.grid.width, n_seeing, rng, arithmetic)
    return W


def _directions(n_features: int, n_units: int, rng: np.random.Generator, arithmetic: Arithmetic) -> NDArray[np.float64]:
    """Gaussian columns (n_features, n_units) of mean square length 1, orthogonal in blocks of `n_features`."""
    blocks = []
    for _ in range(-(-n_units // n_features)):
        Q = arithmetic.orthonormal(rng.standard_normal((n_features, n_features)))
        blocks.append(Q * np.sqrt(rng.chisquare(n_features, n_features) / n_features))
    return np.concatenate(blocks, axis=1)[:, :n_units]
