"""Room on the disk: deliveries are refused before it is full, so that what was accepted can still take effect."""

import os
import time
from pathlib import Path

LOOKED_AT_SECONDS = 0.1  # how old an answer may be: a delivery has at most 4 MiB
SHARE_MOST = 0.25  # of a small disk


class Room:
    """The disk of a store's directory; `keep_free_bytes` are for our own writes, 0 for none."""

    def __init__(self, directory: Path, keep_free_bytes: int = 0) -> None:
        self.keep_free_bytes = keep_free_bytes
        self._directory = directory
        self._looked_at = -LOOKED_AT_SECONDS
        self._is_left = True

    def is_left(self) -> bool:
        """Say whether there is more room than what is kept free."""
        now = time.monotonic()
        if now - self._looked_at >= LOOKED_AT_SECONDS:
            self._looked_at = now
            self._is_left = self.free_bytes() > self.kept_bytes()
        return self._is_left

    def free_bytes(self) -> int:
        """Return how much an ordinary user may still write, 0 where that can't be told."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def kept_bytes(self) -> int:
        """Return how much is kept free: what is configured, of a small disk a share."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return self.keep_free_bytes
        return min(self.keep_free_bytes, int(disk.f_blocks * disk.f_frsize * SHARE_MOST))
