"""Keyed hashes that stand for people and messages wherever something is stored, logged or shown."""

import hashlib

_BYTES = 12  # 96 bits: no collision in sight below 10^13 recipients, and short enough to read aloud


def recipient(key: bytes, number: str) -> str:
    """Return the keyed hash of a phone number, business-scoped user id or group id; empty for none."""
    if not number:
        return ""
    return hashlib.blake2b(
        number.encode("utf-8", "surrogatepass"), digest_size=_BYTES, key=key, person=b"recipient"
    ).hexdigest()


def trace_id(key: bytes, wamid: str) -> int:
    """Return the 128-bit trace id of a message, never zero."""
    return int.from_bytes(_wamid(key, wamid, b"trace", 16)) or 1


def span_id(key: bytes, wamid: str, name: str) -> int:
    """Return the 64-bit id of one of the message's spans, never zero: the same name gives the same id."""
    return int.from_bytes(_wamid(key, f"{wamid}\n{name}", b"span", 8)) or 1


def _wamid(key: bytes, text: str, purpose: bytes, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, key=key, person=purpose).digest()
