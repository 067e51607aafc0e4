"""The embedded store: durable, all or nothing, one writer."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from monitor.actions import Pause, Resend
from monitor.memory import Number
from monitor.messages import Message, Step
from monitor.store import bulk
from monitor.store.opening import SCHEMA_VERSION, open_store
from monitor.store.protocol import Arrival, Commit, Enqueue, Settlement, StoreInUseError, StoreUnavailableError
from monitor.store.sqlite import SqliteStore

NOW = 1_700_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "monitor.db", ["app"])
    yield opened
    await opened.close()


def webhook(text: str) -> Arrival:
    return Arrival("webhook", NOW, text.encode(), "sha256=x")


def message(wamid: str) -> Message:
    return Message(
        wamid, "100", "200", "hash", "outbound", "utility", "", "sent", (Step("sent", "1", NOW, NOW),), "true"
    )


def pause(number: int, until: float | None = None) -> Pause:
    return Pause(
        id=f"p{number}", scope="all", scope_id="", lane="all", rule="rule", code=None, reason="why", actor="ann",
        since=NOW, until=until, asked_scope="all",
    )  # fmt: skip


async def test_the_writer_syncs_fully_into_a_write_ahead_log(store: SqliteStore) -> None:
    pragmas = await store.writer.run(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    )

    assert pragmas == [2, "wal"]


async def test_what_was_appended_is_in_the_file_in_order_and_gapless(store: SqliteStore) -> None:
    positions = await asyncio.gather(*(store.append(webhook(f"body {number}")) for number in range(200)))

    with sqlite3.connect(f"{store.path.as_uri()}?mode=ro", uri=True) as other:
        found = other.execute("SELECT position, body, signature FROM journal ORDER BY position").fetchall()
        forwards = other.execute("SELECT COUNT(*) FROM outbox WHERE destination = 'app'").fetchone()[0]
    other.close()
    assert positions == list(range(1, 201))
    assert found == [(number + 1, f"body {number}".encode(), "sha256=x") for number in range(200)]
    assert forwards == 200


async def test_a_copy_is_not_journaled_again_not_even_after_a_restart(tmp_path: Path) -> None:
    first = open_store(tmp_path / "monitor.db")
    together = await asyncio.gather(first.append(webhook("one")), first.append(webhook("one")))
    await first.close()

    second = open_store(tmp_path / "monitor.db")
    later = await second.append(webhook("one"))
    other = await second.append(webhook("two"))
    await second.close()

    assert (list(together), later, other) == ([1, None], None, 2)


async def test_operators_acts_have_no_copies(store: SqliteStore) -> None:
    act = Arrival("operator", NOW, b"{}")

    assert [await store.append(act), await store.append(act)] == [1, 2]


async def test_a_work_that_fails_undoes_itself_and_harms_no_other(store: SqliteStore) -> None:
    def wrong(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO numbers VALUES ('1', 'w', '', 1, NULL)")
        raise ValueError("wrong")

    wronged, position, _ = await asyncio.gather(
        store.writer.run(wrong),
        store.append(webhook("body")),
        store.writer.run(lambda db: db.execute("INSERT INTO numbers VALUES ('2', 'w', '', 1, NULL)") and None),
        return_exceptions=True,
    )

    assert isinstance(wronged, ValueError)
    assert position == 1
    assert await store.numbers() == [Number("2", "w", "", 1.0)]


async def test_a_failed_transaction_leaves_nothing_and_the_next_succeeds(store: SqliteStore) -> None:
    def full(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    results = await asyncio.gather(
        store.append(webhook("one")), store.writer.run(full), store.append(webhook("two")), return_exceptions=True
    )
    retried = [await store.append(webhook("one")), await store.append(webhook("two"))]

    assert all(isinstance(result, StoreUnavailableError) for result in results)
    assert retried == [1, 2]


async def test_a_caller_that_is_cancelled_does_not_wake_the_rest_of_its_group(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(store.append(webhook(f"body {number}"))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [2, 3]


async def test_a_second_process_is_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreInUseError, match="in use"):
        open_store(store.path)


def test_a_newer_schema_and_a_file_of_another_kind_are_refused_and_kept(tmp_path: Path) -> None:
    newer, other = tmp_path / "newer.db", tmp_path / "other.db"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    other.write_bytes(b"not a database, but somebody's file" * 100)

    for path, message in ((newer, "schema 99"), (other, "not a database")):
        before = path.read_bytes()
        with pytest.raises(StoreInUseError, match=message):
            open_store(path)
        assert path.read_bytes() == before


async def test_a_step_is_all_or_nothing_with_its_cursor(store: SqliteStore) -> None:
    good = Commit(
        1,
        NOW,
        [message("wamid.1")],
        {"key": NOW},
        [Number("200", "100", "", NOW)],
        changes=[pause(1)],
        outbox=[Enqueue("am", "alertmanager", "a1")],
    )
    bad = Commit(2, NOW, [message("wamid.2")], changes=["no change"])  # type: ignore[list-item]

    await store.commit(good)
    with pytest.raises(AssertionError):
        await store.commit(bad)

    assert await store.cursor() == 1
    assert await store.messages(["wamid.1", "wamid.2"]) == {"wamid.1": message("wamid.1")}
    assert await store.seen(["key", "other"]) == {"key": NOW}
    assert await store.pause("p1") == pause(1)


async def test_pages_are_newest_first_and_follow_their_cursor(store: SqliteStore) -> None:
    for number in range(5):
        await store.commit(Commit(number, NOW, changes=[pause(number)]))
    await store.commit(Commit(9, NOW, changes=[pause(2, until=NOW + 5)]))

    first = await store.pauses("", 3, active_at=None)
    second = await store.pauses(first.next_cursor, 3, active_at=None)
    active = await store.pauses("", 9, active_at=NOW + 6)

    assert [one.id for one in (*first.items, *second.items)] == ["p4", "p3", "p2", "p1", "p0"]
    assert second.next_cursor == ""
    assert [one.id for one in active.items] == ["p4", "p3", "p1", "p0"]


async def test_a_claimed_row_is_nobody_else_s_until_it_is_settled(store: SqliteStore) -> None:
    for number in range(3):
        await store.append(webhook(f"body {number}"))

    claimed = [claim.row for claim in await store.claim("app", NOW, 60.0, 2)]
    meanwhile = [claim.row.reference for claim in await store.claim("app", NOW + 59, 60.0, 2)]
    retry = Settlement(claimed[0].id, "retry", NOW + 100, "status_500")
    await store.settle([retry, Settlement(claimed[1].id, "held", NOW + 100)], [row.id for row in claimed])
    early = await store.claim("app", NOW + 99, 60.0, 2)
    due = [claim.row for claim in await store.claim("app", NOW + 121, 60.0, 9)]
    await store.settle([Settlement(row.id, "done") for row in due[:2]] + [Settlement(due[2].id, "dead", error="x")], [])

    assert [row.reference for row in claimed] == ["1", "2"]
    assert (meanwhile, early) == (["3"], [])
    assert [(row.reference, row.attempts) for row in due] == [("1", 1), ("2", 0), ("3", 0)]
    backlog = (await store.backlog())["app"]
    assert (backlog.pending, backlog.dead) == (0, 1)


async def test_a_lease_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    first = open_store(tmp_path / "monitor.db", ["app"])
    await first.append(webhook("body"))
    await first.claim("app", NOW, 3600.0, 9)
    await first.close()

    second = open_store(tmp_path / "monitor.db", ["app"])
    claims = await second.claim("app", NOW, 3600.0, 9)
    await second.close()

    assert [(claim.row.reference, claim.entry and claim.entry.body) for claim in claims] == [("1", b"body")]


async def test_retention_keeps_what_waits_and_what_is_young(store: SqliteStore) -> None:
    for number in range(4):
        await store.append(webhook(f"body {number}"))
    await store.commit(Commit(4, NOW, [message("wamid.old")]))
    done = await store.claim("app", NOW, 60.0, 2)
    await store.settle([Settlement(claim.row.id, "done") for claim in done], [])

    young = await store.prune(NOW - 1, NOW - 1)
    old = await store.prune(NOW + 1, NOW + 1)

    assert (young, old) == (0, 3)
    assert [entry.position for entry in await store.read_since(0.0, 0, 9, 9)] == [3, 4]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 31, 32, 291])
def test_rows_are_written_in_bulk_whatever_their_number(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE pairs (a, b)")
    rows = [(number, str(number)) for number in range(count)]

    bulk.insert(connection, "INSERT INTO pairs (a, b)", rows)

    assert connection.execute("SELECT a, b FROM pairs ORDER BY a").fetchall() == rows
    connection.close()


async def test_a_store_of_the_first_schema_is_upgraded_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    schema = (Path(__file__).parent / "schemas" / "1.sql").read_text(encoding="utf-8")
    with sqlite3.connect(path) as db:
        db.executescript(f"{schema} PRAGMA user_version = 1;")
        steps = '[["sent","1",5.0,6.0,[]],["failed","2",7.0,8.0,[131043]]]'
        row = ("wamid.1", "100", "200", "hash", "outbound", "utility", "data", "failed", steps, 1, 8.0)
        db.execute(f"INSERT INTO messages VALUES ({', '.join('?' * 11)})", row)
        resend = Resend("r1-0", "wamid.1", "100", "200", "hash", "utility", 131043, "rule", "", 8.0, 8.0)
        values = ("r1-0", "wamid.1", "200", "pending", 8.0, msgspec.json.encode(resend))
        db.execute("INSERT INTO resends VALUES (?, ?, ?, ?, ?, ?)", values)
        db.execute("INSERT INTO numbers VALUES ('200', '100')")
        db.execute("INSERT INTO cursors VALUES ('pipeline', 7)")
    db.close()

    opened = open_store(path)
    try:
        (message,) = (await opened.messages(["wamid.1"])).values()
        page = await opened.recent_messages("", 10, people=["hash"], state="failed")
        assert (message.state, message.billable, message.callback_data) == ("failed", "unknown", "data")
        assert (message.steps[1].codes, message.started_at, message.due_at) == ((131043,), 5.0, None)
        assert page.items == [message]
        assert await opened.waiting_resends() == [resend]
        assert await opened.numbers() == [Number("200", "100", "", 0.0)]
        assert await opened.cursor() == 7
    finally:
        await opened.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    db.close()


async def test_a_person_is_found_over_all_buckets_and_newest_first(store: SqliteStore) -> None:
    for first in range(0, 5_000, 1_000):
        messages = [message(f"wamid.{number}") for number in range(first, first + 1_000)]
        own = [msgspec.structs.replace(messages[0], recipient="me", campaign="spring"), *messages[1:]]
        await store.commit(Commit(first, NOW + first, own))

    page = await store.recent_messages("", 3, people=["me"], state="")
    rest = await store.recent_messages(page.next_cursor, 3, people=["me"], state="")
    newest = await store.recent_campaign_messages()

    assert [one.wamid for one in page.items] == ["wamid.4000", "wamid.3000", "wamid.2000"]
    assert [one.wamid for one in rest.items] == ["wamid.1000", "wamid.0"]
    assert newest == {("200", "me"): "wamid.4000"}


async def test_retention_passes_over_messages_that_are_still_awaited(store: SqliteStore) -> None:
    awaited = [msgspec.structs.replace(message(f"wamid.a{n}"), due_at=NOW + 1e6) for n in range(300)]
    done = [message(f"wamid.d{n}") for n in range(300)]
    await store.commit(Commit(1, NOW, [one for pair in zip(awaited, done, strict=True) for one in pair]))

    while await store.prune(NOW + 1, NOW + 1):
        pass
    page = await store.recent_messages("", 1_000, people=[], state="")

    assert {one.wamid for one in page.items} == {one.wamid for one in awaited}
