"""Kernels as one text of LLVM's intermediate representation, for no processor in particular.

A process of its own (`python -m ground.build.front FILE`), because numba takes its settings from the environment when
it is imported: it must not optimise here, nor for this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_SETTINGS = {"NUMBA_OPT": "0", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_ENABLE_AVX": "0"}


def intermediate() -> str:
    """The text, with every kernel of the registry under its symbol and nothing else visible."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernels.ll"
        environment = {**os.environ, **_SETTINGS, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-m", "ground.build.front", str(out)], env=environment, check=True)
        return out.read_text(encoding="utf-8")


def _write(out: Path) -> None:
    import llvmlite.binding as llvm

    from flight.kernels.compiled import entry
    from flight.kernels.registry import ABI_SYMBOL, KERNELS, abi

    whole = llvm.parse_assembly(f'@{ABI_SYMBOL} = constant [17 x i8] c"{abi()}\\00"')
    for kernel in KERNELS:
        compiled = entry(kernel, cached=False)
        text = compiled.inspect_llvm().replace(f'@"{compiled.native_name}"', f"@{kernel.symbol}")
        module = llvm.parse_assembly(text.replace(f"@{compiled.native_name}(", f"@{kernel.symbol}("))
        if kernel.small:
            for function in module.functions:
                if not function.is_declaration:
                    function.add_function_attribute("optsize")
        whole.link_in(module)
    exported = {ABI_SYMBOL, *(kernel.symbol for kernel in KERNELS)}
    for each in (*whole.functions, *whole.global_variables):
        if not each.is_declaration:
            each.linkage = "external" if each.name in exported else "internal"
    whole.verify()
    out.write_text(str(whole), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
