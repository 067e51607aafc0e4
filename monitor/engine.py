"""Rules over events: which actions follow from one event, given the windows of those before it.

The only input is the journal: each event's own time and its delivery's time of receipt. So live, replay and tests give
the same actions from the same journal, in whatever batches it is read.
"""

import bisect
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

import msgspec
import re2

from monitor import aspects
from monitor.actions import (
    EVIDENCE_KEPT,
    SCOPES,
    Action,
    AlertAction,
    Evidence,
    FlagAction,
    PauseAction,
    ResendAction,
)
from monitor.aspects import Facts
from monitor.codes import Catalogue
from monitor.events import MetaEvent
from monitor.messages import Message
from monitor.rules import Between, FlagSpec, Like, OneOf, PauseSpec, Rule, RuleSet, Test

LATENESS_SECONDS = 3600.0  # how much later than its neighbours an event may arrive and still share their window
ENTRIES_MOST = 20_000  # per window; twice the highest `at_least`
GROUPS_MOST = 10_000  # per rule; the group that has been silent longest goes first
SOURCES_FROM = 1_000  # the newest entries that the top sources are counted from
SOURCES_MOST = 5
QUIET_SECONDS = 300.0  # an alert without a pause ends after this long without evidence, as Alertmanager's default


class Plan(msgspec.Struct, frozen=True):
    """Rules indexed by the codes that they name, so that an event meets only those that it can match.

    `horizon_seconds` is how far back the journal must be read to fill the windows, 0 where no rule counts.
    """

    catalogue: Catalogue
    by_code: dict[str, tuple[Rule, ...]]
    general: tuple[Rule, ...]
    hash: str
    horizon_seconds: float
    counts_only_errors: bool


class Window:
    """The matching events of one rule and group, sorted by event time."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Evidence] = []

    def add(self, evidence: Evidence, within_seconds: float) -> None:
        """Insert an event and forget those that no later one can share a window with."""
        oldest = evidence.received_at - within_seconds - LATENESS_SECONDS
        if self.entries and self.entries[0].received_at < oldest:
            self.entries = [entry for entry in self.entries if entry.received_at >= oldest]
        bisect.insort(self.entries, evidence, key=_at)
        if len(self.entries) > ENTRIES_MOST:
            del self.entries[: len(self.entries) - ENTRIES_MOST]

    def around(self, evidence: Evidence, within_seconds: float, at_least: int) -> list[Evidence]:
        """Return the entries of the fullest stretch of `within_seconds` that holds the event, if they are enough."""
        first = bisect.bisect_left(self.entries, evidence.at - within_seconds, key=_at)
        last = bisect.bisect_right(self.entries, evidence.at + within_seconds, key=_at)
        near = self.entries[first:last]
        if len(near) < at_least:
            return []
        best = (0, 0)
        end = 0
        for start, entry in enumerate(near):
            if entry.at > evidence.at:
                break
            while end < len(near) and near[end].at <= entry.at + within_seconds:
                end += 1
            if end - start > best[1] - best[0]:
                best = (start, end)
            if end == len(near):
                break
        found = near[best[0] : best[1]]
        return found if len(found) >= at_least else []


class Windows:
    """All windows of the rules in force: memory only, rebuilt from the journal at start and after a failed commit."""

    def __init__(self) -> None:
        self._rules: dict[str, OrderedDict[tuple[str, ...], Window]] = {}

    def of(self, rule: Rule, group: tuple[str, ...]) -> Window:
        """Return the window of a rule's group, making room where there are too many."""
        groups = self._rules.setdefault(rule.name, OrderedDict())
        window = groups.get(group)
        if window is None:
            window = groups[group] = Window()
            if len(groups) > GROUPS_MOST:
                groups.popitem(last=False)
        else:
            groups.move_to_end(group)
        return window


def plan(rule_set: RuleSet, catalogue: Catalogue) -> Plan:
    """Index the rules; the catalogue says what a code's class is, what it hits and whether to retry."""
    by_code: dict[str, list[Rule]] = {}
    general: list[Rule] = []
    for rule in rule_set.rules:
        test = dict(rule.tests).get("code")
        if isinstance(test, OneOf):
            for code in test.values:
                by_code.setdefault(code, []).append(rule)
        else:
            general.append(rule)
    longest = max((rule.within_seconds for rule in rule_set.rules if rule.count_at_least > 1), default=None)
    return Plan(
        catalogue,
        {code: tuple(rules) for code, rules in by_code.items()},
        tuple(general),
        rule_set.hash,
        0.0 if longest is None else longest + LATENESS_SECONDS,
        all(rule.count_at_least == 1 for rule in general),
    )


def evaluate(
    plan: Plan, windows: Windows, event: MetaEvent, position: int, received_at: float, message: Message | None = None
) -> list[Action]:
    """Return the actions that follow from one event, in the order of the rules; enters the event in the windows.

    `message` is what is known of the message that the event is about.
    """
    if not plan.general and not aspects.errors(event):
        return []
    actions: list[Action] = []
    fired: set[str] = set()  # a rule acts once for an event, however many of its errors match
    for aspect in aspects.of(plan.catalogue, event, message):
        facts = aspect.facts
        for rule in (*plan.by_code.get(facts.get("code", ""), ()), *plan.general):
            if rule.name not in fired and all(_holds(test, facts.get(name, "")) for name, test in rule.tests):
                fired.add(rule.name)
                evidence = aspects.evidence(plan.catalogue, event, aspect, position, received_at)
                actions.extend(_fire(rule, windows, facts, evidence))
    return actions


def _fire(rule: Rule, windows: Windows, facts: Facts, evidence: Evidence) -> Iterator[Action]:
    matching: Sequence[Evidence] = (evidence,)
    if rule.count_at_least > 1:
        window = windows.of(rule, tuple(facts.get(name, "") for name in rule.by))
        window.add(evidence, rule.within_seconds)
        matching = window.around(evidence, rule.within_seconds, rule.count_at_least)
        if not matching:
            return
    newest = tuple(matching[-EVIDENCE_KEPT:])
    group = tuple((name, facts.get(name, "")) for name in rule.by)
    pause: PauseAction | None = None
    for spec in rule.actions:
        if spec.pause is not None:
            pause = _pause(rule, spec.pause, facts, newest)
            yield pause
        elif spec.flag is not None:
            yield FlagAction(rule.name, rule.summary, group, _sources(spec.flag, matching), newest)
        elif spec.resend is not None:
            yield ResendAction(rule.name, spec.resend.after, newest)
    for spec in rule.actions:
        if spec.alert is not None:
            about = ((pause.scope, pause.scope_id),) if pause else group or _sender(facts)
            quiet_seconds = max(QUIET_SECONDS, 2 * rule.within_seconds)
            yield AlertAction(rule.name, rule.summary, spec.alert.severity, about, quiet_seconds, newest)


def _pause(rule: Rule, spec: PauseSpec, facts: Facts, evidence: tuple[Evidence, ...]) -> PauseAction:
    scope, scope_id = _told_scope(spec.scope, facts)
    return PauseAction(rule.name, rule.summary, scope, scope_id, spec.lane, spec.seconds, spec.scope, evidence)


def _told_scope(asked: str, facts: Facts) -> tuple[str, str]:
    """Return the asked scope or the next narrower one whose id the event tells; everything where it tells none."""
    ids = {
        "waba": facts["waba_id"],
        "phone_number": facts["phone_number_id"],
        "template": facts.get("template", ""),
        "recipient": facts["recipient"],
    }
    if asked != "all":
        for scope in SCOPES[SCOPES.index(asked) :]:
            if ids.get(scope):
                return scope, ids[scope]
    return "all", ""


def _sources(spec: FlagSpec, matching: Sequence[Evidence]) -> dict[str, dict[str, int]]:
    newest = matching[-SOURCES_FROM:]
    sources: dict[str, dict[str, int]] = {}
    for name in spec.evidence:
        values = Counter(str(value) for entry in newest if (value := getattr(entry, name, None)) not in {None, ""})
        if values:
            sources[name] = dict(values.most_common(SOURCES_MOST))
    return sources


def _sender(facts: Facts) -> tuple[tuple[str, str], ...]:
    return tuple((name, facts[name]) for name in ("waba_id", "phone_number_id") if facts[name])


def _holds(test: Test, fact: str) -> bool:
    match test:
        case OneOf(values):
            return fact in values
        case Between(least, most):
            return fact.lstrip("-").isascii() and fact.lstrip("-").isdigit() and least <= int(fact) <= most
        case Like(pattern):
            return re2.fullmatch(pattern, fact) is not None


def _at(evidence: Evidence) -> float:
    return evidence.at
