"""Layers, checks and loosening: what files say together, what can never fire, what would stop less."""

import time

import pytest

from monitor import document, duplicates, rule_checks, rule_files
from monitor.document import Mistaken
from monitor.grammar import KINDS, ConditionSpec
from monitor.rules import Count, RuleSet

PAUSE = "actions: [{pause: {scope: waba, until: resumed}}]"


def load(*texts: str) -> RuleSet:
    return rule_files.load((f"{number}.yml", text.encode()) for number, text in enumerate(texts))


def mistakes(*texts: str) -> list[str]:
    with pytest.raises(Mistaken) as caught:
        load(*texts)
    return [str(mistake) for mistake in caught.value.mistakes]


def warnings(text: str) -> list[str]:
    return [str(one) for one in rule_files.read([("file.yml", text.encode())]).warnings]


def test_an_override_says_only_what_is_different() -> None:
    base = "rules: [{name: one, summary: kept, match: {code: 1}, count: {at_least: 5, within: 1m}, actions: [flag]}]"
    own = "override: [{name: one, count: {at_least: 9, within: 2m}, mode: shadow}]"

    (rule,) = load(base, own).rules

    assert (rule.summary, rule.mode, rule.condition.kind) == ("kept", "shadow", Count(9, 120.0))


def test_an_empty_key_takes_one_away_and_another_kind_may_come() -> None:
    base = "rules: [{name: one, match: {code: 1}, count: {at_least: 5, within: 1m}, actions: [flag]}]"
    own = "override: [{name: one, count: , distinct: {of: recipient, at_least: 2, within: 1h}}]"

    (rule,) = load(base, own).rules

    assert rule.condition.kind == Count(2, 3600.0, "recipient")


def test_later_layers_win_and_a_rule_can_be_off() -> None:
    base = "rules: [{name: one, match: {code: 1}, actions: [flag]}, {name: two, match: {code: 2}, actions: [flag]}]"

    rules = load(base, "override: [{name: one, mode: shadow}]", "override: [{name: one, mode: off}]").rules

    assert [rule.name for rule in rules] == ["two"]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("override: [{name: oen, mode: shadow}]", "1.yml:1:13: override[0].name: no rule is named oen; allowed: one"),
        ("override: [{name: one, cuont: {}}]", "1.yml:1:24: override[0].cuont: unknown key"),
        ("override: [{name: one, cooldown: 5}]", "1.yml:1:24: override[0].cooldown: not a duration"),
        ("override: [{name: one, ratio: {of: {code: 2}, within: 1m, minimum: 1, at_least: 1}}]", "at most one kind"),
        ("override: [{mode: shadow}]", "override[0].name: required"),
        ("rules: [{name: one, match: {code: 2}, actions: [flag]}]", "stands already at 0.yml:1; say what is different"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_where_it_stands(own: str, told: str) -> None:
    base = "rules: [{name: one, match: {code: 1}, count: {at_least: 5, within: 1m}, actions: [flag]}]"

    found = mistakes(base, own)

    assert any(told in one for one in found), found


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("match: {status: failed, message_type: text}", "no event has all of status, message_type"),
        ("match: {kind: account, code: 368}", "no event has all of kind, code"),
        ("match: {kind: stauts}", "kind is never 'stauts'; allowed: account, anomaly"),
        ("match: {retryable: sometimes}", "retryable is never 'sometimes'"),
        ("match: {class: polcy_block}", "did you mean policy_block?"),
        ("match: {anomaly: unknown_sent}", "did you mean unknown_send?"),
        ("match: {trigger: twice}", "trigger is never 'twice'; allowed: double_enqueue, repeat"),
        ("match: {code: {from: 9, to: 1}}", "the range from 9 to 1 is empty"),
        ("match: {code: [1, 2]}, unless: {code: {from: 0, to: 9}}", "takes away all"),
        ("match: {code: 1}, clear: {match: {status: sent, field: account_update, event: X}}", "no event has all of"),
        ("match: {status: failed}, ratio: {of: {anomaly: x, status: y}, within: 1m, minimum: 1, at_least: 1}", "no ev"),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_fire_is_a_mistake(about: str, told: str) -> None:
    found = mistakes(f"rules:\n  - {{name: one, {about}, actions: [flag]}}")

    assert any(one.startswith("0.yml:2:5: one") and "can never fire" in one and told in one for one in found), found


@pytest.mark.parametrize(
    "match", ["{code: 368}", "{category: ''}", "{kind: presumed_expired, code: 131043}", "{event: X}", "{class: ''}"]
)
def test_a_rule_that_can_fire_is_none(match: str) -> None:
    assert len(load(f"rules: [{{name: one, match: {match}, actions: [flag]}}]").rules) == 1


def test_a_status_that_meta_never_sends_is_a_warning() -> None:
    found = warnings("rules: [{name: one, match: {status: [delivred, sent]}, actions: [flag]}]")

    assert found == [
        "file.yml:1:9: one.match.status: Meta sends no status 'delivred'; "
        "allowed: deleted, delivered, failed, pending, played, read, sent, warning; did you mean delivered?"
    ]


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("match: {class: [quality, polcy_block]}", "one.match.class: class is never 'polcy_block'"),
        ("match: {code: 1}, unless: {trigger: twice}", "one.unless.trigger: trigger is never 'twice'"),
        ("match: {recipient: '15550100001'}", "one.match.recipient: a number is never compared, but its keyed hash"),
        ("match: {recipient: +1 555 010-0001}", "one.match.recipient: a number is never compared"),
    ],
)
def test_a_value_that_no_event_has_is_a_warning(about: str, told: str) -> None:
    (found,) = warnings(f"rules: [{{name: one, {about}, actions: [flag]}}]")

    assert told in found
    assert "010" not in found


def test_the_triggers_are_those_of_repeated_sends() -> None:
    assert rule_checks.KNOWN["trigger"] == set(duplicates.TRIGGERS)


@pytest.mark.parametrize(
    ("other", "is_covered"),
    [
        ("match: {code: 368, status: failed}, actions: [{pause: {scope: phone_number, for: 1h}}]", True),
        ("match: {code: 368}, actions: [{pause: {scope: waba, lane: marketing, until: resumed}}]", True),
        ("match: {code: [368, 131048]}, actions: [{pause: {scope: waba, until: resumed}}]", False),
        ("match: {code: 368}, actions: [{pause: {scope: all, until: resumed}}]", False),
        ("match: {code: 368}, actions: [alert]", False),
        ("match: {code: 368}, max_age: 2h, actions: [{pause: {scope: waba, until: resumed}}]", False),
        ("match: {code: 368}, mode: shadow, actions: [{pause: {scope: waba, until: resumed}}]", False),
    ],
)
def test_a_rule_that_another_makes_needless_is_a_warning(other: str, is_covered: bool) -> None:
    found = warnings(f"rules:\n  - {{name: block, match: {{code: 368}}, {PAUSE}}}\n  - {{name: other, {other}}}")

    assert [one for one in found if "other: does nothing" in one] == (
        ["file.yml:3:5: other: does nothing that block (file.yml:2:5) does not do already"] if is_covered else []
    )


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("", "rule block, which pauses sending, is gone"),
        ("{name: block, mode: shadow, match: {code: 368}, " + PAUSE + "}", "only a shadow"),
        ("{name: block, match: {code: 368}, actions: [{pause: {scope: phone_number, until: resumed}}]}", "pauses less"),
        ("{name: block, match: {code: 368}, actions: [{pause: {scope: waba, for: 9d}}]}", "pauses less"),
        ("{name: block, match: {code: 368}, actions: [alert]}", "pauses less"),
        ("{name: block, match: {code: 368, category: marketing}, " + PAUSE + "}", "the condition"),
        ("{name: block, match: {code: 368}, count: {at_least: 2, within: 1m}, " + PAUSE + "}", "the condition"),
        ("{name: block, match: {code: 368}, cooldown: 1h, " + PAUSE + "}", "the condition"),
        ("{name: block, match: {code: 368}, max_age: 1m, " + PAUSE + "}", "the condition"),
        ("{name: block, match: {code: 368}, " + PAUSE + "}", None),
        ("{name: block, match: {code: [368, 1]}, max_age: 2h, " + PAUSE + "}", None),
        ("{name: block, match: {code: 368}, actions: [alert, {pause: {scope: all, until: resumed}}]}", None),
    ],
)
def test_rules_that_would_stop_less_are_told(after: str, told: str | None) -> None:
    before = load("rules: [{name: block, match: {code: 368}, " + PAUSE + "}]")

    found = list(rule_checks.loosened(before, load(f"rules: [{after}]")))

    assert (found == []) if told is None else (told in found[0])


def test_shadows_and_alerts_may_go_unasked() -> None:
    two = "{name: two, mode: shadow, match: {code: 2}, " + PAUSE + "}"
    before = load("rules: [{name: one, match: {code: 1}, actions: [alert]}, " + two + "]")

    assert list(rule_checks.loosened(before, load("rules: []"))) == []


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("ratio: {of: {status: sent}, within: 1m, minimum: 1}", "say one of `at_least:` and `at_most:`"),
        ("ratio: {of: {status: sent}, within: 1m, minimum: 1, at_least: 1.5}", "less than or equal to 1"),
        ("ratio: {of: {status: sent}, within: 1m, minimum: 1, at_least: nan}", "finite number"),
        ("distinct: {of: recipient, at_least: 1, within: 1m}", "greater than or equal to 2"),
        ("increase: {times: 1, within: 1m, at_least: 1}", "greater than 1"),
        ("absent: {for: 10y}", "less than or equal"),
        ("sequence: {then: {}, within: 1m}", "at least 1 item"),
        ("for: 1m", "`for:` needs something that lasts"),
        ("for: 1m, sequence: {then: {code: 2}, within: 1m}", "`for:` needs something that lasts"),
        ("for: 1m, change: {of: quality}", "needs `to:`"),
        ("remind: 1h", "`remind:` repeats an alert"),
        ("active_time_intervals: [ofice]", "no time interval is named ofice"),
        ("runbook: javascript:alert(1)", "must fulfil"),
        ("mode: enforced", "did you mean enforce?"),
    ],
)
def test_what_makes_no_sense_together_is_a_mistake(about: str, told: str) -> None:
    found = mistakes(f"rules: [{{name: one, match: {{code: 1}}, {about}, actions: [flag]}}]")

    assert any(told in one for one in found), found


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("{pause: {scope: waba, until: cleared}}", "`until: cleared` needs `clear:`"),
        ("{throttle: {scope: waba, rate: 10, for: 1m}}", "not a rate"),
        ("{throttle: {scope: waba, rate: 0/s, for: 1m}}", "not a rate"),
        ("{throttle: {scope: waba, rate: 10/s}}", "required"),
        ("{throttle: {scope: waba, rate: 10/s, for: 1m, restore: {steps: 99, every: 1s}}}", "less than or equal to 16"),
        ("{resume: {scope: wabba}}", "did you mean waba?"),
        ("{annotate: {text: ''}}", "at least 1 character"),
        ("{webhook: {to: 'http://x'}}", "must fulfil"),
        ("{exec: rm}", "unknown key"),
    ],
)
def test_a_wrong_action_is_told(action: str, told: str) -> None:
    found = mistakes(f"rules: [{{name: one, match: {{code: 1}}, actions: [{action}]}}]")

    assert any(told in one for one in found), found


def test_all_kinds_are_kinds_of_a_condition() -> None:
    assert set(KINDS) < set(ConditionSpec.model_fields)


def test_of_hundreds_of_mistakes_the_first_are_told_and_how_many_follow() -> None:
    rules = "\n".join(f"  - {{name: r{number}, mach: x, match: {{code: 1}}, actions: [flag]}}" for number in range(300))
    started_at = time.process_time()

    found = mistakes(f"rules:\n{rules}\n")

    assert len(found) == 101
    assert "did you mean match?" in found[99]
    assert found[100] == "0.yml:102:18: rules[100].mach: from here on 200 more are wrong"
    assert time.process_time() - started_at < 5  # with a schema made for each it takes half a minute


@pytest.mark.slow
def test_thousands_of_rules_that_are_alike_are_read_in_seconds() -> None:
    rule = "  - {{name: r{0}, match: {{code: {{from: {0}, to: {0}}}, status: failed}}, actions: [flag]}}\n"
    text = "rules:\n" + "".join(rule.format(number) for number in range(2000))
    read = document.read(text.encode(), "0.yml")
    started_at = time.process_time()

    found = rule_files.read([("0.yml", text.encode())], lambda _text, _file: read)

    assert len(found.rule_set.rules) == 2000
    assert found.rule_set.rules[-1].place == "0.yml:2001:5"
    assert time.process_time() - started_at < 10  # each held against each, and against each place, it takes forty


def test_hundreds_of_overrides_of_nothing_are_told_without_going_through_all_names_for_each() -> None:
    override = "\n".join(f"  - {{name: r{number}, mode: off}}" for number in range(150))

    found = mistakes(f"rules: [{{name: one, match: {{code: 1}}, actions: [flag]}}]\noverride:\n{override}\n")

    assert len(found) == 150
    assert found[99].endswith("no rule is named r99; allowed: one")
    assert found[100].endswith("no rule is named r100")
