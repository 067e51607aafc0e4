"""Tallies: how many events matched and how many there were, in the newest window and in the time before it.

Counted by steps of time, so that a window of millions of events takes no more room than its steps.
"""

import math
from typing import assert_never

from monitor.rules import Increase, Ratio
from monitor.sightings import Sighting

NEWEST_KEPT = 100  # matching sightings beside the counts
STEPS = 600  # a long window is counted in so many steps, a short one in seconds


class Tally:
    """Counts by steps of time: in the newest window, and in the stretch before it."""

    __slots__ = ("before", "counts", "edge", "edge_before", "newest", "recent")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all counts."""
        self.counts: dict[int, list[int]] = {}
        self.recent = [0, 0]
        self.before = 0
        self.edge = -math.inf
        self.edge_before = -math.inf
        self.newest: list[Sighting] = []


def step_seconds(within_seconds: float) -> float:
    """Return how long a step of a window is."""
    return max(1.0, within_seconds / STEPS)


def add(tally: Tally, kind: Ratio | Increase, sighting: Sighting, *, is_match: bool, is_base: bool) -> None:
    """Count an event, unless it is older than all that is counted."""
    index = math.floor(min(sighting.at, sighting.received_at) / step_seconds(kind.within_seconds))
    if index < tally.edge_before or (index < tally.edge and isinstance(kind, Ratio)):
        return
    counts = tally.counts.setdefault(index, [0, 0])
    counts[0] += is_match
    counts[1] += is_base
    if index >= tally.edge:
        tally.recent[0] += is_match
        tally.recent[1] += is_base
    else:
        tally.before += is_match
    if is_match:
        tally.newest.append(sighting)
        if len(tally.newest) > 2 * NEWEST_KEPT:
            del tally.newest[:-NEWEST_KEPT]


def forget(tally: Tally, kind: Ratio | Increase, now: float) -> None:
    """Move the edges of the window up to `now`; the window holds its end and not its beginning."""
    length = step_seconds(kind.within_seconds)
    edge = math.floor((now - kind.within_seconds) / length) + 1
    against_seconds = kind.against_seconds if isinstance(kind, Increase) else 0.0
    edge_before = math.floor((now - kind.within_seconds - against_seconds) / length) + 1
    if edge <= tally.edge:
        if tally.edge - edge > kind.within_seconds / length:  # the clock was put back by more than the window
            tally.clear()
            forget(tally, kind, now)
        return
    for index in _steps(tally, tally.edge, edge):
        matching, base = tally.counts[index]
        tally.recent[0] -= matching
        tally.recent[1] -= base
        tally.before += matching
    for index in _steps(tally, tally.edge_before, edge_before):
        tally.before -= tally.counts.pop(index)[0]
    tally.edge, tally.edge_before = edge, edge_before
    if tally.newest and tally.newest[0].at <= now - kind.within_seconds:
        tally.newest = [one for one in tally.newest if one.at > now - kind.within_seconds]


def holds(tally: Tally, kind: Ratio | Increase) -> bool:
    """Say whether the counts are as a condition wants them."""
    matching, base = tally.recent
    match kind:
        case Ratio():
            if base < kind.minimum:
                return False
            share = matching / base
            return share >= kind.at_least if kind.at_least is not None else share <= (kind.at_most or 0.0)
        case Increase():
            usual = tally.before * kind.within_seconds / kind.against_seconds
            return matching >= kind.at_least and tally.before > 0 and matching >= kind.times * usual
        case _:
            assert_never(kind)


def _steps(tally: Tally, start: float, end: int) -> list[int]:
    """Return the counted steps from one edge to another."""
    if end - start > len(tally.counts):
        return [index for index in tally.counts if start <= index < end]
    return [index for index in range(int(start), end) if index in tally.counts]
