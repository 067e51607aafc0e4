"""From the journal to its effects: once, in order, through restarts and failures."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from immutables import Map

from monitor import engine, payloads, pipeline
from monitor.actions import ALERTS_MOST, GROUPED, Resend, alert_ended_at, is_in_force
from monitor.engine import Outcome
from monitor.events import ResendsClaimed, Status
from monitor.facts import Fact
from monitor.firings import FIRINGS_MOST
from monitor.pipeline import Pipeline
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Commit, StoreUnavailableError
from monitor.store.sqlite import SqliteStore
from tests import setting

NOW = 1_700_000_000.0


class World:
    """A pipeline over a real store, and what it told its observer."""

    def __init__(self, path: Path, rules: bytes = setting.CORE) -> None:
        self.path = path
        self.rules = rules
        self.facts: list[Fact] = []
        self.quarantined: list[str] = []
        self.clock = NOW
        self.store: SqliteStore
        self.pipeline: Pipeline

    async def start(self) -> None:
        self.store = open_store(self.path)
        self.pipeline = Pipeline(
            self.store,
            setting.settings(self.rules),
            str,
            observe=self.facts.extend,
            quarantine=lambda stage, _: self.quarantined.append(stage),
            alert_destinations=[("am", "alertmanager"), ("hook", "webhook")],
        )
        await self.pipeline.load(self.clock)

    async def restart(self) -> None:
        await self.store.close()
        await self.start()

    async def hear(self, *statuses: dict[str, Any], errors: Sequence[int] = ()) -> None:
        change = payloads.change("200", statuses=list(statuses), errors=[payloads.error(code) for code in errors])
        self.clock += 1
        await self.store.append(Arrival("webhook", self.clock, payloads.delivery(change, waba_id="100")))

    async def catch_up(self) -> None:
        while await self.pipeline.step():
            pass

    @property
    def new(self) -> list[str]:
        return [fact.event.wamid for fact in self.facts if isinstance(fact.event, Status) and not fact.is_repeated]


async def unnoted() -> None:
    """Journal nothing of a reload."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "monitor.db")
    await made.start()
    yield made
    await made.store.close()


def duplicate(number: int) -> dict[str, Any]:
    return payloads.status(f"wamid.{number}", "failed", NOW + number, codes=(506,))


async def test_a_status_takes_effect_once_in_whatever_batches_it_comes(world: World) -> None:
    sent, delivered = payloads.status("wamid.1", "sent", NOW), payloads.status("wamid.1", "delivered", NOW + 2)
    await world.hear(delivered)
    await world.hear(sent, delivered)
    await world.catch_up()
    await world.restart()
    await world.hear(sent, sent, delivered)
    await world.catch_up()

    message = (await world.store.messages(["wamid.1"]))["wamid.1"]
    assert world.new == ["wamid.1", "wamid.1"]
    assert message.state == "delivered"
    assert [step.status for step in message.steps] == ["delivered", "sent"]


async def test_a_block_pauses_and_the_pause_survives_a_restart(world: World) -> None:
    await world.hear(errors=[368])
    await world.catch_up()
    await world.restart()

    (pause,) = world.pipeline.standing.pauses.values()
    assert (pause.scope, pause.scope_id, pause.code) == ("waba", "100", 368)
    assert is_in_force(pause, NOW + 10**9)
    assert [claim.row.kind for claim in await world.store.claim("am", world.clock, 60.0, 9)] == ["alertmanager"]


async def test_it_is_behind_while_what_it_acts_upon_has_waited_and_not_where_nothing_moves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "STEP_ENTRIES", 1)
    monkeypatch.setattr(pipeline, "STUCK_SECONDS", 0.1)
    told: list[bool] = []
    world.pipeline.on_published = lambda _position, _step: told.append(world.pipeline.is_behind(world.clock))
    world.pipeline._limit = 1
    for number in range(3):
        await world.hear(payloads.status(f"wamid.{number}", "sent", NOW))
    assert not world.pipeline.is_behind(world.clock)  # it has not begun yet

    await world.catch_up()

    assert told == [True, False, False]  # the last of them was received just now, and then nothing waits
    assert not world.pipeline.is_behind(world.clock + 60)

    async def broken(_: Commit) -> None:
        raise StoreUnavailableError("disk full")

    await world.hear(payloads.status("wamid.4", "sent", NOW))
    commit = world.store.commit
    monkeypatch.setattr(world.store, "commit", broken)
    with pytest.raises(StoreUnavailableError):
        await world.pipeline.step()
    assert world.pipeline.is_behind(world.clock + 60)
    await asyncio.sleep(0.15)
    assert not world.pipeline.is_behind(world.clock + 60)  # what holds it up is no flood
    monkeypatch.setattr(world.store, "commit", commit)
    await world.hear(payloads.status("wamid.5", "sent", NOW))
    told.clear()
    world.clock += 60
    await world.restart()
    world.pipeline._limit = 1
    world.pipeline.on_published = lambda _position, _step: told.append(world.pipeline.is_behind(world.clock))
    await world.catch_up()
    assert told == [False, False]  # nor is what is left from before the start


async def test_it_is_behind_where_much_waits_however_short(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "STEP_ENTRIES", 1)
    monkeypatch.setattr(pipeline, "BEHIND_BYTES", 2_000)
    told: list[bool] = []
    world.pipeline.on_published = lambda _position, _step: told.append(world.pipeline.is_behind(NOW))
    world.pipeline._limit = 1
    for number in range(9):
        await world.hear(payloads.status(f"wamid.{number}", "sent", NOW))

    await world.catch_up()

    assert told == sorted(told, reverse=True)
    assert (told[0], told[-1]) == (True, False)


async def test_two_accounts_that_meta_blocks_in_the_same_second_are_both_paused_each_with_its_own_evidence(
    world: World,
) -> None:
    for number, waba_id in (("200", "100"), ("201", "101"), ("202", "101")):
        change = payloads.change(number, errors=[payloads.error(368)])
        await world.store.append(Arrival("webhook", NOW, payloads.delivery(change, waba_id=waba_id, time=NOW)))
    await world.catch_up()

    stands = world.pipeline.standing.pauses.values()
    assert sorted((one.scope_id, one.evidence_count) for one in stands) == [("100", 1), ("101", 2)]
    assert all(entry.waba_id == one.scope_id for one in stands for entry in one.evidence)


@pytest.mark.parametrize("before", [0, 1, 3, 4])
async def test_a_burst_is_flagged_though_a_restart_came_between(world: World, before: int) -> None:
    for number in range(before):
        await world.hear(duplicate(number))
    await world.catch_up()
    await world.restart()
    for number in range(before, 5):
        await world.hear(duplicate(number))
    await world.catch_up()

    (flag,) = world.pipeline.standing.flags.values()
    assert (flag.rule, flag.evidence_count) == ("duplicate_burst", 5)


async def test_two_failures_of_a_message_in_one_second_are_both_remembered_through_a_restart(world: World) -> None:
    await world.hear(*(payloads.status("wamid.1", "failed", NOW, codes=codes) for codes in [(), (506,)]))
    await world.catch_up()
    await world.restart()
    for number in range(2, 6):
        await world.hear(duplicate(number))
    await world.catch_up()

    (flag,) = world.pipeline.standing.flags.values()
    assert (flag.rule, flag.evidence_count) == ("duplicate_burst", 5)


@pytest.mark.parametrize("before", [b"", b"# the same rules, a line further down\n"], ids=["same", "other"])
async def test_what_takes_effect_while_rules_are_reloaded_is_in_the_windows_of_the_new_ones(
    world: World, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    commit, has_begun, may_end = world.store.commit, asyncio.Event(), asyncio.Event()

    async def held(step: Commit) -> None:
        has_begun.set()
        await may_end.wait()
        await commit(step)

    monkeypatch.setattr(world.store, "commit", held)
    for number in range(4):
        await world.hear(duplicate(number))
    stepping = asyncio.create_task(world.pipeline.step())
    await has_begun.wait()
    adopting = asyncio.create_task(world.pipeline.adopt(setting.settings(before + world.rules), unnoted))
    await asyncio.wait([adopting], timeout=0.2)
    may_end.set()
    await asyncio.gather(stepping, adopting)
    await world.hear(duplicate(4))
    await world.catch_up()

    (flag,) = world.pipeline.standing.flags.values()
    assert (flag.rule, flag.evidence_count) == ("duplicate_burst", 5)


async def test_a_reload_of_the_same_rules_reads_nothing_of_the_journal_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await world.hear(duplicate(number))
    await world.catch_up()
    monkeypatch.setattr(world.store, "read_since", None)

    await world.pipeline.adopt(setting.settings(world.rules), unnoted)
    await world.hear(duplicate(4))
    await world.catch_up()

    assert [flag.rule for flag in world.pipeline.standing.flags.values()] == ["duplicate_burst"]
    with pytest.raises(TypeError):
        await world.pipeline.adopt(setting.settings(b"# moved\n" + world.rules), unnoted)


async def test_a_reload_that_the_store_does_not_take_changes_nothing(world: World) -> None:
    async def failing() -> None:
        raise StoreUnavailableError("locked")

    with pytest.raises(StoreUnavailableError):
        await world.pipeline.adopt(setting.settings(world.rules.replace(b"at_least: 5", b"at_least: 2")), failing)
    for number in range(4):
        await world.hear(duplicate(number))
    await world.catch_up()
    assert not world.pipeline.standing.flags

    await world.hear(duplicate(4))
    await world.catch_up()
    assert [flag.evidence_count for flag in world.pipeline.standing.flags.values()] == [5]


async def test_what_was_repeated_before_a_restart_is_not_counted_twice_after_it(world: World) -> None:
    for number in range(4):
        await world.hear(duplicate(number))
        await world.hear(duplicate(number), payloads.status(f"wamid.other.{number}", "sent", NOW))
    await world.catch_up()
    await world.restart()
    world.clock = NOW + 300
    await world.hear(payloads.status("wamid.new", "failed", NOW + 300, codes=(506,)))
    await world.catch_up()

    assert world.pipeline.standing.flags == Map()


async def test_an_event_that_makes_our_own_code_fail_harms_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = engine.evaluate

    def explode(plan: Any, windows: Any, event: Any, *about: Any) -> Outcome:
        if event.wamid == "wamid.bad":
            raise RuntimeError("our mistake")
        return evaluate(plan, windows, event, *about)

    monkeypatch.setattr(engine, "evaluate", explode)
    names = ("one", "bad", "two")
    await world.hear(*(payloads.status(f"wamid.{name}", "failed", NOW, codes=(131026,)) for name in names))
    await world.catch_up()

    assert world.new == ["wamid.one", "wamid.two"]
    assert world.quarantined == ["evaluate"]
    assert await world.store.cursor() == 1


async def test_a_failed_commit_changes_nothing_and_the_retry_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = world.store.commit
    failures = [StoreUnavailableError("disk full")]

    async def failing(step: Commit) -> None:
        if failures:
            raise failures.pop()
        await commit(step)

    monkeypatch.setattr(world.store, "commit", failing)
    for number in range(5):
        await world.hear(duplicate(number))
    with pytest.raises(StoreUnavailableError):
        await world.pipeline.step()
    before = (len(world.facts), world.pipeline.cursor, len(world.pipeline.standing.flags))
    await world.catch_up()

    assert before == (0, 0, 0)
    assert len(world.new) == 5
    assert [flag.evidence_count for flag in world.pipeline.standing.flags.values()] == [5]


async def test_a_message_that_arrives_after_all_is_not_sent_again(world: World) -> None:
    await world.hear(payloads.status("wamid.1", "failed", NOW, codes=(131043,)))
    await world.catch_up()
    listed = await world.store.due_resends(world.clock, 9)
    await world.hear(payloads.status("wamid.1", "delivered", NOW + 60))
    await world.catch_up()

    assert [resend.wamid for resend in listed] == ["wamid.1"]
    assert await world.store.due_resends(world.clock, 9) == []


async def test_what_a_worker_has_taken_is_not_listed_again_by_a_further_failure(world: World) -> None:
    await world.hear(payloads.status("wamid.1", "failed", NOW, codes=(131043,)))
    await world.catch_up()
    (resend,) = await world.store.due_resends(world.clock, 9)
    claim = ResendsClaimed("worker", (resend.id,), world.clock + 60)
    await world.store.append(Arrival("operator", world.clock, msgspec.json.encode(claim)))
    await world.catch_up()
    world.facts.clear()

    await world.hear(payloads.status("wamid.1", "failed", NOW + 1, codes=(131043,)))
    await world.catch_up()

    assert [change for fact in world.facts for change in fact.changes if isinstance(change, Resend)] == []
    assert list(world.pipeline.memory.waiting.of("wamid.1", "")) == []


async def test_a_message_that_had_arrived_is_never_listed(world: World) -> None:
    await world.hear(payloads.status("wamid.1", "delivered", NOW))
    await world.hear(payloads.status("wamid.1", "failed", NOW + 1, codes=(131043,)))
    await world.catch_up()

    assert await world.store.due_resends(world.clock, 9) == []


async def test_thousands_of_statuses_in_one_body_are_all_counted(world: World) -> None:
    await world.hear(*(payloads.status(f"wamid.{number}", "sent", NOW) for number in range(5_000)))
    await world.hear(payloads.status("wamid.last", "sent", NOW))
    await world.catch_up()

    assert len(world.new) == 5_001


REMIND = b"""
rules:
  - name: stuck
    match: {code: 368}
    clear: {match: {field: account_update, event: FINE}}
    remind: 1m
    actions: [alert, {webhook: {to: hook}}]
"""


async def test_an_alert_is_told_again_with_its_own_id_and_through_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path / "monitor.db", REMIND)
    await world.start()
    await world.hear(errors=[368])
    await world.catch_up()
    await world.restart()
    await world.catch_up()
    due_at = world.pipeline.next_due_at
    world.clock += 150
    await world.store.append(Arrival("tick", world.clock, b'{"type":"tick","at":0,"wamids":[]}'))
    await world.catch_up()

    rows = [
        (claim.row.destination, claim.row.kind, claim.row.reference)
        for name in ("am", "hook")
        for claim in await world.store.claim(name, world.clock, 60, 10)
    ]
    (alert,) = world.pipeline.standing.alerts.values()
    (firing,) = world.pipeline.memory.firings.values()
    assert due_at == NOW + 61
    assert (alert.sequence, firing.reminders, firing.remind_at) == (2, 2, NOW + 181)
    assert rows == [
        ("am", "alertmanager", alert.id), ("hook", "webhook", alert.id), ("hook", "firing", f"{firing.id}:{NOW + 1}"),
        ("hook", "webhook", f"{alert.id}#2"),
    ]  # fmt: skip
    await world.store.close()


EACH = b"""
rules:
  - name: each_person
    match: {status: failed}
    by: [recipient]
    actions: [alert]
"""


async def failures(world: World, numbers: range) -> None:
    """Let a message to each of so many people fail, in bodies of a thousand."""
    for start in range(numbers.start, numbers.stop, 1000):
        statuses = [
            payloads.status(f"wamid.{number}", "failed", world.clock, recipient=str(15_550_000_000 + number))
            for number in range(start, min(start + 1000, numbers.stop))
        ]
        await world.hear(*statuses)
    await world.catch_up()


@pytest.mark.slow
async def test_a_hundred_thousand_alerts_in_two_minutes_are_few_and_none_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path / "monitor.db", EACH)
    await world.start()
    await failures(world, range(100_000))

    alerts = world.pipeline.standing.alerts.values()
    grouped = [alert for alert in alerts if GROUPED in alert.labels]
    rows = await world.store.claim("am", world.clock, 60, 1000)
    assert len(alerts) == len(rows) == ALERTS_MOST + 1
    crowded = sum(len(fact.crowded) for fact in world.facts)
    assert [alert.evidence_count + crowded for alert in grouped] == [100_000 - ALERTS_MOST]
    assert crowded == 100_000 - FIRINGS_MOST
    assert world.quarantined == []
    await world.store.close()


async def test_what_was_told_together_ends_when_it_is_quiet_and_is_told_one_by_one_again(tmp_path: Path) -> None:
    world = World(tmp_path / "monitor.db", EACH)
    await world.start()
    await failures(world, range(30))
    await world.restart()
    await failures(world, range(30, 31))
    world.clock += 3600
    await world.store.append(Arrival("tick", world.clock, b'{"type":"tick","at":0,"wamids":[]}'))
    await failures(world, range(31, 33))

    alerts = world.pipeline.standing.alerts.values()
    lasting = [one for one in alerts if alert_ended_at(one, world.pipeline.standing.pauses, world.clock) is None]
    assert [GROUPED in alert.labels for alert in lasting] == [False, False]
    await world.store.close()


async def test_a_rule_that_waits_fires_after_a_restart_at_the_time_it_waited_for(tmp_path: Path) -> None:
    rule = (
        b"rules: [{name: silent, match: {kind: status}, absent: {for: 5m}, actions: [{pause: {scope: all, for: 1h}}]}]"
    )
    world = World(tmp_path / "monitor.db", rule)
    await world.start()
    await world.hear(payloads.status("wamid.1", "sent", NOW))
    await world.catch_up()
    await world.restart()
    await world.catch_up()
    waited_for = world.pipeline.next_due_at
    world.clock = NOW + 900
    await world.hear(payloads.status("wamid.2", "sent", NOW + 900))
    await world.catch_up()

    (pause,) = world.pipeline.standing.pauses.values()
    assert waited_for == pause.since == NOW + 301
    assert [firing.reason for firing in world.pipeline.memory.firings.values()] == []
    await world.store.close()
