"""Rules over events: what one event, or the passing of time, says of the conditions of all rules.

The only input is the journal: each event's own time and its delivery's time of receipt. So live, replay, tests and
backtests give the same signals from the same journal, in whatever batches it is read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
import re2

from monitor import aspects, conditions, expressions, intervals
from monitor.aspects import KINDS_OF, Facts
from monitor.codes import Catalogue
from monitor.conditions import MATCH, OTHER, Group, Held
from monitor.events import MetaEvent, Status
from monitor.messages import Message
from monitor.rules import Between, Condition, Like, Matcher, OneOf, Rule, RuleSet, Test, Tests
from monitor.vocabulary import FACTS
from monitor.windows import Timer, Windows

MUTED_SECONDS = 60.0  # how soon after a mute interval silence is looked at again


class Watch(msgspec.Struct, frozen=True):
    """One matcher of one rule's condition, and what an event that it matches is to that condition."""

    rule: Rule
    condition: Condition
    matcher: Matcher
    role: str
    when: Callable[[Facts], bool] | None


class Plan(msgspec.Struct, frozen=True):
    """Rules indexed by the rarest value that each of them names, so that an event meets only those it may match.

    `order` numbers the conditions; `index` gives the watches by fact and value, `general` those that name none.
    `plain_statuses` are the names of statuses without errors that some rule waits for, None for any.
    `horizon_seconds` is how far back the journal must be read to fill the windows, `errors_horizon_seconds` the same
    for rules that only an error can match.
    """

    catalogue: Catalogue
    rules: dict[str, Rule]
    order: dict[str, int]
    index: tuple[tuple[str, dict[str, tuple[Watch, ...]]], ...]
    general: tuple[Watch, ...]
    plain_statuses: frozenset[str] | None
    hash: str
    horizon_seconds: float
    errors_horizon_seconds: float


class Signal(msgspec.Struct, frozen=True):
    """What is to be said of one rule in one group: its condition, or its `clear:`, holds or does not."""

    rule: Rule
    group: Group
    is_clear: bool
    held: Held
    at: float


class Outcome(msgspec.Struct, frozen=True):
    """What one event says of all rules; `late` are those for which it came too late."""

    signals: tuple[Signal, ...] = ()
    matched: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


class _Hit:
    """What an event is to one condition, by the first of its errors that matches."""

    __slots__ = ("aspect", "roles", "watch")

    def __init__(self, watch: Watch, aspect: aspects.Aspect) -> None:
        self.watch = watch
        self.aspect = aspect
        self.roles = {watch.role}


NOTHING = Outcome()


def plan(rule_set: RuleSet, catalogue: Catalogue) -> Plan:
    """Index the rules; the catalogue says what a code's class is, what it hits and whether to retry."""
    found = [watch for rule in rule_set.rules for watch in watches(rule)]
    shared = Counter(
        (fact, value)
        for watch in found
        for fact, test in watch.matcher.tests
        if isinstance(test, OneOf)
        for value in test.values
    )
    index: dict[str, dict[str, list[Watch]]] = {}
    general: list[Watch] = []
    for watch in found:
        named = {fact: test.values for fact, test in watch.matcher.tests if isinstance(test, OneOf)}
        if not named:
            general.append(watch)
            continue
        rarest = min(named, key=lambda fact: sum(shared[fact, value] for value in named[fact]))
        for value in named[rarest]:
            index.setdefault(rarest, {}).setdefault(value, []).append(watch)
    horizons = [
        (conditions.horizon_seconds(rule, condition), _needs_errors(condition))
        for rule in rule_set.rules
        for condition in filter(None, (rule.condition, rule.clear))
    ]
    return Plan(
        catalogue,
        {rule.name: rule for rule in rule_set.rules},
        {watch.condition.id: number for number, watch in enumerate(found)},
        tuple((fact, {value: tuple(found) for value, found in values.items()}) for fact, values in index.items()),
        tuple(general),
        _plain_statuses(found),
        rule_set.hash,
        max((seconds for seconds, needs_errors in horizons if not needs_errors), default=0.0),
        max((seconds for seconds, _ in horizons), default=0.0),
    )


def evaluate(
    plan: Plan, windows: Windows, event: MetaEvent, position: int, received_at: float, message: Message | None = None
) -> Outcome:
    """Return what follows from one event, in the order of the rules; enters the event in the windows.

    `message` is what is known of the message that the event is about.
    """
    if is_unwatched(plan, event):
        return NOTHING
    hits: dict[str, _Hit] = {}  # a rule acts once for an event, however many of its errors match
    for aspect in aspects.of(plan.catalogue, event, message):
        for watch in _candidates(plan, aspect.facts):
            if not matches(watch, aspect.facts):
                continue
            hit = hits.get(watch.condition.id)
            if hit is None:
                hits[watch.condition.id] = _Hit(watch, aspect)
            else:
                if watch.role == MATCH and MATCH not in hit.roles:
                    hit.aspect = aspect
                hit.roles.add(watch.role)
    return _entered(plan, windows, event, hits, position, received_at) if hits else NOTHING


def is_unwatched(plan: Plan, event: MetaEvent) -> bool:
    """Say whether no rule waits for such an event, as for most statuses."""
    if type(event) is not Status or event.errors:
        return not (plan.index or plan.general)
    return plan.plain_statuses is not None and event.status not in plan.plain_statuses


def matches(watch: Watch, facts: Facts) -> bool:
    """Say whether an event with these facts is one that a watch waits for."""
    matcher = watch.matcher
    return (
        all(holds(test, facts.get(name, "")) for name, test in matcher.tests)
        and not any(all(holds(test, facts.get(name, "")) for name, test in unless) for unless in matcher.unless)
        and (watch.when is None or watch.when(facts))
    )


def expire(plan: Plan, windows: Windows, timer: Timer) -> Signal | None:
    """Return what silence says at a timer's time."""
    rule = plan.rules.get(timer.condition.partition("/")[0])
    if rule is None:
        return None
    is_clear = timer.condition != rule.condition.id
    condition = rule.clear if is_clear else rule.condition
    if condition is None:
        return None
    if not is_clear and not is_active(rule, timer.at):
        windows.wake_at(msgspec.structs.replace(timer, at=timer.at + MUTED_SECONDS))
        return None
    held = conditions.expire(windows, condition, timer)
    return None if held is None else Signal(rule, timer.group, is_clear, held, timer.at)


def is_active(rule: Rule, at: float) -> bool:
    """Say whether a rule may fire at a time."""
    return (not rule.active or any(intervals.any_holds(one, at) for one in rule.active)) and not any(
        intervals.any_holds(one, at) for one in rule.mute
    )


def holds(test: Test, fact: str) -> bool:
    """Say whether a fact fulfils a test."""
    match test:
        case OneOf(values):
            return fact in values
        case Between(least, most):
            return fact.lstrip("-").isascii() and fact.lstrip("-").isdigit() and least <= int(fact) <= most
        case Like(pattern):
            return re2.fullmatch(pattern, fact) is not None


def watches(rule: Rule) -> Iterator[Watch]:
    """Yield what a rule waits for: its matcher, what that is held against, and the same of its `clear:`."""
    for condition in filter(None, (rule.condition, rule.clear)):
        when = expressions.compiled(condition.matcher.when, FACTS) if condition.matcher.when else None
        yield Watch(rule, condition, condition.matcher, MATCH, when)
        if condition.other is not None:
            yield Watch(rule, condition, condition.other, OTHER, None)


def _candidates(plan: Plan, facts: Facts) -> Iterator[Watch]:
    for fact, values in plan.index:
        value = facts.get(fact, "")
        if value in values:
            yield from values[value]
    yield from plan.general


def _entered(
    plan: Plan, windows: Windows, event: MetaEvent, hits: dict[str, _Hit], position: int, received_at: float
) -> Outcome:
    signals: list[Signal] = []
    matched: list[str] = []
    late: list[str] = []
    order = (
        sorted(hits.values(), key=lambda hit: plan.order[hit.watch.condition.id]) if len(hits) > 1 else hits.values()
    )
    for hit in order:
        rule, condition = hit.watch.rule, hit.watch.condition
        is_clear = condition is rule.clear
        if received_at - event.occurred_at > rule.max_age_seconds:
            late.append(rule.name)
            continue
        if MATCH in hit.roles and not is_clear:
            matched.append(rule.name)
        facts = hit.aspect.facts
        group = tuple(facts.get(name, "") for name in rule.by)
        about = aspects.about(plan.catalogue, hit.aspect)
        sighting = aspects.sighted(event, facts, windows.shared(about), position, received_at)
        held = conditions.enter(windows, rule, condition, group, sighting, facts, hit.roles)
        if held is not None and (is_clear or is_active(rule, sighting.at)):
            signals.append(Signal(rule, group, is_clear, held, received_at))
    return Outcome(tuple(signals), tuple(matched), tuple(late))


def _needs_errors(condition: Condition) -> bool:
    """Say whether only an event with an error can match."""
    found = [_has_error_fact(matcher.tests) for matcher in (condition.matcher, condition.other) if matcher is not None]
    return all(found)


def _has_error_fact(tests: Tests) -> bool:
    return any(
        fact in {"code", "class", "hits", "retryable"} and not (isinstance(test, OneOf) and "" in test.values)
        for fact, test in tests
    )


def _plain_statuses(watches: Sequence[Watch]) -> frozenset[str] | None:
    """Return the names of statuses without errors that some watch waits for; None where one takes any name."""
    names: set[str] = set()
    for watch in watches:
        tests = dict(watch.matcher.tests)
        if _has_error_fact(watch.matcher.tests) or _is_never_status(tests):
            continue
        named = tests.get("status")
        if not isinstance(named, OneOf):
            return None
        names |= named.values
    return frozenset(names)


def _is_never_status(tests: dict[str, Test]) -> bool:
    for fact, test in tests.items():
        if isinstance(test, OneOf) and "" in test.values:
            continue
        if fact == "kind" and isinstance(test, OneOf) and "status" not in test.values:
            return True
        if fact in KINDS_OF and "status" not in KINDS_OF[fact]:
            return True
        if fact == "field" and isinstance(test, OneOf) and "messages" not in test.values:
            return True
    return False
