"""Who competes in the accuracy benchmark, and what each is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flight.learn import LEARNERS, Downconv, Learner, Swath

RATES = (0.003, 0.01, 0.03, 0.1)
PENALTIES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4)
OFFLINE_STEPS = 16000  # three times as many change its soft error by less than 3 %, either way
Make = Callable[[int, float | None], Learner]


@dataclass(frozen=True)
class Contender:
    """A learner under a name.

    Attributes:
        make: learner from a seed and a learning rate, or a penalty if it has no rate; None is the learner's own.
        rates: rates or penalties to choose from by the soft error on validation municipalities; one for no choice.
        supervised: whether it is given every chip's true proportions, each chip as a municipality of its own.
        labelled: share of the training municipalities whose rows it is given.
        bits: bits a class that rows are rounded to; 0 for no rounding.
    """

    name: str
    make: Make
    rates: tuple[float | None, ...] = (None,)
    supervised: bool = False
    labelled: float = 1.0
    bits: int = 0


class OfflineDownconv(Downconv):
    """`Downconv` on the ground: all chips are kept, and seen again and again."""

    def _check_range(self, name: str, low: float, high: float) -> None:
        super()._check_range(name, low, 1 << 20 if name == "reservoir" else high)


def contenders(names: Sequence[str], quick: bool) -> list[Contender]:
    """The learners of these names; then the published method twice, and learners under other conditions."""
    rates: tuple[float | None, ...] = (None,) if quick else RATES
    found = [Contender(name, _maker(name), rates if _has_rate(name) else (None,)) for name in names]
    if quick:
        return found
    if "downconv" in names:
        found.append(Contender("published, offline", _offline, rates))
        found.append(Contender("published, streamed", _streamed, rates))
    for name in names:
        if name == "swath":
            found.append(Contender("full supervision", _penalised, PENALTIES, supervised=True))
        if name in ("swath", "moments"):
            found.append(Contender(f"{name}, half labelled", _maker(name), labelled=0.5))
            found.append(Contender(f"{name}, quarter labelled", _maker(name), labelled=0.25))
            found.append(Contender(f"{name}, 6 bits", _maker(name), bits=6))
    return found


def _penalised(seed: int, penalty: float | None) -> Learner:
    return Swath(seed=seed, **({} if penalty is None else {"penalty": penalty}))


def _has_rate(name: str) -> bool:
    return "learning_rate" in inspect.signature(LEARNERS[name]).parameters


def _maker(name: str) -> Make:
    return lambda seed, rate: LEARNERS[name](seed=seed, **({} if rate is None else {"learning_rate": rate}))


def _offline(seed: int, rate: float | None) -> Learner:
    kept = 1 << 20
    return OfflineDownconv(
        loss="chip", n_steps=OFFLINE_STEPS, learning_rate=rate or RATES[0], reservoir=kept, seed=seed
    )


def _streamed(seed: int, rate: float | None) -> Learner:
    return Downconv(loss="chip", learning_rate=rate or RATES[0], seed=seed)
