"""The thread that writes: groups, failures, checkpoints and the end."""

import asyncio
import gc
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.store import writer
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Commit, Entry, Settlement, StoreUnavailableError
from monitor.store.sqlite import SqliteStore

NOW = 1_700_000_000.0


class Refusing:
    """A connection on which some statements fail as SQLite fails."""

    def __init__(self, connection: sqlite3.Connection, statement: str, name: str) -> None:
        self._connection = connection
        self._statement = statement
        self._name = name
        self.is_over = False

    def execute(self, statement: str, values: Any = ()) -> Any:
        if statement.startswith(self._statement) and not self.is_over:
            error = sqlite3.OperationalError("it failed")
            error.sqlite_errorname = self._name
            raise error
        return self._connection.execute(statement, values)

    def close(self) -> None:
        self._connection.close()


class Watching:
    """A connection that notes who uses it, and how often its log was to be emptied, which takes a while."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.threads: set[str] = set()
        self.checkpoints = 0
        self.on_checkpoint: Callable[[int], None] = lambda _: None

    def execute(self, statement: str, values: Any = ()) -> Any:
        self.threads.add(threading.current_thread().name)
        if "wal_checkpoint" in statement:
            self.checkpoints += 1
            self.on_checkpoint(self.checkpoints)
            time.sleep(0.05)
        return self._connection.execute(statement, values)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "monitor.db", ["app", "other"])
    yield opened
    await opened.close()


def webhook(text: str) -> Arrival:
    return Arrival("webhook", NOW, text.encode(), "sha256=x")


def refuse(store: SqliteStore, statement: str, name: str) -> Refusing:
    refusing = Refusing(store.writer._connection, statement, name)
    store.writer._connection = refusing  # type: ignore[assignment]
    return refusing


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY_DBMOVED"])
async def test_after_an_error_of_the_disk_nothing_more_is_written(store: SqliteStore, name: str) -> None:
    refusing = refuse(store, "COMMIT", name)
    with pytest.raises(StoreUnavailableError, match=f"^{name}: it failed$"):
        await store.append(webhook("one"))
    refusing.is_over = True

    with pytest.raises(StoreUnavailableError, match="a restart recovers it"):
        await store.append(webhook("two"))

    assert store.writer.is_broken
    assert await store.head() == store.writer.last_position == 0


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_BUSY", "SQLITE_READONLY"])
async def test_what_may_pass_is_tried_again(store: SqliteStore, name: str) -> None:
    refusing = refuse(store, "COMMIT", name)
    with pytest.raises(StoreUnavailableError, match=name):
        await store.append(webhook("one"))
    refusing.is_over = True

    assert not store.writer.is_broken
    assert await store.append(webhook("one")) == 1
    assert await store.append(webhook("one")) is None


async def test_a_failed_group_forgets_its_own_bodies_and_no_others(store: SqliteStore) -> None:
    await store.append(webhook("known"))
    refusing = refuse(store, "COMMIT", "SQLITE_FULL")
    failed = await asyncio.gather(*(store.append(webhook(f"{n}")) for n in range(3)), return_exceptions=True)
    refusing.is_over = True

    assert all(isinstance(one, StoreUnavailableError) for one in failed)
    assert [await store.append(webhook(text)) for text in ("known", "0", "1", "2", "0")] == [None, 2, 3, 4, None]


async def test_the_oldest_bodies_are_forgotten_first(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "DIGESTS_MOST", 2)

    assert [await store.append(webhook(text)) for text in "abc"] == [1, 2, 3]
    assert [await store.append(webhook(text)) for text in "cba"] == [None, None, 4]


async def test_what_waits_while_a_group_is_written_is_the_next_one(store: SqliteStore) -> None:
    groups: list[int] = []
    entries: list[Entry] = []
    seconds: list[float] = []

    def flushed(took: float, count: int) -> None:
        seconds.append(took)
        groups.append(count)

    store.writer.on_flush = flushed
    store.writer.on_appended = entries.extend
    first = asyncio.create_task(store.append(webhook("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(store.append(webhook(f"{n}"))) for n in (1, 2, 2)]
    await asyncio.sleep(0)
    waiting = store.waiting

    assert [await first, *[await one for one in others]] == [1, 2, 3, None]
    assert (waiting, store.waiting, groups) == (3, 0, [1, 3])
    assert all(0 <= one < 5 for one in seconds)
    assert [(one.position, one.kind, one.received_at, one.body) for one in entries] == [
        (1, "webhook", NOW, b"first"), (2, "webhook", NOW, b"1"), (3, "webhook", NOW, b"2"),
    ]  # fmt: skip


async def test_a_webhook_is_to_be_forwarded_to_each_and_nothing_else_is(store: SqliteStore) -> None:
    await store.append(webhook("body"))
    await store.append(Arrival("tick", NOW, b"{}"))

    for name in ("app", "other"):
        (claim,) = await store.claim(name, NOW, 60, 9)
        row = claim.row
        assert (row.kind, row.reference, row.attempts, row.sent, row.created_at) == ("forward", "1", 0, 0, NOW)
    assert await store.claim("nobody", NOW, 60, 9) == []


async def test_all_that_waits_when_a_group_ends_is_one_group_whenever_it_came(store: SqliteStore) -> None:
    groups: list[int] = []
    store.writer.on_flush = lambda _took, count: groups.append(count)
    is_free = threading.Event()
    held = asyncio.create_task(store.writer.run(lambda _: is_free.wait(30)))
    await asyncio.sleep(0.01)
    waiting = []
    for text in "abc":
        waiting.append(asyncio.create_task(store.append(webhook(text))))
        await asyncio.sleep(0.01)
    is_free.set()
    await asyncio.gather(held, *waiting)
    await asyncio.gather(*(store.append(webhook(text)) for text in "de"))
    await store.head()

    assert groups == [0, 3, 2]


async def test_one_thread_alone_uses_the_connection_that_writes(store: SqliteStore) -> None:
    watching = Watching(store.writer._connection)
    store.writer._connection = watching  # type: ignore[assignment]
    checkpoint = asyncio.create_task(store.writer.checkpoint())
    await asyncio.sleep(0.02)

    await asyncio.gather(*(store.append(webhook(f"{n}")) for n in range(3)), checkpoint)

    assert watching.threads == {"store-writer_0"}


@pytest.mark.parametrize("turns", [1, 2])
async def test_what_was_accepted_is_written_before_the_end(tmp_path: Path, turns: int) -> None:
    before = set(threading.enumerate())
    opened = open_store(tmp_path / "monitor.db")
    tasks = [asyncio.create_task(opened.append(webhook("early")))]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks.append(asyncio.create_task(opened.append(webhook("late"))))
    if turns > 1:
        await asyncio.sleep(0)
    await opened.close()

    assert [await one for one in tasks] == [1, 2]
    assert set(threading.enumerate()) <= before
    again = open_store(tmp_path / "monitor.db")
    assert await again.head() == 2
    await again.close()


async def test_a_caller_that_went_away_is_not_told_and_harms_nobody(store: SqliteStore) -> None:
    gone = [asyncio.create_task(store.writer.run(lambda _: 1)), asyncio.create_task(store.writer.run(_wrong))]
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    refusing = refuse(store, "COMMIT", "SQLITE_FULL")
    task = asyncio.create_task(store.writer.run(lambda _: 1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.05)
    refusing.is_over = True

    assert await store.writer.run(lambda _: 2) == 2


async def test_what_fails_before_sqlite_has_seen_it_is_neither_known_nor_in_the_way(store: SqliteStore) -> None:
    unwritable = Arrival("webhook", NOW, b"body", "\ud800")  # a text that has no bytes; memory that is used up is alike
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="UnicodeEncodeError"):
            await store.append(unwritable)

    assert not store.writer.is_broken
    assert await store.append(webhook("body")) == 1


async def test_a_group_that_fails_without_anybody_waiting_raises_no_complaint(store: SqliteStore) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    refuse(store, "COMMIT", "SQLITE_FULL")
    gone = [asyncio.create_task(store.append(webhook("one"))), asyncio.create_task(store.writer.run(lambda _: 1))]
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    await asyncio.sleep(0.05)
    gone.clear()
    gc.collect()

    assert complaints == []


def _wrong(_: sqlite3.Connection) -> None:
    raise ValueError("wrong")


async def test_a_checkpoint_empties_the_log_and_waits_for_a_reader(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_SECONDS", 0.01)
    monkeypatch.setattr(writer, "CHECKPOINT_TRIES", 3)
    store.writer._connection.execute("PRAGMA busy_timeout = 0")
    log = store.path.with_name("monitor.db-wal")
    await store.append(webhook("body"))
    reader = sqlite3.connect(store.path)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM journal").fetchone()
    await store.append(webhook("more"))

    await store.shred()
    held = log.stat().st_size
    reader.close()
    store.writer._connection.execute("PRAGMA secure_delete = ON")
    await store.shred()

    assert (held > 0, log.stat().st_size) == (True, 0)
    assert store.writer._connection.execute("PRAGMA secure_delete").fetchone() == (0,)


async def test_a_checkpoint_goes_on_until_the_reader_has_left_and_not_longer(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_SECONDS", 0.01)
    store.writer._connection.execute("PRAGMA busy_timeout = 0")
    watching = Watching(store.writer._connection)
    store.writer._connection = watching  # type: ignore[assignment]
    log = store.path.with_name("monitor.db-wal")
    await store.append(webhook("body"))
    reader = sqlite3.connect(store.path, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM journal").fetchone()
    await store.append(webhook("more"))
    watching.on_checkpoint = lambda number: reader.close() if number == 3 else None

    await store.writer.checkpoint()
    tried, left = watching.checkpoints, log.stat().st_size
    await store.writer.checkpoint()

    assert (tried, left, watching.checkpoints) == (3, 0, 4)


async def test_a_checkpoint_holds_what_waited_before_it(store: SqliteStore) -> None:
    waiting = asyncio.create_task(store.append(webhook("body")))
    await asyncio.sleep(0)

    await store.writer.checkpoint()

    assert waiting.done()
    assert store.path.with_name("monitor.db-wal").stat().st_size == 0


SYNCED, LATER = 2, 1  # FULL, NORMAL


async def test_only_what_is_lasting_is_waited_for_on_disk(store: SqliteStore) -> None:
    def told(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA synchronous").fetchone()[0])

    alone = await store.writer.run(told, is_lasting=False)
    beside_an_arrival = (await asyncio.gather(store.append(webhook("body")), store.writer.run(told, is_lasting=False)))[
        1
    ]
    beside_what_lasts = list(await asyncio.gather(store.writer.run(told), store.writer.run(told, is_lasting=False)))
    afterwards = await store.writer.run(told, is_lasting=False)

    assert (alone, beside_an_arrival, beside_what_lasts, afterwards) == (LATER, SYNCED, [SYNCED, SYNCED], LATER)


async def test_leases_and_settlements_are_not_waited_for_on_disk(store: SqliteStore) -> None:
    store.writer.forward_to = ("app",)
    await store.append(webhook("body"))
    connection = store.writer._connection
    synced: list[int] = []

    def note() -> None:
        synced.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    (claim,) = await store.claim("app", NOW, 60.0, 9)
    note()
    await store.settle([Settlement(claim.row.id, "done")], [claim.row.id])
    note()
    await store.renew("app", NOW, is_start=True)
    note()
    await store.commit(Commit(1, NOW))
    note()

    assert synced == [LATER, LATER, LATER, SYNCED]


async def test_the_store_is_opened_as_it_must_be(store: SqliteStore) -> None:
    connection = store.writer._connection
    told = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "busy_timeout")
    ]

    assert told == ["wal", 2, 1_250]
    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (4_000,)
    assert store._reader.execute("PRAGMA query_only").fetchone() == (1,)
    assert {file.stat().st_mode & 0o777 for file in store.path.parent.glob("monitor.db*")} == {0o600}


async def test_the_newest_bodies_are_known_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_store(tmp_path / "new" / "newer" / "monitor.db")
    for text in "abc":
        await first.append(webhook(text))
    await first.append(Arrival("tick", NOW, b"{}"))
    await first.close()
    monkeypatch.setattr("monitor.store.opening.DIGESTS_MOST", 2)
    monkeypatch.setattr(writer, "DIGESTS_MOST", 2)

    second = open_store(tmp_path / "new" / "newer" / "monitor.db")
    positions = [await second.append(webhook(text)) for text in "cba"]
    digests = len(second.writer._digests)
    await second.close()

    assert positions == [None, None, 5]
    assert digests == 2
    assert (tmp_path / "new" / "newer").stat().st_mode & 0o777 == 0o700
