"""What is past retention goes, in steps so small that no delivery waits for one."""

import itertools
import sqlite3
from collections.abc import Sequence

import msgspec

from monitor.store.chain import UNCHAINED
from monitor.store.protocol import ERASED, SEND, WEBHOOK, Before

STEP_SECONDS = 0.020  # what a step may take until it is durable, so that deliveries never wait for more than 50 ms
ROWS_FIRST, ROWS_LEAST, ROWS_MORE, ROWS_MOST = 100, 8, 8, 256
_SCANNED = 4  # rows looked at for each that may go: those that are still awaited stay, and are passed over


class Retention:
    """Walks through what is old; how many rows it takes at once follows how long the step before took."""

    def __init__(self) -> None:
        self._rows = ROWS_FIRST
        self._after_position = 0
        self._after_rowid = 0
        self._emptied_to = 0

    def prune(self, db: sqlite3.Connection, before: Before, forward_to: Sequence[str]) -> int:
        """Remove a step's worth; return how many rows went, 1 where the walk only passed some, 0 at its end."""
        keep_from = _keep_from(db, before.journal, forward_to)
        self._after_position, removed = _journal(db, keep_from, before.journal, self._after_position, self._rows)
        is_walking = False
        if before.bodies > before.journal:
            reached, emptied = _bodies(db, keep_from, before.bodies, self._emptied_to, self._rows)
            is_walking = reached > self._emptied_to
            self._emptied_to = reached
            removed += emptied
        self._after_rowid, gone = _messages(db, before.messages, self._after_rowid, self._rows)
        removed += gone + _small(db, before, self._rows)
        return max(removed, is_walking or bool(self._after_position or self._after_rowid))

    def took(self, seconds: float) -> None:
        """Learn how long the last step took until it was durable; the next takes half as many rows, or a few more."""
        if seconds > STEP_SECONDS:
            self._rows = max(ROWS_LEAST, self._rows // 2)
        else:
            self._rows = min(ROWS_MOST, self._rows + ROWS_MORE)


def _keep_from(db: sqlite3.Connection, before: float, forward_to: Sequence[str]) -> int:
    """Return the first position that somebody waits for.

    A row that its target refused, or that has no target any more, holds nothing back once it is old.
    """
    configured = msgspec.json.encode(forward_to).decode()
    db.execute(
        """DELETE FROM outbox WHERE created_at < ? AND (state = 'dead' OR kind = 'forward'
        AND destination NOT IN (SELECT value FROM json_each(?)))""", (before, configured),
    )  # fmt: skip
    query = "SELECT MIN(CAST(reference AS INTEGER)) FROM outbox WHERE kind = 'forward'"
    waiting: int | None = db.execute(query).fetchone()[0]
    cursor = db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone()
    reached: int = cursor[0] if cursor else 0
    return reached if waiting is None else min(reached, waiting)


def _journal(db: sqlite3.Connection, keep_from: int, before: float, after: int, limit: int) -> tuple[int, int]:
    """Remove entries behind a position; return how far it came (0 at the end) and how many.

    The walk ends where entries are too young; what a clock that was ahead has written is passed over. A search of the
    whole journal would hold up deliveries for longer the more there is.
    """
    scanned = limit * _SCANNED
    found = db.execute(
        """SELECT position, received_at < ?,
            received_at > (SELECT received_at FROM journal ORDER BY position DESC LIMIT 1)
        FROM journal WHERE position > ? AND position < ? ORDER BY position LIMIT ?""",
        (before, after, keep_from, scanned),
    ).fetchall()
    gone = [row[0] for row in found if row[1]][:limit]
    db.executemany("DELETE FROM journal WHERE position = ?", ((position,) for position in gone))
    if len(gone) == limit:
        return gone[-1], limit
    is_end = len(found) < scanned or not any(row[1] or row[2] for row in found)
    return (0 if is_end else found[-1][0]), len(gone)


def _bodies(db: sqlite3.Connection, keep_from: int, before: float, after: int, limit: int) -> tuple[int, int]:
    """Empty entries behind a position, up to the first that is too young; return how far it came and how many.

    The entry stays: by its digest a copy is known. What is overwritten is zeroed on disk.
    """
    found = db.execute(
        """SELECT position, kind IN (?, ?), received_at < ? FROM journal WHERE position > ? AND position < ?
        ORDER BY position LIMIT ?""",
        (WEBHOOK, SEND, before, after, keep_from, limit * _SCANNED),
    ).fetchall()
    old = list(itertools.takewhile(lambda row: row[2], found))
    gone = [row[0] for row in old if row[1]][:limit]
    if gone:
        db.execute("PRAGMA secure_delete = ON")
        query = "UPDATE journal SET kind = ?, body = x'', signature = '' WHERE position = ?"
        db.executemany(query, ((ERASED, position) for position in gone))
    if len(gone) == limit:
        return gone[-1], limit
    return (old[-1][0] if old else after), len(gone)


def _messages(db: sqlite3.Connection, before: float, after: int, limit: int) -> tuple[int, int]:
    """Remove messages behind a rowid that nothing was heard of; return how far it came (0 at the end) and how many.

    Rows stand in the order of first sight; one whose silence has yet to be judged stays. The walk ends where messages
    are too young, and starts again from the oldest the next time.
    """
    scanned = limit * _SCANNED
    found = db.execute(
        """SELECT rowid, updated_at < ? AND due_at IS NULL, started_at < ? FROM messages WHERE rowid > ?
        ORDER BY rowid LIMIT ?""",
        (before, before, after, scanned),
    ).fetchall()
    gone = [row[0] for row in found if row[1]][:limit]
    db.executemany("DELETE FROM messages WHERE rowid = ?", ((rowid,) for rowid in gone))
    if len(gone) == limit:
        return gone[-1], limit
    is_end = len(found) < scanned or not any(row[2] for row in found)
    return (0 if is_end else found[-1][0]), len(gone)


_SMALL = (  # statement, and the class that it belongs to
    (
        """DELETE FROM seen WHERE key IN
        (SELECT key FROM seen WHERE received_at < ? AND key NOT GLOB 'code|*' LIMIT ?)""",  # a new code is new once
        "journal",
    ),
    (
        """DELETE FROM conversations WHERE (phone_number_id, recipient) IN
        (SELECT phone_number_id, recipient FROM conversations WHERE closes_at < ? LIMIT ?)""",
        "messages",
    ),
    (
        """DELETE FROM resends WHERE id IN
        (SELECT id FROM resends WHERE not_before < ? AND NOT is_awaited AND state <> 'claimed' LIMIT ?)""",
        "messages",
    ),
    (
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? AND hash = '' AND actor GLOB 'rule:*' "  # noqa: S608
        f"AND action IN ({', '.join(map(repr, UNCHAINED))}) LIMIT ?)",
        "journal",
    ),
    ("DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE at < ? LIMIT ?)", "journal"),
    ("DELETE FROM firings WHERE id IN (SELECT id FROM firings WHERE ended_at < ? LIMIT ?)", "journal"),
    (
        """DELETE FROM rule_values WHERE (condition, "group") IN
        (SELECT condition, "group" FROM rule_values WHERE at < ? LIMIT ?)""",
        "campaigns",
    ),
    (
        """DELETE FROM numbers WHERE phone_number_id IN
        (SELECT phone_number_id FROM numbers WHERE seen_at < ? LIMIT ?)""",
        "campaigns",
    ),
    (
        """DELETE FROM campaign_counts WHERE campaign IN
        (SELECT campaign FROM campaigns WHERE last_at < ? ORDER BY id LIMIT ?)""",
        "campaigns",
    ),
    ("DELETE FROM campaigns WHERE id IN (SELECT id FROM campaigns WHERE last_at < ? ORDER BY id LIMIT ?)", "campaigns"),
    ("DELETE FROM pauses WHERE id IN (SELECT id FROM pauses WHERE over_at < ? LIMIT ?)", "history"),
    ("DELETE FROM flags WHERE id IN (SELECT id FROM flags WHERE resolved_at < ? LIMIT ?)", "history"),
    ("DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE over_at < ? LIMIT ?)", "history"),
    (  # an alert lasts as long as one of its pauses
        """DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE last_at < ? AND NOT EXISTS
        (SELECT 1 FROM json_each(CAST(alerts.record AS TEXT), '$.pause_ids') JOIN pauses ON pauses.id = value)
        AND NOT EXISTS (SELECT 1 FROM outbox WHERE reference = alerts.id AND kind <> 'forward') LIMIT ?)""",
        "history",
    ),
)


def _small(db: sqlite3.Connection, before: Before, limit: int) -> int:
    """Remove what there is little of."""
    return sum(
        db.execute(query, (getattr(before, one), limit)).rowcount for query, one in _SMALL if getattr(before, one) > 0
    )
