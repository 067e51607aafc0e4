"""The embedded store: durable, all or nothing, one writer."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from monitor.memory import Number
from monitor.store import bulk
from monitor.store.high_water import HighWater
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Before, Commit, Enqueue, Settlement, StoreUnavailableError
from monitor.store.sqlite import SqliteStore
from tests import records
from tests.records import NOW


def webhook(text: str) -> Arrival:
    return Arrival("webhook", NOW, text.encode(), "sha256=x")


def before(at: float) -> Before:
    return Before(at, at, at, at)


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


@pytest.mark.parametrize("name", ["monitor.db", "monitor.db-wal"])
async def test_nothing_is_written_while_another_file_has_its_name(
    store: SqliteStore, tmp_path: Path, name: str
) -> None:
    shutil.copy(tmp_path / name, tmp_path / "copy")
    (tmp_path / name).rename(tmp_path / "moved")
    (tmp_path / "copy").rename(tmp_path / name)
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        await store.append(webhook("one"))

    (tmp_path / "moved").rename(tmp_path / name)

    assert await store.append(webhook("one")) == 1


@pytest.mark.parametrize("name", ["monitor.db", "monitor.db-wal"])
async def test_nothing_is_written_while_the_file_has_lost_its_name(
    store: SqliteStore, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailableError, match="removed or replaced"):
        await store.append(webhook("one"))

    (tmp_path / "moved").rename(tmp_path / name)

    assert await store.append(webhook("one")) == 1


async def test_a_caller_that_is_cancelled_does_not_wake_the_rest_of_its_group(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(store.append(webhook(f"body {number}"))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [2, 3]


async def test_a_step_is_all_or_nothing_with_its_cursor(store: SqliteStore) -> None:
    good = Commit(
        1,
        NOW,
        [records.message(1)],
        {"key": NOW},
        [Number("200", "100", "", NOW)],
        changes=[records.pause(1)],
        outbox=[Enqueue("am", "alertmanager", "a1")],
    )
    bad = Commit(2, NOW, [records.message(2)], changes=["no change"])  # type: ignore[list-item]

    await store.commit(good)
    with pytest.raises(AssertionError):
        await store.commit(bad)

    assert await store.cursor() == 1
    assert await store.messages(["wamid.1", "wamid.2"]) == {"wamid.1": records.message(1)}
    assert await store.seen(["key", "other"]) == {"key": NOW}
    assert await store.pause("p1") == records.pause(1)


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
    await store.commit(Commit(4, NOW, [records.message("old")]))
    done = await store.claim("app", NOW, 60.0, 2)
    await store.settle([Settlement(claim.row.id, "done") for claim in done], [])

    young = await store.prune(before(NOW - 1))
    old = await store.prune(before(NOW + 1))

    assert (young, old) == (0, 3)
    assert [entry.position for entry in await store.read_since(0.0, 0, 9, 9)] == [3, 4]


async def test_the_newest_entry_from_before_a_time_is_found_though_the_clock_was_put_back(store: SqliteStore) -> None:
    for seconds in (0, 10, 20, 15, 30):
        await store.append(Arrival("webhook", NOW + seconds, f"body {seconds}".encode()))

    found = [
        await store.newest_before(NOW + seconds, until)
        for seconds, until in ((0, 5), (1, 5), (16, 5), (99, 5), (99, 3))
    ]

    assert found == [0, 1, 4, 5, 3]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 31, 32, 291])
def test_rows_are_written_in_bulk_whatever_their_number(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE pairs (a, b)")
    rows = [(number, str(number)) for number in range(count)]

    bulk.insert(connection, "INSERT INTO pairs (a, b)", rows)

    assert connection.execute("SELECT a, b FROM pairs ORDER BY a").fetchall() == rows
    connection.close()


async def test_a_person_is_found_over_all_buckets_and_newest_first(store: SqliteStore) -> None:
    for first in range(0, 5_000, 1_000):
        messages = [records.message(number) for number in range(first, first + 1_000)]
        own = [msgspec.structs.replace(messages[0], recipient="me", campaign="spring"), *messages[1:]]
        await store.commit(Commit(first, NOW + first, own))

    page = await store.recent_messages("", 3, people=["me"], state="")
    rest = await store.recent_messages(page.next_cursor, 3, people=["me"], state="")
    newest = await store.recent_campaign_messages()

    assert [one.wamid for one in page.items] == ["wamid.4000", "wamid.3000", "wamid.2000"]
    assert [one.wamid for one in rest.items] == ["wamid.1000", "wamid.0"]
    assert newest == {("200", "me"): "wamid.4000"}


async def test_retention_passes_over_messages_that_are_still_awaited(store: SqliteStore) -> None:
    awaited = [records.message(f"a{n}", due_at=NOW + 1e6) for n in range(300)]
    done = [records.message(f"d{n}") for n in range(300)]
    await store.commit(Commit(1, NOW, [one for pair in zip(awaited, done, strict=True) for one in pair]))

    while await store.prune(before(NOW + 1)):
        pass
    page = await store.recent_messages("", 1_000, people=[], state="")

    assert {one.wamid for one in page.items} == {one.wamid for one in awaited}


async def test_a_tail_that_is_gone_is_seen_and_its_positions_are_not_given_again(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    store = open_store(path)
    for number in range(10):
        await store.append(webhook(f"{number}"))
    with closing(sqlite3.connect(tmp_path / "backup.db")) as backup, closing(sqlite3.connect(path)) as db:
        db.backup(backup)
    for number in range(10, 15):
        await store.append(webhook(f"{number}"))
    await store.close()
    path.write_bytes((tmp_path / "backup.db").read_bytes())

    reopened = open_store(path)
    position = await reopened.append(webhook("new"))
    await reopened.close()
    again = open_store(path)
    await again.close()

    assert (list(reopened.lost), position, list(again.lost)) == ([11, 12, 13, 14, 15], 16, [])


async def test_a_log_that_was_cut_off_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    store = open_store(path)
    for number in range(10):
        await store.append(webhook(f"{number}"))
    for name in ("monitor.db", "monitor.db-wal", "monitor.db.head"):
        (tmp_path / f"crashed-{name}").write_bytes((tmp_path / name).read_bytes())
    await store.close()
    for name in ("monitor.db", "monitor.db-wal", "monitor.db.head"):
        (tmp_path / f"crashed-{name}").rename(tmp_path / name)
    log = tmp_path / "monitor.db-wal"
    log.write_bytes(log.read_bytes()[:-4120])

    reopened = open_store(path)
    left = await reopened.read(0, 100)
    await reopened.close()

    assert [entry.position for entry in left] + list(reopened.lost) == list(range(1, 11))
    assert reopened.lost


@pytest.mark.parametrize("written", [b"", b"short", b"\xff" * 12, b"\0" * 64])
async def test_a_mark_that_can_not_be_read_tells_nothing(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "monitor.db.head").write_bytes(written)
    store = open_store(tmp_path / "monitor.db")
    await store.append(webhook("one"))
    await store.close()

    assert not store.lost
    assert HighWater(tmp_path / "monitor.db.head").read() == 1


async def test_bodies_go_before_their_entries_and_those_that_wait_stay(store: SqliteStore) -> None:
    for number in range(600):
        await store.append(webhook(f"body {number}"))
    await store.append(Arrival("operator", NOW, b"act"))
    await store.append(Arrival("send", NOW, b"answer"))
    await store.append(Arrival("send", NOW + 10, b"young"))
    await store.commit(Commit(603, NOW, []))
    while claims := await store.claim("app", NOW, 60.0, 1_000):
        await store.settle([Settlement(one.row.id, "done") for one in claims if one.row.reference != "599"], [])
    wanted = Before(NOW - 1, NOW + 5, NOW - 1, NOW - 1)

    while await store.prune(wanted):
        pass
    held = await store.read_since(0.0, 0, 700, 700)
    (last,) = await store.claim("app", NOW + 100, 60.0, 1_000)
    await store.settle([Settlement(last.row.id, "done")], [])
    while await store.prune(wanted):
        pass
    left = await store.read_since(0.0, 0, 700, 700)

    assert [entry.position for entry in held if entry.body] == [599, 600, 602, 603]
    assert [entry.body for entry in left if entry.body] == [b"young"]
    assert len(left) == 602
    assert await store.append(webhook("body 7")) is None, "a copy is still known"


async def test_messages_and_the_journal_have_ages_of_their_own(store: SqliteStore) -> None:
    await store.append(webhook("body"))
    await store.commit(Commit(2, NOW, [records.message(1)]))
    for claim in await store.claim("app", NOW, 60.0, 9):
        await store.settle([Settlement(claim.row.id, "done")], [])

    await store.prune(Before(NOW + 1, NOW + 1, NOW - 1, NOW - 1))
    kept = await store.messages(["wamid.1"])
    await store.prune(Before(NOW + 1, NOW + 1, NOW + 1, NOW - 1))

    assert await store.read_since(0.0, 0, 9, 9) == []
    assert list(kept) == ["wamid.1"]
    assert await store.messages(["wamid.1"]) == {}


async def test_history_stays_unless_it_is_given_an_age(store: SqliteStore) -> None:
    pauses = [records.pause(1, until=NOW), records.pause(2), records.pause(3, until=NOW + 10)]
    await store.commit(Commit(1, NOW, changes=pauses))

    await store.prune(before(NOW + 5))
    kept = (await store.pauses("", 9, active_at=None)).items
    await store.prune(Before(NOW - 1, NOW - 1, NOW - 1, NOW - 1, history=NOW + 5))
    left = (await store.pauses("", 9, active_at=None)).items

    assert len(kept) == 3
    assert {one.until for one in left} == {None, NOW + 10}
