"""What runs the kernels: a shared object compiled ahead of time, numba, or neither.

    backend = choose("auto", library)  # aot if there is a library, else jit if numba is installed, else numpy
    backend.name                       # "aot", "jit" or "numpy"
    backend.arithmetic(x, y, n)        # a kernel of the registry, on numpy arrays

`aot` and `jit` give the same bits. With `numpy` there are no kernels: learners compute in numpy and decoders in plain
Python (`compiled` is False); its results are near those of the kernels, not the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flight import kernels
from flight.kernels.binding import bind
from flight.kernels.registry import ABI_SYMBOL, BY_NAME, Kernel, abi

AOT, JIT, NUMPY, AUTO = kernels.AOT, kernels.JIT, "numpy", "auto"
CHOICES = (AUTO, AOT, JIT, NUMPY)


class BackendError(RuntimeError):
    """A backend that cannot be had here; the message says why and what to do."""


class Backend:
    """Kernels of the registry as attributes, each bound when it is first used; `name` is that of the backend.

    `library` is the shared object that holds them, if there is one.
    """

    def __init__(self, name: str, address: Callable[[Kernel], int] | None = None, library: Path | None = None) -> None:
        self.name = name
        self.address = address
        self.library = library

    @property
    def compiled(self) -> bool:
        """Whether there are kernels."""
        return self.address is not None

    @property
    def decoders(self) -> str:
        """The name of this backend for `flight.kernels.load`, which has the kernels of decoders in plain Python too."""
        return kernels.PYTHON if self.address is None else self.name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in BY_NAME:
            raise AttributeError(f"there is no kernel {name!r} in flight.kernels.registry")
        if self.address is None:
            raise AttributeError(f"kernel {name!r}: backend {self.name!r} has no kernels; see Backend.compiled")
        kernel = BY_NAME[name]
        bound = bind(kernel, self.address(kernel))
        setattr(self, name, bound)
        return bound

    @property
    def used(self) -> frozenset[str]:
        """Names of the kernels that were bound so far."""
        return frozenset(vars(self)) & frozenset(BY_NAME)

    def renewed(self) -> Backend:
        """The same kernels, with none of them bound yet; decoders use these from now on."""
        return put_in_use(Backend(self.name, self.address, self.library))

    def __repr__(self) -> str:
        return f"Backend({self.name})"


_IN_USE: dict[str, Backend] = {}  # a process has one copy of compiled code, as it has one of a shared object


def choose(name: str = AUTO, library: Path | None = None, may_compile: bool = True) -> Backend:
    """The backend `name`, or with "auto" the first of aot, jit and numpy that can be had here.

    Args:
        name: one of `CHOICES`.
        library: shared object of kernels compiled ahead of time; without one there is no `aot`.
        may_compile: whether "auto" may be `jit`, which takes up to a minute to compile before its first results.

    Raises:
        ValueError: there is no backend of that name.
        BackendError: it cannot be had here, or `library` cannot be used: a library that is given is never passed over.
    """
    if name not in CHOICES:
        raise ValueError(f"kernels: {name!r} is not one of {', '.join(CHOICES)}")
    if name == AOT and library is None:
        raise BackendError("kernels = 'aot' needs a library of kernels, which a flight bundle carries (--bundle)")
    if library is not None and name in (AUTO, AOT):
        return ahead_of_time(library)
    if name == NUMPY or (name == AUTO and not (may_compile and kernels.has_jit())):
        return Backend(NUMPY)
    if not kernels.has_jit():
        raise BackendError("kernels = 'jit' needs numba: pip install '.[jit]' in swath's checkout")
    return in_use(JIT)


def ahead_of_time(library: Path) -> Backend:
    """The kernels in a shared object; BackendError if it cannot be loaded or has another ABI.

    From then on `flight.kernels.load(..., AOT)` gives its decoders.
    """
    try:
        opened = ctypes.CDLL(str(library.absolute()))
        found = (ctypes.c_char * 17).in_dll(opened, ABI_SYMBOL).value.decode("ascii", "replace")
    except (OSError, ValueError) as error:
        raise BackendError(f"{library}: not a library of kernels for this machine: {error}") from error
    if found != abi():
        raise BackendError(f"{library}: kernel ABI {found}, this version of swath has {abi()}: build it anew")

    def address(kernel: Kernel) -> int:
        return ctypes.cast(getattr(opened, kernel.symbol), ctypes.c_void_p).value or 0

    return put_in_use(Backend(AOT, address, library))


def put_in_use(backend: Backend) -> Backend:
    """Let `flight.kernels.load` give decoders of `backend` from now on."""
    if backend.compiled:
        _IN_USE[backend.name] = backend
    return backend


def in_use(name: str) -> Backend:
    """The compiled kernels of this process: those of the library that was opened last, or numba's."""
    if name == JIT and name not in _IN_USE:
        _IN_USE[name] = _just_in_time()
    if name not in _IN_USE:
        raise BackendError("no library of kernels has been opened in this process: see ahead_of_time")
    return _IN_USE[name]


def _just_in_time() -> Backend:
    keep: dict[str, Any] = {}  # compiled code lives as long as its CFunc

    def address(kernel: Kernel) -> int:
        from flight.kernels.compiled import entry

        if kernel.name not in keep:
            keep[kernel.name] = entry(kernel)
        return int(keep[kernel.name].address)

    return Backend(JIT, address)
