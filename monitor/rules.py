"""Rules as frozen records: what must hold, how long a firing lasts, and what to do."""

import msgspec

from monitor.grammar import ActionSpec
from monitor.intervals import Interval

ENFORCE, SHADOW = "enforce", "shadow"


class OneOf(msgspec.Struct, frozen=True):
    """The fact is one of these, compared as text."""

    values: frozenset[str]


class Between(msgspec.Struct, frozen=True):
    """The fact is a whole number from `least` to `most`."""

    least: int
    most: int


class Like(msgspec.Struct, frozen=True):
    """The whole fact fulfils an RE2 expression."""

    pattern: str


Test = OneOf | Between | Like
Tests = tuple[tuple[str, Test], ...]


class Matcher(msgspec.Struct, frozen=True):
    """Which events count: all the tests hold, none of `unless` does, and the expression `when`, if any, is true."""

    tests: Tests
    unless: tuple[Tests, ...] = ()
    when: str = ""


class Each(msgspec.Struct, frozen=True):
    """Every matching event by itself."""


class Count(msgspec.Struct, frozen=True):
    """So many matching events within a stretch of time; of `distinct`, a fact, so many different values."""

    at_least: int
    within_seconds: float
    distinct: str = ""


class Ratio(msgspec.Struct, frozen=True):
    """The share of matching events among those of the other matcher, of which there are at least `minimum`."""

    within_seconds: float
    minimum: int
    at_least: float | None
    at_most: float | None


class Increase(msgspec.Struct, frozen=True):
    """At least `at_least` matching events, and `times` as many as in the `against_seconds` before, taken evenly."""

    times: float
    within_seconds: float
    against_seconds: float
    at_least: int


class Absent(msgspec.Struct, frozen=True):
    """Nothing for so long: no next matching event, or where `is_answer`, none of the other matcher after one."""

    seconds: float
    is_answer: bool


class Sequence(msgspec.Struct, frozen=True):
    """An event of the other matcher no later than this after a matching one."""

    within_seconds: float


class Change(msgspec.Struct, frozen=True):
    """A fact is another than it was, from one of `before` to one of `after`; None stands for any value."""

    fact: str
    before: frozenset[str] | None
    after: frozenset[str] | None


Kind = Each | Count | Ratio | Increase | Absent | Sequence | Change


class Condition(msgspec.Struct, frozen=True):
    """What must hold. `id` is the rule's name, for its `clear:` with a mark; `other` is the kind's second matcher."""

    id: str
    matcher: Matcher
    kind: Kind
    other: Matcher | None = None

    @property
    def lasts(self) -> bool:
        """Whether it holds until something ends it, rather than as long as evidence keeps coming."""
        return isinstance(self.kind, Absent) or (isinstance(self.kind, Change) and self.kind.after is not None)


class Rule(msgspec.Struct, frozen=True):
    """A rule that is right. `keep_seconds` None stands for the default of its condition."""

    name: str
    summary: str
    mode: str
    condition: Condition
    clear: Condition | None
    by: tuple[str, ...]
    for_seconds: float
    keep_seconds: float | None
    cooldown_seconds: float
    remind_seconds: float | None
    max_age_seconds: float
    active: tuple[tuple[Interval, ...], ...]
    mute: tuple[tuple[Interval, ...], ...]
    runbook: str
    actions: tuple[ActionSpec, ...]
    place: str


class RuleSet(msgspec.Struct, frozen=True):
    """The rules in force and the hash of the text they came from."""

    rules: tuple[Rule, ...]
    hash: str


def enforced(rule_set: RuleSet) -> RuleSet:
    """Return the rules with shadows doing what they would do."""
    return RuleSet(tuple(msgspec.structs.replace(rule, mode=ENFORCE) for rule in rule_set.rules), rule_set.hash)
