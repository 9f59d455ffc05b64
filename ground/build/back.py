"""Intermediate representation to a shared object: LLVM's optimiser and code generator, then the target's linker."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import llvmlite.binding as llvm

from ground.build import BuildError
from ground.build.elf import undefined_symbols
from ground.build.targets import HOST, Target

# What the C library of any Linux has, and what the linker takes from libgcc if the processor has no instruction for it.
# (`raise` is called by its division of 64-bit integers on armv7, when the divisor is 0.)
ALLOWED = frozenset({"memcpy", "memmove", "memset", "floor", "floorf", "raise"})
# How the text names what is small, and what is rare (see `flight.kernels.registry.Kernel`).
_SIZED = re.compile(r"^(attributes #\d+ = \{[^}]*?)\b(optsize|minsize)\b", re.MULTILINE)
_PAGE_BYTES = 16384  # the largest page of the kernels that boards run: Raspberry Pi 5


def shared_object(text: str, target: Target, out: Path) -> None:
    """Compile `text` (see `ground.build.front`) for `target` into the shared object `out`; BuildError says why not."""
    linker = _linker(target)
    machine_code = object_code(text, target)
    made = out.with_suffix(".o")
    made.write_bytes(machine_code)
    options = ["-shared", "-nostartfiles", "-s", "-Wl,--build-id=none,--hash-style=gnu,--as-needed,-z,norelro"]
    page = f"-Wl,-z,max-page-size={_PAGE_BYTES},-z,noseparate-code"
    result = subprocess.run(
        [linker, *options, page, str(made), "-lm", "-o", str(out)], capture_output=True, text=True, check=False
    )
    made.unlink()
    if result.returncode:
        mend = f" (Debian: apt install {target.c_library})" if "-lm" in result.stderr else ""
        raise BuildError(f"{linker} failed: {result.stderr.strip()}{mend}")
    check(out)


def check(library: Path) -> None:
    """BuildError if a shared object needs a symbol that a board may not have."""
    if stray := sorted(undefined_symbols(library.read_bytes()) - ALLOWED):
        raise BuildError(
            f"{library.name} needs {', '.join(stray)}, which no board has: a kernel allocates, raises or calls what is "
            "not a kernel (see flight/kernels/native/__init__.py)"
        )


def object_code(text: str, target: Target) -> bytes:
    """The object file of `text` for `target`, optimised for speed, or for size where both ask for it."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.attributes, opt=3, reloc="pic", codemodel="default", abiname=target.abi
    )
    text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)
    small, rare = ("minsize optsize",) * 2 if target.compact else ("optsize", "nounwind")
    module = llvm.parse_assembly(_SIZED.sub(lambda found: found[1] + (rare if found[2] == "minsize" else small), text))
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    options.loop_unrolling = options.loop_interleaving = not target.compact
    passes = llvm.create_pass_builder(machine, options)
    for _ in range(2):  # what the first run inlines, the second one simplifies
        passes.getModulePassManager().run(module, passes)
    return bytes(machine.emit_object(module))


def _linker(target: Target) -> str:
    names = ("cc", "gcc", target.linker) if target.name == HOST else (target.linker,)
    for name in names:
        if shutil.which(name):
            return name
    package = "gcc" if target.name == HOST else target.package
    raise BuildError(f"no linker for {target.name}: {names[-1]} is not on the PATH (Debian: apt install {package})")
