"""Firings: from the first sign that a rule's condition holds, over pending and firing, to its end.

A firing ends by itself at `ends_at`, so that no timer can be missed; where only a clear condition or an answer ends it,
that is None. All times are times of receipt.
"""

import msgspec

from monitor.actions import EVIDENCE_KEPT, Evidence, Moment
from monitor.conditions import Held
from monitor.engine import Signal
from monitor.rules import Change, Count, Each, Increase, Ratio, Rule, Sequence
from monitor.sightings import evidence

PENDING, FIRING, ENDED = "pending", "firing", "ended"
RULES_CHANGED, FORGOTTEN = "rules_changed", "forgotten"
ORPHANING = frozenset({RULES_CHANGED, FORGOTTEN})  # ends that say nothing of whether it is clear
QUIET_SECONDS = 300.0  # a firing ends after this long without evidence, as Alertmanager's default has it
AGAIN_SECONDS = 1.0  # a condition that each of thousands of events renews is renewed this often
LAPSE_SECONDS = 0.001  # what comes at the very end of a window still belongs to it
FIRINGS_MOST = 40_000  # of one rule, about 2 kB each with what it pauses; others fire all the same
NEWLY_SOURCED = 100  # up to so much evidence a flag's sources are counted each time


class Firing(msgspec.Struct, frozen=True):
    """One rule in one group: `pending` until it has held long enough, `firing`, then `ended` with a reason.

    `since` is when the condition began to hold, `lapses_at` until when it does if nothing more comes, `reason` one of
    lapsed, quiet, cleared, answered, rules_changed and forgotten, `count` how often evidence came, `reminders` how
    often it was told again.
    """

    id: str
    rule: str
    group: tuple[str, ...]
    mode: str
    state: str
    since: float
    last_at: float
    lapses_at: float | None
    evidence: tuple[Evidence, ...]
    count: int
    rules_hash: str
    fired_at: float | None = None
    ends_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    remind_at: float | None = None
    reminders: int = 0
    rests_until: float = 0.0
    sourced_at: float = 0.0


class Turn(msgspec.Struct, frozen=True):
    """What a signal or the time makes of a firing; `name` is the transition: empty for none.

    `is_acting` says that the rule's actions follow; `is_sourced` that a flag's sources are worth counting again.
    """

    firing: Firing
    name: str = ""
    is_acting: bool = False
    is_sourced: bool = False


def heard(known: Firing | None, signal: Signal, moment: Moment) -> Turn | None:
    """Return what a signal makes of the group's firing, None where nothing."""
    rule, held = signal.rule, signal.held
    live = known if known is not None and is_live(known, signal.at) else None
    if signal.is_clear:
        return _cleared(live, rule, signal.at) if held.is_held else None
    if not held.is_held:
        return _not_held(live, rule, signal.at)
    if live is None:
        return None if known is not None and signal.at < known.rests_until else _begun(rule, signal, moment)
    if live.state == PENDING:
        return _pending_again(live, signal)
    if isinstance(rule.condition.kind, Ratio | Increase) and signal.at < live.last_at + AGAIN_SECONDS:
        return None
    return _again(live, rule, signal)


def passed(firing: Firing, rule: Rule | None, held: Held | None, at: float) -> Turn | None:
    """Return what time makes of a firing up to `at`; `held` is what its condition says now, if it can."""
    if firing.state == ENDED or due_at(firing, rule) > at:
        return None
    if rule is None:
        return Turn(_ended(firing, None, RULES_CHANGED, at), "ended")
    if firing.state == PENDING:
        is_lapsed = _lapses_by(firing, firing.since + rule.for_seconds) or (held is not None and not held.is_held)
        if is_lapsed:
            return Turn(_ended(firing, None, "lapsed", at), "lapsed")
        return Turn(_fired(firing, rule, at), "fired", is_acting=True, is_sourced=True)
    if firing.ends_at is not None and firing.ends_at <= at:
        return Turn(_ended(firing, rule, "quiet", firing.ends_at), "ended")
    remind_at = (firing.remind_at or at) + (rule.remind_seconds or 0.0)
    return Turn(msgspec.structs.replace(firing, remind_at=remind_at, reminders=firing.reminders + 1), "reminded")


def due_at(firing: Firing, rule: Rule | None) -> float:
    """Return when time alone changes a firing that is not over; infinity where it never does."""
    if rule is None:
        return firing.last_at
    if firing.state == PENDING:
        ripe_at = firing.since + rule.for_seconds
        return ripe_at if firing.lapses_at is None else min(ripe_at, firing.lapses_at + LAPSE_SECONDS)
    return min((at for at in (firing.ends_at, firing.remind_at) if at is not None), default=float("inf"))


def is_live(firing: Firing, now: float) -> bool:
    """Say whether a firing is pending or firing at `now`."""
    return firing.state != ENDED and (firing.ends_at is None or now < firing.ends_at)


def _lapses_by(firing: Firing, at: float) -> bool:
    return firing.lapses_at is not None and firing.lapses_at < at


def _begun(rule: Rule, signal: Signal, moment: Moment) -> Turn:
    matching = signal.held.matching
    firing = Firing(
        id=moment.id("n"),
        rule=rule.name,
        group=signal.group,
        mode=rule.mode,
        state=PENDING,
        since=signal.at,
        last_at=signal.at,
        lapses_at=signal.held.lapses_at,
        evidence=tuple(map(evidence, matching[-EVIDENCE_KEPT:])),
        count=len(matching),
        rules_hash=moment.rules_hash,
    )
    if rule.for_seconds:
        return Turn(firing, "pending")
    return Turn(_fired(firing, rule, signal.at), "fired", is_acting=True, is_sourced=True)


def _fired(firing: Firing, rule: Rule, at: float) -> Firing:
    return msgspec.structs.replace(
        firing,
        state=FIRING,
        fired_at=at,
        last_at=max(firing.last_at, at),
        ends_at=_ends_at(rule, at),
        remind_at=None if rule.remind_seconds is None else at + rule.remind_seconds,
        sourced_at=at,
    )


def _pending_again(firing: Firing, signal: Signal) -> Turn:
    since = signal.at if _lapses_by(firing, signal.at) else firing.since
    return Turn(
        msgspec.structs.replace(
            firing, since=since, last_at=signal.at, lapses_at=signal.held.lapses_at, **_with(firing, signal)
        )
    )


def _again(firing: Firing, rule: Rule, signal: Signal) -> Turn:
    is_sourced = firing.count < NEWLY_SOURCED or signal.at >= firing.sourced_at + AGAIN_SECONDS
    return Turn(
        msgspec.structs.replace(
            firing,
            last_at=signal.at,
            ends_at=_ends_at(rule, signal.at),
            sourced_at=signal.at if is_sourced else firing.sourced_at,
            **_with(firing, signal),
        ),
        is_acting=True,
        is_sourced=is_sourced,
    )


def _with(firing: Firing, signal: Signal) -> dict[str, object]:
    newest = signal.held.matching[-1:]
    kept = (*firing.evidence, *map(evidence, newest))[-EVIDENCE_KEPT:]
    return {"evidence": kept, "count": firing.count + len(newest)}


def _not_held(live: Firing | None, rule: Rule, at: float) -> Turn | None:
    """End what was pending, and what lasts only as long as its condition does."""
    if live is None:
        return None
    if live.state == PENDING:
        return Turn(_ended(live, None, "lapsed", at), "lapsed")
    if not rule.condition.lasts or rule.clear is not None:
        return None
    return _ending(live, rule, "answered", at + (rule.keep_seconds or 0.0), at)


def _cleared(live: Firing | None, rule: Rule, at: float) -> Turn | None:
    if live is None:
        return None
    if live.state == PENDING:
        return Turn(_ended(live, None, "lapsed", at), "lapsed")
    return _ending(live, rule, "cleared", live.last_at + (rule.keep_seconds or 0.0), at)


def _ending(live: Firing, rule: Rule, reason: str, ends_at: float, at: float) -> Turn | None:
    if ends_at <= at:
        return Turn(_ended(live, rule, reason, at), "ended")
    return Turn(msgspec.structs.replace(live, ends_at=ends_at)) if live.ends_at is None else None


def _ended(firing: Firing, rule: Rule | None, reason: str, at: float) -> Firing:
    rests_until = at + rule.cooldown_seconds if rule is not None else 0.0
    return msgspec.structs.replace(firing, state=ENDED, ended_at=at, reason=reason, rests_until=rests_until)


def _ends_at(rule: Rule, last_at: float) -> float | None:
    """Return when a firing ends if no more evidence comes; None where something else must end it."""
    if rule.clear is not None or rule.condition.lasts:
        return None
    return last_at + quiet_seconds(rule)


def quiet_seconds(rule: Rule) -> float:
    """Return how long a rule goes on firing without new evidence."""
    if rule.keep_seconds is not None:
        return rule.keep_seconds
    match rule.condition.kind:
        case Count() | Ratio() | Increase() | Sequence():
            return max(QUIET_SECONDS, 2 * rule.condition.kind.within_seconds)
        case Each() | Change():
            return QUIET_SECONDS
        case _:
            return 0.0
