"""Random rules over random journals: batches, ticks and restarts at any point change nothing."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import effects, parse, payloads, replay, turns
from monitor.actions import Moment
from monitor.backtests import Backtest
from monitor.document import Mistaken
from monitor.events import MetaEvent, Status
from monitor.facts import Fact
from monitor.firings import ENDED, Firing
from monitor.rehearsal import Rehearsal
from monitor.store.protocol import WEBHOOK
from monitor.store.protocol import Entry as WebhookEntry
from monitor.windows import Windows
from tests.test_conditions import accepted, quality, rehearsal, status
from tests.world import NOW

CONDITIONS = (
    "match: {status: failed}",
    "match: {status: failed}, count: {at_least: 2, within: 30s}",
    "match: {status: failed}, count: {at_least: 3, within: 1m}, clear: {match: {status: delivered}}",
    "match: {status: failed}, ratio: {of: {status: [failed, delivered]}, within: 1m, at_least: 0.5, minimum: 3}",
    "match: {status: failed}, distinct: {of: recipient, at_least: 2, within: 40s}",
    "match: {status: failed}, increase: {times: 1.5, within: 30s, against: 1m, at_least: 2}",
    "match: {kind: status}, absent: {for: 45s}",
    "match: {kind: sent}, absent: {of: {kind: status}, for: 30s}",
    "match: {status: sent}, sequence: {then: {status: failed}, within: 20s}",
    "match: {field: message_template_quality_update}, change: {of: quality, to: RED}",
    "match: {field: message_template_quality_update}, change: {of: quality}",
)
LIVES = ("", "for: 20s", "keep_firing_for: 30s", "cooldown: 1m", "remind: 1m", "mode: shadow", "max_age: 30s")
rules = st.builds(
    lambda condition, life, by: f"{condition}, {life}" * bool(life) + condition * (not life) + by,
    st.sampled_from(CONDITIONS), st.sampled_from(LIVES), st.sampled_from(("", ", by: [phone_number_id]")),
)  # fmt: skip


def made(kind: str, at: float, recipient: str, number: str) -> MetaEvent:
    if kind == "accepted":
        return accepted(at, number)
    if kind in {"GREEN", "RED"}:
        return quality(at, kind)
    return status(at, kind, recipient=recipient, number=number, code=131026 if kind == "failed" else 0)


Entry = tuple[float, list[MetaEvent]]
events = st.builds(
    lambda kind, age, recipient, number: (kind, age, recipient, number),
    st.sampled_from(("failed", "failed", "delivered", "sent", "accepted", "GREEN", "RED")),
    st.sampled_from((0, 0, 0, 1, 7, 40)), st.sampled_from(("a", "b")), st.sampled_from(("200", "201")),
)  # fmt: skip
journals = st.lists(
    st.tuples(st.sampled_from((0, 1, 5, 13, 31, 70)), st.lists(events, min_size=1, max_size=3)), max_size=14
)


def entries_of(journal: Sequence[Any]) -> list[Entry]:
    at, found = 0.0, []
    for wait, items in journal:
        at += wait
        found.append((at, [made(kind, at - age, recipient, number) for kind, age, recipient, number in items]))
    return found


def written(text: str) -> Rehearsal | None:
    """Return a rehearsal of a rule, None where its parts make no sense together."""
    actions = "[flag, alert]" if "remind" in text else "[flag]"
    try:
        return rehearsal(f"rules: [{{name: one, {text}, actions: {actions}}}]")
    except Mistaken:
        return None


def told(facts: Sequence[Fact]) -> list[Any]:
    """Return what happened: each transition of the firing, each action, when."""
    found: list[Any] = []
    for fact in facts:
        for change in fact.changes:
            name = type(change).__name__
            if name == "AuditEntry":
                found.append((change.at, change.action, change.reason))  # type: ignore[union-attr]
        found.extend((fact.received_at, type(action).__name__) for action in (*fact.actions, *fact.shadowed))
    return found


def restarted(before: Rehearsal, entries: Sequence[Entry]) -> None:
    """Rebuild the windows as a start does: from what the journal holds within the horizon, and what was kept."""
    plan = before.settings.plan
    windows = Windows(before.windows.values.values())
    now = NOW + entries[-1][0] if entries else NOW
    horizon = max(plan.horizon_seconds, plan.errors_horizon_seconds)
    filling = replay.Replay(plan, windows)
    for position, (at, items) in enumerate(entries, 1):
        if NOW + at >= now - horizon:
            filling.feed(before.known, position, NOW + at, items)
    replay.pass_time(plan, windows, now)
    for firing in before.memory.firings.values():
        turns.watch(windows, plan, firing)
    before.windows = windows


@settings(max_examples=300, deadline=None)
@given(rules, journals, st.data())
def test_ticks_and_restarts_change_nothing(text: str, journal: Sequence[Any], data: st.DataObject) -> None:
    plain, other = written(text), written(text)
    if plain is None or other is None:
        return
    entries = entries_of(journal)
    end = NOW + (entries[-1][0] if entries else 0.0) + 400
    expected = [fact for at, items in entries for fact in plain.take(items, NOW + at)] + plain.pass_time(end)

    found: list[Fact] = []
    for number, (at, items) in enumerate(entries):
        if data.draw(st.booleans()):
            found += other.pass_time(NOW + at)
        found += other.take(items, NOW + at)
        if data.draw(st.booleans()):
            restarted(other, entries[: number + 1])
    found += other.pass_time(end)

    assert told(found) == told(expected)


def in_one_step(told: Rehearsal, entries: Sequence[Entry]) -> list[Fact]:
    """Let several entries take effect in one step, as a busy pipeline does."""
    step = told.step()
    for at, items in entries:
        told.position += 1
        serial = 0
        for event in items:
            serial += effects.take(step, event, Moment(told.position, NOW + at, told.settings.plan.hash, serial))
    return told.kept(step, NOW + entries[-1][0])


@settings(max_examples=200, deadline=None)
@given(rules, journals, st.data())
def test_batches_change_nothing(text: str, journal: Sequence[Any], data: st.DataObject) -> None:
    plain, other = written(text), written(text)
    entries = entries_of(journal)
    if plain is None or other is None or not entries:
        return
    expected = [fact for at, items in entries for fact in plain.take(items, NOW + at)]

    found: list[Fact] = []
    rest = list(entries)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += in_one_step(other, rest[:size])
        del rest[:size]

    assert told(found) == told(expected)
    assert other.memory.standing.flags == plain.memory.standing.flags
    assert live(other) == live(plain)


def live(told_by: Rehearsal) -> list[Firing]:
    """Return the firings that are not over: one that is over is forgotten sooner or later once its rest is over."""
    found = [firing for firing in told_by.memory.firings.values() if firing.state != ENDED]
    return sorted(found, key=lambda firing: firing.id)


def body(items: Sequence[MetaEvent]) -> bytes:
    """Return a webhook body that says of statuses what these events do."""
    made = [
        payloads.status(one.wamid, one.status, one.occurred_at, codes=tuple(e.code or 0 for e in one.errors))
        for one in items
        if isinstance(one, Status)
    ]
    return payloads.delivery(payloads.change("200", statuses=made), waba_id="100")


@settings(max_examples=150, deadline=None)
@given(rules, journals)
def test_a_backtest_does_what_was_done(text: str, journal: Sequence[Any]) -> None:
    lived, again = written(text), written(text)
    if lived is None or again is None:
        return
    entries = [
        WebhookEntry(position, WEBHOOK, NOW + at, body(items), "")
        for position, (at, items) in enumerate(entries_of(journal), 1)
    ]
    expected = [
        fact
        for entry in entries
        for fact in lived.take(parse.delivery(entry.body, entry.received_at, str), entry.received_at)
    ]

    found: list[Fact] = []
    backtest = Backtest(again.settings, str, None)
    backtest.on_facts = found.extend
    for entry in entries:
        backtest.take(entry)

    assert told(found) == told(expected)
    assert backtest.memory.firings == lived.memory.firings
    assert backtest.memory.standing.flags == lived.memory.standing.flags


def test_the_strategy_makes_rules_that_fire() -> None:
    fired: set[str] = set()
    for condition in CONDITIONS:
        told_by = written(condition)
        assert told_by is not None, condition
        for at in range(0, 400, 20):
            kinds = ("failed", "failed") if at in {0, 100, 120, 140} else ()
            for kind in (*kinds, "accepted" if at == 200 else "", "RED" if at == 60 else "", "GREEN" if at == 0 else "",
                         "sent" if at == 100 else ""):  # fmt: skip
                if kind:
                    recipient = "a" if kind == "sent" or at % 40 else "b"
                    for fact in told_by.take([made(kind, at, recipient, "200")], NOW + at):
                        fired.update(condition for _ in fact.actions)
            for fact in told_by.pass_time(NOW + at):
                fired.update(condition for _ in fact.actions)

    assert fired == set(CONDITIONS)
