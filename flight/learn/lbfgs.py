"""Minimisation by L-BFGS, one iteration at a time, so that it can be put aside in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from flight.learn.arithmetic import Arithmetic

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]
MEMORY = 10
_MAX_TRIALS = 12
_SHRINK = 0.4
_SUFFICIENT = 1e-4  # of the decrease that the slope promises (Armijo)
_LEAST_CURVATURE = 1e-10
_TOLERANCE = 1e-6


class Search(NamedTuple):
    """Where a search stands; six arrays, so that it can be stored.

    Attributes:
        x: (n,), the best point so far.
        value: (1,), the objective there.
        gradient: (n,), its gradient there.
        steps: (m, n), the last steps, oldest first; at most `MEMORY`.
        turns: (m, n), what they changed the gradient by.
        over: (1,), 1 if no more is to be gained.
    """

    x: Vector
    value: Vector
    gradient: Vector
    steps: Vector
    turns: Vector
    over: Vector


def begin(objective: Objective, x: Vector) -> Search:
    """A search from `x`."""
    value, gradient = objective(x)
    none = np.empty((0, len(x)))
    return Search(x, np.array([value]), gradient, none, none, np.zeros(1))


def iterate(objective: Objective, at: Search, arithmetic: Arithmetic) -> Search:
    """One iteration: Nocedal and Wright, "Numerical Optimization" (2006), algorithms 7.4 and 7.5, halting by Armijo."""
    if at.over[0]:
        return at
    value = float(at.value[0])
    ascent = arithmetic.direction(at)
    slope = arithmetic.dot(at.gradient, ascent)
    if slope <= 0:
        ascent, slope = at.gradient, arithmetic.dot(at.gradient, at.gradient)
    length = 1.0
    for _ in range(_MAX_TRIALS):
        x = at.x - length * ascent
        found, gradient = objective(x)
        if found <= value - _SUFFICIENT * length * slope:
            break
        length *= _SHRINK
    else:
        return at._replace(over=np.ones(1))
    step, turn = x - at.x, gradient - at.gradient
    steps, turns = at.steps, at.turns
    if arithmetic.dot(step, turn) > _LEAST_CURVATURE:
        steps, turns = (np.concatenate([a, b[None]])[-MEMORY:] for a, b in ((steps, step), (turns, turn)))
    over = np.array([float(value - found < _TOLERANCE * max(1.0, abs(value)))])
    return Search(x, np.array([found]), gradient, steps, turns, over)


def direction(at: Search) -> Vector:
    """The inverse Hessian, as the last steps show it, times the gradient."""
    q = at.gradient.copy()
    if not len(at.steps):
        return q / max(float(np.abs(q).sum()), 1e-12)
    pairs = list(zip(at.steps, at.turns, strict=True))
    shares = []
    for step, turn in reversed(pairs):
        share = float(step @ q) / float(step @ turn)
        shares.append(share)
        q -= share * turn
    step, turn = pairs[-1]
    q *= float(step @ turn) / float(turn @ turn)
    for (step, turn), share in zip(pairs, reversed(shares), strict=True):
        q += step * (share - float(turn @ q) / float(step @ turn))
    return q
