"""Messages in the order of first sight, cut into buckets, so that an index by person grows at one end.

Hashes are random: an index by them alone dirties a page for each new message, one by bucket and hash only pages of the
newest bucket. A search by person asks each bucket: 600 of them for ten million messages.
"""

import sqlite3

import msgspec

BITS = 14


def newest(db: sqlite3.Connection) -> int:
    """Return the bucket that new messages go to."""
    return int(db.execute("SELECT MAX(rowid) FROM messages").fetchone()[0] or 0) >> BITS


def listed(db: sqlite3.Connection, most: int | None = None) -> str:
    """Return the buckets that messages stand in as a JSON list, the newest of them where a number is given."""
    query = "SELECT (SELECT MIN(bucket) FROM messages), (SELECT MAX(bucket) FROM messages)"
    least, greatest = db.execute(query).fetchone()
    if least is None:
        return "[]"
    first = least if most is None else max(least, greatest - most + 1)
    return msgspec.json.encode(list(range(first, greatest + 1))).decode()
