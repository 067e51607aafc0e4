"""Turns: what signals and the passing of time make of firings, and what follows; gathered in a step."""

import math
from collections.abc import Generator, Iterator, Sequence

import msgspec

from monitor import conditions, decisions, engine, firings, generators, operators, reactions
from monitor.actions import Action, Moment
from monitor.engine import Plan, Signal
from monitor.facts import Fact
from monitor.firings import FORGOTTEN, RULES_CHANGED, Firing, Turn
from monitor.rules import SHADOW, Rule
from monitor.sightings import Sighting
from monitor.standing import Change
from monitor.step import Step
from monitor.windows import Timer, Windows


class Effect(msgspec.Struct, frozen=True):
    """What was done, by enforced rules, and what shadow rules would have done; `used` counts record ids.

    `crowded` are the rules that fire in so many groups that they could not in one more.
    """

    actions: tuple[Action, ...] = ()
    shadowed: tuple[Action, ...] = ()
    used: int = 0
    crowded: tuple[str, ...] = ()


NO_EFFECT = Effect()


def take(step: Step, signals: Sequence[Signal], moment: Moment) -> Effect:
    """Let what one event says of rules take effect."""
    if not signals:
        return NO_EFFECT
    effect = NO_EFFECT
    for signal in signals:
        known = step.firing((signal.rule.name, *signal.group))
        here = _later(moment, effect.used)
        if known is not None and known.state != firings.ENDED and _rule_of(step, known) is None:
            step.learn(_end(step, known, RULES_CHANGED, here))
            known = None
        turn = firings.heard(known, signal, here)
        if turn is None:
            continue
        if known is None and not step.memory.has_room_for(signal.rule.name):
            effect = _joined(effect, Effect(crowded=(signal.rule.name,)))
            continue
        effect = _joined(effect, _turned(step, signal.rule, known, turn, signal.held.matching, here))
    return effect


def advance(step: Step, moment: Moment) -> int:
    """Let time pass up to the moment: what falls due before it happens at its own time. Return the used record ids."""
    return generators.whole(advancing(step, moment))


def advancing(step: Step, moment: Moment) -> Generator[None, None, int]:
    """Let time pass little by little: thousands of firings may fall due at once."""
    used = 0
    while (timer := step.windows.due(moment.now)) is not None:
        here = Moment(moment.position, timer.at, moment.rules_hash, moment.serial + used)
        before = len(step.changes)
        effect = _time_passed(step, timer, here) if timer.condition == "" else _silence(step, timer, here)
        used += effect.used
        if effect.actions or effect.shadowed or len(step.changes) > before:
            changed = tuple(step.changes[before:])
            step.facts.append(Fact(None, here.now, False, None, effect.actions, changed, effect.shadowed))
        yield
    return used


def adopt(step: Step, moment: Moment) -> list[Change]:
    """End the firings of rules that are gone, or that mean something else now."""
    changes: list[Change] = []
    for firing in list(_live(step)):
        if _rule_of(step, firing) is None:
            changes.extend(_end(step, firing, RULES_CHANGED, moment))
    return changes


def forget(step: Step, people: Sequence[str], moment: Moment) -> list[Change]:
    """Let go of what firings know of people: those that were about one of them end."""
    gone = frozenset(people)
    changes: list[Change] = []
    for firing in list(_live(step)):
        if not gone.isdisjoint(firing.group):
            changes.extend(_end(step, firing, FORGOTTEN, moment))
        elif any(one.recipient in gone for one in firing.evidence):
            nameless = operators.nameless(firing, gone)
            if isinstance(nameless, Firing):
                step.learn_firing(nameless)
                changes.append(nameless)
    return changes


def watch(windows: Windows, plan: Plan, firing: Firing) -> None:
    """Note when time alone will change a firing."""
    due_at = firings.due_at(firing, plan.rules.get(firing.rule))
    if firing.state != firings.ENDED and due_at != math.inf:
        windows.wake_at(Timer(due_at, "", (firing.rule, *firing.group)))


def _live(step: Step) -> Iterator[Firing]:
    for firing in {**step.memory.firings, **step.firings}.values():
        if firing.state != firings.ENDED:
            yield firing


def _rule_of(step: Step, firing: Firing) -> Rule | None:
    """Return the rule of a firing, None where there is none that means the same any more."""
    rule = step.settings.plan.rules.get(firing.rule)
    is_same = rule is not None and rule.mode == firing.mode and len(rule.by) == len(firing.group)
    return rule if is_same else None


def _end(step: Step, firing: Firing, reason: str, moment: Moment) -> list[Change]:
    over = msgspec.structs.replace(firing, state=firings.ENDED, ended_at=moment.now, reason=reason)
    step.learn_firing(over)
    step.standing, ended = decisions.end(step.standing, over, moment)
    return [over, decisions.turned(over, "ended", moment), *ended]


def _silence(step: Step, timer: Timer, moment: Moment) -> Effect:
    signal = engine.expire(step.settings.plan, step.windows, timer)
    return NO_EFFECT if signal is None else take(step, [signal], moment)


def _time_passed(step: Step, timer: Timer, moment: Moment) -> Effect:
    firing = step.firing(timer.group)
    if firing is None or firing.state == firings.ENDED:
        return NO_EFFECT
    rule = _rule_of(step, firing)
    if firings.due_at(firing, rule) > timer.at:  # more evidence came since
        watch(step.windows, step.settings.plan, firing)
        return NO_EFFECT
    is_pending = firing.state == firings.PENDING and rule is not None
    held = conditions.recheck(step.windows, rule.condition, firing.group, timer.at) if is_pending and rule else None
    turn = firings.passed(firing, rule, held, timer.at)
    return NO_EFFECT if turn is None else _turned(step, rule, firing, turn, (), moment)


def _turned(
    step: Step, rule: Rule | None, known: Firing | None, turn: Turn, matching: Sequence[Sighting], moment: Moment
) -> Effect:
    """Keep the firing as it is now, and do what its rule says."""
    firing = turn.firing
    step.learn_firing(firing)
    due_at = firings.due_at(firing, rule)
    was_due_at = None if known is None or known.state == firings.ENDED else firings.due_at(known, rule)
    if firing.state != firings.ENDED and (was_due_at is None or due_at < was_due_at or turn.name):
        watch(step.windows, step.settings.plan, firing)
    decided: list[Action] = reactions.of(rule, turn, matching) if turn.is_acting and rule is not None else []
    changes: list[Change] = [firing]
    if turn.name:
        changes.append(decisions.turned(firing, turn.name, moment))
    if firing.mode == SHADOW:
        step.learn(changes)
        return Effect((), tuple(decided), 1)
    if firing.state == firings.ENDED:
        was_firing = known is not None and known.state == firings.FIRING
        decided = reactions.ended(rule, firing) if was_firing and rule is not None else []
        if rule is None or rule.clear is not None or rule.condition.lasts:  # others end what they did by themselves
            step.standing, ended = decisions.end(step.standing, firing, moment)
            changes.extend(ended)
    elif turn.name == "reminded":
        step.standing, reminded = decisions.remind(step.standing, firing, moment)
        changes.extend(reminded)
    if decided:
        step.standing, made = decisions.decide(step.standing, decided, moment)
        changes.extend(made)
    step.learn(changes)
    return Effect(tuple(decided), (), max(1, len(decided)))


def _joined(effect: Effect, other: Effect) -> Effect:
    return Effect(
        (*effect.actions, *other.actions),
        (*effect.shadowed, *other.shadowed),
        effect.used + other.used,
        (*effect.crowded, *other.crowded),
    )


def _later(moment: Moment, used: int) -> Moment:
    return msgspec.structs.replace(moment, serial=moment.serial + used) if used else moment
