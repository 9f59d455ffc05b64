"""What is done as resident memory comes near its cap, in this order: slices end early, load is shed, flight steps down.

Memory is the one measurement that decides something in stepped time too: a process over its cap must not go on.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress

TIGHT, SHED = 0.85, 0.93  # of the cap: slices are short; load is shed


class Memory:
    """Watches the resident set against `cap_bytes`."""

    def __init__(self, rss_bytes: Callable[[], int], cap_bytes: int) -> None:
        self.rss_bytes = rss_bytes
        self.cap_bytes = cap_bytes
        self.tight = False  # at the last look
        self._may_shed = True

    def look(self) -> bool:
        """Read once; whether a slice should end now."""
        self.tight = self.rss_bytes() > TIGHT * self.cap_bytes
        self._may_shed |= not self.tight
        return self.tight

    @property
    def to_shed(self) -> bool:
        """Whether load should be shed: once each time that memory comes so near to the cap."""
        if not self._may_shed or self.rss_bytes() <= SHED * self.cap_bytes:
            return False
        self._may_shed = False
        return True


def give_back() -> None:
    """Collect garbage, and return free pages to the system where the C library can (glibc)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
