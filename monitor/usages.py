"""How much of its quota Meta says that is used up, and how sends slow down before it is; memory only.

Graph's answers tell it in `x-business-use-case-usage` (for an account) and `x-app-usage` (for the app), as percents of
calls, time and processor time within an hour.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from monitor.scalars import dictionaries, integer

ACCOUNT, APP = "account", "app"
HEADERS = {b"x-business-use-case-usage": ACCOUNT, b"x-app-usage": APP}
SLOWING_FROM = 80.0
FULL = 100.0
FRESH_SECONDS = 300.0  # a percent that was not told again for so long says nothing any more
BLOCKED_SECONDS = 60.0  # where Meta does not say how long
SUBJECTS_MOST = 10_000
_PERCENTS = ("call_count", "total_time", "total_cputime")


class Usage(msgspec.Struct, frozen=True):
    """Percent of a quota, when it was told, and until when nothing is taken."""

    percent: float
    at: float
    blocked_until: float = 0.0


class Slowing(msgspec.Struct, frozen=True):
    """How sends are slowed down: `share` of them may leave, 0.0 for none until `retry_after_seconds` have passed."""

    kind: str
    share: float
    retry_after_seconds: float = 1.0


class Usages:
    """The newest word on each account, and on the app."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Usage] = {}

    @property
    def is_known(self) -> bool:
        """Whether Meta has said anything of a quota."""
        return bool(self._known)

    def learn(self, subject: str, headers: Iterable[tuple[bytes, bytes]], now: float) -> list[tuple[str, float]]:
        """Take up what an answer to an account's send says; return each kind with its percent."""
        told: list[tuple[str, float]] = []
        for name, value in headers:
            kind = HEADERS.get(name.lower())
            usage = _read(value, kind, now) if kind is not None else None
            if kind is None or usage is None:
                continue
            if len(self._known) >= SUBJECTS_MOST:
                self._known.clear()
            self._known[kind, subject if kind == ACCOUNT else ""] = usage
            told.append((kind, usage.percent))
        return told

    def slowing(self, subject: str, now: float) -> Slowing | None:
        """Return how an account's sends must be slowed down, None where they need not be."""
        if not self._known:
            return None
        found = [_slowing(kind, self._known.get((kind, about)), now) for kind, about in ((ACCOUNT, subject), (APP, ""))]
        return min((one for one in found if one is not None), key=lambda one: one.share, default=None)


def _slowing(kind: str, usage: Usage | None, now: float) -> Slowing | None:
    if usage is None:
        return None
    if now < usage.blocked_until:
        return Slowing(kind, 0.0, usage.blocked_until - now)
    if usage.percent < SLOWING_FROM or usage.percent >= FULL or now > usage.at + FRESH_SECONDS:
        return None
    return Slowing(kind, (FULL - usage.percent) / (FULL - SLOWING_FROM))


def _read(value: bytes, kind: str, now: float) -> Usage | None:
    try:
        said: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    rows = [said] if kind == APP else [row for rows in said.values() for row in dictionaries(rows)]
    percents = [float(percent) for row in rows for name in _PERCENTS if (percent := integer(row.get(name))) is not None]
    if not percents:
        return None
    minutes = max((integer(row.get("estimated_time_to_regain_access")) or 0 for row in rows), default=0)
    is_full = max(percents) >= FULL or minutes > 0
    seconds = minutes * 60.0 or BLOCKED_SECONDS
    return Usage(max(percents), now, now + seconds if is_full else 0.0)
