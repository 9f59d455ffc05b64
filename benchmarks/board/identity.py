"""Which board and processor this is, and whether an emulator pretends to be one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.board.system import System

# Main ID register: implementer 0x41 (Arm) and part number, Arm's technical reference manuals.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
_X86 = ("x86_64", "amd64", "i686", "i386")
_EMULATED_X86 = ("QEMU Virtual CPU", "QEMU TCG CPU")


@dataclass(frozen=True)
class Board:
    """A board: its name, what told it, the system release that the vendor ships, and what the chip is compatible with.

    `name` is None where neither a device tree nor DMI tells one.
    """

    name: str | None
    source: str
    release: str | None
    compatible: tuple[str, ...]

    @property
    def is_pi(self) -> bool:
        """Whether it is a Raspberry Pi."""
        return any(each.startswith("raspberrypi,") for each in self.compatible)

    @property
    def is_jetson(self) -> bool:
        """Whether it is an NVIDIA Jetson."""
        return any(each.startswith("nvidia,tegra") for each in self.compatible)


def board(system: System) -> Board:
    """The board by its device tree, or by DMI."""
    model = system.text("proc/device-tree/model")
    if model:
        compatible = tuple((system.text("proc/device-tree/compatible") or "").split("\0"))
        return Board(model, "device tree", _release(system), compatible)
    fields = (system.text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
    name = " ".join(field for field in fields if field)
    return Board(name or None, "DMI" if name else "neither device tree nor DMI tells", _release(system), ())


def _release(system: System) -> str | None:
    """Jetson Linux release ("R36.4.3"), or the distribution's name."""
    tegra = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", system.text("etc/nv_tegra_release") or "")
    if tegra:
        return f"Jetson Linux R{tegra[1]}.{tegra[2]}"
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', system.text("etc/os-release") or "", re.MULTILINE)
    return named[1] if named else None


def processor(system: System, architecture: str) -> str:
    """The processor's name: its own, or those of the Arm cores by their part numbers."""
    info = system.text("proc/cpuinfo") or ""
    if named := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE):
        return named[1].strip()
    parts = re.findall(r"^CPU part\s*:\s*(\S+)$", info, re.MULTILINE)
    if not parts:
        return architecture
    return ", ".join(
        f"{parts.count(part)} x {_ARM_PARTS.get(part, f'Arm part {part}')}" for part in dict.fromkeys(parts)
    )


def emulated(system: System, architecture: str) -> str | None:
    """How it is known that an emulator runs this process; None if nothing tells so.

    A process under qemu-user keeps the emulator's name, and sees the host's /proc/cpuinfo (before QEMU 8.1).
    """
    name = system.text("proc/self/comm") or ""
    if name.startswith("qemu-"):
        return f"qemu-user: this process is {name}"
    info = system.text("proc/cpuinfo") or ""
    if architecture not in _X86 and re.search(r"^vendor_id\s*:\s*(GenuineIntel|AuthenticAMD)", info, re.MULTILINE):
        return f"qemu-user: Python runs on {architecture}, /proc/cpuinfo tells of an x86 processor"
    for mark in _EMULATED_X86:
        if mark in info:
            return f"QEMU without KVM: the processor is a {mark}"
    return None


def virtual(system: System) -> bool:
    """Whether it is a virtual machine, whose clock and neighbours are out of sight."""
    flags = re.search(r"^flags\s*:(.*)$", system.text("proc/cpuinfo") or "", re.MULTILINE)
    return "hypervisor" in (flags[1].split() if flags else ()) or "linux,dummy-virt" in (
        system.text("proc/device-tree/compatible") or ""
    )
