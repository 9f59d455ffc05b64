"""What the processor is able to do, as the kernel of the operating system says it."""

from __future__ import annotations

import ctypes
import platform
import re
from pathlib import Path

_AT_HWCAP = 16  # getauxval(3)
# arch/arm64/include/uapi/asm/hwcap.h of Linux
_ARM64_BITS = {"fp": 0, "asimd": 1, "atomics": 8, "fphp": 9, "asimdhp": 10, "asimdrdm": 12, "asimddp": 20}
_X86_INSTRUCTIONS = re.compile(
    r"(avx|sse|ssse|bmi|fma|gfni|vaes|vpclmul|pclmul|sha_|aes|adx|f16c|popcnt|movbe|abm|pni|lahf|cx16)"
)


def features() -> set[str]:
    """Instruction set extensions, as Linux names them: those of x86-64 and aarch64, empty elsewhere."""
    machine = platform.machine()
    if machine == "aarch64":
        hwcap = ctypes.CDLL(None).getauxval(_AT_HWCAP)
        return {name for name, bit in _ARM64_BITS.items() if hwcap >> bit & 1}
    if machine == "x86_64":
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return {flag for flag in line.partition(":")[2].split() if _X86_INSTRUCTIONS.match(flag)}
    return set()
