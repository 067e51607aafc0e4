"""What is past retention goes, in steps so small that no delivery waits for one."""

import sqlite3
from collections.abc import Sequence

import msgspec

from monitor.store.chain import UNCHAINED

STEP_SECONDS = 0.020  # what a step may take until it is durable, so that deliveries never wait for more than 50 ms
ROWS_LEAST, ROWS_MOST = 8, 256
_SCANNED = 4  # rows looked at for each that may go: those that are still awaited stay, and are passed over


class Retention:
    """Walks through what is old; how many rows it takes at once follows how long the step before took."""

    def __init__(self) -> None:
        self._rows = 100
        self._after_rowid = 0

    def prune(self, db: sqlite3.Connection, before: float, campaigns_before: float, forward_to: Sequence[str]) -> int:
        """Remove a step's worth; return how many rows went, 0 when the walk is at its end."""
        removed = _journal(db, before, self._rows, forward_to)
        passed, gone = _messages(db, before, self._after_rowid, self._rows)
        self._after_rowid = passed
        removed += gone + _small(db, before, campaigns_before, self._rows)
        return removed + (passed > 0)

    def took(self, seconds: float) -> None:
        """Learn how long the last step took until it was durable; the next one takes fewer rows, or a few more."""
        if seconds > STEP_SECONDS:
            self._rows = max(ROWS_LEAST, self._rows // 2)
        else:
            self._rows = min(ROWS_MOST, self._rows + 8)


def _journal(db: sqlite3.Connection, before: float, limit: int, forward_to: Sequence[str]) -> int:
    """Remove journal entries; a row that its target refused, or that has no target any more, holds nothing back."""
    configured = msgspec.json.encode(forward_to).decode()
    db.execute(
        """DELETE FROM outbox WHERE created_at < ? AND (state = 'dead' OR kind = 'forward'
        AND destination NOT IN (SELECT value FROM json_each(?)))""", (before, configured),
    )  # fmt: skip
    query = "SELECT MIN(CAST(reference AS INTEGER)) FROM outbox WHERE kind = 'forward'"
    waiting = db.execute(query).fetchone()[0]
    cursor = db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone()
    keep_from = min(cursor[0] if cursor else 0, waiting if waiting is not None else 2**62)
    return db.execute(
        """DELETE FROM journal WHERE position IN (SELECT position FROM journal
        WHERE position < ? AND received_at < ? ORDER BY position LIMIT ?)""", (keep_from, before, limit),
    ).rowcount  # fmt: skip


def _messages(db: sqlite3.Connection, before: float, after: int, limit: int) -> tuple[int, int]:
    """Remove messages behind a rowid that nothing was heard of; return how far it came (0 at the end) and how many.

    Rows stand in the order of first sight; one whose silence has yet to be judged stays. The walk ends where messages
    are too young, and starts again from the oldest the next time.
    """
    found = db.execute(
        """SELECT rowid, updated_at < ? AND due_at IS NULL, started_at < ? FROM messages WHERE rowid > ?
        ORDER BY rowid LIMIT ?""",
        (before, before, after, limit * _SCANNED),
    ).fetchall()
    gone = [row[0] for row in found if row[1]][:limit]
    db.executemany("DELETE FROM messages WHERE rowid = ?", ((rowid,) for rowid in gone))
    if len(gone) == limit:
        return gone[-1], limit
    is_end = len(found) < limit * _SCANNED or not any(row[2] for row in found)
    return (0 if is_end else found[-1][0]), len(gone)


_SMALL = (  # statement, and whether it keeps what campaigns keep rather than what messages do
    (
        """DELETE FROM seen WHERE key IN
        (SELECT key FROM seen WHERE received_at < ? AND key NOT GLOB 'code|*' LIMIT ?)""",  # a new code is new once
        False,
    ),
    (
        """DELETE FROM conversations WHERE (phone_number_id, recipient) IN
        (SELECT phone_number_id, recipient FROM conversations WHERE closes_at < ? LIMIT ?)""",
        False,
    ),
    (
        """DELETE FROM resends WHERE id IN
        (SELECT id FROM resends WHERE not_before < ? AND NOT is_awaited AND state <> 'claimed' LIMIT ?)""",
        False,
    ),
    (
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? AND hash = '' AND actor GLOB 'rule:*' "  # noqa: S608
        f"AND action IN ({', '.join(map(repr, UNCHAINED))}) LIMIT ?)",
        False,
    ),
    ("DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE at < ? LIMIT ?)", False),
    ("DELETE FROM firings WHERE id IN (SELECT id FROM firings WHERE ended_at < ? LIMIT ?)", False),
    (
        """DELETE FROM rule_values WHERE (condition, "group") IN
        (SELECT condition, "group" FROM rule_values WHERE at < ? LIMIT ?)""",
        True,
    ),
    (
        """DELETE FROM numbers WHERE phone_number_id IN
        (SELECT phone_number_id FROM numbers WHERE seen_at < ? LIMIT ?)""",
        True,
    ),
    (
        """DELETE FROM campaign_counts WHERE campaign IN
        (SELECT campaign FROM campaigns WHERE last_at < ? ORDER BY id LIMIT ?)""",
        True,
    ),
    ("DELETE FROM campaigns WHERE id IN (SELECT id FROM campaigns WHERE last_at < ? ORDER BY id LIMIT ?)", True),
)


def _small(db: sqlite3.Connection, before: float, campaigns_before: float, limit: int) -> int:
    """Remove what there is little of."""
    return sum(
        db.execute(query, (campaigns_before if is_campaigns else before, limit)).rowcount
        for query, is_campaigns in _SMALL
    )
