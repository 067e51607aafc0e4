"""Meta's error codes: the shipped catalogue, with what a user's configuration adds to it or says differently."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

_FILE = Path(__file__).with_name("error_codes.yaml")
_PERMISSION_RANGE = range(200, 300)  # Graph: every code of it is a missing permission
OTHER = "other"
CLASSES = (
    "auth", "duplicate", "expired", "flow", "maintenance", "media", "other", "parameter", "payment", "permission",
    "policy_block", "quality", "recipient", "registration", "server", "template", "throttling", "unsupported", "window",
)  # fmt: skip
HITS = ("message", "recipient", "phone_number", "waba", "business", "app")
RETRYABLE = ("never", "later", "backoff", "after_fix")


class Resending(msgspec.Struct, frozen=True):
    """When a message that failed so may be sent again: `after` this long, `most` so many times."""

    after: str
    most: int


class Code(msgspec.Struct, frozen=True):
    """What is known of one error code: `hits` is what a failure concerns, `seen_in` the places that report it."""

    code: int
    title: str = ""
    kind: str = msgspec.field(default="other", name="class")
    hits: str = "message"
    retryable: str = "after_fix"
    seen_in: tuple[str, ...] = ()
    meaning: str = ""
    advice: str = ""
    resend: Resending | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """Every known code."""

    codes: dict[int, Code]


def catalogue(overrides: Sequence[Mapping[str, Any]] = ()) -> Catalogue:
    """Return the shipped codes with overrides: each names a `code` and only what differs for it."""
    known = _shipped()
    for override in overrides:
        before = known.get(override["code"], Code(override["code"]))
        known = {**known, before.code: msgspec.convert({**msgspec.to_builtins(before), **override}, Code)}
    return Catalogue(known)


def find(known: Catalogue, code: int | None) -> Code | None:
    """Return what is known of `code`, or None."""
    if code is None:
        return None
    found = known.codes.get(code)
    return known.codes[200] if found is None and code in _PERMISSION_RANGE else found


def label(known: Catalogue, code: int | None) -> str:
    """Return the code as a metric label: `other` for one that is not in the catalogue."""
    return str(code) if find(known, code) is not None else OTHER


@functools.cache
def _shipped() -> dict[int, Code]:
    rows = yaml.load(_FILE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (our own file)
    return {row.code: row for row in msgspec.convert(rows, tuple[Code, ...])}
