"""Retention: what is past its time goes in small steps, and what somebody waits for stays."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.actions import AuditEntry
from monitor.conversations import Window
from monitor.memory import Number
from monitor.standing import Change
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Before, Commit, Enqueue, FirstAnswer, Settlement
from monitor.store.retention import ROWS_LEAST, ROWS_MOST, STEP_SECONDS, Retention
from monitor.store.sqlite import SqliteStore
from monitor.windows import Value
from tests.records import NOW, alert, firing, flag, incident, message, pause, resend

YOUNG, OLD = NOW - 1, NOW + 1  # what came at NOW is younger, or older, than this
ALL = Before(OLD, OLD, OLD, OLD, OLD)
BODIES = Before(YOUNG, OLD, YOUNG, YOUNG)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Give a new store that forwards nothing."""
    opened = open_store(tmp_path / "monitor.db")
    yield opened
    await opened.close()


async def journaled(store: SqliteStore, count: int, kind: str = "webhook", at: float = NOW) -> None:
    """Journal so many bodies and act upon all but the last, whose position is kept."""
    await asyncio.gather(*(store.append(Arrival(kind, at, b"body %d" % number)) for number in range(count)))
    await store.commit(Commit(store.writer.last_position, NOW))


async def pruned(store: SqliteStore, before: Before) -> None:
    """Walk to the end."""
    while await store.prune(before):
        pass


async def bodies(store: SqliteStore) -> list[bytes]:
    query = "SELECT body FROM journal ORDER BY position"
    found: list[bytes] = await store.writer.run(lambda db: [row[0] for row in db.execute(query)])
    return found


def held(store: SqliteStore) -> bytes:
    """Return all that stands in the store's files."""
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir())


async def wamids(store: SqliteStore) -> list[str]:
    page = await store.recent_messages("", 9_999, people=[], state="")
    return [message.wamid for message in page.items]


STEPS = {  # what of the filled store goes, and the query that counts what is left of it
    "entries": (Before(OLD, OLD, YOUNG, YOUNG), "SELECT COUNT(*) FROM journal"),
    "bodies": (BODIES, "SELECT COUNT(*) FROM journal WHERE body <> x''"),
    "messages": (Before(YOUNG, YOUNG, OLD, YOUNG), "SELECT COUNT(*) FROM messages"),
}


async def fill(store: SqliteStore) -> None:
    """Let there be more that is old than a few steps take."""
    await journaled(store, 1_000)
    await store.commit(Commit(1_000, NOW, [message(number) for number in range(1_000)]))


async def gone_in_a_step(store: SqliteStore, retention: Retention, kind: str) -> int:
    before, query = STEPS[kind]
    count: Any = lambda db: db.execute(query).fetchone()[0]  # noqa: E731
    was = await store.writer.run(count)
    await store.writer.run(lambda db: retention.prune(db, before, ()))
    return int(was - await store.writer.run(count))


@pytest.mark.parametrize("kind", STEPS)
async def test_a_step_takes_half_after_one_that_was_too_slow_and_a_few_more_after_any_other(
    store: SqliteStore, kind: str
) -> None:
    await fill(store)
    retention = Retention()

    first = await gone_in_a_step(store, retention, kind)
    retention.took(STEP_SECONDS + 0.001)
    after_slow = await gone_in_a_step(store, retention, kind)
    retention.took(STEP_SECONDS)
    after_quick = await gone_in_a_step(store, retention, kind)

    assert after_slow == first // 2
    assert after_slow < after_quick < first


@pytest.mark.parametrize(("seconds", "rows"), [(60.0, ROWS_LEAST), (0.0, ROWS_MOST)])
@pytest.mark.parametrize("kind", STEPS)
async def test_a_step_is_never_smaller_or_larger_than_its_bounds(
    store: SqliteStore, kind: str, seconds: float, rows: int
) -> None:
    await fill(store)
    retention = Retention()

    for _ in range(100):
        retention.took(seconds)

    assert await gone_in_a_step(store, retention, kind) == rows


YOUNG_ROWS = {  # table: what is old by then, and a young row of each number
    "journal": (Before(YOUNG, OLD, OLD, OLD), "(kind, received_at, signature, body) SELECT 'webhook', ?, '', 'x'"),
    "seen": (BODIES, "SELECT n || random(), ?"),
    "outbox": (
        BODIES,
        """(destination, kind, reference, state, created_at, next_at, attempts, sent, error)
        SELECT n || random(), 'forward', n, 'dead', ?1, ?1, 0, 0, ''""",
    ),
    "resends": (
        Before(YOUNG, YOUNG, YOUNG, YOUNG),
        "SELECT n || random(), n || random(), '', 'sent', ?, '{}', '', 0",
    ),
    "audit": (BODIES, "(at, actor, action, target, reason, position) SELECT ?, 'rule:a', 'fired', '', '', 1"),
}


@pytest.mark.parametrize("table", YOUNG_ROWS)
async def test_a_step_does_not_grow_with_what_is_young(store: SqliteStore, table: str) -> None:
    before, row = YOUNG_ROWS[table]
    looked: list[int] = []
    numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)"
    more = f"{numbers} INSERT INTO {table} {row} FROM n"

    def counted(db: sqlite3.Connection) -> int:
        db.execute(more, (NOW,))
        looked.clear()
        db.set_progress_handler(lambda: looked.append(1), 100)
        Retention().prune(db, before, ["app"])
        db.set_progress_handler(None, 0)
        return len(looked)

    await store.commit(Commit(1_000_000, NOW))
    first, _, third = [await store.writer.run(counted) for _ in range(3)]

    assert third <= first * 1.1 + 1


async def test_what_a_clock_that_was_ahead_wrote_holds_back_nothing_behind_it(store: SqliteStore) -> None:
    await journaled(store, 3_000, at=NOW + 1e6)
    await journaled(store, 3, "send")

    await pruned(store, ALL)

    left = await bodies(store)
    assert (len(left), left[-1]) == (3_001, b"body 2")


async def test_a_step_says_how_many_rows_went_of_all_kinds(store: SqliteStore) -> None:
    await journaled(store, 3)
    await store.commit(Commit(3, NOW, [message(1), message(2)], conversations=[Window("200", "me", NOW)]))

    entries_messages_and_a_window = await store.prune(ALL)
    nothing_more = await store.prune(ALL)

    assert (entries_messages_and_a_window, nothing_more) == (5, 0)


async def test_a_step_says_how_many_bodies_went(store: SqliteStore) -> None:
    await journaled(store, 4)

    assert [await store.prune(BODIES), await store.prune(BODIES)] == [3, 0]
    assert await bodies(store) == [b"", b"", b"", b"body 3"]


async def test_bodies_stay_while_all_of_them_are_young(store: SqliteStore) -> None:
    await journaled(store, 3)

    removed = await store.prune(Before(YOUNG - 1, YOUNG, YOUNG, YOUNG))

    assert removed == 0
    assert len(await bodies(store)) == 3


async def test_an_entry_that_goes_as_a_whole_is_not_emptied_first(store: SqliteStore) -> None:
    await journaled(store, 1_000)

    await store.prune(ALL)

    left = await bodies(store)
    assert 0 < len(left) < 1_000
    assert all(left)


async def test_bodies_go_in_one_walk_after_a_start_though_thousands_before_them_went_earlier(tmp_path: Path) -> None:
    first = open_store(tmp_path / "monitor.db")
    await journaled(first, 3_000)
    await pruned(first, BODIES)
    await first.close()

    second = open_store(tmp_path / "monitor.db")
    await journaled(second, 2, "send")
    await pruned(second, BODIES)
    left = await bodies(second)
    await second.close()

    assert [body for body in left if body] == [b"body 1"]


async def test_only_what_meta_said_loses_its_body(store: SqliteStore) -> None:
    for kind in ("webhook", "send", "operator", "tick"):
        await store.append(Arrival(kind, NOW, kind.encode()))
    await store.commit(Commit(9, NOW))

    await pruned(store, BODIES)

    assert await bodies(store) == [b"", b"", b"operator", b"tick"]


@pytest.mark.parametrize("size", [100, 10_000])
async def test_of_a_body_that_went_nothing_is_left_in_the_files(store: SqliteStore, size: int) -> None:
    for word in (b"gone", b"kept"):
        await store.append(Arrival("webhook", NOW, word * size))
    await store.commit(Commit(2, NOW))

    await store.shred()  # some builds of SQLite zero of their own accord, until this turns it off
    was = held(store)
    await pruned(store, BODIES)
    await store.shred()

    assert [b"gone" * 5 in files for files in (was, held(store))] == [True, False]
    assert b"kept" * 5 in held(store)


@pytest.mark.parametrize(
    ("harm", "forward_to"), [("dead", ("app",)), ("no longer configured", ()), ("another has its place", ("other",))]
)
async def test_what_will_never_be_forwarded_goes_once_it_is_old(
    tmp_path: Path, harm: str, forward_to: Sequence[str]
) -> None:
    first = open_store(tmp_path / "monitor.db", ["app"])
    await journaled(first, 2)
    if harm == "dead":
        claims = await first.claim("app", NOW, 60.0, 9)
        await first.settle([Settlement(claim.row.id, "dead") for claim in claims], [])
    await first.close()

    second = open_store(tmp_path / "monitor.db", forward_to)
    await pruned(second, Before(YOUNG, OLD, YOUNG, YOUNG))
    young = await bodies(second)
    await pruned(second, ALL)
    old = await bodies(second)
    waiting = await second.backlog()
    await second.close()

    assert young == [b"body 0", b"body 1"]
    assert (old, waiting) == ([b"body 1"], {})


async def test_what_waits_to_be_forwarded_stays_however_old_with_all_behind_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "monitor.db", ["app"])
    await journaled(store, 4)
    claims = await store.claim("app", NOW, 60.0, 9)
    await store.settle([Settlement(claim.row.id, "done") for claim in claims if claim.row.reference != "2"], [])

    await pruned(store, ALL)
    left = await bodies(store)
    await store.close()

    assert left == [b"body 1", b"body 2", b"body 3"]


async def test_nothing_goes_before_the_pipeline_has_acted_upon_it(store: SqliteStore) -> None:
    await store.append(Arrival("webhook", NOW, b"body"))

    await pruned(store, ALL)

    assert await bodies(store) == [b"body"]


async def test_the_oldest_message_goes_in_the_first_walk(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, [message(1)]))

    await pruned(store, ALL)

    assert await wamids(store) == []


async def test_a_walk_goes_on_behind_thousands_of_messages_that_are_still_awaited(store: SqliteStore) -> None:
    awaited = [message(number, due_at=NOW + 1e6) for number in range(1, 3_000)]
    await store.commit(Commit(1, NOW, [message(0), *awaited, message(3_000)]))

    await pruned(store, ALL)

    assert set(await wamids(store)) == {one.wamid for one in awaited}


async def test_a_walk_does_not_go_on_through_messages_that_are_young(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, [message(number, started_at=NOW) for number in range(3_000)]))

    assert await store.prune(Before(YOUNG, YOUNG, YOUNG, YOUNG)) == 0


async def test_a_message_that_was_passed_over_goes_in_the_next_walk_once_it_is_judged(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, [message(1, due_at=NOW + 1e6), message(2)]))
    await pruned(store, ALL)
    awaited = await wamids(store)

    await store.commit(Commit(2, NOW, [message(1)]))
    await pruned(store, ALL)

    assert (awaited, await wamids(store)) == (["wamid.1"], [])


async def test_a_message_that_was_heard_of_again_is_young(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, [message(1), message(2)]))
    await store.commit(Commit(2, OLD, [message(1)]))

    await pruned(store, ALL)

    assert await wamids(store) == ["wamid.1"]


async def test_a_code_that_was_new_once_is_never_new_again(store: SqliteStore) -> None:
    await store.commit(Commit(1, NOW, seen={"code|5": NOW, "error|5": NOW, "error|6": OLD}))

    await pruned(store, ALL)

    assert list(await store.seen(["code|5", "error|5", "error|6"])) == ["code|5", "error|6"]


async def test_a_resend_stays_while_a_worker_has_it_or_its_retry_is_awaited(store: SqliteStore) -> None:
    resends = [
        resend(0),
        resend(1, state="claimed"),
        resend(2, state="sent", retry_wamid="wamid.9", outcome="delivered"),
        resend(3, state="sent", retry_wamid="wamid.9", outcome="read"),
        resend(4, state="dropped"),
    ]
    await store.commit(Commit(1, NOW, changes=resends))

    await pruned(store, ALL)

    assert list(await store.resends_by_id([one.id for one in resends])) == ["r0", "r1", "r2"]


async def test_rules_notes_go_and_the_chain_of_people_s_stays(store: SqliteStore) -> None:
    notes = [
        AuditEntry(NOW, *note, "r", 1)
        for note in (("rule:one", "fired", "f"), ("rule:one", "pause", "p"), ("kim", "ended", "f"))
    ]
    await store.commit(Commit(1, NOW, changes=notes))

    await pruned(store, ALL)

    assert (await store.audit("", 9)).items == [notes[2], notes[1]]


async def test_an_alert_lasts_as_long_as_one_of_its_pauses_and_until_it_is_told(store: SqliteStore) -> None:
    changes: list[Change] = [
        pause(1),
        pause(2, until=NOW),
        alert(1, pause_ids=("p2", "p1")),
        alert(2, pause_ids=("p2",)),
        alert(3),
        alert(4),
    ]
    await store.commit(Commit(1, NOW, changes=changes, outbox=[Enqueue("am", "alertmanager", "a4")]))

    await pruned(store, ALL)

    left = [await store.alert(f"a{number}") for number in (1, 2, 3, 4)]
    assert [one.id for one in left if one] == ["a1", "a4"]
    assert [one.id for one in (await store.pauses("", 9, active_at=None)).items] == ["p1"]


@pytest.mark.parametrize(("at", "is_left"), [(NOW, False), (OLD, True)])
async def test_each_kind_of_record_goes_by_its_own_end(store: SqliteStore, at: float, is_left: bool) -> None:
    records: list[Change] = [
        flag(1, resolved_at=at),
        incident(1, closed_at=at),
        firing(1, ended_at=at),
        pause(1, until=at),
    ]
    await store.keep_answer(FirstAnswer("key", b"d", 200, [], b""), at)
    told = Commit(
        1, at, counts={("spring", "sent"): 2}, numbers=[Number("200", "100", "", at)],
        values=[Value("one", "g", "x", at)], conversations=[Window("200", "me", at)], changes=records,
    )  # fmt: skip
    await store.commit(told)

    await pruned(store, ALL)

    left = [
        await store.flag("f1"), await store.incident("i1"), await store.firing("g1"), await store.pause("p1"),
        await store.first_answer("key"), (await store.campaigns("", 9)).items, await store.numbers(),
        await store.rule_values(), await store.conversations(NOW - 1),
    ]  # fmt: skip
    assert [bool(one) for one in left] == [is_left] * len(left)
