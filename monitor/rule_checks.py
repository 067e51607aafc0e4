"""What is wrong with rules that can be read: they can never fire, do nothing of their own, or loosen what protected."""

from collections.abc import Iterator, Mapping

from monitor import codes, messages, pseudonyms, validation
from monitor.aspects import KINDS_OF
from monitor.document import Mistake
from monitor.grammar import ActionSpec, PauseSpec, ThrottleSpec
from monitor.rules import ENFORCE, Between, Condition, Each, Like, Matcher, OneOf, Rule, RuleSet, Test, Tests

KNOWN: Mapping[str, frozenset[str]] = {
    "kind": frozenset(
        {"status", "message", "error", "account", "sent", "send_failed", "presumed_expired", "anomaly", "new_code",
         "unparsed", "duplicate", "send_unknown"}),
    "origin": frozenset({"status", "webhook", "message", "send", "account", "presumed"}),
    "class": frozenset(codes.CLASSES),
    "hits": frozenset(codes.HITS),
    "retryable": frozenset(codes.RETRYABLE),
    "anomaly": frozenset(messages.ANOMALIES),
    "trigger": frozenset({"retry_after_timeout", "double_enqueue", "two_replicas", "repeat"}),
}  # fmt: skip
"""Facts whose values are ours, so that another word is a slip."""
META_STATUSES = frozenset({"sent", "delivered", "read", "played", "deleted", "warning", "failed", "pending"})
COMPARED_MOST = 200  # rules before each one: of thousands that are alike, all pairs would take minutes
_SCOPES_WITHIN = ("all", "waba", "phone_number")  # each holds those that follow


def mistakes(rule: Rule) -> Iterator[Mistake]:
    """Yield why the rule can never fire."""
    for condition in filter(None, (rule.condition, rule.clear)):
        where = "clear" if condition is rule.clear else ""
        for matcher in filter(None, (condition.matcher, condition.other)):
            for reason in _impossible(matcher):
                yield _at(rule, where, f"can never fire: {reason}")


def warnings(rule_set: RuleSet) -> Iterator[Mistake]:
    """Yield what is probably a slip: values that nobody ever sent so far, and rules that another one makes needless."""
    for rule in rule_set.rules:
        for condition in filter(None, (rule.condition, rule.clear)):
            for matcher in filter(None, (condition.matcher, condition.other)):
                for where, tests in (("match", matcher.tests), *(("unless", tests) for tests in matcher.unless)):
                    for fact, test in tests:
                        yield from (_at(rule, f"{where}.{fact}", told) for told in _strange(fact, test))
    alike: dict[object, list[Rule]] = {}
    for rule in rule_set.rules:
        known = alike.setdefault((rule.condition.kind, rule.by, rule.mode), [])
        for other in known[-COMPARED_MOST:]:
            for one, by in ((rule, other), (other, rule)):
                if _is_covered(one, by):
                    yield _at(one, "", f"does nothing that {by.name} ({by.place}) does not do already")
                    break
        known.append(rule)


def loosened(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield how other rules would stop less than those in force, one sentence each."""
    rules = {rule.name: rule for rule in after.rules}
    for rule in before.rules:
        stops = _stops(rule)
        if rule.mode != ENFORCE or not stops:
            continue
        now = rules.get(rule.name)
        if now is None:
            yield f"rule {rule.name}, which pauses sending, is gone"
        elif now.mode != ENFORCE:
            yield f"rule {rule.name}, which pauses sending, is only a shadow"
        elif not all(any(_is_as_strict(stop, one) for one in _stops(now)) for stop in stops):
            yield f"rule {rule.name} pauses less than it did"
        elif not _holds_as_often(rule, now):
            yield f"the condition of rule {rule.name}, which pauses sending, is another"


def _at(rule: Rule, path: str, message: str) -> Mistake:
    file, line, column = rule.place.rsplit(":", 2)
    return Mistake(file, int(line), int(column), f"{rule.name}.{path}" if path else rule.name, message)


def _strange(fact: str, test: Test) -> Iterator[str]:
    """Yield which values of a test no event has, be there others or not."""
    if not isinstance(test, OneOf):
        return
    known = META_STATUSES if fact == "status" else KNOWN.get(fact, test.values)
    for value in sorted(test.values - known - {""}):
        told = f"Meta sends no status {value!r}" if fact == "status" else f"{fact} is never {value!r}"
        yield validation.with_guess(told, value, sorted(known))
    if fact == "recipient" and any(pseudonyms.written(value).isdigit() for value in test.values):
        yield "a number is never compared, but its keyed hash, which `messages --recipient NUMBER` shows"


def _impossible(matcher: Matcher) -> Iterator[str]:
    kinds: frozenset[str] = KNOWN["kind"]
    because: list[str] = []
    for fact, test in matcher.tests:
        if isinstance(test, Between) and test.least > test.most:
            yield f"{fact}: the range from {test.least} to {test.most} is empty"
        if isinstance(test, OneOf) and "" in test.values and fact != "kind":
            continue
        known = KNOWN.get(fact)
        if known is not None and isinstance(test, OneOf) and not test.values & known:
            value = min(test.values, default="")
            yield validation.with_guess(f"{fact} is never {value!r}", value, sorted(known))
        having = test.values & KNOWN["kind"] if fact == "kind" and isinstance(test, OneOf) else KINDS_OF.get(fact)
        if having is not None:
            because.append(fact)
            kinds &= having
    if not kinds:
        yield f"no event has all of {', '.join(because)}"
    for unless in matcher.unless:
        if all(_is_within_any(matcher.tests, fact, test) for fact, test in unless):
            yield "`unless:` takes away all that `match:` finds"


def _is_within_any(tests: Tests, fact: str, wider: Test) -> bool:
    return any(name == fact and _is_within(test, wider) for name, test in tests)


def _is_within(narrow: Test, wide: Test) -> bool:
    """Say whether whatever fulfils one test fulfils the other; of expressions only where they are the same."""
    match narrow, wide:
        case OneOf(values), OneOf(others):
            return values <= others
        case OneOf(values), Between(least, most):
            return all(value.lstrip("-").isdigit() and least <= int(value) <= most for value in values)
        case Between(), Between():
            return wide.least <= narrow.least and narrow.most <= wide.most
        case Like(), Like():
            return narrow == wide
        case _:
            return False


def _is_narrower(narrow: Matcher, wide: Matcher) -> bool:
    """Say whether every event of one matcher is one of the other's, as far as that can be told."""
    return (
        all(_is_within_any(narrow.tests, fact, test) for fact, test in wide.tests)
        and set(wide.unless) <= set(narrow.unless)
        and wide.when in {"", narrow.when}
    )


def _is_covered(rule: Rule, by: Rule) -> bool:
    same = (rule.for_seconds, rule.cooldown_seconds, rule.clear) == (by.for_seconds, by.cooldown_seconds, by.clear)
    if not same or rule.max_age_seconds > by.max_age_seconds or by.active != rule.active or by.mute != rule.mute:
        return False
    if isinstance(rule.condition.kind, Each):
        is_held = _is_narrower(rule.condition.matcher, by.condition.matcher)
    else:
        is_held = (rule.condition.matcher, rule.condition.other) == (by.condition.matcher, by.condition.other)
    return is_held and all(any(_does(done, action) for done in by.actions) for action in rule.actions)


def _does(done: ActionSpec, asked: ActionSpec) -> bool:
    stop = asked.pause or asked.throttle
    other = done.pause or done.throttle
    return done == asked or (stop is not None and other is not None and _is_as_strict(stop, other))


def _stops(rule: Rule) -> list[PauseSpec | ThrottleSpec]:
    return [stop for action in rule.actions if (stop := action.pause or action.throttle) is not None]


def _is_as_strict(asked: PauseSpec | ThrottleSpec, done: PauseSpec | ThrottleSpec) -> bool:
    """Say whether one stop holds back all that the other does, for at least as long."""
    return _is_as_wide(asked, done) and _is_as_long(asked, done)


def _is_as_wide(asked: PauseSpec | ThrottleSpec, done: PauseSpec | ThrottleSpec) -> bool:
    is_wider = (
        done.scope in _SCOPES_WITHIN
        and asked.scope in _SCOPES_WITHIN
        and _SCOPES_WITHIN.index(done.scope) <= _SCOPES_WITHIN.index(asked.scope)
    )
    lanes = ("all", "business_initiated", "marketing")
    is_same = done.scope in {asked.scope, "all"} or is_wider
    return is_same and lanes.index(done.lane) <= lanes.index(asked.lane)


def _is_as_long(asked: PauseSpec | ThrottleSpec, done: PauseSpec | ThrottleSpec) -> bool:
    match asked, done:
        case PauseSpec(), PauseSpec():
            if done.until is not None:
                return done.until == "resumed" or asked.until == "cleared"
            return asked.until is None and (done.seconds or 0.0) >= (asked.seconds or 0.0)
        case ThrottleSpec(), ThrottleSpec():
            return done.rate <= asked.rate and done.seconds >= asked.seconds and done.restore == asked.restore
        case ThrottleSpec(), PauseSpec():
            return done.until == "resumed" or (done.seconds or 0.0) >= asked.seconds
        case _:
            return False


def _holds_as_often(before: Rule, after: Rule) -> bool:
    """Say whether a rule's condition holds at least as often as before, as far as that can be told."""
    life = (before.for_seconds, before.cooldown_seconds, before.clear, before.active, before.mute, before.by)
    now = (after.for_seconds, after.cooldown_seconds, after.clear, after.active, after.mute, after.by)
    if life != now or after.max_age_seconds < before.max_age_seconds:
        return False
    return _is_condition_wider(before.condition, after.condition)


def _is_condition_wider(before: Condition, after: Condition) -> bool:
    if before.kind != after.kind or before.other != after.other:
        return False
    if isinstance(before.kind, Each):
        return _is_narrower(before.matcher, after.matcher)
    return before.matcher == after.matcher
