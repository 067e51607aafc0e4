"""Asks the gate a hundred times a second from a process of its own, so that no other work of a test delays it.

`python -m tests.harness.asker PORT PATH FILE` writes a line for each answer: when, status (0 for none), seconds.
"""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVERY_SECONDS = 0.01
TIMEOUT_SECONDS = 2.0
AHEAD = -10  # niceness: how long the sidecar takes is wanted, not how long the asker waits for a core


@dataclass(frozen=True)
class Asked:
    """One answer; `at` is monotonic."""

    at: float
    status: int
    seconds: float


@contextlib.contextmanager
def asking(port: int, path: str, file: Path) -> Iterator[None]:
    """Ask until the block ends."""
    process = subprocess.Popen([sys.executable, "-m", "tests.harness.asker", str(port), path, str(file)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def read(file: Path) -> list[Asked]:
    """Return what was answered; a last line that was cut off is left out."""
    lines = file.read_text(encoding="ascii").rpartition("\n")[0].splitlines()
    return [Asked(float(at), int(status), float(seconds)) for at, status, seconds in map(str.split, lines)]


def p99(answers: list[Asked]) -> float:
    """Return the 99th percentile of the seconds of those that were answered, 0 for none."""
    taken = sorted(one.seconds for one in answers if one.status)
    return taken[min(len(taken) - 1, int(len(taken) * 0.99))] if taken else 0.0


def _ask(port: int, path: str, file: Path) -> None:
    with contextlib.suppress(PermissionError):
        os.nice(AHEAD)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    with file.open("a", encoding="ascii", buffering=1) as told:
        while True:
            begun = time.monotonic()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            ended = time.monotonic()
            told.write(f"{begun:.4f} {status} {ended - begun:.6f}\n")
            time.sleep(max(0.0, EVERY_SECONDS - (ended - begun)))


if __name__ == "__main__":
    _ask(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
