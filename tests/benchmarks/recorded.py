"""Boards as recorded: in `fixtures/BOARD.txt`, `== /path` heads a file and `== $ command` what a command printed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.board.system import System

FIXTURES = Path(__file__).parent / "fixtures"


def recorded(name: str, root: Path) -> System:
    """Board `name` with its files laid out under `root`; commands that were not recorded are not installed."""
    commands: dict[tuple[str, ...], str] = {}
    for part in (FIXTURES / f"{name}.txt").read_text(encoding="utf-8").split("== ")[1:]:
        head, _, text = part.partition("\n")
        if head.startswith("$ "):
            commands[tuple(head.split()[1:])] = text
            continue
        file = root / head.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.replace("\\0\n", "\\0").replace("\\0", "\0").encode())
    return System(root, commands.get)
