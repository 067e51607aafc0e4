"""The last hour, minute by minute: what was heard of messages and what the gate refused; memory only."""

from collections.abc import Callable, Sequence

import msgspec

from monitor.events import InboundMessage, SendFailed, Status
from monitor.facts import Fact

MINUTES = 60
SERIES = ("sent", "delivered", "read", "failed", "received", "refused")
REFUSED = "refused"
_STATUSES = frozenset(SERIES[:4])


class Minutes(msgspec.Struct, frozen=True):
    """Counts of each of SERIES, the oldest minute first; the last one is still running."""

    first_at: int
    counts: dict[str, tuple[int, ...]]
    known_since: float

    def total(self, name: str, last: int = MINUTES) -> int:
        """Return the sum of the newest minutes."""
        return sum(self.counts[name][-last:])


class Hour:
    """Counts by the minute in which something was received; what is older than an hour is let go."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minutes: dict[int, dict[str, int]] = {}
        self.known_since = clock()

    def observe(self, batch: Sequence[Fact]) -> None:
        """Count what a step's facts say; a repeated one had been counted before."""
        counts: dict[tuple[float, str], int] = {}
        for fact in batch:
            if fact.is_repeated:
                continue
            name = _name(fact)
            if name:
                key = (fact.received_at, name)
                counts[key] = counts.get(key, 0) + 1
        for (at, name), count in counts.items():
            self.count(name, count, at)

    def refused(self) -> None:
        """Count a send that the gate or the proxy has just refused."""
        self.count(REFUSED, 1, self._clock())

    def count(self, name: str, count: int, at: float) -> None:
        """Count something that was received at a time; what is older than an hour is not."""
        place = int(at // 60)
        minute = self._minutes.get(place)
        if minute is None:
            minute = self._minutes[place] = {}
            oldest = int(self._clock() // 60) - MINUTES
            for gone in [one for one in self._minutes if one <= oldest]:
                del self._minutes[gone]
            if place <= oldest:
                return
        minute[name] = minute.get(name, 0) + count

    def minutes(self) -> Minutes:
        """Return the counts of the last hour."""
        last = int(self._clock() // 60)
        places = range(last - MINUTES + 1, last + 1)
        known = [self._minutes.get(place, {}) for place in places]
        counts = {name: tuple(one.get(name, 0) for one in known) for name in SERIES}
        return Minutes(places[0] * 60, counts, self.known_since)


def _name(fact: Fact) -> str:
    match fact.event:
        case Status(status=status):
            return status if status in _STATUSES else ""
        case InboundMessage():
            return "received"
        case SendFailed():
            return "failed"
        case _:
            return ""
