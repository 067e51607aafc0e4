"""Messages in the order of first sight, cut into buckets, so that an index by person grows at one end.

Hashes are random: an index by them alone dirties a page for each new message, one by bucket and hash only pages of the
newest bucket. A search by person asks each bucket: ten thousand of them for ten million messages.
"""

import sqlite3

import msgspec

NEWEST = "(SELECT COALESCE(MAX(rowid), 0) >> 10 FROM messages)"  # the bucket that new messages go to, as SQL


def listed(db: sqlite3.Connection, most: int | None = None) -> str:
    """Return the buckets that messages stand in as a JSON list, the newest of them where a number is given."""
    query = "SELECT (SELECT MIN(bucket) FROM messages), (SELECT MAX(bucket) FROM messages)"
    least, greatest = db.execute(query).fetchone()
    if least is None:
        return "[]"
    first = least if most is None else max(least, greatest - most + 1)
    return msgspec.json.encode(list(range(first, greatest + 1))).decode()
