"""The random embedding, and what a head is trained on, by compiled kernels: the same bits on every machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flight.kernels import aligned
from flight.kernels.backend import Backend
from flight.learn import mixnet
from flight.learn.arithmetic import CompiledArithmetic, padded, whole
from flight.learn.embedding import Embedding
from flight.learn.features import CellFeatures
from flight.learn.lattice import Lattice

_BLOCK_CELLS = 49  # rows of working space that the kernels of embeddings take
_LATTICE_CELLS = 16  # of a chip, that the covariance sees
_LANES, _TILE = 16, 32  # of a vector, and what the units of an embedding are padded to
_CHIPS, _CLASSES = 4, 4  # that the kernels of the head take at a time


class CompiledEmbedding(Embedding):
    """`Embedding` of one chip after another in buffers of its own."""

    scratch = (*Embedding.scratch, "_ints", "_floats", "_longer", "_z", "_work", "_cells")

    def __init__(self, features: CellFeatures, n_units: int, seed: int, backend: Backend) -> None:
        super().__init__(features, n_units, seed, CompiledArithmetic(backend))
        self._kernels = backend
        k, bands = features.n_features, features.bands
        self._width = -(-max(n_units, k) // _TILE) * _TILE
        self._weights = aligned.zeros((k, self._width))
        self._weights[:, :n_units] = self._W
        self._offset = aligned.zeros(self._width)
        self._offset[:n_units] = self._a
        self._windows = np.array(features.windows, np.int64)
        line = whole(features.cols)
        self._ints = aligned.empty(
            (features.rows + 2) * (2 * bands + 1) * line + 5 * (4 * bands * features.cols + _LANES) + _LANES, np.int32
        )
        self._floats = aligned.empty((bands + 1) * line)
        self._longer = aligned.zeros(features.n_cells * k + _LANES)  # sums of columns read to the end of a vector
        self._z = self._longer[:-_LANES].reshape(features.n_cells, k)
        self._work = aligned.empty((_BLOCK_CELLS, self._width))
        self._cells = aligned.empty((_LATTICE_CELLS + 1, self.n_out + 1), np.float64)

    @property
    def n_bytes(self) -> int:
        """Bytes of the random weights and of the working buffers."""
        buffers = self._weights, self._offset, self._ints, self._floats, self._longer, self._work, self._cells
        return super().n_bytes + sum(a.nbytes for a in buffers)

    def cells(self, chip: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embeddings (n_cells, n_out) of the cells of `chip`, in an array that the next call uses again; their mean."""
        z, mean = self.summary(chip)
        return self.embed(z, self._buffer()), mean

    def summary(self, chip: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n_cells, n_features) of the cells of `chip`, in an array used again; the mean of the embeddings."""
        nobody = np.empty((1, 0), np.int64)
        return self._z, self._look(chip[None], nobody, nobody, nobody, nobody, nobody)

    def embed(self, z: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of features z (n, n_features), written to `out` (n, n_out)."""
        z = np.ascontiguousarray(z)
        self._kernels.embed(z, self._weights, self._offset, out, self._work, *self._sizes(len(z)))
        return out

    def absorb(
        self, chips: NDArray[np.uint8], lattice: NDArray[np.int64], members: NDArray[np.int64],
        shares: NDArray[np.int64], sums: NDArray[np.int64], second: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Add `chips` (n, height, width, bands) to the statistics of `flight.learn.moments`.

        Args:
            chips: one or more.
            lattice: (16,), the cells that the covariance sees.
            members: (n, k), rows of `sums`, or -1.
            shares: (n, k), how much of a chip is in each.
            sums: (n_municipalities, n_out + 1), of embeddings and weights.
            second: (n_out + 1, n_out + 1), of products; its upper triangle is added to.
        """
        self._look(chips, lattice, np.ascontiguousarray(members), np.ascontiguousarray(shares), sums, second)

    def _look(
        self, chips: NDArray[np.uint8], lattice: NDArray[np.int64], members: NDArray[np.int64],
        shares: NDArray[np.int64], sums: NDArray[np.int64], second: NDArray[np.int64],
    ) -> NDArray[np.float32]:  # fmt: skip
        """`absorb`, if chips have members; the mean embedding (n_out,) of the last chip, whose features are in `_z`."""
        f, (n, k) = self.features, members.shape
        grid, mean = f.grid, np.empty(self.n_out, np.float32)
        self._kernels.absorb(
            np.ascontiguousarray(chips), grid.codes(chips), grid.scale, grid.low, grid.places, self._windows,
            self._weights, self._offset, lattice, members, shares,
            sums, second, self._ints, self._floats, self._longer, self._work, mean, self._cells,
            n, f.rows, f.cols, f.bands, grid.n_places, grid.width, len(self._windows), int(f.n_raw > 0),
            f.n_features, self.n_units, self._width, k, len(sums),
        )  # fmt: skip
        return mean

    def inputs(  # type: ignore[override]
        self, lattice: Lattice, some: NDArray[np.int64], mean: NDArray[np.float64], rotation: NDArray[np.float64],
        places: NDArray[np.float32], start: NDArray[np.float32],
    ) -> CompiledInputs:  # fmt: skip
        """See `Embedding.inputs`."""
        (n_values, width), n, k = rotation.shape, len(start), lattice.k
        turn = padded(rotation.astype(np.float32))
        offset = -CompiledArithmetic(self._kernels).product(mean[None], rotation)
        cells = aligned.empty((n, width, whole(len(some))), np.uint16)
        work = aligned.empty(len(some) * (k + self._width + self.n_out + turn.shape[1]))
        self._kernels.project_cells(
            lattice.codes, lattice.scale, lattice.low, some, self._weights, self._offset, turn,
            padded(offset.astype(np.float32)), cells, work,
            n, lattice.codes.shape[1], len(some), k, self.n_units, self._width, n_values, width,
        )  # fmt: skip
        return CompiledInputs.of(self._kernels, cells, len(some), places, start)

    def _sizes(self, n: int) -> tuple[int, int, int, int]:
        return n, self.features.n_features, self.n_units, self._width


class CompiledInputs(NamedTuple):
    """`flight.learn.mixnet.Inputs`, cells and chips side by side in whole vectors, and scratch.

    Attributes:
        cells: (n_chips, n_features, n_cells padded), as `flight.learn.bfloat16` has them.
        context: (n_context, n_chips padded).
        start: (classes, n_chips padded).
        scratch: working space.
        n_chips, n_cells: without padding.
    """

    kernels: Backend
    cells: NDArray[np.uint16]
    context: NDArray[np.float32]
    start: NDArray[np.float32]
    scratch: NDArray[np.float32]
    n_chips: int
    n_cells: int

    @classmethod
    def of(
        cls, kernels: Backend, cells: NDArray[np.uint16], n_cells: int, places: NDArray[np.float32],
        start: NDArray[np.float32],
    ) -> CompiledInputs:  # fmt: skip
        """From `cells` (n, n_features, n_cells padded), `places` (n_context, n) and `start` (n, classes)."""
        (n, k, lanes), c = cells.shape, start.shape[1]
        rows, classes = k + 1 + len(places), -(-c // _CLASSES) * _CLASSES
        size = whole(rows * classes) + 2 * c * whole(n) + (n + _CHIPS) * classes * lanes + 16 * k * c + 2 * whole(c)
        scratch = aligned.empty(size)
        return cls(kernels, cells, padded(places), padded(start.T), scratch, n, n_cells)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Everything that takes memory."""
        return self.cells, self.context, self.start, self.scratch

    def unpack(self, x: NDArray[np.floating]) -> tuple[NDArray[np.floating], ...]:
        """V (n_features, classes), bias (classes,), U (n_context, classes) of a vector of weights."""
        k = self.cells.shape[1]
        w = x.reshape(k + 1 + len(self.context), len(self.start))
        return w[:k], w[k], w[k + 1 :]

    @property
    def n_weights(self) -> int:
        """Length of a vector of weights."""
        return int((self.cells.shape[1] + 1 + len(self.context)) * len(self.start))

    def ready(self, loss: mixnet.ChipLoss) -> mixnet.ChipLoss:
        """`loss` as `objective` takes it."""
        return loss._replace(matching=padded(loss.matching)) if isinstance(loss, mixnet.Matched) else loss

    def objective(
        self, x: NDArray[np.float64], loss: mixnet.ChipLoss, penalty: float, sure: float = mixnet.ENTROPY
    ) -> tuple[float, NDArray[np.float64]]:
        """See `flight.learn.mixnet.Inputs.objective`."""
        gradient = np.empty(self.n_weights)
        given = np.ascontiguousarray(x), self.cells, self.context, self.start
        sizes = self.n_chips, self.n_cells, self.cells.shape[1], len(self.context), len(self.start)
        none = np.empty(0, np.float32)
        matching, weight = (loss.matching, loss.weight) if isinstance(loss, mixnet.Matched) else (none, none)
        value = self.kernels.objective(
            *given, matching, loss.target, weight, gradient, self.scratch,
            *sizes, len(weight), sure, penalty,
        )  # fmt: skip
        return float(value), gradient
