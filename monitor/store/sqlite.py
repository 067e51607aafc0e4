"""The embedded store: one SQLite file in WAL mode, each commit that must last waited for on disk.

Exactly one connection writes and checkpoints (writer.py); the others are read-only, since SQLite before 3.51.3 can
corrupt a WAL that two connections write and checkpoint ("WAL-reset bug", sqlite.org/wal.html).
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from monitor.actions import Alert, AuditEntry, Flag, Incident, Pause, Resend
from monitor.conversations import Window
from monitor.firings import Firing
from monitor.memory import Number
from monitor.messages import Message
from monitor.standing import Standing
from monitor.states import State
from monitor.store import erasing, queries, rows
from monitor.store.high_water import HighWater
from monitor.store.protocol import (
    Arrival,
    Backlog,
    Before,
    Claim,
    Commit,
    Entry,
    Erasing,
    FirstAnswer,
    OutboxRow,
    Page,
    Settlement,
    StoreUnavailableError,
)
from monitor.store.retention import Retention
from monitor.store.room import Room
from monitor.store.tail import Tail
from monitor.store.writer import Writer
from monitor.windows import Value

ERASED_AT_ONCE = 2_000  # entries searched in one read
_T = TypeVar("_T")


class SqliteStore:
    """The store in one file; made by `opening.open_store`.

    `lost` are the positions that were durable before and were not there any more when it was opened.
    """

    def __init__(
        self, path: Path, lock: int, high_water: HighWater, writer: Writer, reader: sqlite3.Connection, lost: range
    ) -> None:
        self.path = path
        self.lost = lost
        self._high_water = high_water
        self.writer = writer
        self._lock = lock
        self._reader = reader
        self._reading = ThreadPoolExecutor(1, "store-reader")
        self._tail = Tail()
        self._retention = Retention()
        self.room = Room(path.absolute().parent)
        writer.on_appended = self._tail.remember

    @property
    def waiting(self) -> int:
        """How many arrivals wait for their commit."""
        return self.writer.waiting

    @property
    def unread_bytes(self) -> int:
        """How much was journaled since the start that the pipeline has not read."""
        return self._tail.size_bytes

    def has_room(self) -> bool:
        """Say whether the disk has room for deliveries besides what is kept free."""
        return self.room.is_left()

    async def append(self, arrival: Arrival) -> int | None:
        """Journal it with a forward row per destination; return its position, or None for a copy of a known body."""
        entry = await self.writer.append(arrival)
        return None if entry is None else entry.position

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Return the entries behind a position, in order; from memory when the reader is nearly caught up."""
        if after >= self.writer.last_position:
            return []
        if found := self._tail.behind(after, limit):
            return found
        return await self._read(
            lambda db: queries.entries(db, "WHERE position > ? ORDER BY position LIMIT ?", after, limit)
        )

    async def read_since(
        self, received_at: float, after: int, until: int, limit: int, containing: bytes = b""
    ) -> list[Entry]:
        """Return Meta's entries received at or after a time, behind `after`, up to `until`.

        Of webhooks only those that hold some bytes; ticks and sends always.
        """
        where = """WHERE position > ? AND position <= ? AND received_at >= ? AND kind <> 'operator'
            AND (kind <> 'webhook' OR ? = x'' OR instr(body, ?)) ORDER BY position LIMIT ?"""
        values = (after, until, received_at, containing, containing, limit)
        return await self._read(lambda db: queries.entries(db, where, *values))

    async def newest_before(self, received_at: float, until: int) -> int:
        """Return the position of the newest entry up to `until` that was received before a time, 0 where none was."""
        query = "SELECT position FROM journal WHERE position <= ? AND received_at < ? ORDER BY position DESC LIMIT 1"
        row = await self._read(lambda db: db.execute(query, (until, received_at)).fetchone())
        return row[0] if row else 0

    async def entry(self, position: int) -> Entry | None:
        """Return one entry, or None where retention has removed it."""
        found = await self._read(lambda db: queries.entries(db, "WHERE position = ?", position))
        return found[0] if found else None

    async def cursor(self) -> int:
        """Return the position up to which the journal has been acted upon."""
        row = await self._read(lambda db: db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone())
        return row[0] if row else 0

    async def head(self) -> int:
        """Return the position of the newest entry."""
        return await self._read(queries.head)

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
        return await self._read(lambda db: queries.standing(db, now))

    async def numbers(self) -> list[Number]:
        """Return the phone numbers that are known, the one seen last standing last."""
        return await self._read(queries.numbers)

    async def states(self) -> list[State]:
        """Return Meta's last word on numbers, templates and accounts."""
        return await self._read(queries.states)

    async def conversations(self, now: float) -> list[Window]:
        """Return the customer-service windows that are open, the one that closes last standing last."""
        return await self._read(lambda db: queries.conversations(db, now))

    async def live_firings(self, now: float) -> list[Firing]:
        """Return firings that are not over, and those that keep their rule resting."""
        return await self._read(lambda db: queries.live_firings(db, now))

    async def rule_values(self) -> list[Value]:
        """Return the last values of the facts that rules wait to change."""
        return await self._read(queries.rule_values)

    async def firings(self, before: str, limit: int, *, is_live: bool | None) -> Page:
        """Return firings, newest first."""
        where = {None: "1", True: "ended_at IS NULL", False: "ended_at IS NOT NULL"}[is_live]
        return await self._page("firings", Firing, before, limit, where, ())

    async def firing(self, firing_id: str) -> Firing | None:
        """Return one firing."""
        return await self._record("firings", Firing, firing_id)

    async def first_answer(self, key: str) -> FirstAnswer | None:
        """Return what was first answered under a key, None where nothing was, or it is past retention."""
        query = "SELECT record FROM answers WHERE key = ?"
        row = await self._read(lambda db: db.execute(query, (key,)).fetchone())
        return None if row is None else msgspec.json.decode(row[0], type=FirstAnswer)

    async def keep_answer(self, answer: FirstAnswer, at: float) -> None:
        """Keep the first answer under its key; a later one changes nothing, but what has no digest gives way to it."""
        await self.writer.run(lambda db: rows.keep_answer(db, answer, at))

    async def drop_answer(self, key: str) -> None:
        """Forget that something is under way under a key; what was answered stays."""
        await self.writer.run(lambda db: rows.drop_answer(db, key))

    async def waiting_resends(self) -> list[Resend]:
        """Return resends that are pending or whose retry has not come to an end."""
        return await self._read(lambda db: queries.resends(db, "is_awaited"))

    async def resends_by_id(self, resend_ids: Sequence[str], wamids: Sequence[str] = ()) -> dict[str, Resend]:
        """Return these resends, and those of these messages."""
        where = "id IN (SELECT value FROM json_each(?)) OR wamid IN (SELECT value FROM json_each(?))"
        wanted = [msgspec.json.encode(one).decode() for one in (resend_ids, wamids)]
        found = await self._read(lambda db: queries.resends(db, where, *wanted))
        return {resend.id: resend for resend in found}

    async def recent_campaign_messages(self) -> dict[tuple[str, str], str]:
        """Return the wamid of the newest campaign message from each number to each person, the newest last."""
        return await self._read(queries.recent_campaign_messages)

    async def preferences(self, people: Sequence[str]) -> dict[str, tuple[bool, float]]:
        """Return whether these people stopped marketing messages and when they said so, by any of their hashes."""
        return await self._read(lambda db: queries.preferences(db, people))

    async def people(self, hashes: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return for each of these hashes all that stand for the same person, itself among them."""
        return await self._read(lambda db: queries.people(db, hashes))

    async def due_messages(self, now: float, limit: int) -> list[str]:
        """Return the wamids of messages that must be judged, the longest overdue first."""
        query = "SELECT wamid FROM messages WHERE due_at <= ? ORDER BY due_at LIMIT ?"
        return [row[0] for row in await self._read(lambda db: db.execute(query, (now, limit)).fetchall())]

    async def campaigns(self, before: str, limit: int) -> Page:
        """Return campaigns, the one heard of last first."""
        return await self._read(lambda db: queries.campaigns(db, before, limit))

    async def unengaged(self, campaign: str, before: float, after: int, limit: int) -> Page:
        """Return messages of a campaign that were delivered before a time and neither read nor answered, in order."""
        return await self._read(lambda db: queries.unengaged(db, campaign, before, after, limit))

    async def silent(self, before: float) -> dict[str, int]:
        """Return how many messages the Graph API took before a time without a status since, by phone number id."""
        return await self._read(lambda db: queries.silent(db, before))

    async def incidents(self, before: str, limit: int) -> Page:
        """Return incidents, newest first."""
        return await self._page("incidents", Incident, before, limit, "1", ())

    async def incident(self, incident_id: str) -> Incident | None:
        """Return one incident."""
        return await self._record("incidents", Incident, incident_id)

    async def claim(self, destination: str, now: float, lease_seconds: float, limit: int) -> list[Claim]:
        """Lease rows that are due, oldest first: fewer where they are large."""
        found: list[Claim] = await self._read(lambda db: queries.due_rows(db, destination, now, limit))
        if not found:
            return []
        leases = [(now + lease_seconds, claim.row.id) for claim in found]
        await self.writer.run(
            lambda db: db.executemany("UPDATE outbox SET lease_until = ? WHERE id = ?", leases) and None,
            is_lasting=False,
        )
        return found

    async def renew(self, destination: str, now: float, *, is_start: bool) -> None:
        """Let rows that wait after a failure be due; at a start leases end too, since who held them is gone."""
        await self.writer.run(lambda db: rows.renew(db, destination, now, is_start=is_start), is_lasting=False)

    async def outbox(self, before: str, limit: int, *, state: str, destination: str) -> Page:
        """Return outbox rows, newest first; of a state and a destination where these are given."""
        return await self._read(lambda db: queries.outbox(db, queries.cursor(before), limit, state, destination))

    async def outbox_row(self, row_id: int) -> OutboxRow | None:
        """Return one outbox row, None where it was delivered or never was."""
        return await self._read(lambda db: queries.outbox_row(db, row_id))

    async def settle(self, settlements: Sequence[Settlement], claimed: Sequence[int]) -> None:
        """Write what became of claimed rows; rows that were claimed and are not named are free again."""
        await self.writer.run(lambda db: rows.settle(db, settlements, claimed), is_lasting=False)

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

    async def newest_drill(self) -> AuditEntry | None:
        """Return the note of the newest drill."""
        return await self._read(queries.newest_drill)

    async def audit(self, before: str, limit: int) -> Page:
        """Return who did what, newest first."""
        query = """SELECT id, at, actor, action, target, reason, position FROM audit
            WHERE id < ? ORDER BY id DESC LIMIT ?"""
        found = await self._read(lambda db: db.execute(query, (queries.cursor(before), limit + 1)).fetchall())
        return queries.page([(row[0], AuditEntry(*row[1:])) for row in found], limit)

    async def recent_messages(self, before: str, limit: int, *, people: Sequence[str], state: str) -> Page:
        """Return messages, newest first."""
        return await self._read(lambda db: queries.messages_page(db, queries.cursor(before), limit, people, state))

    async def due_resends(self, now: float, limit: int) -> list[Resend]:
        """Return resends that a worker may take now: pending ones, and claimed ones whose lease is over."""
        where = "state IN ('pending', 'claimed') AND not_before <= ? ORDER BY not_before LIMIT ?"
        return await self._read(lambda db: queries.resends(db, where, now, limit))

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

    async def erase(self, person: str) -> Erasing:
        """Take a person, named as Meta does, out of every journaled body; those that wait to be forwarded stay."""
        self._tail.clear()
        ids: frozenset[str] = frozenset()
        wanted, changed, waiting = frozenset({person}), set[int](), set[int]()
        while wanted - ids:  # a body may tell of another id of the person, which must be looked for too
            ids = wanted
            after = 0
            while after < self.writer.last_position:
                until, names = after + ERASED_AT_ONCE, sorted(ids)
                found = await self._read(lambda db: queries.naming(db, names, after, until))  # noqa: B023 (awaited here)
                done: list[erasing.Done] = await self.writer.run(lambda db: erasing.erase(db, found, ids))  # noqa: B023
                for one in done:
                    wanted |= one.ids
                    (waiting if one.is_waiting else changed).add(one.position)
                after = until
        return Erasing(len(changed), len(waiting), ids)

    async def shred(self) -> None:
        """Let nothing of what was removed remain in the store's files: pages are zeroed, the log is emptied."""
        await self.writer.checkpoint()

    async def prune(self, before: Before) -> int:
        """Remove a few that are past their class's time and that nothing waits for; say how many, 0 when all is done.

        A step takes a few milliseconds of the writer, so that no delivery waits for it.
        """
        steps, started = self._retention, time.perf_counter()
        removed = await self.writer.run(lambda db: steps.prune(db, before, self.writer.forward_to))
        steps.took(time.perf_counter() - started)
        return int(removed)

    def size_bytes(self) -> int:
        """Return how much disk the store takes."""
        return sum(file.stat().st_size for file in self.path.parent.glob(self.path.name + "*"))

    async def close(self) -> None:
        """Finish what was accepted and let go of the store."""
        self._reading.shutdown(wait=True)
        self._reader.close()  # first: the writer, closing last, checkpoints and removes the WAL
        await self.writer.close()
        self._high_water.close()
        os.close(self._lock)

    async def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reading, query, self._reader)
        except sqlite3.Error as error:
            raise StoreUnavailableError(str(error)) from error

    async def _page(self, table: str, kind: type, before: str, limit: int, where: str, values: Sequence[Any]) -> Page:
        query = f"SELECT rowid, record FROM {table} WHERE rowid < ? AND ({where}) ORDER BY rowid DESC LIMIT ?"  # noqa: S608
        found = await self._read(lambda db: db.execute(query, (queries.cursor(before), *values, limit + 1)).fetchall())
        return queries.page([(row[0], msgspec.json.decode(row[1], type=kind)) for row in found], limit)

    async def _record(self, table: str, kind: type[_T], record_id: str) -> _T | None:
        query = f"SELECT record FROM {table} WHERE id = ?"  # noqa: S608
        row = await self._read(lambda db: db.execute(query, (record_id,)).fetchone())
        return None if row is None else msgspec.json.decode(row[0], type=kind)
