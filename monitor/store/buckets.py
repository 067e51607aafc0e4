"""Messages in the order of first sight, cut into buckets, so that an index by person grows at one end.

Hashes are random: an index by them alone dirties a page for each new message, one by bucket and hash only pages of the
newest bucket. A search by person asks each bucket: ten thousand of them for ten million messages.
"""

import sqlite3

import msgspec

NEWEST = "(SELECT COALESCE(MAX(rowid), 0) >> 10 FROM messages)"  # the bucket that new messages go to, as SQL


def listed(db: sqlite3.Connection) -> str:
    """Return the buckets that messages stand in as a JSON list."""
    query = "SELECT (SELECT MIN(bucket) FROM messages), (SELECT MAX(bucket) FROM messages)"
    least, greatest = db.execute(query).fetchone()
    return "[]" if least is None else msgspec.json.encode(list(range(least, greatest + 1))).decode()
