"""Records to rows of the SQLite schema, and rows to records."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import msgspec

from monitor.actions import Alert, AuditEntry, Flag, Incident, Pause, Resend
from monitor.firings import Firing
from monitor.messages import Message
from monitor.standing import Change
from monitor.store import buckets, bulk, chain, erasing
from monitor.store.protocol import Commit, FirstAnswer, Settlement

_encode = msgspec.json.Encoder().encode
_decode_messages = msgspec.json.Decoder(tuple[Message, ...]).decode
message = msgspec.json.Decoder(Message).decode
# One row whatever their number, for the reason in bulk.py.
KNOWN_MESSAGES = """SELECT '[' || group_concat(record) || ']' FROM messages
    WHERE wamid IN (SELECT value FROM json_each(?))"""
AGAIN_MOST_SECONDS = 120.0  # twice what an alert waits for that is told again (tellings.py)
_COLUMNS = "wamid, phone_number_id, recipient, state, campaign, started_at, due_at, updated_at, record, bucket"
_MESSAGES = f"INSERT INTO messages ({_COLUMNS})"
_NEWER = "ON CONFLICT (wamid) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in _COLUMNS.split(", ") if column not in {"wamid", "bucket"}
)


def commit(connection: sqlite3.Connection, step: Commit) -> None:
    """Write all that one pipeline step changes."""
    found = [_message_row(message, step.now) for message in step.messages]
    bulk.insert(connection, _MESSAGES, found, _NEWER, buckets.NEWEST)
    bulk.each(connection, "INSERT OR IGNORE INTO seen VALUES (?, ?)", list(step.seen.items()))
    _learn(connection, step)
    for change in step.changes:
        _put(connection, change)
    for key, wamid in step.answered.items():
        _answered(connection, key, wamid, step.now)
    bulk.each(
        connection,
        """INSERT INTO outbox (destination, kind, reference, state, created_at, next_at, attempts, sent, error)
        VALUES (?, ?, ?, 'pending', ?, ?, 0, 0, '') ON CONFLICT (destination, kind, reference)
        DO UPDATE SET next_at = MIN(next_at, excluded.next_at) WHERE attempts = 0""",
        [(row.destination, row.kind, row.reference, step.now, step.now) for row in step.outbox],
    )
    for row_id, destination in step.retried_rows:
        _revive(connection, row_id, destination, step.now)
    connection.execute("INSERT OR REPLACE INTO cursors VALUES ('pipeline', ?)", (step.cursor,))
    if step.forgotten:
        erasing.forget(connection, step.forgotten)


def _revive(connection: sqlite3.Connection, row_id: int, destination: str, now: float) -> None:
    """Let dead outbox rows wait again: one by its id, or those of a destination, or all."""
    connection.execute(
        """UPDATE outbox SET state = 'pending', next_at = ?1, attempts = 0, error = '' WHERE state = 'dead'
        AND (id = ?2 OR (?2 = 0 AND ?3 IN (destination, '')))""",
        (now, row_id, destination),
    )


def keep_answer(connection: sqlite3.Connection, answer: FirstAnswer, at: float) -> None:
    """Keep a first answer; what was under way, or what a status told before, gives way to it."""
    connection.execute(
        """INSERT INTO answers VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record
        WHERE json_extract(CAST(answers.record AS TEXT), '$.digest') = ''""",
        (answer.key, at, _encode(answer)),
    )


def drop_answer(connection: sqlite3.Connection, key: str) -> None:
    """Forget that something is under way under a key."""
    connection.execute(
        "DELETE FROM answers WHERE key = ? AND json_extract(CAST(record AS TEXT), '$.digest') = ''", (key,)
    )


def _answered(connection: sqlite3.Connection, key: str, wamid: str, at: float) -> None:
    """Keep what a status told of a send under a key, unless Graph itself has answered that it was taken or refused."""
    body = _encode({"messaging_product": "whatsapp", "messages": [{"id": wamid}]})
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    connection.execute(
        """INSERT INTO answers VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET record =
        json_set(CAST(excluded.record AS TEXT), '$.digest', json_extract(CAST(answers.record AS TEXT), '$.digest'))
        WHERE json_extract(CAST(answers.record AS TEXT), '$.status') >= 500""",
        (key, at, _encode(FirstAnswer(key, b"", 200, kind, body))),
    )


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
        "UPDATE outbox SET lease_until = NULL, next_at = ? WHERE id = ?",
        ((one.next_at, one.id) for one in settlements if one.outcome == "held"),
    )
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL, state = 'dead', attempts = attempts + 1, error = ? WHERE id = ?",
        ((one.error, one.id) for one in settlements if one.outcome == "dead"),
    )
    settled = {one.id for one in settlements}
    connection.executemany(
        "UPDATE outbox SET lease_until = NULL WHERE id = ?", ((row_id,) for row_id in claimed if row_id not in settled)
    )


def renew(connection: sqlite3.Connection, destination: str, now: float, *, is_start: bool) -> None:
    """Let what waits after a failure, its own or one before it, be due; at a start end every lease.

    So is what waits for longer than anything is told to wait: the clock was put back since.
    """
    connection.execute(
        """UPDATE outbox SET next_at = ?1 WHERE destination = ?2 AND state = 'pending' AND next_at > ?1
        AND (attempts > 0 OR sent = 0 OR next_at > ?1 + ?3)""",
        (now, destination, AGAIN_MOST_SECONDS),
    )
    if is_start:
        query = "UPDATE outbox SET lease_until = NULL WHERE destination = ? AND lease_until IS NOT NULL"
        connection.execute(query, (destination,))


def messages(found: str | None) -> tuple[Message, ...]:
    """Return the messages of KNOWN_MESSAGES' one value."""
    return _decode_messages(found) if found else ()


def _message_row(message: Message, now: float) -> tuple[Any, ...]:
    return (
        message.wamid, message.phone_number_id, message.recipient, message.state, message.campaign, message.started_at,
        message.due_at, now, _encode(message).decode(),
    )  # fmt: skip


def _learn(connection: sqlite3.Connection, step: Commit) -> None:
    """Write what events told in passing."""
    bulk.each(
        connection,
        "INSERT OR REPLACE INTO numbers VALUES (?, ?, ?, ?, ?)",
        [(one.phone_number_id, one.waba_id, one.number, one.seen_at, one.reported_since) for one in step.numbers],
    )
    states = [(one.key, one.said_at, _encode(one)) for one in step.states]
    bulk.each(connection, "INSERT OR REPLACE INTO states VALUES (?, ?, ?)", states)
    windows = [(one.phone_number_id, one.recipient, one.alias, one.closes_at) for one in step.conversations]
    newer = """ON CONFLICT (phone_number_id, recipient) DO UPDATE SET alias = excluded.alias,
        closes_at = MAX(closes_at, excluded.closes_at)"""
    bulk.insert(connection, "INSERT INTO conversations", windows, newer)
    bulk.each(connection, "INSERT OR REPLACE INTO people VALUES (?, ?)", list(step.aliases.items()))
    bulk.each(
        connection,
        """INSERT INTO preferences VALUES (?, ?, ?) ON CONFLICT (recipient) DO UPDATE SET
        is_stopped = excluded.is_stopped, at = excluded.at WHERE excluded.at >= at""",
        [(recipient, is_stopped, at) for recipient, (is_stopped, at) in step.preferences.items()],
    )
    values = [(one.condition, one.group, one.value, one.at) for one in step.values]
    bulk.each(connection, "INSERT OR REPLACE INTO rule_values VALUES (?, ?, ?, ?)", values)
    bulk.each(
        connection,
        """INSERT INTO campaigns (campaign, first_at, last_at) VALUES (?, ?, ?)
        ON CONFLICT (campaign) DO UPDATE SET last_at = excluded.last_at""",
        [(campaign, step.now, step.now) for campaign in dict.fromkeys(campaign for campaign, _ in step.counts)],
    )
    bulk.each(
        connection,
        """INSERT INTO campaign_counts VALUES (?, ?, ?)
        ON CONFLICT (campaign, heading) DO UPDATE SET count = count + excluded.count""",
        [(campaign, heading, count) for (campaign, heading), count in step.counts.items() if count],
    )


def _put(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Pause():
            ends = [end for end in (change.released_at, change.until) if end is not None]
            over_at = change.reinstated_until or min(ends, default=None)
            connection.execute(
                """INSERT INTO pauses VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                over_at = excluded.over_at, record = excluded.record""",
                (change.id, change.since, over_at, _encode(change)),
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
        case Incident():
            connection.execute(
                """INSERT INTO incidents VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                over_at = excluded.over_at, record = excluded.record""",
                (change.id, change.opened_at, change.closed_at, _encode(change)),
            )
        case Firing():
            connection.execute(
                """INSERT INTO firings VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET since = excluded.since,
                ended_at = excluded.ended_at, rests_until = excluded.rests_until, record = excluded.record""",
                (change.id, change.since, change.ended_at, change.rests_until or None, _encode(change)),
            )
        case Resend():
            is_awaited = change.state == "pending" or bool(change.retry_wamid and change.outcome in {"", "delivered"})
            connection.execute(
                """INSERT INTO resends (id, wamid, phone_number_id, state, not_before, record, recipient, is_awaited)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                state = excluded.state, not_before = excluded.not_before, record = excluded.record,
                is_awaited = excluded.is_awaited ON CONFLICT (wamid) DO NOTHING""",
                (
                    change.id, change.wamid, change.phone_number_id, change.state, change.not_before, _encode(change),
                    change.recipient, is_awaited,
                ),
            )  # fmt: skip
        case AuditEntry():
            chain.append(connection, change)
        case _:
            assert_never(change)
