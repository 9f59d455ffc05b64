"""Mission time for people."""

from __future__ import annotations


def clock(t_s: float) -> str:
    """Mission time as hours, minutes and seconds."""
    minutes, seconds = divmod(t_s, 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{seconds:06.3f}"
