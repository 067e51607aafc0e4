"""The store read by day, a few rows at a time and read-only, as an export needs it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from monitor.messages import Message
from monitor.store import queries, rows
from monitor.store.protocol import Entry

ROWS_AT_ONCE = 10_000  # rowids of one statement: a longer one keeps the sidecar's log from being checkpointed
BODIES_AT_ONCE = 100  # a body may have 4 MB
DAY_SECONDS = 86_400
JOURNAL, MESSAGES = TABLES = ("journal", "messages")
WORDS = (
    "wamid", "waba_id", "phone_number_id", "recipient", "direction", "category", "template", "campaign",
    "callback_data", "state", "billable",
)  # fmt: skip
FIRSTS = ("sent", "delivered", "read", "failed")  # steps of which a message's row has the first
Row = dict[str, Any]


class Source(msgspec.Struct, frozen=True):
    """A store opened read-only; `stamp` is what its file was like at rest, None beside a running sidecar."""

    db: sqlite3.Connection
    path: Path
    stamp: tuple[int, int] | None

    def is_overwritten(self) -> bool:
        """Say whether the store was read as one at rest and a sidecar has written to it since."""
        return self.stamp is not None and _stamp(self.path) != self.stamp


class Partition(msgspec.Struct, frozen=True):
    """One day of one table: how many rows it has, between which rowids, and up to where or when they go.

    `newest` is the highest position of the journal, which only grows, or the newest change of the messages that stand
    in a day, or stood there until an earlier step was heard of; such a day is written anew as a whole.
    """

    table: str
    day: str
    rows: int = 0
    first: int = 0
    last: int = 0
    newest: float = 0.0


class UnreadableError(Exception):
    """The store can't be read; the message says why."""


def connect(path: Path, schema_version: int) -> Source:
    """Open a store read-only, beside a running sidecar or without one."""
    if not path.is_file():
        raise UnreadableError(f"there is no store at {path}")
    # With mode=ro alone SQLite makes a log for a store at rest, which fails where the directory can't be written.
    stamp = None if path.with_name(path.name + "-wal").exists() else _stamp(path)
    mode = "mode=ro" if stamp is None else "mode=ro&immutable=1"
    with _readable(path):
        source = Source(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True), path, stamp)
    try:
        _fetched(source, "PRAGMA query_only = ON")
        version = _fetched(source, "PRAGMA user_version")[0][0]
        if version != schema_version:
            raise UnreadableError(
                f"{path} has schema {version}, this version exports {schema_version}; start it once to upgrade"
            )
    except UnreadableError:
        source.db.close()
        raise
    return source


def head(source: Source) -> int:
    """Return the position of the journal's newest entry."""
    with _readable(source.path):
        return queries.head(source.db)


def entries(source: Source, received_at: float, after: int, limit: int) -> list[Entry]:
    """Return journal entries that were received at or after a time, behind a position, in order."""
    with _readable(source.path):
        where = "WHERE position > ? AND received_at >= ? ORDER BY position LIMIT ?"
        return queries.entries(source.db, where, after, received_at, limit)


def entry_count(source: Source, received_at: float) -> int:
    """Return how many journal entries were received at or after a time."""
    return int(_fetched(source, "SELECT COUNT(*) FROM journal WHERE received_at >= ?", received_at)[0][0])


def partitions(source: Source, table: str, after: int = 0) -> list[Partition]:
    """Return the days in which rows behind a rowid stand, or stood, oldest first."""
    found: dict[int, Partition] = {}
    for rowid, here, former, newest in (_journal_days if table == JOURNAL else _message_days)(source, after):
        one = found.get(here) or Partition(table, _date(here))
        found[here] = Partition(table, one.day, one.rows + 1, one.first or rowid, rowid, max(one.newest, newest))
        for day in former:
            left = found.get(day) or Partition(table, _date(day))
            found[day] = msgspec.structs.replace(left, newest=max(left.newest, newest))
    return [found[day] for day in sorted(found)]


def journal(source: Source, partition: Partition, after: int, *, has_bodies: bool) -> Iterator[list[Row]]:
    """Yield a day's entries behind a position, in order."""
    body, most = ("body", BODIES_AT_ONCE) if has_bodies else ("NULL", ROWS_AT_ONCE)
    query = f"""SELECT position, kind, received_at, signature <> '', length(body), {body} FROM journal
        WHERE position BETWEEN ? AND ? AND received_at >= ? AND received_at < ? ORDER BY position"""  # noqa: S608
    first = max(partition.first, after + 1)
    for found in _read(source, query, first, partition.last, most, *_bounds(partition.day)):
        yield [
            {
                "position": row[0], "kind": row[1], "received_at": _time(row[2]), "is_signed": bool(row[3]),
                "body_bytes": row[4], "body": row[5],
            }
            for row in found
        ]  # fmt: skip


def messages(source: Source, partition: Partition) -> Iterator[list[Row]]:
    """Yield a day's messages in the order of first sight."""
    query = """SELECT updated_at, record FROM messages
        WHERE rowid BETWEEN ? AND ? AND started_at >= ? AND started_at < ? ORDER BY rowid"""
    for found in _read(source, query, partition.first, partition.last, ROWS_AT_ONCE, *_bounds(partition.day)):
        yield [_flat(rows.message(record), updated_at) for updated_at, record in found]


def standing(source: Source, wamids: Sequence[str]) -> frozenset[str]:
    """Return those of some messages that the store still has, in whichever day."""
    query = "SELECT wamid FROM messages WHERE wamid IN (SELECT value FROM json_each(?))"
    return frozenset(wamid for (wamid,) in _fetched(source, query, msgspec.json.encode(wamids).decode()))


def _journal_days(source: Source, after: int) -> Iterator[tuple[int, int, frozenset[int], float]]:
    query = "SELECT position, received_at FROM journal WHERE position BETWEEN ? AND ? ORDER BY position"
    for found in _read(source, query, *_span(source, JOURNAL, after), ROWS_AT_ONCE):
        for position, received_at in found:
            yield position, _day(received_at), frozenset(), float(position)


def _message_days(source: Source, after: int) -> Iterator[tuple[int, int, frozenset[int], float]]:
    query = "SELECT rowid, started_at, updated_at, record FROM messages WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    for found in _read(source, query, *_span(source, MESSAGES, after), ROWS_AT_ONCE):
        for rowid, started_at, updated_at, record in found:
            here = _day(started_at)
            yield rowid, here, _stood(rows.message(record)) - {here}, updated_at


def _stood(message: Message) -> frozenset[int]:
    """Return the days in which a message started, as far as was known at each of its steps."""
    return frozenset(_day(at) for at in accumulate((step.occurred_at for step in message.steps), min))


def _flat(message: Message, updated_at: float) -> Row:
    return {
        **{name: getattr(message, name) for name in WORDS},
        "started_at": _time(message.started_at),
        **{f"{name}_at": _time(message.first(name)) for name in FIRSTS},
        "replied_at": _time(message.replied_at),
        "updated_at": _time(updated_at),
        "codes": sorted({code for step in message.steps for code in step.codes}),
        "steps": [
            {"status": step.status, "occurred_at": _time(step.occurred_at), "received_at": _time(step.received_at)}
            for step in message.steps
        ],
    }


def _span(source: Source, table: str, after: int) -> tuple[int, int]:
    query = f"SELECT (SELECT MIN(rowid) FROM {table} WHERE rowid > ?), (SELECT MAX(rowid) FROM {table})"  # noqa: S608
    first, last = _fetched(source, query, after)[0]
    return (first, last) if first is not None else (1, 0)


def _read(source: Source, query: str, first: int, last: int, most: int, *values: float) -> Iterator[list[Any]]:
    """Yield what a query finds between two rowids, with a statement for so many of them."""
    for start in range(first, last + 1, most):
        found = _fetched(source, query, start, min(start + most - 1, last), *values)
        if found:
            yield found


def _fetched(source: Source, query: str, *values: Any) -> list[Any]:
    with _readable(source.path):
        return source.db.execute(query, values).fetchall()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnreadableError(f"{path} can't be read: {error}") from None


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _day(seconds: float) -> int:
    return int(seconds) // DAY_SECONDS  # whole seconds first: a quotient of floats may round up to the next day


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _bounds(day: str) -> tuple[float, float]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return start.timestamp(), (start + timedelta(days=1)).timestamp()


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
