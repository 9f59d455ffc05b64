"""The door to ``swath-ground``, which opens on a bare install too and then says what is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich", "pyarrow", "openpyxl")


def main() -> None:
    """Run the command line of the ground segment; exit status 2 if its extra is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        advice = "pip install '.[ground]' in swath's checkout"
        sys.stderr.write(f"swath-ground needs its extra: {advice} (missing: {', '.join(missing)})\n")
        raise SystemExit(2)
    from ground.cli import app

    app()


if __name__ == "__main__":
    main()
