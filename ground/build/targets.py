"""What kernels are compiled for: processors, as LLVM, the linkers of Debian and a flight process know them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from flight.processor import features
from ground.build import BuildError


@dataclass(frozen=True)
class Target:
    """One processor.

    Attributes:
        name: as the command line has it.
        machine: as `uname -m` has it there.
        triple, cpu, attributes, abi: as LLVM has them.
        needs: features that a processor must report to run this (`flight.processor.features`).
        flies: whether a flight process can run there; if not, kernels are for a driver in C.
        compact: whether code is to be small (see `flight.kernels.registry.Kernel.small`), or as fast as it gets.
    """

    name: str
    machine: str
    triple: str
    cpu: str
    attributes: str = ""
    abi: str = ""
    needs: tuple[str, ...] = ()
    flies: bool = True
    compact: bool = True

    @property
    def linker(self) -> str:
        """The cross compiler of Debian that links for it."""
        return f"{self.triple.replace('-unknown', '').replace('armv7a', 'arm')}-gcc"

    @property
    def package(self) -> str:
        """The Debian package that has it."""
        return f"gcc-{self.linker.removesuffix('-gcc').replace('_', '-')}"

    @property
    def c_library(self) -> str:
        """The Debian package that has what it links with, which installs without recommended packages leave out."""
        if self.name == HOST:
            return "libc6-dev"
        return f"libc6-dev-{'armhf' if self.machine == 'armv7l' else self.machine.replace('aarch64', 'arm64')}-cross"


HOST = "host"
_A64, _A76 = "aarch64-unknown-linux-gnu", ("asimd", "atomics", "asimdhp", "asimdrdm", "asimddp")
_CROSS = (
    Target("aarch64-a72", "aarch64", _A64, "cortex-a72", needs=("asimd",)),
    Target("aarch64-a76", "aarch64", _A64, "cortex-a76", needs=_A76),
    Target("aarch64-orin", "aarch64", _A64, "cortex-a78ae", needs=_A76),
    Target("armv7", "armv7l", "armv7a-unknown-linux-gnueabihf", "cortex-a7", "+neon,+vfp4", flies=False),
    Target("riscv64", "riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", "lp64d", flies=False),
)
NAMES = (HOST, *(target.name for target in _CROSS))


def target(name: str) -> Target:
    """The target called `name`; BuildError if there is none."""
    if name == HOST:
        return _host()
    for each in _CROSS:
        if each.name == name:
            return each
    raise BuildError(f"target {name!r} is not one of {', '.join(NAMES)}")


def _host() -> Target:
    """This machine, with every feature that its processor has."""
    import llvmlite.binding as llvm

    machine = platform.machine()
    attributes = llvm.get_host_cpu_features().flatten()
    triple = f"{machine}-unknown-linux-gnu"
    needs = tuple(sorted(features()))
    return Target(HOST, machine, triple, llvm.get_host_cpu_name(), attributes, needs=needs, compact=False)
