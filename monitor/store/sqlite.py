"""The embedded store: one SQLite file in WAL mode with synchronous=FULL.

Exactly one connection writes and checkpoints (writer.py); the others are read-only, since SQLite before 3.51.3 can
corrupt a WAL that two connections write and checkpoint ("WAL-reset bug", sqlite.org/wal.html).
"""

import asyncio
import fcntl
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from monitor.actions import Alert, AuditEntry, Flag, Pause, Resend
from monitor.messages import Message
from monitor.standing import KEPT_SECONDS, Standing
from monitor.store import rows
from monitor.store.protocol import (
    Arrival,
    Backlog,
    Commit,
    Entry,
    OutboxRow,
    Page,
    Settlement,
    StoreInUseError,
    StoreUnavailableError,
)
from monitor.store.writer import DIGESTS_MOST, Writer

SCHEMA_VERSION = 1
BUSY_MILLISECONDS = 2_000  # how long a stranger's lock on the file is waited for before the answer is 503
TAIL_BYTES = 64 * 1024 * 1024  # entries kept in memory for the pipeline; beyond it the file is read
_ENTRY = "SELECT position, kind, received_at, body, signature FROM journal"
_OUTBOX = "id, destination, kind, reference, created_at, attempts, sent, error, state"
_T = TypeVar("_T")


class SqliteStore:
    """The store in one file; made by `open_store`."""

    def __init__(self, path: Path, lock: int, writer: Writer, reader: sqlite3.Connection) -> None:
        self.path = path
        self.writer = writer
        self._lock = lock
        self._reader = reader
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._tail: deque[Entry] = deque()
        self._tail_bytes = 0
        writer.on_appended = self._remember

    @property
    def waiting(self) -> int:
        """How many arrivals wait for their commit."""
        return self.writer.waiting

    async def append(self, arrival: Arrival) -> int | None:
        """Journal it with a forward row per destination; return its position, or None for a copy of a known body."""
        entry = await self.writer.append(arrival)
        return None if entry is None else entry.position

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Return the entries behind a position, in order; from memory when the reader is nearly caught up."""
        if after >= self.writer.last_position:
            return []
        tail = self._tail
        while tail and tail[0].position <= after:
            self._tail_bytes -= len(tail.popleft().body)
        if tail and tail[0].position == after + 1:
            return [tail[index] for index in range(min(limit, len(tail)))]
        return await self._read(lambda db: _entries(db, "WHERE position > ? ORDER BY position LIMIT ?", after, limit))

    async def read_since(
        self, received_at: float, after: int, until: int, limit: int, containing: bytes = b""
    ) -> list[Entry]:
        """Return webhook entries received at or after a time, behind `after`, up to `until`, that hold some bytes."""
        where = """WHERE position > ? AND position <= ? AND received_at >= ? AND kind = 'webhook'
            AND (? = x'' OR instr(body, ?)) ORDER BY position LIMIT ?"""
        values = (after, until, received_at, containing, containing, limit)
        return await self._read(lambda db: _entries(db, where, *values))

    async def entry(self, position: int) -> Entry | None:
        """Return one entry, or None where retention has removed it."""
        found = await self._read(lambda db: _entries(db, "WHERE position = ?", position))
        return found[0] if found else None

    async def cursor(self) -> int:
        """Return the position up to which the journal has been acted upon."""
        row = await self._read(lambda db: db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone())
        return row[0] if row else 0

    async def head(self) -> int:
        """Return the position of the newest entry."""
        return await self._read(_head)

    async def commit(self, commit: Commit) -> None:
        """Write one step's changes and its cursor, all or nothing."""
        await self.writer.run(lambda db: rows.commit(db, commit))

    async def messages(self, wamids: Sequence[str]) -> dict[str, Message]:
        """Return what is known of these messages."""
        wanted = msgspec.json.encode(wamids).decode()
        found = await self._read(lambda db: db.execute(rows.KNOWN_MESSAGES, (wanted,)).fetchone())
        return {message.wamid: message for message in rows.messages(found[0])}

    async def seen(self, keys: Sequence[str]) -> dict[str, float]:
        """Return when those of these event keys were received that have been acted upon."""
        wanted = msgspec.json.encode(keys).decode()
        query = "SELECT key, received_at FROM seen WHERE key IN (SELECT value FROM json_each(?))"
        return dict(await self._read(lambda db: db.execute(query, (wanted,)).fetchall()))

    async def standing(self, now: float) -> Standing:
        """Return what stands, or was just over, at `now`; alerts that still have to be sent, with their pauses."""
        return await self._read(lambda db: _standing(db, now - KEPT_SECONDS))

    async def numbers(self) -> dict[str, str]:
        """Return the account of each phone number id that was ever seen."""
        return dict(await self._read(lambda db: db.execute("SELECT phone_number_id, waba_id FROM numbers").fetchall()))

    async def claim(
        self, destination: str, now: float, lease_seconds: float, limit: int, *, is_ordered: bool
    ) -> list[OutboxRow]:
        """Lease rows that are due, oldest first; in an ordered destination nothing overtakes a row that waits."""
        found: list[OutboxRow] = await self._read(lambda db: _due(db, destination, now, limit, is_ordered=is_ordered))
        if not found:
            return []
        leases = [(now + lease_seconds, row.id) for row in found]
        await self.writer.run(
            lambda db: db.executemany("UPDATE outbox SET lease_until = ? WHERE id = ?", leases) and None
        )
        return found

    async def settle(self, settlements: Sequence[Settlement], claimed: Sequence[int]) -> None:
        """Write what became of claimed rows; rows that were claimed and are not named are free again."""
        await self.writer.run(lambda db: rows.settle(db, settlements, claimed))

    async def backlog(self) -> dict[str, Backlog]:
        """Return how much waits for each destination."""
        query = """SELECT destination, SUM(state = 'pending'), SUM(state = 'dead'),
            MIN(CASE WHEN state = 'pending' AND sent = 0 THEN created_at END) FROM outbox GROUP BY destination"""
        found = await self._read(lambda db: db.execute(query).fetchall())
        return {row[0]: Backlog(row[1], row[2], row[3]) for row in found}

    async def pauses(self, before: str, limit: int, *, active_at: float | None) -> Page:
        """Return pauses, newest first; only those in force at `active_at` where it is given."""
        where, values = ("over_at IS NULL OR over_at > ?", (active_at,)) if active_at is not None else ("1", ())
        return await self._page("pauses", Pause, before, limit, where, values)

    async def flags(self, before: str, limit: int, *, is_open: bool | None) -> Page:
        """Return flags, newest first."""
        where = {None: "1", True: "resolved_at IS NULL", False: "resolved_at IS NOT NULL"}[is_open]
        return await self._page("flags", Flag, before, limit, where, ())

    async def resends(self, before: str, limit: int, *, state: str) -> Page:
        """Return resends, newest first."""
        where, values = ("state = ?", (state,)) if state else ("1", ())
        return await self._page("resends", Resend, before, limit, where, values)

    async def audit(self, before: str, limit: int) -> Page:
        """Return who did what, newest first."""
        query = """SELECT id, at, actor, action, target, reason, position FROM audit
            WHERE id < ? ORDER BY id DESC LIMIT ?"""
        found = await self._read(lambda db: db.execute(query, (_cursor(before), limit + 1)).fetchall())
        return _page([(row[0], AuditEntry(*row[1:])) for row in found], limit)

    async def recent_messages(self, before: str, limit: int, *, recipient: str, state: str) -> Page:
        """Return messages, newest first."""
        query = f"""SELECT rowid, {rows.MESSAGE_COLUMNS} FROM messages WHERE rowid < ? AND (? = '' OR recipient = ?)
            AND (? = '' OR state = ?) ORDER BY rowid DESC LIMIT ?"""  # noqa: S608 (constants)
        values = (_cursor(before), recipient, recipient, state, state, limit + 1)
        found = await self._read(lambda db: db.execute(query, values).fetchall())
        return _page([(row[0], rows.message(row[1:])) for row in found], limit)

    async def due_resends(self, now: float, limit: int) -> list[Resend]:
        """Return resends that a worker may take now: pending ones, and claimed ones whose lease is over."""
        query = """SELECT record FROM resends WHERE state IN ('pending', 'claimed') AND not_before <= ?
            ORDER BY not_before LIMIT ?"""
        return await self._read(
            lambda db: [msgspec.json.decode(row[0], type=Resend) for row in db.execute(query, (now, limit))]
        )

    async def pending_resends(self) -> dict[str, int]:
        """Return how many resends wait, by phone number id."""
        query = "SELECT phone_number_id, COUNT(*) FROM resends WHERE state IN ('pending', 'claimed') GROUP BY 1"
        return dict(await self._read(lambda db: db.execute(query).fetchall()))

    async def resend(self, resend_id: str) -> Resend | None:
        """Return one resend."""
        return await self._record("resends", Resend, resend_id)

    async def pause(self, pause_id: str) -> Pause | None:
        """Return one pause."""
        return await self._record("pauses", Pause, pause_id)

    async def flag(self, flag_id: str) -> Flag | None:
        """Return one flag."""
        return await self._record("flags", Flag, flag_id)

    async def alert(self, alert_id: str) -> Alert | None:
        """Return one alert."""
        return await self._record("alerts", Alert, alert_id)

    async def prune(self, before: float, limit: int) -> int:
        """Remove up to `limit` journal entries and messages older than a time that nothing waits for; say how many."""
        return int(await self.writer.run(lambda db: _prune(db, before, limit, self.writer.forward_to)))

    def size_bytes(self) -> int:
        """Return how much disk the store takes."""
        return sum(file.stat().st_size for file in self.path.parent.glob(self.path.name + "*"))

    async def close(self) -> None:
        """Finish what was accepted and let go of the store."""
        self._reading.shutdown(wait=True)
        self._reader.close()  # first: the writer, closing last, checkpoints and removes the WAL
        await self.writer.close()
        os.close(self._lock)

    def _remember(self, entries: Sequence[Entry]) -> None:
        """Keep what was just journaled for the pipeline; when it lags too far, the file serves it instead."""
        for entry in entries:
            if self._tail_bytes + len(entry.body) > TAIL_BYTES:
                self._tail.clear()
                self._tail_bytes = 0
            self._tail.append(entry)
            self._tail_bytes += len(entry.body)

    async def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reading, query, self._reader)
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error

    async def _page(self, table: str, kind: type, before: str, limit: int, where: str, values: Sequence[Any]) -> Page:
        query = f"SELECT rowid, record FROM {table} WHERE rowid < ? AND ({where}) ORDER BY rowid DESC LIMIT ?"  # noqa: S608
        found = await self._read(lambda db: db.execute(query, (_cursor(before), *values, limit + 1)).fetchall())
        return _page([(row[0], msgspec.json.decode(row[1], type=kind)) for row in found], limit)

    async def _record(self, table: str, kind: type[_T], record_id: str) -> _T | None:
        query = f"SELECT record FROM {table} WHERE id = ?"  # noqa: S608
        row = await self._read(lambda db: db.execute(query, (record_id,)).fetchone())
        return None if row is None else msgspec.json.decode(row[0], type=kind)


def open_store(path: Path, forward_to: Sequence[str] = ()) -> SqliteStore:
    """Open or make the store in `path`; raise StoreInUseError where another process holds it or it can't be read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreInUseError(f"{path} is in use by another process") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # the file is nobody else's to read
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        _prepare(connection)
        last_position = _head(connection)
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        reader.execute("PRAGMA query_only = ON")
    except (sqlite3.Error, OSError, StoreInUseError) as error:
        os.close(lock)
        raise StoreInUseError(f"{path} can't be opened: {error}") from error
    writer = Writer(connection, last_position, _digests(connection))
    writer.forward_to = tuple(forward_to)
    return SqliteStore(path, lock, writer, reader)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreInUseError(f"it has schema {version}, this version reads up to {SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages, 16 MB: fewer stalls than the default 1,000
    if version == 0:
        schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    # Nobody else can hold a lease while the lock is ours: those of a process that died are free.
    connection.execute("UPDATE outbox SET lease_until = NULL WHERE lease_until IS NOT NULL")


def _head(db: sqlite3.Connection) -> int:
    query = """SELECT MAX(COALESCE((SELECT MAX(position) FROM journal), 0),
        COALESCE((SELECT position FROM cursors WHERE name = 'pipeline'), 0))"""
    return int(db.execute(query).fetchone()[0])


def _digests(db: sqlite3.Connection) -> list[bytes]:
    query = "SELECT digest FROM journal WHERE digest IS NOT NULL ORDER BY position DESC LIMIT ?"
    return [row[0] for row in db.execute(query, (DIGESTS_MOST,))][::-1]


def _entries(db: sqlite3.Connection, where: str, *values: Any) -> list[Entry]:
    return [Entry(*row) for row in db.execute(f"{_ENTRY} {where}", values)]


def _due(db: sqlite3.Connection, destination: str, now: float, limit: int, *, is_ordered: bool) -> list[OutboxRow]:
    query = f"SELECT {_OUTBOX}, next_at, lease_until FROM outbox WHERE destination = ? AND state = 'pending'"  # noqa: S608
    if not is_ordered:
        query += " AND next_at <= ? AND (lease_until IS NULL OR lease_until <= ?) ORDER BY id LIMIT ?"
        return [OutboxRow(*row[:9]) for row in db.execute(query, (destination, now, now, limit))]
    found: list[OutboxRow] = []
    for row in db.execute(f"{query} ORDER BY id LIMIT ?", (destination, limit)):
        next_at, lease_until = row[9:]
        if next_at > now or (lease_until is not None and lease_until > now):
            break
        found.append(OutboxRow(*row[:9]))
    return found


def _standing(db: sqlite3.Connection, since: float) -> Standing:
    def load(query: str, kind: type[_T], *values: Any) -> list[_T]:
        return [msgspec.json.decode(row[0], type=kind) for row in db.execute(query, values)]

    alerts = load(
        """SELECT record FROM alerts WHERE last_at > ? OR id IN
        (SELECT reference FROM outbox WHERE kind <> 'forward' AND state = 'pending')""", Alert, since,
    )  # fmt: skip
    pauses = load("SELECT record FROM pauses WHERE over_at IS NULL OR over_at > ?", Pause, since)
    flags = load("SELECT record FROM flags WHERE resolved_at IS NULL OR resolved_at > ?", Flag, since)
    known = {pause.id for pause in pauses}
    for pause_id in {pause_id for alert in alerts for pause_id in alert.pause_ids} - known:
        pauses.extend(load("SELECT record FROM pauses WHERE id = ?", Pause, pause_id))
    return Standing(
        {pause.id: pause for pause in pauses}, {flag.id: flag for flag in flags}, {alert.id: alert for alert in alerts}
    )


def _prune(db: sqlite3.Connection, before: float, limit: int, forward_to: Sequence[str]) -> int:
    """Remove the old; a row that its target refused, or that has no target any more, holds nothing back."""
    configured = msgspec.json.encode(forward_to).decode()
    db.execute(
        """DELETE FROM outbox WHERE created_at < ? AND (state = 'dead' OR kind = 'forward'
        AND destination NOT IN (SELECT value FROM json_each(?)))""", (before, configured),
    )  # fmt: skip
    query = "SELECT MIN(CAST(reference AS INTEGER)) FROM outbox WHERE kind = 'forward'"
    waiting = db.execute(query).fetchone()[0]
    cursor = db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone()
    keep_from = min(cursor[0] if cursor else 0, waiting if waiting is not None else 2**62)
    removed = db.execute(
        """DELETE FROM journal WHERE position IN (SELECT position FROM journal
        WHERE position < ? AND received_at < ? ORDER BY position LIMIT ?)""", (keep_from, before, limit),
    ).rowcount  # fmt: skip
    removed += db.execute(
        """DELETE FROM messages WHERE rowid IN (SELECT rowid FROM (SELECT rowid, updated_at FROM messages
        ORDER BY rowid LIMIT ?) WHERE updated_at < ?)""", (limit, before),
    ).rowcount  # fmt: skip
    db.execute("DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE received_at < ? LIMIT ?)", (before, limit))
    return removed


def _cursor(before: str) -> int:
    return int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 2**62


def _page(found: list[tuple[int, Any]], limit: int) -> Page:
    items = found[:limit]
    return Page([item for _, item in items], str(items[-1][0]) if len(found) > limit else "")
