"""Conditions over events: whether what a rule waits for holds, given the windows of what came before.

Stretches of time are measured in the events' own times, so that the order of arrival makes no difference to them; how
long silence lasted, and how long a condition has held, in times of receipt, since only those tell when we could know.
"""

import bisect
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, assert_never

import msgspec

from monitor import tallies
from monitor.aspects import Facts
from monitor.rules import Absent, Change, Condition, Count, Each, Increase, Ratio, Rule
from monitor.rules import Sequence as SequenceOf
from monitor.sightings import Sighting
from monitor.tallies import Tally, step_seconds
from monitor.windows import SHARDS, Groups, Timer, Value, Windows

KEPT_LEAST = 1_000  # sightings of a group, from which a flag counts its sources; more where the rule needs more
PAIRS_MOST = 100  # sightings of a group that wait for what must follow them
UNANSWERED_STEPS = 60
PREVIOUS = {"quality": "previous_quality", "limit": "previous_limit", "category": "previous_category"}
"""The facts in which Meta itself tells what another one was before."""

MATCH, OTHER = "match", "other"
Group = tuple[str, ...]


class Held(msgspec.Struct, frozen=True):
    """Whether a condition holds in a group, by which sightings, and until when if nothing more comes."""

    is_held: bool
    matching: Sequence[Sighting] = ()
    lapses_at: float | None = None


NOT_HELD = Held(False)


def groups(rule: Rule, condition: Condition) -> Groups:
    """Return room for the groups of a condition."""
    return Groups(_lifetime_seconds(rule, condition), SHARDS if rule.by else 1)


def horizon_seconds(rule: Rule, condition: Condition) -> float:
    """Return how far back the journal tells all that the condition remembers, 0 where it remembers nothing."""
    match condition.kind:
        case Each() | Change():
            return 0.0
        case Count() | SequenceOf():
            return condition.kind.within_seconds + rule.max_age_seconds
        case Ratio():
            return condition.kind.within_seconds + step_seconds(condition.kind.within_seconds)
        case Increase():
            kind = condition.kind
            return kind.within_seconds + kind.against_seconds + step_seconds(kind.within_seconds)
        case Absent():
            return condition.kind.seconds * (1 + 1 / UNANSWERED_STEPS)
        case _:
            assert_never(condition.kind)


def enter(
    windows: Windows,
    rule: Rule,
    condition: Condition,
    group: Group,
    sighting: Sighting,
    facts: Facts,
    roles: frozenset[str] | set[str],
) -> Held | None:
    """Enter an event; return whether the condition holds now, None where the event says nothing about that."""
    kind = condition.kind
    if isinstance(kind, Each):
        return Held(True, (sighting,), sighting.received_at)
    if isinstance(kind, Change):
        return _changed(windows, condition, kind, group, sighting, facts)
    known = windows.conditions.get(condition.id)
    if known is None:
        known = windows.conditions[condition.id] = groups(rule, condition)
    key: Hashable = group[0] if len(group) == 1 else group
    match kind:
        case Count():
            return _counted(known, key, kind, rule, sighting, facts)
        case Ratio() | Increase():
            tally = _kept(known, key, sighting.received_at, Tally)
            tallies.forget(tally, kind, sighting.received_at)
            tallies.add(tally, kind, sighting, is_match=MATCH in roles, is_base=OTHER in roles)
            if not tallies.holds(tally, kind):
                return NOT_HELD if isinstance(kind, Ratio) else None
            return Held(True, tuple(tally.newest) or (sighting,))  # none matches where a share is low
        case Absent():
            return _heard(windows, known, condition, kind, group, key, sighting, roles)
        case SequenceOf():
            return _followed(known, key, kind, rule, sighting, roles)
        case _:
            assert_never(kind)


def recheck(windows: Windows, condition: Condition, group: Group, now: float) -> Held | None:
    """Return whether a ratio or an increase still holds as time has passed; None for the others."""
    kind = condition.kind
    known = windows.conditions.get(condition.id)
    if not isinstance(kind, Ratio | Increase) or known is None:
        return None
    tally = known.get(group[0] if len(group) == 1 else group, now)
    if tally is None:
        return NOT_HELD
    tallies.forget(tally, kind, now)
    return Held(True, tuple(tally.newest)) if tallies.holds(tally, kind) else NOT_HELD


def expire(windows: Windows, condition: Condition, timer: Timer) -> Held | None:
    """Return that nothing came for long enough, where that is so at the timer's time."""
    kind, known = condition.kind, windows.conditions.get(condition.id)
    if not isinstance(kind, Absent) or known is None:
        return None
    group = timer.group
    key: Hashable = group[0] if len(group) == 1 else group
    waiting: list[Sighting] | None = known.get(key, timer.at)
    if not waiting:
        return None
    due_at = waiting[0].received_at + kind.seconds
    if due_at > timer.at:  # it was answered, or another one came since
        windows.wake_at(Timer(due_at, condition.id, group))
        return None
    held = Held(True, (waiting.pop(0),))
    if waiting:
        windows.wake_at(Timer(waiting[0].received_at + kind.seconds, condition.id, group))
    else:
        known.pop(key)
    return held


def described(windows: Windows, condition: Condition, group: Group, now: float) -> str:
    """Return where a condition stands in a group, in words; empty where it remembers nothing."""
    kind, known = condition.kind, windows.conditions.get(condition.id)
    state = known.get(group[0] if len(group) == 1 else group, now) if known is not None else None
    match kind:
        case Count():
            entries = [state] if isinstance(state, Sighting) else (state[2] if kind.distinct and state else state or [])
            count = len(fullest(entries, now, kind.within_seconds))
            what = f"different values of {kind.distinct}" if kind.distinct else "events"
            return f"{count} of {kind.at_least} {what} within {kind.within_seconds:g}s"
        case Ratio() | Increase():
            matching, base = state.recent if state is not None else (0, 0)
            if isinstance(kind, Ratio):
                bound = f"at least {kind.at_least}" if kind.at_least is not None else f"at most {kind.at_most}"
                return f"{matching} of {base} events within {kind.within_seconds:g}s, wanted {bound} of {kind.minimum}"
            before = state.before if state is not None else 0
            return (
                f"{matching} events within {kind.within_seconds:g}s, {before} in the {kind.against_seconds:g}s before"
            )
        case Absent():
            return f"{'waiting' if state else 'not waiting'} for {kind.seconds:g}s without an event"
        case SequenceOf():
            firsts, seconds = state or ((), ())
            return f"{len(firsts)} events wait for what follows, {len(seconds)} of those came"
        case Change():
            last = windows.values.get((condition.id, "\x1f".join(group)))
            return f"{kind.fact} was {last.value}" if last is not None else f"{kind.fact} is not known so far"
        case Each():
            return ""
        case _:
            assert_never(kind)


def _lifetime_seconds(rule: Rule, condition: Condition) -> float:
    return max(1.0, horizon_seconds(rule, condition))


def _kept(known: Groups, key: Hashable, now: float, make: Callable[[], Any]) -> Any:
    state = known.get(key, now)
    if state is None:
        state = make()
        known.put(key, state)
    return state


def _counted(known: Groups, key: Hashable, kind: Count, rule: Rule, sighting: Sighting, facts: Facts) -> Held | None:
    """Most groups of a rule by recipient hold one sighting, so that one stands for a list of one."""
    if kind.distinct:
        return _distinct(known, key, kind, rule, sighting, facts.get(kind.distinct, ""))
    entries = known.get(key, sighting.received_at)
    if entries is None:
        known.put(key, sighting)
        return Held(True, (sighting,), sighting.received_at + kind.within_seconds) if kind.at_least == 1 else None
    if isinstance(entries, Sighting):
        entries = [entries]
        known.put(key, entries)
    _insert(entries, sighting, kind.within_seconds + rule.max_age_seconds, max(2 * kind.at_least, KEPT_LEAST))
    return _enough(fullest(entries, sighting.at, kind.within_seconds), kind)


def _distinct(known: Groups, key: Hashable, kind: Count, rule: Rule, sighting: Sighting, value: str) -> Held | None:
    """Count values by the newest sighting of each."""
    by_value: dict[str, Sighting]
    by_value, value_of, entries = _kept(known, key, sighting.received_at, lambda: ({}, {}, []))
    before = by_value.get(value)
    if before is not None and before.at > sighting.at:
        return _enough(fullest(entries, sighting.at, kind.within_seconds), kind)
    if before is not None:
        at = bisect.bisect_left(entries, before.at, key=_at)
        while entries[at] is not before:
            at += 1
        del entries[at], value_of[id(before)]
    by_value[value] = sighting
    value_of[id(sighting)] = value
    for gone in _insert(entries, sighting, kind.within_seconds + rule.max_age_seconds, 2 * kind.at_least):
        del by_value[value_of.pop(id(gone))]
    return _enough(fullest(entries, sighting.at, kind.within_seconds), kind)


def _insert(entries: list[Sighting], sighting: Sighting, lifetime_seconds: float, most: int) -> list[Sighting]:
    """Insert by event time and return what had to go: too old to share a window with what may come, or too many."""
    bisect.insort(entries, sighting, key=_at)
    oldest = sighting.received_at - lifetime_seconds
    count = max(0, len(entries) - most)
    while entries[count].received_at < oldest:
        count += 1
    gone = entries[:count] if count else []
    del entries[:count]
    return gone


def fullest(entries: Sequence[Sighting], at: float, within_seconds: float) -> Sequence[Sighting]:
    """Return the fullest stretch of time of that length which holds `at`, given entries in order of event time."""
    first = bisect.bisect_left(entries, at - within_seconds, key=_at)
    here = bisect.bisect_right(entries, at, key=_at)
    if here == len(entries):
        return entries[first:]
    last = bisect.bisect_right(entries, at + within_seconds, key=_at)
    best = (0, 0)
    end = first
    for start in range(first, here):
        while end < last and entries[end].at <= entries[start].at + within_seconds:
            end += 1
        if end - start > best[1] - best[0]:
            best = (start, end)
    return entries[best[0] : best[1]]


def _enough(matching: Sequence[Sighting], kind: Count) -> Held | None:
    if len(matching) < kind.at_least:
        return None
    needed = matching[-kind.at_least :]
    return Held(True, matching, min(entry.received_at for entry in needed) + kind.within_seconds)


def _heard(
    windows: Windows,
    known: Groups,
    condition: Condition,
    kind: Absent,
    group: Group,
    key: Hashable,
    sighting: Sighting,
    roles: frozenset[str] | set[str],
) -> Held | None:
    """Start or end waiting; of unanswered events the first of each step is kept."""
    waiting: list[Sighting] | None = known.get(key, sighting.received_at)
    if OTHER in roles or (waiting and not kind.is_answer):
        known.pop(key)
    if OTHER in roles:
        return NOT_HELD
    if kind.is_answer and waiting:
        length = kind.seconds / UNANSWERED_STEPS
        if math.floor(waiting[-1].received_at / length) < math.floor(sighting.received_at / length):
            waiting.append(sighting)
        return None
    known.put(key, [sighting])
    if not waiting or waiting[0].received_at > sighting.received_at:  # the clock may have been put back
        windows.wake_at(Timer(sighting.received_at + kind.seconds, condition.id, group))
    return None if kind.is_answer else NOT_HELD


def _followed(
    known: Groups, key: Hashable, kind: SequenceOf, rule: Rule, sighting: Sighting, roles: frozenset[str] | set[str]
) -> Held | None:
    pair: tuple[list[Sighting], list[Sighting]] = _kept(known, key, sighting.received_at, lambda: ([], []))
    firsts, seconds = pair
    lifetime_seconds = kind.within_seconds + rule.max_age_seconds
    found: Held | None = None
    if OTHER in roles:
        earlier = [one for one in firsts if sighting.at - kind.within_seconds <= one.at <= sighting.at]
        _insert(seconds, sighting, lifetime_seconds, PAIRS_MOST)
        found = Held(True, (earlier[-1], sighting), sighting.received_at) if earlier else None
    if MATCH in roles:
        later = [one for one in seconds if sighting.at <= one.at <= sighting.at + kind.within_seconds]
        later = [one for one in later if one is not sighting]
        _insert(firsts, sighting, lifetime_seconds, PAIRS_MOST)
        found = found or (Held(True, (sighting, later[0]), sighting.received_at) if later else None)
    return found


def _changed(
    windows: Windows, condition: Condition, kind: Change, group: Group, sighting: Sighting, facts: Facts
) -> Held | None:
    """Compare with the last value of the group; what is older than that says nothing."""
    value = facts.get(kind.fact, "")
    key = (condition.id, "\x1f".join(group))
    last = windows.values.get(key)
    if not value or (last is not None and sighting.at < last.at):
        return None
    before = last.value if last is not None else facts.get(PREVIOUS.get(kind.fact, ""), "")
    windows.learn(Value(*key, value, sighting.at))
    if not before or value == before:
        return None
    is_to = kind.after is None or value in kind.after
    if is_to and (kind.before is None or before in kind.before):
        return Held(True, (sighting,), None if kind.after is not None else sighting.received_at)
    return None if is_to else NOT_HELD


def _at(sighting: Sighting) -> float:
    return sighting.at
