"""Records to rows of the SQLite schema, and rows to records."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import msgspec

from monitor.actions import Alert, AuditEntry, Flag, Pause, Resend
from monitor.messages import Message, Step
from monitor.standing import Change
from monitor.store import bulk
from monitor.store.protocol import Commit, Settlement

_encode = msgspec.json.Encoder().encode
_decode_messages = msgspec.json.Decoder(tuple[Message, ...]).decode
_decode_steps = msgspec.json.Decoder(tuple[Step, ...]).decode
MESSAGE_COLUMNS = (
    "wamid, waba_id, phone_number_id, recipient, direction, category, callback_data, state, steps, is_priced"
)
# One row whatever their number, for the reason in bulk.py; the order of Message's own fields.
KNOWN_MESSAGES = """SELECT json_group_array(json_array(wamid, waba_id, phone_number_id, recipient, direction, category,
    callback_data, state, json(steps), json(iif(is_priced, 'true', 'false'))))
    FROM messages WHERE wamid IN (SELECT value FROM json_each(?))"""
_MESSAGES = f"INSERT INTO messages ({MESSAGE_COLUMNS}, updated_at)"
_NEWER = """ON CONFLICT (wamid) DO UPDATE SET waba_id = excluded.waba_id, phone_number_id = excluded.phone_number_id,
    recipient = excluded.recipient, category = excluded.category, callback_data = excluded.callback_data,
    state = excluded.state, steps = excluded.steps, is_priced = excluded.is_priced, updated_at = excluded.updated_at"""


def commit(connection: sqlite3.Connection, step: Commit) -> None:
    """Write all that one pipeline step changes."""
    bulk.insert(connection, _MESSAGES, [_message_row(message, step.now) for message in step.messages], _NEWER)
    connection.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", step.seen.items())
    connection.executemany("INSERT OR REPLACE INTO numbers VALUES (?, ?)", step.numbers.items())
    for change in step.changes:
        _put(connection, change)
    for wamid in step.superseded_wamids:
        supersede(connection, wamid, step.now)
    connection.executemany(
        """INSERT INTO outbox (destination, kind, reference, state, created_at, next_at, attempts, sent, error)
        VALUES (?, ?, ?, 'pending', ?, ?, 0, 0, '') ON CONFLICT (destination, kind, reference)
        DO UPDATE SET next_at = MIN(next_at, excluded.next_at) WHERE attempts = 0""",
        ((row.destination, row.kind, row.reference, step.now, step.now) for row in step.outbox),
    )
    connection.execute("INSERT OR REPLACE INTO cursors VALUES ('pipeline', ?)", (step.cursor,))


def supersede(connection: sqlite3.Connection, wamid: str, now: float) -> None:
    """Take a message from the resend list that has arrived after all."""
    row = connection.execute("SELECT record FROM resends WHERE wamid = ? AND state = 'pending'", (wamid,)).fetchone()
    if row is not None:
        resend = msgspec.json.decode(row[0], type=Resend)
        _put(connection, msgspec.structs.replace(resend, state="superseded", settled_at=now))


def settle(connection: sqlite3.Connection, settlements: Sequence[Settlement], claimed: Iterable[int]) -> None:
    """Write what became of claimed outbox rows and free the rest."""
    connection.executemany(
        "DELETE FROM outbox WHERE id = ?", ((one.id,) for one in settlements if one.outcome == "done")
    )
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL, next_at = ?, attempts = attempts + 1, error = ? WHERE id = ?",
        ((one.next_at, one.error, one.id) for one in settlements if one.outcome == "retry"),
    )
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL, next_at = ?, attempts = 0, sent = sent + 1, error = '' WHERE id = ?",
        ((one.next_at, one.id) for one in settlements if one.outcome == "again"),
    )
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL, state = 'dead', attempts = attempts + 1, error = ? WHERE id = ?",
        ((one.error, one.id) for one in settlements if one.outcome == "dead"),
    )
    settled = {one.id for one in settlements}
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL WHERE id = ?", ((row_id,) for row_id in claimed if row_id not in settled)
    )


def message(row: Sequence[Any]) -> Message:
    """Return the message of a row with MESSAGE_COLUMNS."""
    wamid, waba_id, phone_number_id, recipient, direction, category, callback_data, state, steps, is_priced = row
    return Message(
        wamid, waba_id, phone_number_id, recipient, direction, category, callback_data, state,
        _decode_steps(steps), bool(is_priced),
    )  # fmt: skip


def messages(found: str) -> tuple[Message, ...]:
    """Return the messages of KNOWN_MESSAGES' one value."""
    return _decode_messages(found)


def _message_row(message: Message, now: float) -> tuple[Any, ...]:
    return (
        message.wamid, message.waba_id, message.phone_number_id, message.recipient, message.direction,
        message.category, message.callback_data, message.state, _encode(message.steps).decode(), message.is_priced, now,
    )  # fmt: skip


def _put(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Pause():
            ends = [end for end in (change.released_at, change.until) if end is not None]
            connection.execute(
                """INSERT INTO pauses VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                over_at = excluded.over_at, record = excluded.record""",
                (change.id, change.since, min(ends, default=None), _encode(change)),
            )
        case Flag():
            connection.execute(
                """INSERT INTO flags VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                resolved_at = excluded.resolved_at, record = excluded.record""",
                (change.id, change.opened_at, change.resolved_at, _encode(change)),
            )
        case Alert():
            connection.execute(
                """INSERT INTO alerts VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                last_at = excluded.last_at, record = excluded.record""",
                (change.id, change.since, change.last_at, _encode(change)),
            )
        case Resend():
            connection.execute(
                """INSERT INTO resends VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                state = excluded.state, not_before = excluded.not_before, record = excluded.record
                ON CONFLICT (wamid) DO NOTHING""",
                (
                    change.id, change.wamid, change.phone_number_id, change.state, change.not_before, _encode(change),
                ),
            )  # fmt: skip
        case AuditEntry():
            connection.execute(
                "INSERT INTO audit (at, actor, action, target, reason, position) VALUES (?, ?, ?, ?, ?, ?)",
                (change.at, change.actor, change.action, change.target, change.reason, change.position),
            )
        case _:
            assert_never(change)
