"""The audit's chain: each note carries a hash over itself and the one before, so that none can be changed unseen.

Rules' own turns (pending, fired, ended …) are left out: they follow from the journal, and go with retention.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from monitor.actions import AuditEntry

TURNS = ("pending", "lapsed", "fired", "reminded", "ended")
UNCHAINED = (*TURNS, *(f"shadow_{name}" for name in TURNS))
_ROWS = "SELECT id, at, actor, action, target, reason, position, hash FROM audit ORDER BY id"
Row = tuple[int, AuditEntry, str]


class Verification(msgspec.Struct, frozen=True):
    """What an audit's chain came to: `head` is the newest hash, `broken_at` the first note that does not follow.

    `unchained` notes are older than the chain. `is_head_known` says whether a head that was written down elsewhere is
    still in it: what was cut off at its end shows in nothing else.
    """

    chained: int
    unchained: int
    head: str
    broken_at: int | None
    is_head_known: bool


def is_chained(entry: AuditEntry) -> bool:
    """Say whether a note belongs into the chain."""
    return not (entry.actor.startswith("rule:") and entry.action in UNCHAINED)


def link(previous: str, entry: AuditEntry) -> str:
    """Return the hash of a note that follows upon another one's."""
    told = msgspec.json.encode([previous, *msgspec.structs.astuple(entry)])
    return hashlib.blake2b(told, digest_size=16, person=b"audit").hexdigest()


def append(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Write a note, linked to the newest of the chain where it belongs there."""
    own = ""
    if is_chained(entry):
        newest = connection.execute("SELECT hash FROM audit WHERE hash <> '' ORDER BY id DESC LIMIT 1").fetchone()
        own = link(newest[0] if newest is not None else "", entry)
    connection.execute(
        "INSERT INTO audit (at, actor, action, target, reason, position, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (entry.at, entry.actor, entry.action, entry.target, entry.reason, entry.position, own),
    )


def read(db: sqlite3.Connection) -> Iterator[Row]:
    """Yield every note with its id and hash, the oldest first."""
    for row in db.execute(_ROWS):
        yield row[0], AuditEntry(*row[1:7]), row[7]


def verify(found: Iterable[Row], head: str = "") -> Verification:
    """Walk the chain from its beginning; `head` is one that was written down elsewhere, empty for none."""
    previous, chained, unchained = "", 0, 0
    broken_at: int | None = None
    is_head_known = not head
    for row_id, entry, own in found:
        if not is_chained(entry):
            continue
        if not own and not chained:
            unchained += 1
            continue
        if broken_at is None and own != link(previous, entry):
            broken_at = row_id
        chained, previous = chained + 1, own
        is_head_known |= own == head
    return Verification(chained, unchained, previous, broken_at, is_head_known)
