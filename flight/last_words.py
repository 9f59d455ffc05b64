"""Last words of a flight process that crashed or hung: a file that the supervisor writes, and the next process tells.

The process itself leaves its stack in a file (`faulthandler` for signals, the traceback of an exception); the
supervisor adds the cause, and mode, activity and last events from the black box.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from flight.blackbox import LoggedEvent, Snapshot
from flight.link.definitions import ACTIVITIES, MODES, U16

FILE, STACK = "last-words.json", "stack.txt"
MAX_STACK_BYTES = 8192
MAX_FILE_BYTES = 1 << 16
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


@contextmanager
def stack_file(directory: Path) -> Iterator[TextIO]:
    """A new file for the stack of this process, which Python writes on fatal signals; none where the disk refuses."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / STACK).open("w", encoding="utf-8")
    except OSError:
        file = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    with file:
        faulthandler.enable(file, all_threads=False)
        try:
            yield file
        finally:
            faulthandler.disable()


@dataclass(frozen=True)
class LastWords:
    """What is known of a death. `told` says whether a later process has made an event of it."""

    cause: str
    stack: str
    mode: str
    activity: str
    incarnation: int
    t_s: float
    crashes: int
    events: tuple[LoggedEvent, ...]
    told: bool = False

    @property
    def place(self) -> str:
        """The innermost place of the stack that lies in this software, such as `payload.py:310`; else the innermost."""
        frames = [(path, line) for path, line in _FRAME.findall(self.stack)]
        if not self.stack.startswith("Traceback"):
            frames.reverse()  # faulthandler prints the innermost first
        own = [frame for frame in frames if "/flight/" in frame[0]] or frames
        return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""


def compose(directory: Path, cause: str, snapshot: Snapshot, crashes: int) -> LastWords:
    """Last words from the stack file in `directory` and the black box."""
    try:
        with (directory / STACK).open("rb") as file:
            stack = file.read(MAX_STACK_BYTES).decode("utf-8", "replace")
    except OSError:
        stack = ""
    page = snapshot
    return LastWords(cause, stack, page.mode, page.activity, page.incarnation, page.t_s, min(crashes, U16), page.events)


def write(directory: Path, words: LastWords) -> None:
    """Write the file; a disk that refuses is no reason not to go on."""
    partial = directory / (FILE + ".partial")
    try:
        partial.write_text(json.dumps(asdict(words)), encoding="utf-8")
        partial.replace(directory / FILE)
    except OSError:
        with suppress(OSError):  # as on a disk that is read-only now
            partial.unlink()


def mark_told(directory: Path) -> None:
    """Remember that an event has told of them."""
    words = read(directory)
    if words is not None and not words.told:
        write(directory, replace(words, told=True))


def read(directory: Path) -> LastWords | None:
    """What the file says; None if there is none, or it makes no sense."""
    try:
        with (directory / FILE).open("rb") as file:
            values = json.loads(file.read(MAX_FILE_BYTES))
        events = tuple(LoggedEvent(float(t_s), str(name)) for t_s, name in values.pop("events"))
        words = LastWords(**values, events=events)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    sound = (
        words.mode in MODES
        and words.activity in ACTIVITIES
        and isinstance(words.cause, str)
        and isinstance(words.stack, str)
        and type(words.crashes) is int
        and 0 <= words.crashes <= U16
    )
    return words if sound else None
