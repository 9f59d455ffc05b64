"""Kernels as one text of LLVM's intermediate representation, for no processor in particular.

A process of its own (`python -m ground.build.front FILE`), because numba takes its settings from the environment when
it is imported: it must not optimise here, nor for this machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba

from flight.kernels.compiled import entry, sources
from flight.kernels.registry import ABI_SYMBOL, KERNELS, abi
from ground.files import replaced

WIDE = "+avx512f"
_SETTINGS = {"NUMBA_OPT": "0", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_ENABLE_AVX": "0"}

_KEPT = 8  # texts, of some 10 MB


# Numba counts references to arrays. Those of kernels have no owner: they are made of pointers, and what allocates does
# not pass the check of symbols. So there is nothing to count.
_COUNTING = re.compile(r"(define [^\n]*@NRT_(?:incref|decref)\(ptr %[^\n]*\{\n).*?\n\}", re.DOTALL)
# Numba keeps what an entry point calls apart from it; nothing here unwinds.
_APART = re.compile(r"^(attributes #\d+ = \{.*)\bnoinline\b", re.MULTILINE)


def intermediate(wide: bool = False) -> str:
    """The text, with every kernel of the registry under its symbol and nothing else visible.

    With `wide`, matrix products are in tiles for the registers of AVX-512 (see `flight.kernels.native.gemm`). The texts
    of the latest few sources are kept in the user's cache directory.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swath"
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    versions = f"{numba.__version__}-{llvmlite.__version__}"
    kept = cache / f"kernels-{sources()}-{recipe}-{versions}{'-wide' if wide else ''}.ll"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        for old in sorted(cache.glob("kernels-*.ll"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
        with replaced(kept) as out:
            settings = _SETTINGS | ({"NUMBA_CPU_FEATURES": WIDE} if wide else {})
            environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run([sys.executable, "-m", "ground.build.front", str(out)], env=environment, check=True)
    return kept.read_text(encoding="utf-8")


def _write(out: Path) -> None:
    whole = llvm.parse_assembly(f'@{ABI_SYMBOL} = constant [17 x i8] c"{abi()}\\00"')
    for kernel in KERNELS:
        compiled = entry(kernel, cached=False)
        text = compiled.inspect_llvm().replace(f'@"{compiled.native_name}"', f"@{kernel.symbol}")
        module = llvm.parse_assembly(text.replace(f"@{compiled.native_name}(", f"@{kernel.symbol}("))
        if kernel.small or kernel.rare:
            for function in module.functions:
                if not function.is_declaration:
                    function.add_function_attribute("optsize" if kernel.small else "minsize")  # see back.object_code
        whole.link_in(module)
    exported = {ABI_SYMBOL, *(kernel.symbol for kernel in KERNELS)}
    for each in (*whole.functions, *whole.global_variables):
        if not each.is_declaration:
            each.linkage = "external" if each.name in exported else "internal"
    whole.verify()
    text = _APART.sub(r"\1nounwind", _COUNTING.sub(r"\1  ret void\n}", str(whole)))
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
