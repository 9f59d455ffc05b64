"""Ctrl-C on a mission: one line, then a quick end with the exit code of the signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal to stop; `exit_code` is what a shell expects after it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM says that it was heard and raises `Interrupted`; later ones wait in vain.

    SystemExit with the exit code of the signal once everything has ended.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        os.write(2, "swath-sim: stopping…\n".encode())  # not through buffers that may be in use just now
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
