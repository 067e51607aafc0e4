"""Meta's error codes, from one data file."""

import functools
from pathlib import Path

import msgspec
import yaml

_FILE = Path(__file__).with_name("error_codes.yaml")
_PERMISSION_RANGE = range(200, 300)  # Graph: every code of it is a missing permission
OTHER = "other"


class Code(msgspec.Struct, frozen=True):
    """What is known of one error code: `hits` is what a failure concerns, `seen_in` the places that report it."""

    code: int
    title: str
    kind: str = msgspec.field(name="class")
    hits: str
    retryable: str
    seen_in: tuple[str, ...]


@functools.cache
def catalogue() -> dict[int, Code]:
    """Return every known code."""
    rows = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {row.code: row for row in msgspec.convert(rows, tuple[Code, ...])}


def find(code: int | None) -> Code | None:
    """Return what is known of `code`, or None."""
    if code is None:
        return None
    known = catalogue().get(code)
    return catalogue()[200] if known is None and code in _PERMISSION_RANGE else known


def label(code: int | None) -> str:
    """Return the code as a metric label: `other` for one that is not in the catalogue."""
    return str(code) if find(code) is not None else OTHER
