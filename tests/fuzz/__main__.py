"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [--seconds N] [--seed N]`, or `all`."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

HERE = Path(__file__).parent
NAMES = sorted(folder.name for folder in (HERE / "corpus").iterdir())
WATCHED = ["monitor", "yaml", "json.decoder", "email"]  # whose branches guide the search
FOUND = Path("data") / "fuzz"
INPUT_BYTES_MOST = 4096


def main() -> int:
    """Run each target in a process of its own, and tell what it did."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=[*NAMES, "all"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000_000)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.within is not None:
        _fuzz(asked.target, asked.seconds, asked.seed, asked.within)
        return 0
    names = NAMES if asked.target == "all" else [asked.target]
    failed = [name for name in names if not _passes(name, asked.seconds, asked.seed)]
    print(f"findings in {', '.join(failed)}" if failed else "no findings", flush=True)  # noqa: T201
    return bool(failed)


def _passes(name: str, seconds: int, seed: int) -> bool:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as within:
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", f"{seconds}", "--seed", f"{seed}"]
        done = subprocess.run(
            [*command, "--within", within], capture_output=True, check=False, env=_environment(within)
        )
    told = done.stderr.decode("utf-8", "replace").splitlines() + done.stdout.decode("utf-8", "replace").splitlines()
    runs = next((line.split()[-1] for line in told if line.startswith("stat::number_of_executed_units")), "no")
    print(f"{name}: {runs} runs in {seconds} s, seed {seed}: {'a finding' if done.returncode else 'nothing found'}")  # noqa: T201
    if done.returncode:
        print("\n".join(line for line in told if not line.startswith(("INFO: Instr", "stat::")))[-6000:])  # noqa: T201
    sys.stdout.flush()
    return not done.returncode


def _environment(within: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": within}


def _fuzz(name: str, seconds: int, seed: int, within: Path) -> None:
    with atheris.instrument_imports(include=WATCHED, enable_loader_override=False):
        from tests.fuzz import targets  # noqa: PLC0415 (only what is imported in here is instrumented)

    FOUND.mkdir(parents=True, exist_ok=True)
    grown, words = within / "grown", within / "words"
    grown.mkdir()
    listed = (HERE / "words" / f"{name}.txt").read_bytes().splitlines()
    words.write_bytes(b"".join(b'"%s"\n' % _escaped(word) for word in listed if word))
    options = [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MOST}", f"-dict={words}",
        "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0",
        f"-artifact_prefix={FOUND}/{name}-", f"{grown}", f"{HERE / 'corpus' / name}",
    ]  # fmt: skip
    with targets.made(name) as target:
        atheris.Setup([sys.argv[0], *options], targets.timely(target))
        atheris.Fuzz()


def _escaped(word: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in word)


if __name__ == "__main__":
    sys.exit(main())
