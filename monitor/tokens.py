"""Tokens: a mark of ours before the application's `biz_opaque_callback_data`, by which Meta's statuses name a send.

What comes back to the application is its own value, unchanged: the mark is taken out wherever a status is read, and out
of the bytes that are forwarded.
"""

import re
from typing import Any

import msgspec

FIELD = "biz_opaque_callback_data"
VALUE_MOST = 512  # characters that Meta takes
KEYED, RANDOM = "k", "r"
"""Kinds of token: the name under which an Idempotency-Key's answer is kept, or one of its own."""
_MARK = re.compile(r"wm1[kr]([0-9a-f]{32}):")
_ALONE = re.compile(rb'"biz_opaque_callback_data"\s*:\s*"wm1[kr][0-9a-f]{32}:"')
_BEFORE = re.compile(rb'("biz_opaque_callback_data"\s*:\s*")wm1[kr][0-9a-f]{32}:')
_WITH_COMMA = re.compile(rb",\s*" + _ALONE.pattern + rb"|" + _ALONE.pattern + rb"\s*,?\s*")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def marked(body: bytes, kind: str, token: str) -> bytes | None:
    """Return a message's body with the token in it and all else as it was; None where there is no room for one."""
    try:
        fields = _decode(body)
        value: Any = msgspec.json.decode(fields[FIELD]) if FIELD in fields else ""
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(value, str) or _MARK.match(value):
        return None
    mark = f"wm1{kind}{token}:"
    if len(mark) + len(value) > VALUE_MOST:
        return None
    return msgspec.json.encode({**fields, FIELD: mark + value})


def split(value: str) -> tuple[str, str, str]:
    """Return kind, token and the application's own value; kind and token are empty where it is all its own."""
    found = _MARK.match(value)
    return (value[3], found[1], value[found.end() :]) if found is not None else ("", "", value)


def is_marked(body: bytes) -> bool:
    """Say whether a webhook's body may hold a token."""
    return b'"wm1' in body


def restored(body: bytes) -> bytes:
    """Return a webhook's body as Meta would have written it without tokens; a field that was only ours is gone."""
    return _BEFORE.sub(rb"\1", _WITH_COMMA.sub(b"", body))
