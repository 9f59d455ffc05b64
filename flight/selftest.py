"""Known-answer tests of what flies, on the machine that it flies on: kernels, codecs, link, store and learners.

With compiled kernels every result must be that of every other machine, to the bit; with numpy, learners must come near.
The digest of all results is what two machines compare.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flight import __version__
from flight.encoder import EncoderError, open_encoder
from flight.encoder.file import known_chips
from flight.encoder.runtimes import TFLITE
from flight.kernels.backend import Backend
from flight.kernels.registry import BY_NAME, abi
from flight.known_answers import COMPILED, EXACT, Check, trained
from flight.learn import LEARNERS

ANSWERS = Path(__file__).with_name("known_answers.json")
TOLERANCE = 1e-5  # of proportions that were learned in numpy
# Of those learned from records of 8 bits and means of 12: where a last bit tips one of them over, that is 1/512.
ROUNDED = dict.fromkeys(("learner swath", "learner hybrid"), 5e-4)
Result = tuple[str, list[float]]


@dataclass(frozen=True)
class Outcome:
    """One check: what it is called, whether it passed, the SHA-256 of its result, and what was wrong.

    `exact` results are the same on every machine that passes.
    """

    check: str
    passed: bool
    sha256: str
    exact: bool
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """All checks, in order."""

    backend: str
    machine: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(outcome.passed for outcome in self.outcomes)

    @property
    def sha256(self) -> str:
        """The digest of all exact results, which two machines compare, hexadecimal."""
        return hashlib.sha256("".join(each.sha256 for each in self.outcomes if each.exact).encode()).hexdigest()


def run(backend: Backend, answers: dict[str, Any] | None = None, encoders: Sequence[bytes] = ()) -> Verdict:
    """Make all checks with `backend`, against `answers`, or those that flight was released with.

    `encoders` are files of encoders, whose known answers each of them brings.
    """
    known = json.loads(ANSWERS.read_text(encoding="utf-8")) if answers is None else answers
    outcomes: list[Outcome] = []
    used: set[str] = set()
    for name, compute in _checks(backend).items():
        fresh = backend.renewed()
        try:
            digest, values = compute(fresh)
        except Exception as error:  # whatever goes wrong is the result of the test
            outcomes.append(Outcome(name, False, "", False, f"{type(error).__name__}: {error}"))
            continue
        exact = not values or bool(fresh.used)
        tolerance = ROUNDED.get(name, TOLERANCE)
        reason = _wrong(known.get(name, {}), digest, values, exact, tolerance)
        outcomes.append(Outcome(name, not reason, digest, exact, reason))
        used |= fresh.used
    if backend.compiled:
        left = sorted(set(BY_NAME) - used)
        reason = f"no check has called {', '.join(left)}" if left else ""
        outcomes.append(Outcome("every kernel called", not left, "", False, reason))
    outcomes += [_encoder(data, f"encoder {i}") for i, data in enumerate(encoders, 1)]
    return Verdict(backend.name, platform.machine(), tuple(outcomes))


def _encoder(data: bytes, check: str) -> Outcome:
    """Whether a runtime is here that says of known chips what the file says; the SHA-256 of what it says."""
    try:
        encoder = open_encoder(data)
    except EncoderError as error:
        return Outcome(check, False, "", False, str(error))
    digest = hashlib.sha256(encoder(known_chips(encoder.chip_shape)).tobytes()).hexdigest()
    exact = encoder.file.header.precision == "int8" and not encoder.runtime.startswith(TFLITE)
    return Outcome(f"{check} {encoder.runtime}", True, digest, exact)


def results(backend: Backend) -> dict[str, Any]:
    """The answers that `backend` gives, as `run` takes them."""
    found: dict[str, Any] = {}
    for name, compute in _checks(backend).items():
        digest, values = compute(backend)
        found[name] = {"sha256": digest} | ({"values": values} if values else {})
    return found


def report(verdict: Verdict, as_json: bool) -> str:
    """The verdict as a table, or as one JSON object."""
    if as_json:
        head = {"passed": verdict.passed, "sha256": verdict.sha256, "swath": __version__, "kernel_abi": abi()}
        return json.dumps(head | asdict(verdict), indent=2)
    lines = [f"swath {__version__}, kernels {verdict.backend} (ABI {abi()}) on {verdict.machine}"]
    for each in verdict.outcomes:
        lines.append(
            f"  {'pass' if each.passed else 'FAIL'}  {each.check:<20} {each.sha256[:16]}  {each.reason}".rstrip()
        )
    return "\n".join([*lines, f"{'passed' if verdict.passed else 'FAILED'}, results {verdict.sha256}"])


def _checks(backend: Backend) -> dict[str, Callable[[Backend], Result]]:
    """Each check as a function that returns the digest of its result, and a learner's numbers."""

    def plain(check: Check) -> Callable[[Backend], Result]:
        def compute(backend: Backend) -> Result:
            with tempfile.TemporaryDirectory() as folder:
                return hashlib.sha256(check(backend, Path(folder))).hexdigest(), []

        return compute

    def learner(name: str) -> Callable[[Backend], Result]:
        def compute(backend: Backend) -> Result:
            weights, values = trained(name, backend)
            return hashlib.sha256(weights).hexdigest(), values

        return compute

    checks = (COMPILED if backend.compiled else {}) | EXACT
    return {name: plain(check) for name, check in checks.items()} | {
        f"learner {name}": learner(name) for name in LEARNERS
    }


def _wrong(known: dict[str, Any], digest: str, values: list[float], exact: bool, tolerance: float) -> str:
    """What is wrong with a result; empty if nothing is."""
    if not known:
        return "no answer is known"
    if exact:
        return "" if digest == known["sha256"] else f"expected {known['sha256'][:16]}"
    away = float(np.abs(np.subtract(values, known["values"])).max())
    return "" if away <= tolerance else f"{away:.1e} away, allowed are {tolerance:g}"
