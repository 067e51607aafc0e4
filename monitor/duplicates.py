"""Duplicates: the same message to the same person again within a while, and why that probably was; memory only."""

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from monitor import pseudonyms

REPEAT = "repeat"
AFTER_TIMEOUT, DOUBLE_ENQUEUE, TWO_REPLICAS = "retry_after_timeout", "double_enqueue", "two_replicas"
TRIGGERS = (AFTER_TIMEOUT, DOUBLE_ENQUEUE, TWO_REPLICAS, REPEAT)
"""Why: a retry of what was not answered, one worker twice at once, two callers with one job, or none of these."""
AT_ONCE_SECONDS = 1.0
SENDS_MOST = 200_000  # remembered; about 200 bytes each
UNDER_WAY, UNKNOWN = "under_way", "unknown"
_OWN = frozenset({"biz_opaque_callback_data", "to", "recipient"})
_encode = msgspec.json.Encoder(order="deterministic").encode


class Earlier(msgspec.Struct, frozen=True):
    """What a send repeats: `count` is the how manieth it is, `gap_seconds` since the one before."""

    trigger: str
    gap_seconds: float
    count: int
    wamid: str = ""


class _Known(msgspec.Struct):
    at: float
    caller: str
    state: str
    count: int = 1
    wamid: str = ""


class Sends:
    """The sends of the last while, by what they say and to whom."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def note(
        self, fingerprint: bytes, caller: str, within_seconds: float, now: float, *, is_passing: bool = True
    ) -> Earlier | None:
        """Note that a send begins; return what it repeats, None where it is the first.

        A repetition that does not pass renews nothing, or whoever tries often enough would be refused for ever.
        """
        while self._known and (
            len(self._known) >= SENDS_MOST or next(iter(self._known.values())).at < now - within_seconds
        ):
            self._known.popitem(last=False)
        known = self._known.get(fingerprint)
        if known is None or known.at < now - within_seconds:
            self._known[fingerprint] = _Known(now, caller, UNDER_WAY)
            self._known.move_to_end(fingerprint)
            return None
        earlier = Earlier(_trigger(known, caller, now), max(0.0, now - known.at), known.count + 1, known.wamid)
        known.count += 1
        if is_passing:
            known.at, known.caller = now, caller
            self._known.move_to_end(fingerprint)
        return earlier

    def end(self, fingerprint: bytes, *, wamid: str = "", is_known: bool = True) -> None:
        """Note how a send ended: as a message, as refused for certain (which may be tried again), or not known."""
        known = self._known.get(fingerprint)
        if known is None:
            return
        if is_known and not wamid:
            if known.count == 1:
                del self._known[fingerprint]
            return
        known.state, known.wamid = ("", wamid) if wamid else (UNKNOWN, known.wamid)


def fingerprint(phone_number_id: str, body: Any) -> bytes | None:
    """Return what makes a message the same again: sender, person, and all that is said; None for what is no message."""
    if not isinstance(body, dict):
        return None
    person = body.get("to") or body.get("recipient")
    if not isinstance(person, str) or "status" in body or body.get("type") == "reaction":
        return None
    said = {name: value for name, value in body.items() if name not in _OWN}
    told = _encode([phone_number_id, pseudonyms.written(person), said])
    return hashlib.blake2b(told, digest_size=16).digest()


def _trigger(known: _Known, caller: str, now: float) -> str:
    if known.state == UNKNOWN:
        return AFTER_TIMEOUT
    if caller != known.caller:
        return TWO_REPLICAS
    return DOUBLE_ENQUEUE if known.state == UNDER_WAY or now - known.at < AT_ONCE_SECONDS else REPEAT
