"""The table of exported kernels: each one's name, file and C signature, declared once.

From it come the ctypes bindings (`flight.kernels.binding`), compiled entry points (`flight.kernels.compiled`), the C
header, the shared object of a flight bundle and the tests. A signature is written as C writes it, with sized integers
without `_t`: `const float *a, float *out, int64 n`. A pointer is a C-contiguous array that the caller owns; what is not
`const` is written to. `(...)` around parameters makes them one tuple for callers in Python; in C they stand in a row.

To add a kernel, write it in `flight/kernels/native/` and give it an entry here. This imports no more than the standard
library does.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

ABI_NUMBER = 1  # goes up when a kernel means something else with the same signature
PREFIX = "swath_"  # of the symbols
ABI_SYMBOL = PREFIX + "abi"  # of the digest, as text ended by a zero

C_TYPES = {
    "float": "float", "double": "double", "uint8": "uint8_t", "uint16": "uint16_t", "int32": "int32_t",
    "uint32": "uint32_t", "int64": "int64_t", "uint64": "uint64_t",
}  # fmt: skip
DTYPES = {"float": "float32", "double": "float64"} | {name: name for name in C_TYPES if "int" in name}
_PARAMETER = re.compile(r"(const )?(\w+) (\*?)(\w+)")


@dataclass(frozen=True)
class Parameter:
    """One parameter: `kind` is a key of `C_TYPES`; `group` numbers the tuple that it belongs to, -1 for none."""

    name: str
    kind: str
    pointer: bool
    const: bool
    group: int

    @property
    def dtype(self) -> str:
        """The numpy dtype of the number, or of the array's elements."""
        return DTYPES[self.kind]

    def __str__(self) -> str:
        return f"{'const ' if self.const else ''}{C_TYPES[self.kind]} {'*' if self.pointer else ''}{self.name}"


@dataclass(frozen=True)
class Kernel:
    """An exported kernel: function `name` of `flight.kernels.<module>`, of `signature`, returning `returns`.

    What is `small` is compiled for size: code that branches more than it computes, and gains little from speed. So is
    what is `rare`, but for boards only: it computes, though not with every chip.
    """

    name: str
    module: str
    signature: str
    returns: str = "void"
    small: bool = False
    rare: bool = False

    @property
    def symbol(self) -> str:
        """Its name in a shared object."""
        return PREFIX + self.name

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters in the order of C; ValueError if the signature cannot be read."""
        found: list[Parameter] = []
        group, inside = -1, False
        for part in self.signature.split(","):
            text = part.strip()
            if text.startswith("("):
                group, inside, text = group + 1, True, text[1:]
            ends, text = text.endswith(")"), text.removesuffix(")")
            match = _PARAMETER.fullmatch(text)
            if match is None or match[2] not in C_TYPES:
                raise ValueError(f"kernel {self.name}: cannot read {text!r}; write `[const ]TYPE [*]name`")
            found.append(Parameter(match[4], match[2], bool(match[3]), bool(match[1]), group if inside else -1))
            inside = inside and not ends
        return tuple(found)

    @property
    def declaration(self) -> str:
        """Its C prototype."""
        returned = "void" if self.returns == "void" else C_TYPES[self.returns]
        return f"{returned} {self.symbol}({', '.join(map(str, self.parameters))});"


# What the processor must do the same as any other (see `flight.kernels.native.arithmetic`), and what it can do at most.
MACHINE = (
    Kernel("arithmetic", "native.arithmetic", "const float *x, float *y, int64 n", rare=True),
    Kernel("fma_chains", "native.limits", "float *y, float factor, float addend, int64 chains, int64 n"),
    Kernel("triad", "native.limits", "float *a, const float *b, const float *c, float factor, int64 n"),
)

# Decoders and encoders of files. The buffers are those of the files of the same names in `flight/kernels/`.
_CODER = "int64 *rc, uint8 *buf"
_MIXED = "int64 *counts, int64 *weights, const int64 *tables"
_SPACE = "int64 *slots, int64 *sets, int64 *scratch"
_MODEL = f"({_CODER}, const int64 *plan, {_MIXED}, int64 *shape, int64 *pmf, int64 *inputs)"


def _codec(name: str, signature: str) -> Kernel:
    return Kernel(name, "native.codecs", signature, "int64", small=True)


CODECS = (
    _codec("code_even", f"{_CODER}, int64 n_bits, int64 value"),
    _codec("content", f"{_CODER}, uint8 *text, int64 first, int64 last, {_MIXED}, {_SPACE}"),
    _codec("code_rows",
        f"{_MODEL}, int64 *table, int64 *grouped, const int64 *base, const int64 *bounds, const int64 *near, "
        "const int64 *best, const int64 *rough, const int64 *row_kinds, int64 *sums, int64 *means"),
    _codec("code_order", f"{_MODEL}, int64 *order, int64 n"),
    _codec("code_present", f"{_MODEL}, int64 *present, const int64 *known, int64 n"),
    _codec("code_runs", f"{_MODEL}, int64 *runs, int64 n"),
    _codec("membership",
        f"{_CODER}, int32 *labels, const int32 *goal, const uint8 *todo, const uint8 *allowed, int64 *area, "
        f"int64 *born, int64 *progress, const int64 *window, int64 n_cells, {_MIXED}, {_SPACE}, int64 *candidates, "
        "int64 *found"),
    _codec("overlaps",
        f"{_CODER}, const int32 *labels, int32 *bags, uint8 *shares, const int32 *goal_bags, const uint8 *goal_shares, "
        f"const uint8 *todo, const uint8 *allowed, int64 *progress, const int64 *window, int64 n_cells, {_MIXED}, "
        f"const int64 *mirrored, {_SPACE}, int64 *candidates, int64 *masses, int64 *found"),
    _codec("names",
        f"{_CODER}, uint8 *text, const uint8 *goal, int64 *progress, int64 n_bytes, {_MIXED}, {_SPACE}"),
    _codec("numbers",
        f"{_CODER}, int64 *values, const int64 *goal, const int64 *hints, int64 first, int64 last, int64 bits, "
        "int64 *counts"),
)  # fmt: skip

# Trained networks.
_PATCHES = "const uint8 *chips, const int64 *which, const int64 *starts, const int64 *shape, const float *shift"
NETWORKS = (
    Kernel(
        "gemm", "native.gemm",
        "const float *a, const float *b, const float *start, float *c, int64 m, int64 n, int64 depth, int64 repeats",
        rare=True,
    ),
    Kernel(
        "convnet_fold", "native.convnet",
        "const float *W1, const float *b1, const float *W2, const float *P, int64 whitened, const int64 *dims, "
        "float *packed",
        rare=True,
    ),
    Kernel(
        "convnet_forward", "native.convnet",
        f"({_PATCHES}), const float *packed, const float *b2, const int64 *dims, uint32 seed, uint32 below, "
        "float scale, int64 first, int64 last, int64 keep, float *hidden, float *shares, float *means, float *x",
        rare=True,
    ),
    Kernel(
        "convnet_backward", "native.convnet",
        f"({_PATCHES}), const float *packed, const int64 *dims, float scale, int64 n_chips, int64 n_shards, "
        "int64 first, int64 last, float *hidden, float *shares, const float *d_means, float *gradients, float *x",
        rare=True,
    ),
    Kernel(
        "convnet_unfold", "native.convnet",
        "float *gradients, int64 n_shards, const float *P, const int64 *dims, float *W1, float *b1, float *W2, "
        "float *b2, float *scratch",
        rare=True,
    ),
    Kernel(
        "qkmnet_fold", "native.qkmnet",
        "const float *c_x, const float *c_y, const float *log_w, const float *log_s, const float *P, int64 whitened, "
        "const int64 *dims, float *packed",
        rare=True,
    ),
    Kernel(
        "qkmnet_forward", "native.qkmnet",
        f"({_PATCHES}), const float *packed, const int64 *dims, int64 first, int64 last, int64 keep, float *shares, "
        "float *mean_shares, float *means, float *x",
        rare=True,
    ),
    Kernel(
        "qkmnet_backward", "native.qkmnet",
        f"({_PATCHES}), const float *packed, const int64 *dims, int64 n_chips, int64 n_shards, int64 first, "
        "int64 last, float *shares, const float *mean_shares, const float *d_means, float *gradients, float *x",
        rare=True,
    ),
    Kernel(
        "qkmnet_unfold", "native.qkmnet",
        "float *gradients, int64 n_shards, const float *c_x, const float *c_y, const float *log_s, const float *P, "
        "const int64 *dims, const float *packed, float *d_c_x, float *d_c_y, float *d_log_w, float *d_log_s, "
        "float *scratch",
        rare=True,
    ),
    Kernel(
        "kdm", "native.kdm",
        "const double *x, const double *c, const double *log_w, int64 n, int64 m, int64 d, double narrowness, "
        "int64 shared, double *scores, double *total",
        rare=True,
    ),
    Kernel("eigen", "native.jacobi", "double *a, double *v, int64 n", rare=True),
    Kernel("adam", "native.descent", "float *w, const float *g, float *m, float *v, int64 n, float rate", rare=True),
    Kernel(
        "bag_gradient", "native.descent",
        "const float *q, const float *shares, const float *target, int64 n_bags, int64 n_chips, int64 n_classes, "
        "float floor, float *d",
        rare=True,
    ),
)  # fmt: skip

# Features of cells, the statistics that learners keep of chips, and linear algebra in double precision.
_EMBEDDING = "const float *z, const float *weights, const float *offset"
_CELLS = "int64 n, int64 n_features, int64 n_units, int64 padded"
STATISTICS = (
    Kernel("embed", "native.features", f"{_EMBEDDING}, float *phi, float *work, {_CELLS}", rare=True),
    Kernel("logarithms", "native.features", "float *x, int64 n", rare=True),
    Kernel(
        "absorb",
        "native.moments",
        "const uint8 *chips, const uint8 *grids, const float *unit, const float *low, const int64 *places, "
        "const int64 *windows, const float *weights, const float *offset, const int64 *lattice, "
        "const int64 *members, const int64 *shares, int64 *sums, int64 *second, int32 *ints, float *floats, float *z, "
        "float *work, float *mean, double *cells, int64 n, int64 rows, int64 cols, int64 bands, int64 n_places, "
        "int64 grid_width, int64 n_windows, int64 raw, int64 n_features, int64 n_units, int64 padded, "
        "int64 n_members, int64 n_sums",
        rare=True,
    ),
)
_SIZES = "int64 m, int64 n, int64 depth"
_TRIDIAGONAL = "const double *d, const double *e"


def _solver(name: str, module: str, signature: str, returns: str = "void") -> Kernel:
    """A kernel that runs when labels change, not with every chip."""
    return Kernel(name, f"native.{module}", signature, returns, rare=True)


ALGEBRA = (
    _solver("dot", "linalg", "const double *a, const double *b, int64 n", "double"),
    _solver("product", "linalg", f"const double *a, const double *b, double *c, {_SIZES}"),
    _solver("gram", "linalg", "const double *a, double *c, int64 n, int64 depth"),
    _solver("factor", "linalg", "double *a, double *left, int64 n", "int64"),
    _solver("inverse_of_factor", "linalg", "const double *a, double *c, int64 n"),
    _solver("solve_factored", "linalg", "const double *a, double *b, double *left, int64 n, int64 m"),
    _solver("orthonormal", "linalg", "double *a, double *left, int64 n"),
    _solver("tridiagonal", "eigen", "double *a, double *d, double *e, double *scale, double *work, int64 n"),
    _solver(
        "reflect", "eigen",
        "const double *a, const double *scale, double *x, double *work, int64 n, int64 m, int64 turned"
    ),
    _solver(
        "solve_shifted", "eigen",
        f"{_TRIDIAGONAL}, const double *shifts, const double *b, double *x, double *work, int64 n, int64 m, "
        "int64 n_shifts",
    ),
    _solver("greatest_values", "eigen", f"{_TRIDIAGONAL}, double *values, double *work, int64 n, int64 m"),
    _solver(
        "vectors", "eigen",
        f"{_TRIDIAGONAL}, const double *values, double *rows, double *work, int64 n, int64 m",
    ),
)  # fmt: skip

# The head of the default learner: what it sees of a chip as a whole, its loss, and the search for its weights.
_RECORDS = "const uint8 *records, const float *scale, const float *low"
HEAD = (
    _solver(
        "describe", "context",
        f"{_RECORDS}, const int64 *some, float *descriptions, float *work, int64 n, int64 record_bytes, int64 n_cells, "
        "int64 k, int64 n_some",
    ),
    _solver(
        "project_cells", "context",
        f"{_RECORDS}, const int64 *places, const float *weights, const float *offset, const float *turn, "
        "const float *start, uint16 *cells, float *work, int64 n, int64 record_bytes, int64 n_places, int64 k, "
        "int64 n_units, int64 padded, int64 n_values, int64 width",
    ),
    _solver(
        "objective", "mixnet",
       "const double *x, const uint16 *cells, const float *context, const float *start, const float *matching, "
        "const float *target, const float *weight, double *gradient, float *floats, int64 n, int64 n_cells, int64 k, "
        "int64 n_context, int64 n_classes, int64 n_bags, double entropy, double penalty", "double",
    ),
    _solver(
        "shares", "mixnet",
        "const float *phi, int64 phi_row, const float *weights, const float *chip, float *q, float *work, int64 n, "
        "int64 k, int64 n_classes",
    ),
    _solver(
        "direction", "lbfgs",
        "const double *gradient, const double *steps, const double *turns, double *q, double *shares, int64 n, int64 m",
    ),
)  # fmt: skip

KERNELS: tuple[Kernel, ...] = (*MACHINE, *CODECS, *NETWORKS, *STATISTICS, *ALGEBRA, *HEAD)
BY_NAME = {kernel.name: kernel for kernel in KERNELS}


def abi() -> str:
    """16 hexadecimal digits that name the ABI: what every kernel is called and takes."""
    lines = [str(ABI_NUMBER), *sorted(kernel.declaration for kernel in KERNELS)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def header() -> str:
    """The C header of a shared object."""
    lines = [
        "/* Kernels of swath: made from flight/kernels/registry.py. */", "#ifndef SWATH_KERNELS_H",
        "#define SWATH_KERNELS_H", "#include <stdint.h>", "",
        f'#define SWATH_KERNELS_ABI "{abi()}"', f"extern const char {ABI_SYMBOL}[17];", "",
        *(kernel.declaration for kernel in KERNELS), "", "#endif", "",
    ]  # fmt: skip
    return "\n".join(lines)
