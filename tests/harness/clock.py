"""A process' own wall clock, put forward and back while it runs; what is monotonic goes on as it was."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

import pytest


class Clock:
    """`environment` is what a process needs to go by it; a `jump` is in seconds from the true time."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.jump(0)

    @property
    def environment(self) -> dict[str, str]:
        """Return what lets a process ask libfaketime instead of the kernel."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # its mend of glibc lets who waits for the interpreter wait for long
        }

    def jump(self, seconds: float) -> None:
        """Let it be so much later than it is, or earlier."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n", encoding="ascii")
        os.replace(new, self._file)  # noqa: PTH105 (read at every look at the clock: never half of it)


def _library() -> Path:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the wheel of libfaketime holds a library for Linux on x86_64 alone")
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
