"""The feed: what was committed, as server-sent events for those who follow; memory only, the journal is the truth.

The id of an event is the journal position whose step it belongs to, told with the last event of the step: whoever comes
back with it as Last-Event-ID is told everything after it, some of it perhaps a second time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from monitor import incidents
from monitor.actions import Alert, Flag, Incident, Pause, Resend, is_in_force, is_reinstated
from monitor.events import EVENT_KINDS, Event, kind
from monitor.firings import Firing
from monitor.memory import Memory, Number
from monitor.standing import Change

NAMES = {
    Pause: "pause", Flag: "flag", Alert: "alert", Incident: "incident", Resend: "resend", Firing: "firing",
    Number: "number",
}  # fmt: skip
USUAL = frozenset({"pause", "flag", "alert", "incident", "number"})
OF_JOURNAL = frozenset(EVENT_KINDS.values())
ALL = frozenset(NAMES.values()) | OF_JOURNAL
KEPT_RECORDS = 5_000  # of the newest steps; whoever was away for longer is told how it stands instead
WAITING_MOST = 1_000  # steps that a follower may be behind before its stream is ended
SEEN_STEPS = 100
_encode = msgspec.json.Encoder().encode
Record = Pause | Flag | Alert | Incident | Resend | Firing | Number


class Follower:
    """One stream: which names it asked for, and how far it has come."""

    def __init__(self, name: str, names: frozenset[str], at: float) -> None:
        self.name = name
        self.names = names
        self.connected_at = at
        self.sent_position = 0
        self.seen_position = 0
        self.seen_seconds: float | None = None
        self.blocks: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(WAITING_MOST)


class Feed:
    """The hub: a step is published to every follower, and the newest are kept for those who come back."""

    def __init__(self, memory: Callable[[], Memory], clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._steps: deque[tuple[int, tuple[Record, ...]]] = deque()
        self._kept = 0
        self._since: int | None = None
        self._published_at: dict[int, float] = {}
        self._is_closed = False
        self.position = 0
        self.changed_position = 0
        self.followers: list[Follower] = []

    def begin(self, position: int) -> None:
        """Say from where on steps are published."""
        self.position = self._since = position

    def publish(
        self, position: int, changes: Iterable[Change], numbers: Iterable[Number], events: Sequence[Event]
    ) -> None:
        """Tell of a step that was committed up to a position."""
        self.position = position
        changes = tuple(changes)
        newest = {change.id: change for change in changes if isinstance(change, Record)}
        records: tuple[Record, ...] = (*newest.values(), *numbers)
        if changes or records:
            self.changed_position = position
        if records:
            self._steps.append((position, records))
            self._kept += len(records)
            while self._kept > KEPT_RECORDS:
                self._since, gone = self._steps.popleft()
                self._kept -= len(gone)
        if not self.followers:
            return
        if any(isinstance(record, Pause) for record in records):
            self._published_at[position] = self._clock()
            while len(self._published_at) > SEEN_STEPS:
                del self._published_at[next(iter(self._published_at))]
        wanted = frozenset[str]().union(*(follower.names for follower in self.followers))
        lines = [*of_records(records, wanted), *of_events(events, wanted)]
        for follower in self.followers[:]:
            block = written([line for line in lines if line[0] in follower.names], position)
            if block:
                self._give(follower, position, block)

    def follow(self, name: str, names: frozenset[str]) -> Follower:
        """Return a new stream of what is published from now on."""
        follower = Follower(name, names, self._clock())
        if self._is_closed:
            follower.blocks.put_nowait(None)
        self.followers.append(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Forget a stream."""
        if follower in self.followers:
            self.followers.remove(follower)

    def close(self) -> None:
        """End every stream, and each that comes."""
        self._is_closed = True
        for follower in self.followers[:]:
            self._end(follower)

    def since(self, position: int, names: frozenset[str]) -> bytes | None:
        """Return what changed of what stands after a position, None where that is not remembered."""
        if self._since is None or not self._since <= position <= self.position:
            return None
        records = [record for at, found in self._steps if at > position for record in found]
        return written(of_records(records, names), None)

    def snapshot(self, *, is_whole: bool = True) -> bytes:
        """Return how it stands, as the event `snapshot`; it has an id only where nothing before it is still to come."""
        memory, now = self._memory(), self._clock()
        standing = memory.standing
        pauses = [one for one in standing.pauses.values() if is_in_force(one, now) or is_reinstated(one, now)]
        lasting = [one for one in standing.incidents.values() if incidents.ended_at(one, standing.pauses, now) is None]
        told: dict[str, Any] = {
            "position": self.position,
            "now": now,
            "pauses": pauses,
            "flags": [flag for flag in standing.flags.values() if flag.resolved_at is None],
            "incidents": lasting,
            "numbers": dict(memory.wabas),
        }
        return written([("snapshot", _encode(told))], self.position if is_whole else None)

    def heartbeat(self, follower: Follower) -> bytes:
        """Return the event that says that the stream is alive; its id is safe, since nothing waits to be sent."""
        told = {"position": self.position, "now": self._clock()}
        return written([("heartbeat", _encode(told))], self.position if follower.blocks.empty() else None)

    def seen(self, name: str, position: int) -> float | None:
        """Note that a follower has taken up a position; return the seconds since that was committed, if known."""
        published_at = self._published_at.get(position)
        seconds = None if published_at is None else max(0.0, self._clock() - published_at)
        for follower in self.followers:
            if follower.name == name:
                follower.seen_position = max(follower.seen_position, position)
                follower.seen_seconds = seconds if seconds is not None else follower.seen_seconds
        return seconds

    def _give(self, follower: Follower, position: int, block: bytes) -> None:
        try:
            follower.blocks.put_nowait((position, block))
        except asyncio.QueueFull:
            self._end(follower)

    def _end(self, follower: Follower) -> None:
        """End a stream at once: what it has not been sent it asks for when it comes back."""
        self.leave(follower)
        while not follower.blocks.empty():
            follower.blocks.get_nowait()
        follower.blocks.put_nowait(None)


def of_records(records: Iterable[Record], names: frozenset[str]) -> list[tuple[str, bytes]]:
    """Return records as events: a name and JSON."""
    named = ((NAMES[type(record)], record) for record in records)
    return [(name, _encode(record)) for name, record in named if name in names]


def of_events(events: Iterable[Event], names: frozenset[str]) -> list[tuple[str, bytes]]:
    """Return what Meta or an operator said as events of the feed."""
    if names.isdisjoint(OF_JOURNAL):
        return []
    return [(name, _encode(event)) for event in events if (name := kind(event)) in names]


def written(lines: Sequence[tuple[str, bytes]], position: int | None) -> bytes:
    """Write events in the stream's own form; the last one carries the position."""
    if not lines:
        return b""
    blocks = [b"event: " + name.encode() + b"\ndata: " + data + b"\n\n" for name, data in lines]
    if position is not None:
        blocks[-1] = b"id: " + str(position).encode() + b"\n" + blocks[-1]
    return b"".join(blocks)


def shown(followers: Iterable[Follower]) -> list[Mapping[str, Any]]:
    """Return followers as the API shows them."""
    return [
        {
            "name": one.name,
            "connected_at": one.connected_at,
            "events": sorted(one.names),
            "sent_position": one.sent_position,
            "seen_position": one.seen_position,
            "seen_seconds": one.seen_seconds,
        }
        for one in followers
    ]
