"""Files that a configuration names: regular ones, read up to a length, so that none is waited for."""

import os
import stat
from pathlib import Path

BYTES_MOST = 64 * 1024
CERTIFICATES_MOST = 1024 * 1024  # a system's bundle of authorities has a quarter of it


def content(path: Path, bytes_most: int = BYTES_MOST) -> bytes:
    """Return what a file holds; raise ValueError, which names it, for a longer one and for what is no regular file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe waits for who writes
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError(f"{path} is no file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                found = file.read(bytes_most + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    if len(found) > bytes_most:
        raise ValueError(f"{path} is longer than {bytes_most} bytes")
    return found


def text(path: Path) -> str:
    """Return the text in a file; raise ValueError, which names it and repeats nothing of it, where there is none."""
    try:
        return content(path).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
