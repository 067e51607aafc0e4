"""Secrets: a type that never prints, and the places where one may stand."""

import os
import secrets as randomness
from pathlib import Path
from typing import Any

from monitor import files


class Secret:
    """A text that shows itself only to who asks with `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def validated(value: Any) -> Secret:
    """Return a configuration value as a secret; raise ValueError for what can't be one, without repeating it."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text; quote it if it looks like a number")
    if not value.strip():
        raise ValueError("must not be empty: an empty secret signs anything")
    return Secret(value)


def from_file(path: Path) -> tuple[Secret, ...]:
    """Return the secrets of a file, one a line; raise ValueError where there are none or it can't be read."""
    found = tuple(Secret(line.strip()) for line in files.text(path).splitlines() if line.strip())
    if not found:
        raise ValueError(f"{path} holds no secret")
    return found


def kept(path: Path) -> tuple[Secret, ...]:
    """Return the keys in a file that only we may read, making one of 32 random bytes where there is no file.

    Raise ValueError where they can't be read, or none be made.
    """
    if path.exists():
        return from_file(path)
    made = randomness.token_hex(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, made.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise ValueError(f"{path} can't be made: {error.strerror}") from None
    return (Secret(made),)
