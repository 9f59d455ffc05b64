"""Files of /proc, /sys and /etc, and the few commands that boards have: of this machine, or recorded."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

_MOST_BYTES = 1 << 18
_COMMAND_S = 5.0

Run = Callable[[tuple[str, ...]], "str | None"]


def run(command: tuple[str, ...]) -> str | None:
    """What `command` prints; None if it is not installed, fails, or takes longer than 5 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_COMMAND_S)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout[:_MOST_BYTES]


class System:
    """A tree of files that starts at `root`, and commands."""

    def __init__(self, root: Path = Path("/"), run: Run = run) -> None:
        self.root = root
        self._run = run

    def text(self, path: str) -> str | None:
        """Contents of a file without the NUL or newline that ends them; None if it cannot be read.

        A sensor that is powered down answers with an error: that is None as well.
        """
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").rstrip("\0\n ")
        except OSError:
            return None

    def number(self, path: str) -> float | None:
        """The one number that a file holds; None if it cannot be read or holds something else."""
        try:
            return float(self.text(path) or "")
        except ValueError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file, readable or not."""
        return (self.root / path).exists()

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, in order."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))

    def command(self, *command: str) -> str | None:
        """What a command prints; None if the board has none of that name, or it fails."""
        return self._run(command)
