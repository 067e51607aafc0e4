"""Windows: what rules remember of earlier events, by group; memory only, rebuilt from the journal.

Groups grow old in two generations. What was not touched for a whole generation can share a window with nothing that may
still come, and goes a few entries at a time, so that no event waits for a million others to be forgotten.
"""

import heapq
import math
from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from monitor.sightings import About

GROUPS_MOST = 2_000_000  # of one condition; then the ones that were silent longest go first
SHARDS = 64  # so that no growing dictionary is moved as a whole while an event waits
FORGOTTEN_AT_ONCE = 8
ABOUTS_MOST = 10_000


class Value(msgspec.Struct, frozen=True):
    """The last value of a fact in a group of a `change:` condition, and when Meta said so."""

    condition: str
    group: str
    value: str
    at: float


class Groups:
    """The states of one condition's groups; `lifetime_seconds` is how long after its newest event one is needed."""

    def __init__(self, lifetime_seconds: float, shards: int = 1) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._most = GROUPS_MOST // (2 * shards)
        self._young: list[dict[Hashable, Any]] = [{} for _ in range(shards)]
        self._old: list[dict[Hashable, Any]] = [{} for _ in range(shards)]
        self._turns_at = [0.0] * shards
        self._dying: list[dict[Hashable, Any]] = []
        self.dropped = 0

    def get(self, group: Hashable, now: float) -> Any:
        """Return the state of a group, None where there is none."""
        shard = hash(group) % len(self._young)
        if not self._turns_at[shard] - 2 * self._lifetime_seconds <= now < self._turns_at[shard]:
            self._turn(shard, now)
        if self._dying:
            self._forget()
        young = self._young[shard]
        state = young.get(group)
        if state is None and (state := self._old[shard].pop(group, None)) is not None:
            young[group] = state
        return state

    def put(self, group: Hashable, state: Any) -> None:
        """Keep the state of a group, making room where there are too many."""
        shard = hash(group) % len(self._young)
        young = self._young[shard]
        if len(young) >= self._most and group not in young:
            self.dropped += len(self._old[shard])
            self._turn(shard, self._turns_at[shard] - self._lifetime_seconds)
            young = self._young[shard]
        young[group] = state

    def pop(self, group: Hashable) -> None:
        """Let go of a group."""
        shard = hash(group) % len(self._young)
        self._young[shard].pop(group, None)
        self._old[shard].pop(group, None)

    def __len__(self) -> int:
        return sum(map(len, self._young)) + sum(map(len, self._old))

    def _turn(self, shard: int, now: float) -> None:
        if self._old[shard]:
            self._dying.append(self._old[shard])
        self._old[shard], self._young[shard] = self._young[shard], {}
        self._turns_at[shard] = now + self._lifetime_seconds

    def _forget(self) -> None:
        dying = self._dying[-1]
        for _ in range(min(FORGOTTEN_AT_ONCE, len(dying))):
            dying.popitem()
        if not dying:
            self._dying.pop()


class Timer(msgspec.Struct, frozen=True, order=True):
    """When a group of a condition, or a firing (an empty condition), must be looked at although nothing came."""

    at: float
    condition: str
    group: tuple[str, ...]


class Windows:
    """All windows of the rules in force, and the times at which silence says something."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self.conditions: dict[str, Groups] = {}
        self.values: dict[tuple[str, str], Value] = {(value.condition, value.group): value for value in values}
        self.changed: dict[tuple[str, str], Value] = {}
        self.next_at = math.inf  # when the next timer is due
        self._timers: list[Timer] = []
        self._waiting: dict[tuple[str, tuple[str, ...]], float] = {}  # the earliest timer of each group of a condition
        self._abouts: dict[About, About] = {}

    @property
    def dropped(self) -> int:
        """How many groups had to go before their time."""
        return sum(groups.dropped for groups in self.conditions.values())

    def learn(self, value: Value) -> None:
        """Take up the last value of a fact; it is among `changed` until that is cleared."""
        key = value.condition, value.group
        self.values[key] = self.changed[key] = value

    def wake_at(self, timer: Timer) -> None:
        """Note that something must be looked at; a condition that looks too early asks for another time by itself."""
        if timer.condition:
            key = timer.condition, timer.group
            if self._waiting.get(key, math.inf) <= timer.at:
                return
            self._waiting[key] = timer.at
        heapq.heappush(self._timers, timer)
        self.next_at = self._timers[0].at

    def due(self, now: float) -> Timer | None:
        """Take the next timer that is due, None where none is."""
        if self.next_at > now:
            return None
        timer = heapq.heappop(self._timers)
        if self._waiting.get((timer.condition, timer.group)) == timer.at:
            del self._waiting[timer.condition, timer.group]
        self.next_at = self._timers[0].at if self._timers else math.inf
        return timer

    def shared(self, about: About) -> About:
        """Return the one record that stands for all that are equal to this one."""
        if len(self._abouts) > ABOUTS_MOST:
            self._abouts.clear()
        return self._abouts.setdefault(about, about)
