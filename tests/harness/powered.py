"""A disk that can lose its power: ext4 in a file, cut off without a flush of what it holds back."""

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import mounts, peer

SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
MEBIBYTES = 192


class PoweredDisk:
    """Mounted at `folder`; `cut` is a power cut, `restore` mounts what has reached the disk."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "powered"
        self._file = directory / "disk.img"

    def cut(self) -> None:
        """Let nothing reach the disk any more: what was not synced is lost."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """Mount the disk anew; nobody may have a file of it open."""
        mounts.unmount(self.folder)
        mounts.mount(self.folder, "-o", "loop", str(self._file))

    def __enter__(self) -> Self:
        self.folder.mkdir()
        with self._file.open("wb") as file:
            file.truncate(MEBIBYTES * 1024 * 1024)
        subprocess.run([peer.path("mkfs.ext4"), "-q", str(self._file)], check=True)
        mounts.mount(self.folder, "-o", "loop", str(self._file))
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        mounts.unmount(self.folder, is_lazy=True)
