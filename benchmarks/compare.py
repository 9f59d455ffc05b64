"""Two reports side by side: what differs between the machines, and row by row, which of the two does better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SAME = 2.0  # standard deviations within which two figures are called the same
_LESS_IS_BETTER = ("s", "ms", "us", "bytes", "B", "kB", "MB", "W", "J/chip", "mJ/chip")
_TOLD = (
    "board", "processor", "architecture", "release", "clock_hz", "governors", "temperature_c", "throttled",
    "blas_kernel", "virtual",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One figure in both reports; either value may be None, and `why` then says why.

    `verdict` is "better" or "worse" for B, "same" within two standard deviations, or "" where that cannot be said.
    """

    name: str
    unit: str
    a: float | None
    b: float | None
    verdict: str
    why: str = ""

    @property
    def ratio(self) -> float | None:
        """B over A."""
        return self.b / self.a if self.a and self.b is not None else None

    def as_json(self) -> dict[str, Any]:
        """The pair as plain values."""
        return vars(self) | {"ratio": self.ratio}


def pairs(a: dict[str, Any], b: dict[str, Any]) -> list[Pair]:
    """Rows of the same name and unit in both reports, in the order of A; then those that only one of them has."""
    others = {(row["name"], row["unit"]): row for row in b["rows"]}
    found = [_pair(row, others.pop((row["name"], row["unit"]), None)) for row in a["rows"]]
    alone = [Pair(name, unit, None, row["value"], "", "only in B") for (name, unit), row in others.items()]
    return found + alone


def _pair(a: dict[str, Any], b: dict[str, Any] | None) -> Pair:
    if b is None:
        return Pair(a["name"], a["unit"], a["value"], None, "", "only in A")
    why = "; ".join(f"{side}: {row.get('why', '')}" for side, row in (("A", a), ("B", b)) if row["value"] is None)
    return Pair(a["name"], a["unit"], a["value"], b["value"], "" if why else _verdict(a, b), why)


def _verdict(a: dict[str, Any], b: dict[str, Any]) -> str:
    difference = b["value"] - a["value"]
    if abs(difference) <= _SAME * math.hypot(a.get("spread") or 0.0, b.get("spread") or 0.0):
        return "same"
    if a["unit"] in _LESS_IS_BETTER:
        return "better" if difference < 0 else "worse"
    return ("better" if difference > 0 else "worse") if a["unit"].endswith("/s") else ""


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(what, in A, in B) of machine and versions, where they differ."""
    found = []
    for part, keys in (("machine", _TOLD), ("versions", None)):
        left, right = (report.get(part) if isinstance(report.get(part), dict) else {} for report in (a, b))
        for key in keys or sorted({*left, *right}):
            if left.get(key) != right.get(key):
                found.append((key, left.get(key), right.get(key)))
    return found


def report(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The comparison for machines."""
    told = {what: {"a": left, "b": right} for what, left, right in differences(a, b)}
    return {"benchmark": "compare", "differences": told, "rows": [pair.as_json() for pair in pairs(a, b)]}


def table(a: dict[str, Any], b: dict[str, Any], names: Sequence[str]) -> str:
    """The comparison for people; `names` are those of the two files."""
    lines = [f"A: {names[0]}", f"B: {names[1]}", ""]
    lines += [f"{what:<16} A: {left}\n{'':<16} B: {right}" for what, left, right in differences(a, b)]
    rows = pairs(a, b)
    width = max((len(pair.name) for pair in rows), default=4)
    lines += ["", f"{'':<{width}} {'A':>12} {'B':>12} {'B / A':>8}"]
    for pair in rows:
        ratio = "-" if pair.ratio is None else f"{pair.ratio:.3g}"
        tail = pair.verdict or pair.why
        lines.append(
            f"{pair.name:<{width}} {_text(pair.a):>12} {_text(pair.b):>12} {ratio:>8} {pair.unit:<9} {tail}".rstrip()
        )
    return "\n".join(lines)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
