"""A small model of what deliveries mean, written from the documentation: sets of what was heard, and no store."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

HOUR = 3600.0  # how old an event may be for a rule, unless it says otherwise
ORDER = ("sent", "failed", "delivered", "read", "played", "deleted")
ARRIVED = frozenset({"delivered", "read", "played", "deleted"})
RETRIED_LATER = frozenset({368, 131043})  # of the codes that the tests use
BURST = 3
QUIET = 300.0  # how long a rule goes on firing without a further event
KEPT = 20  # of a firing's evidence


class Said(msgspec.Struct, frozen=True):
    """One status, or without a wamid one error beside no message."""

    waba_id: str
    number: str
    wamid: str
    status: str
    at: int | None
    codes: tuple[int, ...]
    recipient: str = ""
    category: str = ""


class Listed(msgspec.Struct):
    """One message on the list of those to send again."""

    said: Said
    category: str
    state: str


class Paused(msgspec.Struct):
    """One pause of an account."""

    waba_id: str
    evidence: int
    is_released: bool = False


class Model:
    """What must be so after everything that was journaled has taken effect."""

    def __init__(self) -> None:
        self.bodies: set[bytes] = set()
        self.heard: set[Any] = set()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.life: dict[str, list[Said]] = {}
        self.listed: dict[str, Listed] = {}
        self.pauses: list[Paused] = []
        self.blocks: dict[str, tuple[float, int]] = {}
        self.bursts: dict[str, list[int]] = {}
        self.flagged: dict[str, int] = {}

    def take(self, body: bytes, said: Iterable[Said], received_at: float) -> bool:
        """Hear a delivery; say whether its body is a new one."""
        if body in self.bodies:
            return False
        self.bodies.add(body)
        for place, one in enumerate(said):
            self.counts["read",] += 1
            key = one if one.wamid or one.at is not None else (body, place)
            if key in self.heard:
                self.counts["repeated",] += 1
                continue
            self.heard.add(key)
            at = one.at if one.at is not None else int(received_at)
            self._rules(one, at, received_at, is_late=one.at is not None and received_at - at > HOUR)
            if one.wamid:
                self._status(one)
            for code in one.codes:
                self.counts["error", str(code), "status" if one.wamid else "webhook"] += 1
        return True

    def release(self, waba_id: str) -> None:
        """Let an operator end an account's pause."""
        for pause in self.pauses:
            if pause.waba_id == waba_id:
                pause.is_released = True

    def state(self, wamid: str) -> str:
        """Return how far a message came."""
        return max((one.status for one in self.life[wamid]), key=ORDER.index)

    def contradictions(self) -> Counter[str]:
        """Return how many messages both failed and arrived, by what was later."""
        found: Counter[str] = Counter()
        for life in self.life.values():
            failed = [one.at or 0 for one in life if one.status == "failed"]
            arrived = [one.at or 0 for one in life if one.status in ARRIVED - {"deleted"}]
            if failed and arrived:
                found["failed_after_delivered"] += max(failed) >= min(arrived)
                found["delivered_after_failed"] += max(arrived) > min(failed)
        return +found

    def _rules(self, one: Said, at: int, received_at: float, *, is_late: bool) -> None:
        for code, rule in ((368, "policy_block"), (506, "duplicate_burst"), (131043, "message_expired")):
            if code in one.codes:
                self.counts["late" if is_late else "match", rule] += 1
        if is_late:
            return
        if 368 in one.codes:
            last_at, known = self.blocks.get(one.waba_id, (0.0, 0))
            firing = min(KEPT, known + 1) if received_at < last_at + QUIET else 1
            self.blocks[one.waba_id] = received_at, firing
            stands = [pause for pause in self.pauses if pause.waba_id == one.waba_id and not pause.is_released]
            if stands:
                stands[0].evidence += 1
            else:
                self.pauses.append(Paused(one.waba_id, firing))
        if 506 in one.codes:
            self._burst(one.number, at)

    def _burst(self, number: str, at: int) -> None:
        times = sorted([*self.bursts.get(number, []), at])
        self.bursts[number] = times
        fullest = max(
            sum(start <= other <= start + HOUR for other in times) for start in times if start <= at <= start + HOUR
        )
        if fullest >= BURST:
            known = self.flagged.get(number)
            self.flagged[number] = known + 1 if known else fullest

    def _status(self, one: Said) -> None:
        self.counts["status", one.status] += 1
        life = self.life.setdefault(one.wamid, [])
        had_arrived = any(before.status in ARRIVED for before in life)
        is_priced = any(before.status in {"sent", "delivered", "read"} for before in life)
        life.append(one)
        category = one.category if is_priced or one.status in {"sent", "delivered", "read"} else ""
        self.counts["priced",] += bool(category) and not is_priced
        if one.status in ARRIVED and not had_arrived:
            self._supersede(one, category)
        elif not had_arrived and one.status not in ARRIVED and RETRIED_LATER.intersection(one.codes):
            state = "withheld" if category == "authentication" else "pending"
            self.listed.setdefault(one.wamid, Listed(one, category, state))

    def _supersede(self, arrived: Said, category: str) -> None:
        for wamid, listed in self.listed.items():
            other = listed.said
            is_same = (other.number, other.recipient) == (arrived.number, arrived.recipient)
            is_alike = not category or not listed.category or category == listed.category
            if listed.state == "pending" and (wamid == arrived.wamid or (is_same and is_alike)):
                listed.state = "superseded"
