"""Disks that tests mount: with root and where the kernel lets us, else the test is skipped and counted."""

import os
import subprocess
from pathlib import Path

from tests.harness import peer


def mount(folder: Path, *options: str) -> None:
    """Mount something at a folder."""
    if os.geteuid() != 0:
        peer.missing("mounting a disk needs root")
    done = subprocess.run([peer.path("mount"), *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        peer.missing(f"this machine mounts no disk of a test: {done.stderr.strip()}")


def unmount(folder: Path, *, is_lazy: bool = False) -> None:
    """Take it off again; lazily where a file may still be open."""
    subprocess.run(["umount", *(["--lazy"] if is_lazy else []), str(folder)], check=True)
