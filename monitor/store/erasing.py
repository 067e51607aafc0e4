"""Journaled bodies without a person, and the records that named them."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from monitor import erasure
from monitor.actions import Alert, Flag, Pause
from monitor.firings import Firing
from monitor.operators import nameless
from monitor.store import buckets
from monitor.store.protocol import ERASED, FirstAnswer

_FORWARD = "kind = 'forward' AND CAST(reference AS INTEGER) = ?"  # as its index has it


class Done(msgspec.Struct, frozen=True):
    """What was done with one entry: left as it is while it waits to be forwarded, else changed."""

    position: int
    ids: frozenset[str]
    is_waiting: bool


def erase(db: sqlite3.Connection, found: Iterable[tuple[int, bytes]], ids: Iterable[str]) -> list[Done]:
    """Take a person out of these bodies; what is overwritten is zeroed on disk."""
    db.execute("PRAGMA secure_delete = ON")
    done: list[Done] = []
    for position, body in found:
        erased = erasure.erase(body, ids)
        if erased is None:
            continue
        waiting = f"SELECT 1 FROM outbox WHERE {_FORWARD} AND state = 'pending'"  # noqa: S608
        is_waiting = db.execute(waiting, (position,)).fetchone() is not None
        done.append(Done(position, erased.ids, is_waiting))
        if is_waiting:
            continue
        db.execute(f"DELETE FROM outbox WHERE {_FORWARD}", (position,))  # noqa: S608
        if erased.body is None:
            db.execute("UPDATE journal SET kind = ?, body = x'', signature = '' WHERE position = ?", (ERASED, position))
        else:
            db.execute("UPDATE journal SET body = ?, signature = '' WHERE position = ?", (erased.body, position))
    return done


def forget(db: sqlite3.Connection, people: Sequence[str]) -> None:
    """Remove all rows that are about these people; a preference stays, since it protects them."""
    db.execute("PRAGMA secure_delete = ON")
    gone = msgspec.json.encode(people).decode()
    db.execute(
        """DELETE FROM messages WHERE rowid IN (SELECT messages.rowid FROM json_each(?) AS places CROSS JOIN messages
        ON bucket = places.value AND recipient IN (SELECT value FROM json_each(?)))""",
        (buckets.listed(db), gone),
    )
    for table, column in (("resends", "recipient"), ("conversations", "recipient"), ("people", "person")):
        db.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))", (gone,))  # noqa: S608
    _forget_answers(db, frozenset(people))
    kinds: tuple[tuple[str, Any], ...] = (("pauses", Pause), ("flags", Flag), ("alerts", Alert), ("firings", Firing))
    for table, kind in kinds:
        query = f"""SELECT id, record FROM {table} WHERE EXISTS
            (SELECT 1 FROM json_each(?) WHERE instr(record, CAST(value AS BLOB)))"""  # noqa: S608
        for record_id, record in db.execute(query, (gone,)).fetchall():
            scrubbed = nameless(msgspec.json.decode(record, type=kind), frozenset(people))
            db.execute(
                f"UPDATE {table} SET record = ? WHERE id = ?",  # noqa: S608
                (msgspec.json.encode(scrubbed), record_id),
            )
    db.execute(
        """DELETE FROM rule_values WHERE EXISTS (SELECT 1 FROM json_each(?) WHERE instr("group", value))""", (gone,)
    )


def _forget_answers(db: sqlite3.Connection, gone: frozenset[str]) -> None:
    """Take people out of the answers that are kept under Idempotency-Keys; that these were sent is still known."""
    query = "SELECT key, record FROM answers"
    for key, record in db.execute(query).fetchall():
        answer = msgspec.json.decode(record, type=FirstAnswer)
        if answer.recipient not in gone:
            continue
        body = _without_contacts(answer.body)
        headers = [
            (name, str(len(body)).encode() if name == b"content-length" else value) for name, value in answer.headers
        ]
        scrubbed = msgspec.structs.replace(answer, headers=headers, body=body, recipient="")
        db.execute("UPDATE answers SET record = ? WHERE key = ?", (msgspec.json.encode(scrubbed), key))


def _without_contacts(body: bytes) -> bytes:
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return b""
    return msgspec.json.encode({name: value for name, value in fields.items() if name != "contacts"})
