"""Keyed hashes that stand for people and messages wherever something is stored, logged or shown."""

import hashlib
import re
from collections.abc import Iterable

_BYTES = 12  # 96 bits: no collision in sight below 10^13 recipients, and short enough to read aloud
_WRITTEN_NUMBER = re.compile(r"\+?[0-9 ()./\u00a0-]+")


def recipient(key: bytes, person: str) -> str:
    """Return the keyed hash of a phone number, business-scoped user id or group id; empty for none.

    A number that people write as +1 (555) 010-0001 is the same as Meta's 15550100001.
    """
    if not person.isdigit() and not (person := written(person)):
        return ""
    return hashlib.blake2b(
        person.encode("utf-8", "surrogatepass"), digest_size=_BYTES, key=key, person=b"recipient"
    ).hexdigest()


def recipients(keys: Iterable[bytes], person: str) -> tuple[str, ...]:
    """Return the hashes of a person under each key, the one in force first; empty for none."""
    return tuple(filter(None, (recipient(key, person) for key in keys)))


def written(person: str) -> str:
    """Return an id as Meta writes it: of a number its digits only."""
    person = person.strip()
    return "".join(filter(str.isdigit, person)) if _WRITTEN_NUMBER.fullmatch(person) else person


def trace_id(key: bytes, wamid: str) -> int:
    """Return the 128-bit trace id of a message, never zero."""
    return int.from_bytes(_wamid(key, wamid, b"trace", 16)) or 1


def span_id(key: bytes, wamid: str, name: str) -> int:
    """Return the 64-bit id of one of the message's spans, never zero: the same name gives the same id."""
    return int.from_bytes(_wamid(key, f"{wamid}\n{name}", b"span", 8)) or 1


def _wamid(key: bytes, text: str, purpose: bytes, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, key=key, person=purpose).digest()
