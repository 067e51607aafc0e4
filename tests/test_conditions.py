"""Each kind of condition, through whole rules: events with their times in, firings out."""

from collections.abc import Sequence

import pytest

from monitor import codes, engine, rule_files
from monitor.account import Template, TemplateQuality
from monitor.campaigns import NO_NAMING
from monitor.events import AccountEvent, MetaError, MetaEvent, Sent, Status
from monitor.firings import Firing, is_live
from monitor.messages import DEFAULT_POLICY
from monitor.rehearsal import Rehearsal
from monitor.step import Settings
from tests.world import NOW

RULE = "rules: [{{name: one, match: {match}, {about}, actions: [flag]}}]"


def rehearsal(text: str) -> Rehearsal:
    plan = engine.plan(rule_files.load([("rules.yml", text.encode())]), codes.catalogue())
    return Rehearsal(Settings(plan, DEFAULT_POLICY, NO_NAMING, 0.0, False))


def status(at: float, name: str = "sent", *, recipient: str = "r", number: str = "200", code: int = 0) -> Status:
    errors = (MetaError(code, "", ""),) if code else ()
    wamid = f"wamid.{name}.{at}.{recipient}.{number}"
    return Status(f"{wamid}|{name}|{at}", "100", number, NOW + at, wamid, name, recipient, "", None, errors, "")


def accepted(at: float, number: str = "200") -> Sent:
    return Sent(f"accepted|{at}|{number}", "100", number, NOW + at, f"wamid.accepted.{at}.{number}", "r")


def quality(at: float, value: str, previous: str = "", template: str = "1") -> AccountEvent:
    detail = TemplateQuality(Template(template, "offer", "en"), value, previous)
    return AccountEvent(
        f"quality|{at}|{value}|{template}", "100", "", NOW + at, "message_template_quality_update", "", detail
    )


def hear(told: Rehearsal, events: Sequence[MetaEvent], *, lag: float = 0.0) -> None:
    for event in events:
        told.take([event], event.occurred_at + lag)


def firing(told: Rehearsal, at: float, *group: str) -> Firing | None:
    """Let time pass and return the rule's firing, if it is pending or firing then."""
    told.pass_time(NOW + at)
    found = told.memory.firings.get(("one", *group))
    return found if found is not None and is_live(found, NOW + at) else None


def test_a_ratio_needs_its_minimum_and_its_share() -> None:
    ratio = "ratio: {of: {status: [failed, delivered]}, within: 10m, at_least: 0.5, minimum: 4}"
    told = rehearsal(RULE.format(match="{status: failed}", about=ratio))

    hear(told, [status(0, "failed", code=1), status(1, "failed", code=1), status(2, "delivered")])
    too_few = firing(told, 2)
    hear(told, [status(3, "delivered")])
    enough = firing(told, 3)

    assert too_few is None
    assert enough is not None


def test_a_ratio_forgets_what_has_left_its_window() -> None:
    ratio = "ratio: {of: {status: [failed, delivered]}, within: 1m, at_least: 0.5, minimum: 2}"
    told = rehearsal(RULE.format(match="{status: failed}", about=ratio))

    hear(told, [status(0, "failed", code=1), status(60, "delivered"), status(61, "delivered")])

    assert firing(told, 61) is None


def test_a_low_ratio_fires_with_at_most() -> None:
    ratio = "ratio: {of: {status: [sent, delivered]}, within: 1m, at_most: 0.25, minimum: 4}, by: [phone_number_id]"
    told = rehearsal(RULE.format(match="{status: delivered}", about=ratio))

    hear(told, [status(at, "sent") for at in range(3)])
    hear(told, [status(at, "sent", number="201") for at in range(2)])
    hear(told, [status(3, "delivered"), status(3, "delivered", number="201"), status(4, "delivered", number="201")])

    assert firing(told, 4, "200") is not None
    assert firing(told, 4, "201") is None


def test_a_ratio_of_nothing_at_all_is_low_too() -> None:
    about = "ratio: {of: {status: sent}, within: 1m, at_most: 0.1, minimum: 3}, by: [phone_number_id]"
    told = rehearsal(RULE.format(match="{status: delivered}", about=about))

    hear(told, [status(at, "sent") for at in range(3)])

    found = firing(told, 3, "200")
    assert found is not None
    assert [one.kind for one in found.evidence] == ["status"]


def test_distinct_counts_values_not_events() -> None:
    about = "distinct: {of: recipient, at_least: 3, within: 1m}"
    told = rehearsal(RULE.format(match="{status: failed}", about=about))

    hear(told, [status(at, "failed", recipient=f"r{at % 2}", code=1) for at in range(10)])
    two = firing(told, 9)
    hear(told, [status(10, "failed", recipient="r2", code=1)])

    assert two is None
    assert firing(told, 10) is not None


def test_distinct_values_must_lie_within_the_window() -> None:
    about = "distinct: {of: recipient, at_least: 3, within: 1m}"
    told = rehearsal(RULE.format(match="{status: failed}", about=about))

    hear(told, [status(at * 31, "failed", recipient=f"r{at}", code=1) for at in range(6)])

    assert firing(told, 155) is None


def test_an_increase_is_held_against_the_time_before() -> None:
    about = "increase: {times: 3, within: 1m, against: 2m, at_least: 4}"
    told = rehearsal(RULE.format(match="{status: failed}", about=about))

    hear(told, [status(at, "failed", code=1) for at in (0, 40, 100, 125, 130)])
    usual = firing(told, 130)
    hear(told, [status(at, "failed", code=1) for at in (140, 141, 142)])

    assert usual is None
    assert firing(told, 142) is not None


def test_the_first_traffic_ever_is_no_increase() -> None:
    told = rehearsal(RULE.format(match="{status: sent}", about="increase: {times: 2, within: 1m, at_least: 2}"))

    hear(told, [status(at) for at in range(50)])

    assert firing(told, 50) is None


def test_a_group_that_is_answered_again_and_again_waits_for_one_time_only() -> None:
    told = rehearsal(RULE.format(match="{status: sent}", about="absent: {of: {status: delivered}, for: 5m}"))
    for second in range(0, 200, 2):
        hear(told, [status(second, "sent"), status(second + 1, "delivered")])
    hear(told, [status(200, "sent")])

    assert len(told.windows._timers) == 1
    assert firing(told, 499) is None
    assert firing(told, 501) is not None


def test_silence_after_an_event_fires_and_the_next_event_ends_it() -> None:
    told = rehearsal(RULE.format(match="{status: sent}", about="absent: {for: 5m}, by: [phone_number_id]"))

    hear(told, [status(0), status(200), status(250, number="201")])
    before, after = firing(told, 499, "200"), firing(told, 500, "200")
    hear(told, [status(600)])

    assert before is None
    assert after is not None
    assert after.since == NOW + 500
    assert firing(told, 600, "200") is None
    assert firing(told, 600, "201") is not None


def test_no_answer_fires_and_an_answer_ends_it() -> None:
    told = rehearsal(RULE.format(match="{kind: sent}", about="absent: {of: {kind: status}, for: 5m}"))

    hear(told, [accepted(0), status(100), accepted(200), accepted(400)])
    answered = firing(told, 301)
    waiting = firing(told, 499)
    silent = firing(told, 500)
    hear(told, [status(700)])

    assert answered is None
    assert waiting is None
    assert silent is not None
    assert firing(told, 2_000) is None


@pytest.mark.parametrize("times", [(0, 60), (60, 0)])
def test_a_sequence_is_told_by_the_events_own_times(times: tuple[int, int]) -> None:
    about = "sequence: {then: {status: failed}, within: 1m}, by: [recipient]"
    told = rehearsal(RULE.format(match="{status: sent}", about=about))
    events = {0: status(0, "sent"), 60: status(60, "failed", code=1)}

    for at in times:  # whichever arrives first
        told.take([events[at]], NOW + 100)

    assert firing(told, 100, "r") is not None


@pytest.mark.parametrize(("at", "recipient"), [(61, "r"), (10, "other"), (-1, "r")])
def test_a_sequence_that_is_late_elsewhere_or_the_other_way_round_is_none(at: int, recipient: str) -> None:
    about = "sequence: {then: {status: failed}, within: 1m}, by: [recipient]"
    told = rehearsal(RULE.format(match="{status: sent}", about=about))

    told.take([status(0, "sent")], NOW + 100)
    told.take([status(at, "failed", recipient=recipient, code=1)], NOW + 100)

    assert firing(told, 100, "r") is None


def test_a_change_is_from_one_value_to_another_and_ends_when_it_is_undone() -> None:
    about = "change: {of: quality, from: GREEN, to: [YELLOW, RED]}, by: [template_id]"
    told = rehearsal(RULE.format(match="{field: message_template_quality_update}", about=about))

    hear(told, [quality(0, "GREEN"), quality(1, "GREEN", template="2")])
    green = firing(told, 5, "1")
    hear(told, [quality(10, "YELLOW")])
    yellow = firing(told, 100_000, "1")
    hear(told, [quality(100_001, "GREEN")])

    assert green is None
    assert yellow is not None
    assert firing(told, 100_002, "1") is None
    assert firing(told, 100_002, "2") is None


def test_a_change_believes_meta_on_what_was_before() -> None:
    about = "change: {of: quality, from: GREEN, to: RED}"
    told = rehearsal(RULE.format(match="{field: message_template_quality_update}", about=about))

    hear(told, [quality(0, "RED", previous="GREEN")])

    assert firing(told, 1) is not None


def test_an_older_word_changes_nothing() -> None:
    about = "change: {of: quality, to: RED}"
    told = rehearsal(RULE.format(match="{field: message_template_quality_update}", about=about))

    told.take([quality(10, "GREEN")], NOW + 10)
    told.take([quality(5, "RED")], NOW + 11)

    assert firing(told, 12) is None


def test_unless_takes_events_away() -> None:
    about = "unless: [{code: 131026}, {recipient: vip}]"
    told = rehearsal(RULE.format(match="{status: failed}", about=about))

    hear(told, [status(0, "failed", code=131026), status(1, "failed", recipient="vip", code=1)])
    none = firing(told, 1)
    hear(told, [status(2, "failed", code=1)])

    assert none is None
    assert firing(told, 2) is not None


def test_an_event_older_than_max_age_is_ignored_and_counted() -> None:
    told = rehearsal(RULE.format(match="{status: failed}", about="max_age: 10m"))

    (fact,) = told.take([status(0, "failed", code=1)], NOW + 601)
    late = firing(told, 601)
    told.take([status(2, "failed", code=1)], NOW + 602)

    assert (fact.late, fact.matched) == (("one",), ())
    assert late is None
    assert firing(told, 602) is not None


def test_an_event_from_the_future_happened_when_it_was_received() -> None:
    about = "count: {at_least: 2, within: 1m}"
    told = rehearsal(RULE.format(match="{status: failed}", about=about))

    told.take([status(10**9, "failed", code=1)], NOW)
    told.take([status(100, "failed", code=1)], NOW + 100)

    assert firing(told, 100) is None


CLOCK_RULES = (
    "match: {status: failed}, count: {at_least: 3, within: 1m}",
    "match: {status: failed}, distinct: {of: recipient, at_least: 3, within: 1m}",
    "match: {status: failed}, ratio: {of: {status: [failed, delivered]}, within: 1m, at_least: 0.5, minimum: 3}",
    "match: {status: failed}, increase: {times: 2, within: 40s, against: 1m, at_least: 2}",
    "match: {status: failed}, absent: {for: 1m}",
    "match: {status: failed}, sequence: {then: {recipient: r2}, within: 1m}",
)


@pytest.mark.parametrize("rule", CLOCK_RULES)
@pytest.mark.parametrize("jump", [-3_600.0, -365 * 86_400.0, 365 * 86_400.0])
def test_rules_go_on_after_the_clock_has_jumped(rule: str, jump: float) -> None:
    told = rehearsal(f"rules: [{{name: one, {rule}, by: [phone_number_id], actions: [flag]}}]")
    hear(told, [status(0, "failed", code=1), status(jump, "failed", code=1), status(1, "failed", code=1)])
    firing(told, 1_000, "200")

    before = told.memory.firings.get(("one", "200"))
    hear(told, [status(2_000 + 15 * at, "failed", recipient=f"r{at}", code=1) for at in range(4)])
    told.pass_time(NOW + 2_106)

    after = told.memory.firings.get(("one", "200"))
    assert after is not None
    assert before is None or after.id != before.id or after.count > before.count
