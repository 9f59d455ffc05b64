"""What the default learners compute with: numpy, or kernels whose bits are the same on every machine.

Both have one interface, so that a learner is written once. What a learner may use of numpy beside it is exact, or
rounded element by element (+, -, *, /, square roots): no sum of floats, no logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.kernels import aligned
from flight.kernels.backend import Backend
from flight.learn import context, lbfgs, mixnet
from flight.learn.blocks import Rows, blocks
from flight.learn.lattice import Lattice

Matrix = NDArray[np.float64]
Floats = NDArray[np.floating]


class Arithmetic:
    """By numpy, and the BLAS and LAPACK behind it."""

    def product(self, A: Floats, B: Floats) -> Matrix:
        """A B."""
        return np.asarray(A @ B)

    def gram(self, A: Matrix) -> Matrix:
        """A' A."""
        return np.asarray(A.T @ A)

    def dot(self, a: Matrix, b: Matrix) -> float:
        """Sum of products of two vectors."""
        return float(a @ b)

    def mean(self, X: Rows, weight: Matrix | None = None) -> Matrix:
        """Weighted mean (d,) of the rows of X (n, d); `weight` (n,) sums to 1, or is the same for all."""
        share = np.full(len(X), 1.0 / len(X)) if weight is None else weight
        total = np.zeros(X[:1].shape[1])
        for some in blocks(len(X)):
            total += self.product(share[None, some], X[some])[0]
        return total

    def normalised(self, weight: Matrix) -> Matrix:
        """`weight` (n,) divided by its sum."""
        return np.asarray(weight / self.dot(weight, np.ones(len(weight))))

    def row_sums(self, A: Matrix) -> Matrix:
        """Sums (n, 1) of the rows of A (n, d)."""
        return self.product(A, np.ones((A.shape[1], 1)))

    def logs(self, x: Matrix) -> Matrix:
        """Natural logarithms of a few numbers above 0, at least to single precision."""
        return np.asarray(np.log(x))

    def whitening(self, S: Matrix) -> Matrix:
        """Upper triangular W with W' S W = I, for S symmetric and positive definite; LinAlgError if it is not."""
        return np.asarray(np.linalg.inv(np.linalg.cholesky(S)).T)

    def solve(self, A: Matrix, B: Matrix) -> Matrix:
        """X with A X = B, for A symmetric and positive definite; LinAlgError if it is not."""
        return np.asarray(np.linalg.solve(A, B))

    def ridge(self, A: Matrix, Y: Matrix, penalties: Matrix) -> Matrix:
        """For each penalty the V, of (n_penalties, d, c), that minimises |Y - A V|^2 + penalty |V|^2.

        Args:
            A: (n, d).
            Y: (n, c).
            penalties: above 0.
        """
        if len(A) <= A.shape[1]:
            values, Q = np.linalg.eigh(A @ A.T)
            basis, target = A.T @ Q, Q.T @ Y
        else:
            values, basis = np.linalg.eigh(A.T @ A)
            target = basis.T @ (A.T @ Y)
        values = np.maximum(values, 0.0)
        return np.stack([basis @ (target / (values + penalty)[:, None]) for penalty in penalties])

    def greatest(self, A: Matrix, count: int, overwrite: bool = False) -> tuple[Matrix, Matrix]:
        """The `count` greatest eigenvalues of the symmetric A (n, n), ascending, and unit eigenvectors as columns.

        With `overwrite`, A may be used as working space.
        """
        values, Q = np.linalg.eigh(A)
        return values[len(A) - count :], Q[:, len(A) - count :]

    def orthonormal(self, A: Matrix) -> Matrix:
        """Q of the QR factors of the square A."""
        return np.asarray(np.linalg.qr(A)[0])

    def direction(self, at: lbfgs.Search) -> Matrix:
        """The direction of steepest ascent as L-BFGS bends it."""
        return lbfgs.direction(at)

    def describe(self, lattice: Lattice) -> NDArray[np.float32]:
        """Descriptions (n, m) of chips from the codes of their cells (`flight.learn.context`)."""
        return np.concatenate(
            [context.describe(lattice.cells(i), lattice.correlated) for i in range(len(lattice.codes))]
        )

    def proportions(
        self, phi: NDArray[np.float32], weights: NDArray[np.float32], chip: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Class proportions (n, c) of cells: the last k values of `phi` (n, d) times `weights` (k, c), plus `chip`."""
        return np.asarray(mixnet.softmax(phi[:, -len(weights) :] @ weights + chip), np.float32)


class CompiledArithmetic(Arithmetic):
    """By kernels; in double precision unless said."""

    def __init__(self, backend: Backend) -> None:
        self._kernels = backend

    def product(self, A: Floats, B: Floats) -> Matrix:
        """A B."""
        left, right = _doubles(A), _doubles(B)
        out = np.empty((len(left), right.shape[1]))
        self._kernels.product(left, right, out, *out.shape, len(right))
        return out

    def gram(self, A: Matrix) -> Matrix:
        """A' A."""
        left = _doubles(A)
        out = np.empty((left.shape[1], left.shape[1]))
        self._kernels.gram(left, out, len(out), len(left))
        return out

    def dot(self, a: Matrix, b: Matrix) -> float:
        """Sum of products of two vectors."""
        return float(self._kernels.dot(_doubles(a), _doubles(b), len(a)))

    def logs(self, x: Matrix) -> Matrix:
        """Natural logarithms of a few numbers above 0, in single precision."""
        out = padded(np.asarray(x, np.float32)[None])
        self._kernels.logarithms(out, out.size)
        return out[0, : len(x)].astype(np.float64)

    def whitening(self, S: Matrix) -> Matrix:
        """Upper triangular W with W' S W = I, for S symmetric and positive definite; LinAlgError if it is not."""
        R = self._factor(S)
        out = np.empty_like(R)
        self._kernels.inverse_of_factor(R, out, len(R))
        return out

    def solve(self, A: Matrix, B: Matrix) -> Matrix:
        """X with A X = B, for A symmetric and positive definite; LinAlgError if it is not."""
        R, out = self._factor(A), np.array(B, np.float64, order="C")
        self._kernels.solve_factored(R, out, np.empty(len(R)), *out.shape)
        return out

    def _factor(self, A: Matrix) -> Matrix:
        R = np.array(A, np.float64, order="C")
        if self._kernels.factor(R, np.empty(len(R)), len(R)) < 0:
            raise np.linalg.LinAlgError(f"a matrix of {len(R)} rows is not positive definite")
        return R

    def ridge(self, A: Matrix, Y: Matrix, penalties: Matrix) -> Matrix:
        """See `Arithmetic.ridge`."""
        few = len(A) <= A.shape[1]
        form = _Tridiagonal(self._kernels, self.gram(A.T if few else A), overwrite=True)
        n, c = len(form.d), Y.shape[1]
        target = form.turn(_doubles(Y) if few else self.product(A.T, Y), turned=True)
        found = np.empty((n, len(penalties) * c))
        self._kernels.solve_shifted(
            form.d, form.e, _doubles(penalties), target, found, np.empty((2, n)), n, c, len(penalties)
        )
        found = form.turn(found)
        V = self.product(A.T, found) if few else found
        return np.ascontiguousarray(V.reshape(-1, len(penalties), c).transpose(1, 0, 2))

    def greatest(self, A: Matrix, count: int, overwrite: bool = False) -> tuple[Matrix, Matrix]:
        """See `Arithmetic.greatest`."""
        form, n = _Tridiagonal(self._kernels, A, overwrite), len(A)
        values, rows = np.empty(count), np.empty((count, n))
        self._kernels.greatest_values(form.d, form.e, values, np.empty((4, count)), n, count)
        self._kernels.vectors(form.d, form.e, values, rows, np.empty((4, n)), n, count)
        return values, form.turn(np.ascontiguousarray(rows.T))

    def orthonormal(self, A: Matrix) -> Matrix:
        """Q of the QR factors of the square A."""
        Q = np.array(A, np.float64, order="C")
        self._kernels.orthonormal(Q, np.empty((2, len(Q))), len(Q))
        return Q

    def direction(self, at: lbfgs.Search) -> Matrix:
        """The direction of steepest ascent as L-BFGS bends it."""
        out, m = np.empty_like(at.gradient), len(at.steps)
        self._kernels.direction(at.gradient, at.steps, at.turns, out, np.empty(m), len(out), m)
        return out

    def describe(self, lattice: Lattice) -> NDArray[np.float32]:
        """Descriptions (n, m) of chips from the codes of their cells (`flight.learn.context`)."""
        codes, some = lattice.codes, lattice.correlated
        out = np.empty((len(codes), context.length(lattice.k, len(some))), np.float32)
        work = np.empty((lattice.k + 1) * whole(lattice.n_cells) + whole(lattice.k), np.float32)
        self._kernels.describe(
            codes, lattice.scale, lattice.low, some, out, work,
            len(codes), codes.shape[1], lattice.n_cells, lattice.k, len(some),
        )  # fmt: skip
        return out

    def proportions(
        self, phi: NDArray[np.float32], weights: NDArray[np.float32], chip: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Arithmetic.proportions`."""
        n, (k, c) = len(phi), weights.shape
        out, work = np.empty((n, c), np.float32), np.empty((whole(n) + 16) * whole(c), np.float32)
        first = phi.reshape(-1)[phi.shape[1] - k :]
        row = padded(np.asarray(chip, np.float32)[None])
        self._kernels.shares(first, phi.shape[1], padded(weights), row, out, work, n, k, c)
        return out


class _Tridiagonal:
    """A symmetric matrix in tridiagonal form: diagonal `d`, `e` beside it, and the reflections that lead there."""

    def __init__(self, kernels: Backend, A: Matrix, overwrite: bool = False) -> None:
        n = len(A)
        self._kernels, self._scale = kernels, np.empty(n)
        self._rows = _doubles(A) if overwrite else np.array(A, np.float64, order="C")
        self.d, self.e = np.empty(n), np.empty(n)
        kernels.tridiagonal(self._rows, self.d, self.e, self._scale, np.empty((2, n)), n)

    def turn(self, X: Matrix, turned: bool = False) -> Matrix:
        """Q X, or Q' X if `turned`."""
        out = np.array(X, np.float64, order="C")
        self._kernels.reflect(self._rows, self._scale, out, np.empty(out.shape[1]), *out.shape, int(turned))
        return out


def of(backend: Backend) -> Arithmetic:
    """The arithmetic of a backend."""
    return CompiledArithmetic(backend) if backend.compiled else Arithmetic()


def whole(n: int) -> int:
    """`n` to the next multiple of 16: what fills whole vectors."""
    return -(-n // 16) * 16


def padded(A: NDArray[np.float32]) -> NDArray[np.float32]:
    """`A` (m, n) with columns of zeros that fill whole vectors; itself, if it needs none."""
    if A.shape[1] == whole(A.shape[1]) and A.flags.c_contiguous and A.dtype == np.float32:
        return A
    out = aligned.zeros((len(A), whole(A.shape[1])))
    out[:, : A.shape[1]] = A
    return out


def _doubles(a: Any) -> Matrix:
    return np.ascontiguousarray(a, np.float64)
