"""A flight process with a bundle: what it uses, what it refuses, and what need not be installed."""

import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flight.bundle import LIBRARY, Manifest, pack, parse
from flight.config import FlightConfig
from flight.crashes import EXIT_CONFIG
from flight.executive import Executive
from flight.kernels.registry import abi
from flight.store import Store
from tests.flight.flight_world import KEYS
from tests.flight.test_cli import sockets, swath_flight

ROOT = Path(__file__).parents[2]
TRAIN = """
import sys
from pathlib import Path
from flight.bundle import load
from flight.known_answers import trained
weights, _ = trained("swath", load(Path(sys.argv[1]), None).kernels())
assert len(weights) > 100
assert not {"numba", "llvmlite"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def bundle(library, tmp_path_factory):
    from ground.build.targets import target

    here = target("host")
    manifest = Manifest("0.1.0", "numba", here.name, here.machine, here.needs, abi())
    path = tmp_path_factory.mktemp("bundle") / "flight.bundle"
    files = {LIBRARY: library.read_bytes(), "flight.toml": b'[executive]\nkernels = "aot"\n'}
    path.write_bytes(pack(manifest, files, KEYS))
    return path


@pytest.fixture
def core(tmp_path):
    """Starts a flight process with a bundle, which must refuse it; what it said."""
    (tmp_path / "keys.toml").write_bytes(KEYS.dump())

    def refused(data):
        path = tmp_path / "flight.bundle"
        path.write_bytes(data)
        options = ["--state", tmp_path / "state", "--keys", tmp_path / "keys.toml", "--bundle", path]
        code, _, error = swath_flight("core", *options, *sockets(tmp_path))
        assert code == EXIT_CONFIG
        assert "Traceback" not in error
        return error

    return refused


def remade(bundle, files=None, **changes):
    found = parse(bundle.read_bytes(), KEYS)
    return pack(dataclasses.replace(found.manifest, **changes), files or found.files, KEYS)


def test_a_process_refuses_a_bundle_that_was_changed(bundle, core):
    data = bytearray(bundle.read_bytes())
    data[-100] ^= 1
    assert "flight.bundle: the seal is wrong" in core(bytes(data))


def test_a_process_refuses_kernels_of_another_target(bundle, core):
    assert "target aarch64-a76 is for aarch65" in core(remade(bundle, machine="aarch65", target="aarch64-a76"))


def test_a_process_refuses_kernels_of_another_abi(bundle, core):
    assert "kernel ABI 00 of swath" in core(remade(bundle, abi="00"))


def test_a_process_refuses_what_is_no_library_though_it_is_sealed(bundle, core):
    assert "not a library of kernels for this machine" in core(remade(bundle, files={LIBRARY: b"nothing"}))


def test_a_process_refuses_the_configuration_in_a_bundle_by_its_field(bundle, core):
    files = {**parse(bundle.read_bytes(), KEYS).files, "flight.toml": b'[executive]\nkernels = "gpu"\n'}
    assert "executive.kernels: 'gpu' is unknown; known are auto, aot, jit, numpy" in core(remade(bundle, files=files))


def test_the_ground_is_told_which_kernels_compute(bundle, tmp_path):
    backend = parse(bundle.read_bytes(), KEYS).kernels()
    flight = Executive(FlightConfig(), KEYS, Store(tmp_path), backend=backend)
    flight.step(0.0, [])
    (restarted,) = [each for each in flight.log.recent if each.name == "restarted"]
    assert restarted.values["kernels"] == flight.report()["kernels"] == "aot"
    assert flight.payload.learner.backend is backend


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A directory of packages: what swath needs to fly, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    wanted, seen = ["numpy", "pyzmq", "msgpack"], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        for top in {Path(file).parts[0] for file in found.files or [] if not str(file).startswith("..")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
        needs = [line for line in found.requires or [] if ";" not in line]  # others are for other interpreters
        wanted += [re.split(r"[^\w.-]", line)[0] for line in needs]
    (folder / "flight").symlink_to(ROOT / "flight")
    return folder


def on_board(bare, *arguments):
    """A Python with the packages in `bare` alone."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(bare), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-B", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_without_numba_installed_the_self_test_passes_with_a_bundle(bare, bundle):
    assert on_board(bare, "-c", "import numba").returncode == 1
    done = on_board(bare, "-m", "flight.cli", "selftest", "--bundle", bundle, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["passed"], verdict["backend"], verdict["kernel_abi"]) == (True, "aot", abi())


def test_without_numba_installed_a_learner_trains_with_a_bundle(bare, bundle):
    done = on_board(bare, "-c", TRAIN, bundle)
    assert done.returncode == 0, done.stderr


def test_a_self_test_that_fails_ends_with_exit_code_1(bare):
    broken = "from flight import cli, selftest as s; s.EXACT['store'] = None; raise SystemExit(cli.main(['selftest']))"
    assert on_board(bare, "-c", broken).returncode == 1
