"""Explanations: why a rule does or does not act on an event, fact by fact, and where its condition stands."""

from collections.abc import Iterator

import msgspec

from monitor import aspects, conditions, engine
from monitor.aspects import Facts
from monitor.engine import Plan, Watch
from monitor.events import MetaEvent
from monitor.messages import Message
from monitor.rules import Between, Like, OneOf, Rule, Test
from monitor.windows import Windows


class Check(msgspec.Struct, frozen=True):
    """One test of a matcher: the fact, what was wanted and what the event has."""

    fact: str
    wanted: str
    found: str
    is_held: bool


class Explanation(msgspec.Struct, frozen=True):
    """What one matcher says of an event: `role` is match, of, then, or the same of a rule's `clear:`.

    `excluded` are the `unless:` that take it away; `when` is None where there is no expression.
    """

    rule: str
    role: str
    checks: tuple[Check, ...]
    excluded: tuple[str, ...]
    when: bool | None
    is_matched: bool
    standing: str


def of(
    plan: Plan, windows: Windows, event: MetaEvent, message: Message | None, received_at: float
) -> list[Explanation]:
    """Explain an event to every rule; of several errors in it the one that fulfils most speaks."""
    found = aspects.of(plan.catalogue, event, message)
    explained: list[Explanation] = []
    for rule in plan.rules.values():
        for watch in engine.watches(rule):
            best = max(found, key=lambda aspect: _score(watch, aspect.facts))
            explained.append(_explained(watch, best.facts, windows, received_at))
    return explained


def wanted(test: Test) -> str:
    """Return a test in words."""
    match test:
        case OneOf(values):
            return " or ".join(sorted(values)) if len(values) < 6 else f"one of {len(values)} values"
        case Between(least, most):
            return f"{least} to {most}"
        case Like(pattern):
            return f"like {pattern}"


def _score(watch: Watch, facts: Facts) -> tuple[bool, int]:
    held = [engine.holds(test, facts.get(fact, "")) for fact, test in watch.matcher.tests]
    return engine.matches(watch, facts), sum(held)


def _explained(watch: Watch, facts: Facts, windows: Windows, received_at: float) -> Explanation:
    matcher, rule = watch.matcher, watch.rule
    checks = tuple(
        Check(fact, wanted(test), facts.get(fact, ""), engine.holds(test, facts.get(fact, "")))
        for fact, test in matcher.tests
    )
    excluded = tuple(
        ", ".join(f"{fact} {wanted(test)}" for fact, test in unless)
        for unless in matcher.unless
        if all(engine.holds(test, facts.get(fact, "")) for fact, test in unless)
    )
    when = None if watch.when is None else watch.when(facts)
    group = tuple(facts.get(name, "") for name in rule.by)
    return Explanation(
        rule.name,
        _role(watch),
        checks,
        excluded,
        when,
        engine.matches(watch, facts),
        conditions.described(windows, watch.condition, group, received_at),
    )


def _role(watch: Watch) -> str:
    other = {"Ratio": "of", "Absent": "of", "Sequence": "then"}.get(type(watch.condition.kind).__name__, "")
    role = "match" if watch.role == conditions.MATCH else other
    return role if watch.condition is watch.rule.condition else f"clear.{role}"


def text(explanations: list[Explanation], rules: dict[str, Rule]) -> Iterator[str]:
    """Yield lines for people: the rules that match first, then what the others miss."""
    for explanation in sorted(explanations, key=lambda one: not one.is_matched):
        rule = rules[explanation.rule]
        mark = "matches" if explanation.is_matched else "does not match"
        mode = "" if rule.mode == "enforce" else f" [{rule.mode}]"
        yield f"{explanation.rule}{mode} ({explanation.role}): {mark}"
        for check in explanation.checks:
            yield f"    {'+' if check.is_held else '-'} {check.fact}: {check.found or '(none)'}, wanted {check.wanted}"
        for unless in explanation.excluded:
            yield f"    - unless {unless}"
        if explanation.when is not None:
            yield f"    {'+' if explanation.when else '-'} when: {rule.condition.matcher.when}"
        if explanation.is_matched and explanation.standing:
            yield f"    = {explanation.standing}"
