"""The life of a firing: pending, firing, its end, rest and reminders."""

import pytest

from monitor.actions import Alert, Pause, is_in_force
from monitor.events import MetaEvent, PresumedExpired, RulesLoaded
from monitor.facts import Fact
from monitor.firings import Firing
from monitor.rehearsal import Rehearsal
from tests.test_conditions import firing, hear, rehearsal, status
from tests.world import NOW

COUNT = "match: {{status: failed}}, count: {{at_least: 2, within: 1m}}, by: [phone_number_id]"
RULE = "rules: [{{name: one, " + COUNT + ", {about}, actions: [{actions}]}}]"


def burst(told: Rehearsal, at: float, code: int = 1) -> list[Fact]:
    facts = []
    for offset in (0, 1):
        event = status(at + offset, "failed", code=code)
        facts += told.take([event], event.occurred_at)
    return facts


def acted(facts: list[Fact]) -> list[str]:
    return [type(action).__name__ for fact in facts for action in fact.actions]


def state(told: Rehearsal, at: float) -> str:
    found = firing(told, at, "200")
    return "" if found is None else found.state


def pauses(told: Rehearsal, at: float) -> list[Pause]:
    told.pass_time(NOW + at)
    return [one for one in told.memory.standing.pauses.values() if is_in_force(one, NOW + at)]


def test_a_rule_acts_once_its_condition_has_held_for_long_enough() -> None:
    told = rehearsal(RULE.format(about="for: 2m", actions="flag"))

    facts = burst(told, 0)
    states = [state(told, at) for at in (1, 30)]
    facts += [fact for at in (40, 80, 120) for fact in burst(told, at)]

    assert states == ["pending", "pending"]
    assert acted(facts[:2]) == []
    assert state(told, 121) == "firing"
    assert next(fact.received_at - NOW for fact in facts if fact.actions) == 121


def test_what_lapses_before_is_forgotten_and_begins_anew() -> None:
    told = rehearsal(RULE.format(about="for: 2m", actions="flag"))

    burst(told, 0)
    lapsed = state(told, 70)
    burst(told, 80)

    assert lapsed == ""
    assert state(told, 130) == "pending"
    assert firing(told, 300, "200") is None


def test_it_goes_on_firing_for_as_long_as_it_is_told_to() -> None:
    told = rehearsal(RULE.format(about="keep_firing_for: 10m", actions="alert"))

    burst(told, 0)

    assert [state(told, at) for at in (600, 601)] == ["firing", ""]


def test_it_ends_when_its_clear_condition_holds_and_not_before() -> None:
    about = "clear: {match: {status: delivered}, count: {at_least: 3, within: 1m}}"
    told = rehearsal(RULE.format(about=about, actions="pause: {scope: phone_number, until: cleared}, alert").replace(
        "[pause: {scope: phone_number, until: cleared}, alert]",
        "[{pause: {scope: phone_number, until: cleared}}, alert]",
    ))  # fmt: skip

    burst(told, 0)
    hear(told, [status(5, "delivered"), status(6, "delivered", number="201"), status(7, "delivered")])
    during = (state(told, 50_000), len(pauses(told, 50_000)))
    hear(told, [status(50_000 + at, "delivered") for at in range(3)])

    assert during == ("firing", 1)
    assert state(told, 50_010) == ""
    assert pauses(told, 50_010) == []
    (pause,) = told.memory.standing.pauses.values()
    assert (pause.released_by, pause.release_reason) == ("rule:one", "cleared")
    (alert,) = told.memory.standing.alerts.values()
    assert isinstance(alert, Alert)


def test_after_its_end_it_rests() -> None:
    told = rehearsal(RULE.format(about="keep_firing_for: 1m, cooldown: 10m", actions="flag"))

    first = burst(told, 0)
    resting = burst(told, 100)
    again = burst(told, 700)

    assert [bool(acted(facts)) for facts in (first, resting, again)] == [True, False, True]


def test_it_is_told_again_with_the_same_id_and_the_next_number() -> None:
    told = rehearsal(RULE.format(about="keep_firing_for: 1h, remind: 10m", actions="alert"))

    burst(told, 0)
    told.pass_time(NOW + 1 + 25 * 60)

    (alert,) = told.memory.standing.alerts.values()
    assert alert.sequence == 2


def test_a_shadow_only_says_what_it_would_do() -> None:
    told = rehearsal(RULE.format(about="mode: shadow", actions="{pause: {scope: all, for: 1h}}, alert"))

    facts = burst(told, 0)

    assert acted(facts) == []
    assert [type(action).__name__ for fact in facts for action in fact.shadowed] == ["PauseAction", "AlertAction"]
    assert pauses(told, 1) == []
    found = firing(told, 1, "200")
    assert isinstance(found, Firing)
    assert found.mode == "shadow"


@pytest.mark.parametrize(("code", "until"), [(368, 3_700.0), (131043, 3_600.0)])
def test_only_meta_s_own_word_extends_a_pause(code: int, until: float) -> None:
    text = "rules: [{name: one, match: {code: [368, 131043]}, actions: [{pause: {scope: all, for: 1h}}]}]"
    told = rehearsal(text)
    told.take([status(0, "failed", code=368)], NOW)
    told.take([status(0, "sent", recipient="s")], NOW)
    second: MetaEvent = status(100, "failed", code=368)
    if code == 131043:
        second = PresumedExpired("k", "100", "200", NOW + 100, "wamid.sent.0.s.200", "s", "", "")

    told.take([second], NOW + 100)

    (pause,) = pauses(told, 101)
    assert pause.until == NOW + until
    assert pause.evidence_count == 2


def reloaded(told: Rehearsal, text: str) -> None:
    told.settings = rehearsal(text).settings


def test_a_shadow_that_is_enforced_while_it_fires_begins_anew() -> None:
    rule = "rules: [{{name: one, mode: {}, match: {{code: 368}}, actions: [{{pause: {{scope: all, for: 1h}}}}]}}]"
    told = rehearsal(rule.format("shadow"))
    told.take([status(0, "failed", code=368)], NOW)
    before = told.memory.firings["one",]
    reloaded(told, rule.format("enforce"))

    facts = told.take([status(10, "failed", code=368)], NOW + 10)

    after = told.memory.firings["one",]
    assert acted(facts) == ["PauseAction"]
    assert (before.mode, after.mode, before.id != after.id) == ("shadow", "enforce", True)
    assert [change.reason for fact in facts for change in fact.changes if isinstance(change, Firing)] == [
        "rules_changed", "",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["rules: []", RULE.format(about="mode: shadow", actions="flag")])
def test_firings_of_rules_that_mean_something_else_end_with_the_reload(text: str) -> None:
    told = rehearsal(RULE.format(about="clear: {match: {status: read}}", actions="alert"))
    burst(told, 0)
    reloaded(told, text)

    told.take([RulesLoaded("system", "hash")], NOW + 10)

    (alert,) = told.memory.standing.alerts.values()
    assert told.memory.firings == {}
    assert alert.ended_at == NOW + 10


def test_groups_that_are_told_by_something_else_now_do_no_harm() -> None:
    told = rehearsal(RULE.format(about="for: 1h", actions="flag"))
    burst(told, 0)
    reloaded(told, RULE.replace(", by: [phone_number_id]", "").format(about="for: 1h", actions="flag"))

    told.pass_time(NOW + 4_000)

    assert told.memory.firings == {}


def test_a_pause_whose_rule_is_gone_waits_for_a_human() -> None:
    text = RULE.format(about="clear: {match: {status: read}}", actions="{pause: {scope: all, until: cleared}}")
    told = rehearsal(text)
    burst(told, 0)
    reloaded(told, "rules: []")

    told.take([RulesLoaded("system", "hash")], NOW + 10)

    (pause,) = pauses(told, 10_000)
    assert not pause.until_cleared
