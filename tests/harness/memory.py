"""Memory: what a process holds, and what it may not exceed, by a control group of its own.

Without root, and where groups can't be made, the test is skipped and counted.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def resident_mebibytes(pid: int, *, at_most: bool = False) -> float:
    """Return how much memory a process holds, or the most that it ever held; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    wanted = "VmHWM:" if at_most else "VmRSS:"
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(wanted)), 0.0)


class Group:
    """A control group whose members are killed where all together take more than it may."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        is_first = folder.parent == V1
        self._used = folder / ("memory.usage_in_bytes" if is_first else "memory.current")
        self._most = folder / ("memory.limit_in_bytes" if is_first else "memory.max")

    @property
    def before(self) -> tuple[str, ...]:
        """What to put before a program that is to be a member."""
        return "/bin/sh", "-c", f'echo $$ > {self._folder}/cgroup.procs && exec "$@"', "sh"

    @property
    def used_bytes(self) -> int:
        """How much its members take, with what of files is kept in memory for them."""
        return int(self._used.read_text(encoding="ascii"))

    @property
    def is_empty(self) -> bool:
        """Whether none of its members is left."""
        return not (self._folder / "cgroup.procs").read_text(encoding="ascii")

    def limit(self, size: int) -> None:
        """Let its members take no more than so many bytes."""
        self._most.write_text(str(size), encoding="ascii")


@contextlib.contextmanager
def group() -> Iterator[Group]:
    """Make a group, and remove it."""
    root = V1 if V1.is_dir() else V2
    folder = root / f"whatsapp-monitor-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this machine lets us make no control group: {error}")
    try:
        made = Group(folder)
        if not made._used.exists():
            pytest.skip("this machine's control groups count no memory")
        yield made
    finally:
        folder.rmdir()
