"""Fuzz one decoder with atheris: ``python -m tests.fuzz TARGET [--seconds 60] [--corpus DIR]``.

An input that raises anything but the decoder's declared errors, or takes longer than 5 s or 1 GB, ends the run with
status 77 or more and is written to ``crash-*`` in the corpus's folder, from where the same command replays it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="what to fuzz; all in turn if none is named")
    parser.add_argument("--list", action="store_true", help="name the targets and stop")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target is fuzzed [s]")
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"), help="where inputs are kept")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input and stop")
    return parser.parse_args()


def fuzz(name: str, seconds: int, corpus: Path) -> int:
    """Fuzz a target in a process of its own, for libFuzzer ends the process; its exit status."""
    import subprocess

    code = "from tests.fuzz.__main__ import run; run()"
    return subprocess.run([sys.executable, "-c", code, name, str(seconds), str(corpus)], check=False).returncode


def run() -> None:
    """The process of one target: arguments are its name, seconds, and the folder of the corpus."""
    import atheris

    name, seconds, folder = sys.argv[1:]
    with atheris.instrument_imports(include=["flight"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds()
    for i, seed in enumerate(seeds):
        (corpus / f"seed-{i}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={max(4096, 2 * max(map(len, seeds)))}",
        "-timeout=5",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={folder}/crash-{name}-",
    ]
    atheris.Setup([name, *options, str(corpus)], target.decode)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, list or replay, as the command line says; 1 if an input broke a decoder."""
    from tests.fuzz.targets import TARGETS

    given = parse()
    if given.list:
        print("\n".join(f"{name:16} {target.about}" for name, target in TARGETS.items()))
        return 0
    if given.target and given.target not in TARGETS:
        print(f"no target {given.target!r}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if given.replay:
        TARGETS[given.target].decode(given.replay.read_bytes())
        return 0
    try:
        import atheris  # noqa: F401 - only whether it is there
    except ImportError:
        print("fuzzing needs atheris: pip install '.[fuzz]' in swath's checkout", file=sys.stderr)
        return 2
    names = [given.target] if given.target else list(TARGETS)
    ends = [fuzz(name, given.seconds, given.corpus) for name in names]
    return int(any(ends))


if __name__ == "__main__":
    sys.exit(main())
