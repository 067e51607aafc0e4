"""Scalars of a webhook as clean values: whatever stands there, nothing raises and nothing is too long."""

import functools
import re
from datetime import UTC, datetime
from typing import Any

TEXT_MOST = 512  # longest text kept of any value; a wamid has about 60 characters, callback data up to 512
_SURROGATES = re.compile("[\ud800-\udfff]")
_DIGITS = re.compile(r"\s*[-+]?[0-9]{1,18}\s*", re.ASCII)
MALFORMED = "malformed"
_WORD_MOST = 64
_WORD = re.compile(r"(?!.*[0-9]{7})[A-Za-z0-9_.:/-]{1,64}", re.ASCII)  # no sentence, no name of two parts, no number
_EARLIEST, _LATEST = 0.0, 253_402_300_800.0  # 1970 to 9999: beyond it no calendar library goes
_MILLISECONDS_FROM = 100_000_000_000.0  # a unix time of five digits of years is one in milliseconds


def text(value: Any) -> str:
    """Return a scalar as clean text: no lone surrogates, no NUL, bounded; empty for anything else."""
    if isinstance(value, str):
        if len(value) <= TEXT_MOST and value.isascii() and "\0" not in value:
            return value
        if not value.isascii():
            value = _SURROGATES.sub("\ufffd", value)
        clean: str = value.replace("\0", "")
        return clean[:TEXT_MOST]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(value)[:TEXT_MOST]


def word(value: Any) -> str:
    """Return one of Meta's words, which may show anywhere; `malformed` for what can't be one, empty for nothing."""
    if type(value) is str and len(value) <= _WORD_MOST:
        return _word(value)
    return _word(text(value)[: _WORD_MOST + 1])


def number(value: Any) -> float | None:
    """Return a number, or text that is a whole one; None for anything else."""
    if isinstance(value, str):
        return float(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    found = float(value) if abs(value) < 1e18 else None
    return found if found == found else None


def integer(value: Any) -> int | None:
    """Return a whole number, or None."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def time(value: Any) -> float | None:
    """Return unix seconds from unix seconds or milliseconds, or from an ISO 8601 date or time; None for neither."""
    seconds = number(value)
    if seconds is None:
        return _iso(value) if isinstance(value, str) else None
    if seconds >= _MILLISECONDS_FROM:
        seconds /= 1000
    return seconds if _EARLIEST < seconds < _LATEST else None


def moment(seconds: float) -> datetime:
    """Return unix seconds as a time in UTC: the last one that calendars know for what lies beyond, as the first."""
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST), _LATEST - 1), UTC)


def dictionaries(value: Any) -> list[dict[Any, Any]]:
    """Return the objects of a list; one object counts as a list of one, and what is no object is left out."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _iso(value: str) -> float | None:
    try:
        said = datetime.fromisoformat(value.strip())
        seconds = (said if said.tzinfo is not None else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if _EARLIEST < seconds < _LATEST else None


@functools.lru_cache(1024)
def _word(value: str) -> str:
    found = text(value)
    return found if not found or _WORD.fullmatch(found) else MALFORMED
