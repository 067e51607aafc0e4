"""How far the journal has come, written down beside it: a store that comes back without its newest entries is seen.

SQLite drops what stands behind a damaged page of its log without a word, and a backup that is put back lacks what came
later. The mark is written after each commit and never synced: a power cut may leave it too low, never too high.
"""

import os
import struct
import zlib
from pathlib import Path

_FORMAT = struct.Struct("<QI")  # position, and the CRC-32 of its bytes


class HighWater:
    """The mark in one file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> int:
        """Return the position that was marked last, 0 where none was or it can't be read."""
        try:
            position, check = _FORMAT.unpack(os.pread(self._file, _FORMAT.size, 0))
        except (OSError, struct.error):
            return 0
        return int(position) if check == _check(position) else 0

    def mark(self, position: int) -> None:
        """Mark a position that is durable; raise OSError where that can't be written."""
        os.pwrite(self._file, _FORMAT.pack(position, _check(position)), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _check(position: int) -> int:
    return zlib.crc32(position.to_bytes(8, "little"))
