"""The life of a firing: pending, firing, its end, rest and reminders."""

import pytest
from msgspec.structs import replace

from monitor import turns
from monitor.actions import Alert, Moment, Pause, is_in_force
from monitor.events import MetaEvent, PresumedExpired, RulesLoaded
from monitor.facts import Fact
from monitor.firings import FIRINGS_MOST, Firing
from monitor.memory import Memory
from monitor.rehearsal import Rehearsal
from tests import records
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


def test_a_rule_that_fires_in_all_the_groups_it_may_keeps_no_other_from_firing() -> None:
    told = rehearsal(
        "rules: [{name: pair, match: {code: 131056}, by: [recipient], actions: [{pause: {scope: pair, for: 1h}}]},"
        " {name: block, match: {code: 368}, actions: [{pause: {scope: all, until: resumed}}]}]"
    )
    for number in range(FIRINGS_MOST):
        told.take([status(0, "failed", code=131056, recipient=f"person-{number}")], NOW)

    def hear(code: int, at: float) -> tuple[list[str], list[str]]:
        facts = told.take([status(at, "failed", code=code, recipient="one more")], NOW + at)
        return acted(facts), [rule for fact in facts for rule in fact.crowded]

    assert hear(131056, 1) == ([], ["pair"])
    assert hear(368, 2) == (["PauseAction"], [])
    told.pass_time(NOW + 3_700)  # those are over by now
    assert hear(131056, 3_701) == (["PauseAction"], [])


def test_thousands_that_fall_due_at_once_do_so_little_by_little() -> None:
    told = rehearsal(
        "rules: [{name: pair, match: {code: 131056}, by: [recipient], actions: [{pause: {scope: pair, for: 1m}}]}]"
    )
    for number in range(100):
        told.take([status(0, "failed", code=131056, recipient=f"person-{number}")], NOW)
    step = told.step()

    pieces = sum(1 for _ in turns.advancing(step, Moment(101, NOW + 3_600, told.settings.plan.hash)))

    assert pieces >= 100
    assert {firing.state for firing in step.firings.values()} == {"ended"}
    assert len(step.firings) == 100


def test_of_hundreds_that_wait_for_one_person_each_is_found_in_its_turn() -> None:
    waiting = [records.resend(number, recipient="#me") for number in range(200)]
    memory = Memory()
    memory.waiting.learn(waiting)
    found: set[str] = set()
    while ids := set(memory.waiting.of("wamid.other", "#me")):
        found |= ids
        memory.waiting.learn([replace(one, state="superseded") for one in waiting if one.id in ids])

    assert found == {one.id for one in waiting}


def test_what_is_over_and_no_longer_rests_is_let_go_though_nothing_is_heard_of_it() -> None:
    memory = Memory()
    lasting = [records.firing(number) for number in range(100)]
    memory.learn_firings(lasting, NOW)
    held = []
    for at in range(0, 3_000, 100):
        resting = {"state": "ended", "rests_until": NOW + at + 10}
        memory.learn_firings([records.firing(100 * (at + 1) + one, **resting) for one in range(1_000)], NOW + at)
        held.append(len(memory.firings))

    assert max(held) < 10_000
    assert {one.id for one in lasting} <= {firing.id for firing in memory.firings.values()}


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
