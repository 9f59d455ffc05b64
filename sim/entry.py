"""The console command swath-sim: says what to install when the extra is missing, and hands over."""

from __future__ import annotations

import os
import sys

from flight.caps import one_blas_thread


def main() -> None:
    """Run swath-sim, with one BLAS thread: the last bit of a matrix product depends on their number."""
    os.environ.update(one_blas_thread(dict(os.environ)))
    try:
        from sim.cli import app
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in ("flight", "ground", "sim"):
            raise
        advice = "pip install '.[sim]' in swath's checkout"
        print(f"swath-sim needs {missing.name}, which is not here: {advice}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    app()


if __name__ == "__main__":
    main()
