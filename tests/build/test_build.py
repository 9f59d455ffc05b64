"""Kernels compiled ahead of time for this machine and others."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("numba")

from flight import bundle, selftest
from flight.kernels.backend import NUMPY, Backend
from flight.kernels.registry import KERNELS
from flight.link.keys import KeyRing
from ground.build import BuildError, back, front, targets
from ground.build.back import ALLOWED, check, shared_object
from ground.build.elf import undefined_symbols
from ground.cli import app
from ground.encoders.export import Form, Precision, exported, lowered
from tests.ground.encoder_world import chips, frozen

PAGE = Path(__file__).parents[2] / "docs" / "edge.md"
MAX_LIBRARY_BYTES = 64 << 10


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "swath-keys.toml"
    path.write_bytes(KeyRing({1: bytes(32), 2: bytes(range(32))}, 1).dump())
    return path


def linked(source, folder, *options):
    (folder / "made.c").write_text(source)
    subprocess.run(["cc", "-shared", *options, str(folder / "made.c"), "-o", str(folder / "made.so")], check=True)
    return folder / "made.so"


def test_a_library_holds_every_kernel_and_needs_next_to_nothing(library):
    opened = ctypes.CDLL(str(library))
    assert all(getattr(opened, kernel.symbol) for kernel in KERNELS)
    assert undefined_symbols(library.read_bytes()) <= ALLOWED


def test_a_library_that_needs_more_than_a_board_has_is_refused_by_the_names_of_it(tmp_path):
    source = "void *malloc(unsigned long n); float expf(float x); void f(void) { malloc((int)expf(1)); }"
    with pytest.raises(BuildError, match=r"made\.so needs expf, malloc, which no board has"):
        check(linked(source, tmp_path, "-nostartfiles", "-fno-builtin"))


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_symbols_that_are_needed_are_those_that_nm_finds(tmp_path):
    made = linked('#include <stdio.h>\n#include <math.h>\nvoid f(double x) { printf("%f", cos(x)); }', tmp_path, "-lm")
    listed = subprocess.run(["nm", "-D", "-u", str(made)], capture_output=True, text=True, check=True).stdout
    assert undefined_symbols(made.read_bytes()) == {line.split()[-1].partition("@")[0] for line in listed.splitlines()}


def test_the_page_names_every_target_and_every_symbol_that_a_library_may_need():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*targets.NAMES, *ALLOWED) if f"`{name}`" not in page] == []


def test_what_is_not_a_shared_object_is_refused():
    with pytest.raises(ValueError, match="ELF"):
        undefined_symbols(b"MZ" + bytes(100))


def test_a_missing_linker_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(back.shutil, "which", lambda name: None)
    with pytest.raises(
        BuildError, match=r"aarch64-linux-gnu-gcc is not on the PATH .*apt install gcc-aarch64-linux-gnu"
    ):
        back._linker(targets.target("aarch64-a72"))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("host", "libc6-dev"),
        ("aarch64-a76", "libc6-dev-arm64-cross"),
        ("armv7", "libc6-dev-armhf-cross"),
        ("riscv64", "libc6-dev-riscv64-cross"),
    ],
)
def test_a_missing_c_library_is_named_with_its_package(name, package, monkeypatch, tmp_path):
    def links(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "/usr/bin/ld: cannot find -lm: No such file or directory\n")

    monkeypatch.setattr(back, "_linker", lambda target: "gcc")
    monkeypatch.setattr(back, "object_code", lambda text, target: b"")
    monkeypatch.setattr(back.subprocess, "run", links)
    with pytest.raises(BuildError, match=rf"gcc failed: .*cannot find -lm.*apt install {package}\)$"):
        shared_object("", targets.target(name), tmp_path / "kernels.so")


@pytest.mark.parametrize("name", ["aarch64-a76", "armv7"])
def test_a_library_for_another_processor_needs_no_more_and_fits(name, tmp_path):
    target = targets.target(name)
    if shutil.which(target.linker) is None:
        pytest.skip(f"{target.linker} is not installed")
    shared_object(front.intermediate(), target, tmp_path / "kernels.so")
    size = (tmp_path / "kernels.so").stat().st_size
    assert size <= MAX_LIBRARY_BYTES or not target.flies, size


def test_a_bundle_built_from_the_command_line_flies_with_its_configuration_and_encoder(keys, tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[executive]\nkernels = "auto"\n[caps]\nmemory_bytes = 67108864\ncpu_share = 0.5\n'
    )
    pytest.importorskip("ai_edge_litert")
    made = lowered(frozen(), Precision.int8, chips(32))
    (tmp_path / "net.tflite").write_bytes(exported(made, Form.tflite, 32, 32).data)
    out = tmp_path / "h.bundle"
    options = ["--keys", str(keys), "--config", str(tmp_path / "mine.toml"), "--encoder", str(tmp_path / "net.tflite")]
    result = CliRunner().invoke(app, ["build", "-o", str(out), *options])
    assert result.exit_code == 0, result.output
    found = bundle.load(out, KeyRing.load(keys))
    assert found.kernels().name == "aot"
    assert found.encoders == ((tmp_path / "net.tflite").read_bytes(),)
    verdict = selftest.run(Backend(NUMPY), encoders=found.encoders)
    assert verdict.passed and verdict.outcomes[-1].check.startswith("encoder 1 litert")
    (tmp_path / "net.tflite").write_bytes(b"encoder")
    result = CliRunner().invoke(app, ["build", "-o", str(out), *options])
    assert result.exit_code == 1 and "not an encoder file" in result.output
    unit = found.files[bundle.UNIT].decode()
    assert f"MemoryMax={(64 + 96) << 20}\n" in unit  # beside the flight process is its supervisor
    assert "CPUQuota=50%\n" in unit
    assert "swath-flight run --fall-back --bundle /opt/swath/flight.bundle" in unit
    assert found.files[bundle.CONFIG] == (tmp_path / "mine.toml").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "vax"], "target 'vax' is not one of host, aarch64-a72"),
        (["--target", "riscv64"], "no flight process runs on riscv64: --library"),
        (["--keys", "absent.toml"], "absent.toml: No such file"),
        (["--config", "absent.toml"], "absent.toml: No such file"),
    ],
)
def test_what_cannot_be_built_is_told(options, said, keys, tmp_path):
    result = CliRunner().invoke(app, ["build", "-o", str(tmp_path / "x"), "--keys", str(keys), *options])
    assert result.exit_code == 1
    assert said in result.output
    assert not (tmp_path / "x").exists()
