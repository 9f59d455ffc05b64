"""Who runs the kernels: a library, numba, or neither; and that it makes no difference which of the first two."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flight import kernels, selftest
from flight.kernels.backend import AOT, JIT, NUMPY, Backend, BackendError, ahead_of_time, choose
from flight.kernels.registry import ABI_SYMBOL
from flight.learn import LEARNERS, Swath
from tests.learn.learn_world import FakeEncoder

BLAS_KERNELS = "Prescott", "Haswell"  # of OpenBLAS: they round differently
TRAIN = """
import hashlib, sys
from pathlib import Path
from flight.kernels.backend import choose
from flight.known_answers import trained
backend = choose(sys.argv[1], Path(sys.argv[2]))
print(*(hashlib.sha256(trained(name, backend)[0]).hexdigest() for name in sys.argv[3:]))
"""
needs_numba = pytest.mark.skipif(not kernels.has_jit(), reason="numba is not installed")


def test_numpy_has_no_kernels_and_says_so():
    backend = choose(NUMPY)
    assert (backend.name, backend.compiled, backend.decoders) == ("numpy", False, kernels.PYTHON)
    with pytest.raises(AttributeError, match="backend 'numpy' has no kernels"):
        backend.arithmetic(np.zeros(3, np.float32), np.zeros(6, np.float32), 1)


def test_a_kernel_that_is_not_in_the_registry_is_named():
    with pytest.raises(AttributeError, match="no kernel 'gem'"):
        choose(NUMPY).gem()


def test_without_a_library_numba_is_next_and_without_numba_numpy(monkeypatch):
    monkeypatch.setattr(kernels, "has_jit", lambda: True)
    assert choose().name == JIT
    assert choose(may_compile=False).name == NUMPY
    monkeypatch.setattr(kernels, "has_jit", lambda: False)
    assert choose().name == NUMPY
    with pytest.raises(BackendError, match="needs numba"):
        choose(JIT)


def test_ahead_of_time_needs_a_library():
    with pytest.raises(BackendError, match="needs a library of kernels"):
        choose(AOT)


def test_a_backend_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="'rust' is not one of auto, aot, jit, numpy"):
        choose("rust")


def test_a_library_that_is_given_is_never_passed_over(tmp_path):
    (tmp_path / "kernels.so").write_bytes(b"not a library")
    with pytest.raises(BackendError, match=r"kernels\.so: not a library of kernels for this machine"):
        choose(library=tmp_path / "kernels.so")


@needs_numba
def test_a_library_with_another_abi_is_refused(library, tmp_path):
    from flight.kernels.registry import abi

    other = tmp_path / "old.so"
    other.write_bytes(library.read_bytes().replace(abi().encode(), b"0123456789abcdef"))
    with pytest.raises(BackendError, match="kernel ABI 0123456789abcdef, this version of swath has"):
        ahead_of_time(other)
    assert ABI_SYMBOL.encode() in library.read_bytes()


@needs_numba
@pytest.mark.parametrize("name", [AOT, JIT, NUMPY])
def test_every_backend_gives_the_known_answers(name, request):
    verdict = selftest.run(choose(name, request.getfixturevalue("library") if name == AOT else None))
    assert verdict.passed, selftest.report(verdict, False)


@needs_numba
def test_through_an_encoder_compiled_kernels_learn_the_same_bits_whoever_compiled_them(library):
    chips = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (48, 24, 24, 3)).astype(np.uint8)
    bag = np.arange(48) // 4
    chips[:] = chips // (1 + bag % 3)[:, None, None, None]
    table = np.eye(3)[np.arange(12) % 3] * 0.7 + 0.1
    encoder = FakeEncoder((24, 24, 3))
    found = [
        Swath(n_steps=10).use(backend, encoder).partial_fit(chips, bag).set_labels(table).weights()
        for backend in (choose(JIT), choose(AOT, library))
    ]
    assert found[0] == found[1]


def trained_with_each_blas_kernel(backend: str, library: Path) -> list[list[str]]:
    """The weights of every learner, trained in a process for each of `BLAS_KERNELS`."""
    found = []
    for name in BLAS_KERNELS:
        environment = os.environ | {"OPENBLAS_CORETYPE": name, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", TRAIN, backend, str(library), *LEARNERS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        found.append(done.stdout.split())
    return found


@needs_numba
@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenBLAS has other kernels here")
def test_with_compiled_kernels_no_result_of_a_blas_enters_a_weight(library):
    by_numpy = trained_with_each_blas_kernel(NUMPY, library)
    if any(one == other for one, other in zip(*by_numpy, strict=True)):
        pytest.skip("this numpy's BLAS does not choose its kernel by OPENBLAS_CORETYPE")
    one, other = trained_with_each_blas_kernel(AOT, library)
    assert one == other


def test_a_wrong_answer_fails_the_self_test_and_names_the_check():
    answers = selftest.results(Backend(NUMPY))
    answers["labels"]["sha256"] = "0" * 64
    answers["learner moments"]["values"][0] += 0.01
    del answers["store"]
    verdict = selftest.run(Backend(NUMPY), answers)
    failed = {each.check: each.reason for each in verdict.outcomes if not each.passed}
    assert failed == {
        "labels": "expected 0000000000000000",
        "learner moments": "1.0e-02 away, allowed are 1e-05",
        "store": "no answer is known",
    }


def test_a_check_that_raises_fails_with_what_it_raised(monkeypatch):
    monkeypatch.setitem(selftest.EXACT, "store", lambda backend, folder: 1 // 0)
    verdict = selftest.run(Backend(NUMPY))
    assert [each.reason for each in verdict.outcomes if not each.passed] == [
        "ZeroDivisionError: integer division or modulo by zero"
    ]


@needs_numba
def test_kernels_that_no_check_calls_fail_the_self_test(library, monkeypatch):
    monkeypatch.delitem(selftest.EXACT, "region")
    verdict = selftest.run(ahead_of_time(library))
    assert verdict.outcomes[-1].reason.startswith("no check has called code_even, membership")
