"""Kernels compiled ahead of time for this machine: those of a bundle, or built here once and kept."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

from flight.bundle import Bundle, BundleError, load
from flight.clock import wall_s


class NoLibraryError(RuntimeError):
    """There are no kernels compiled ahead of time, and none can be built here; the message says why."""


@cache
def find(bundle: Path | None) -> Path:
    """The path of `bundle`, or of one built for this machine, kept until a kernel changes or how it is compiled.

    Its seal is not checked: it is a file of one's own.
    """
    return bundle or _built()


def opened(path: Path) -> Bundle:
    """The bundle at `path`; NoLibraryError if it is none."""
    try:
        return load(path, None)
    except BundleError as error:
        raise NoLibraryError(str(error)) from error


def _built() -> Path:
    try:
        from flight.kernels.compiled import sources
        from ground.build import BuildError, targets
        from ground.build.bundle import bundle as build
    except ImportError as error:
        raise NoLibraryError(f"give --bundle FILE, or install what builds one: {error.name} is missing") from error
    from flight.link.keys import KeyRing
    from ground.files import write_bytes

    target = targets.target(targets.HOST)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swath"
    kept = cache / f"{sources()}-{_recipe(Path(targets.__file__).parent)}-{target.cpu}.bundle"
    if not kept.exists():
        start = wall_s()
        print("building kernels for this machine, once", file=sys.stderr)
        try:
            data = build(target, KeyRing.generate(os.urandom))
        except BuildError as error:
            raise NoLibraryError(str(error)) from error
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.glob("*.bundle"):
            old.unlink(missing_ok=True)
        write_bytes(kept, data)
        print(f"built in {wall_s() - start:.0f} s: {kept}", file=sys.stderr)
    return kept


def _recipe(folder: Path) -> str:
    """A digest of how kernels are compiled: of the files in `folder`."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()[:8]
