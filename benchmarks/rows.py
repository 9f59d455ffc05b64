"""What a benchmark reports: rows of figures, the machine they were measured on, and the command that repeats them."""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import Machine, versions
from flight.clock import wall_s


@dataclass(frozen=True)
class Row:
    """One figure.

    `value` is None if it could not be measured, and `why` says why. `against` is (name, value) of what it is compared
    with, measured in the same run; `n` counts repetitions or seeds and `spread` is their standard deviation. `ratio` is
    that of the two, if something better is known than their quotient: the median over rounds in which they took turns.
    """

    name: str
    value: float | None
    unit: str
    against: tuple[str, float] | None = None
    n: int = 1
    spread: float | None = None
    why: str = ""
    ratio: float | None = None

    @property
    def compared(self) -> float | None:
        """The ratio to what it is compared with."""
        if self.value is None or self.against is None or not self.against[1]:
            return None
        return self.value / self.against[1] if self.ratio is None else self.ratio

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        row: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit}
        name, other = self.against or (None, None)
        row["against"] = None if name is None else {"name": name, "value": other}
        row["ratio"] = self.compared
        row |= {"n": self.n, "spread": self.spread}
        return row | ({"why": self.why} if self.value is None else {})


def progress(what: str) -> None:
    """Say on stderr what is being measured."""
    print(f"{what} ...", file=sys.stderr, flush=True)


def summary(name: str, values: Sequence[float], unit: str, against: tuple[str, float] | None = None) -> Row:
    """A row of the mean and the standard deviation of `values`."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Row(name, statistics.fmean(values), unit, against, len(values), spread)


def rate(name: str, unit: str, amount: float, work: Callable[[], object], repeats: int) -> Row:
    """A row of the median rate, `amount` per call of `work` over the seconds that it takes."""
    rates = []
    for _ in range(repeats):
        start = wall_s()
        work()
        rates.append(amount / (wall_s() - start))
    spread = statistics.stdev(rates) if repeats > 1 else None
    return Row(name, statistics.median(rates), unit, None, repeats, spread)


def report(benchmark: str, rows: Sequence[Row], arguments: Sequence[str], machine: Machine) -> dict[str, Any]:
    """The object for machines."""
    return {
        "benchmark": benchmark,
        "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
        "machine": machine.describe(),
        "versions": versions(),
        "rows": [row.as_json() for row in rows],
    }


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = []
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if row.value is None:
            lines.append(f"{row.name:<{width}}  not measured: {row.why}")
            continue
        spread = f" ± {row.spread:.3g}" if row.spread is not None else ""
        other = f"   {_compared(row)}" if row.against else ""
        lines.append(f"{row.name:<{width}}  {row.value:>10.4g}{spread:<10} {row.unit}{other}".rstrip())
    return "\n".join(lines)


def _compared(row: Row) -> str:
    name, other = row.against or ("", None)
    return f"{row.compared:.3g} x {name} {other:.4g}" if other else f"{name}: 0"
