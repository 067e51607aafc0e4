"""What is read of the SQLite schema: plain functions of a read-only connection."""

import math
import re
import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from monitor import standing as standings
from monitor.actions import Alert, AuditEntry, Flag, Incident, Pause, Resend
from monitor.conversations import WINDOWS_MOST, Window
from monitor.firings import Firing
from monitor.memory import NUMBERS_MOST, RECENT_MOST, STATES_MOST, Number
from monitor.standing import KEPT_SECONDS, Standing
from monitor.states import State
from monitor.store import buckets, rows
from monitor.store.protocol import Campaign, Claim, Entry, OutboxRow, Page
from monitor.windows import Value

_ENTRY = "SELECT position, kind, received_at, body, signature FROM journal"
_OUTBOX = "id, destination, kind, reference, created_at, attempts, sent, error, state"
CLAIM_BYTES_MOST = 8 * 1024 * 1024  # of the bodies that are forwarded
_CAMPAIGNS_CURSOR = re.compile(r"([0-9]+(?:\.[0-9]+)?)_([0-9]{1,18})")
_T = TypeVar("_T")


def entries(db: sqlite3.Connection, where: str, *values: Any) -> list[Entry]:
    """Return journal entries."""
    return [Entry(*row) for row in db.execute(f"{_ENTRY} {where}", values)]


def naming(db: sqlite3.Connection, names: Sequence[str], after: int, until: int) -> list[tuple[int, bytes]]:
    """Return position and body of webhooks, behind one position up to another, that hold one of some texts."""
    query = """SELECT position, body FROM journal WHERE position > ? AND position <= ? AND kind = 'webhook'
        AND EXISTS (SELECT 1 FROM json_each(?) WHERE instr(body, CAST(value AS BLOB)))"""
    return db.execute(query, (after, until, msgspec.json.encode(names).decode())).fetchall()


def head(db: sqlite3.Connection) -> int:
    """Return the position of the newest entry there ever was."""
    query = """SELECT MAX(COALESCE((SELECT MAX(position) FROM journal), 0),
        COALESCE((SELECT position FROM cursors WHERE name = 'pipeline'), 0))"""
    return int(db.execute(query).fetchone()[0])


def standing(db: sqlite3.Connection, now: float) -> Standing:
    """Return what stands, or was just over, with alerts that still have to be sent and the pauses of those."""
    since = now - KEPT_SECONDS

    def load(query: str, kind: type[_T], *values: Any) -> list[_T]:
        return [msgspec.json.decode(row[0], type=kind) for row in db.execute(query, values)]

    alerts = load(
        """SELECT record FROM alerts WHERE last_at > ? OR id IN
        (SELECT reference FROM outbox WHERE kind <> 'forward' AND state = 'pending') ORDER BY rowid""", Alert, since,
    )  # fmt: skip
    pauses = load("SELECT record FROM pauses WHERE over_at IS NULL OR over_at > ? ORDER BY rowid", Pause, since)
    missing = {pause_id for alert in alerts for pause_id in alert.pause_ids} - {pause.id for pause in pauses}
    for pause_id in sorted(missing):
        pauses = [*load("SELECT record FROM pauses WHERE id = ?", Pause, pause_id), *pauses]
    flags = load("SELECT record FROM flags WHERE resolved_at IS NULL OR resolved_at > ? ORDER BY rowid", Flag, since)
    lasting = load("SELECT record FROM incidents WHERE over_at IS NULL OR over_at > ? ORDER BY rowid", Incident, since)
    return standings.of([*pauses, *flags, *alerts, *lasting])


def live_firings(db: sqlite3.Connection, now: float) -> list[Firing]:
    """Return firings that are not over, and those that keep their rule resting."""
    query = "SELECT record FROM firings WHERE ended_at IS NULL OR rests_until > ? ORDER BY rowid"
    return [msgspec.json.decode(row[0], type=Firing) for row in db.execute(query, (now,))]


def rule_values(db: sqlite3.Connection) -> list[Value]:
    """Return the last values of the facts that rules wait to change."""
    return [Value(*row) for row in db.execute('SELECT condition, "group", value, at FROM rule_values')]


def due_rows(db: sqlite3.Connection, destination: str, now: float, limit: int) -> list[Claim]:
    """Return outbox rows that may be claimed, oldest first, until their bodies are CLAIM_BYTES_MOST long."""
    columns = ", ".join(f"outbox.{name}" for name in _OUTBOX.split(", "))
    query = f"""SELECT {columns}, position, journal.kind, received_at, body, signature
        FROM outbox LEFT JOIN journal ON outbox.kind = 'forward' AND position = CAST(reference AS INTEGER)
        WHERE destination = ? AND state = 'pending' AND next_at <= ? AND (lease_until IS NULL OR lease_until <= ?)
        ORDER BY id LIMIT ?"""  # noqa: S608
    found: list[Claim] = []
    size = 0
    for row in db.execute(query, (destination, now, now, limit)):
        entry = None if row[9] is None else Entry(*row[9:])
        found.append(Claim(OutboxRow(*row[:9]), entry))
        size += 0 if entry is None else len(entry.body)
        if size > CLAIM_BYTES_MOST:
            break
    return found


def numbers(db: sqlite3.Connection) -> list[Number]:
    """Return the phone numbers seen last, the newest standing last."""
    query = """SELECT phone_number_id, waba_id, number, seen_at, reported_since FROM numbers
        ORDER BY seen_at DESC LIMIT ?"""
    return [Number(*row) for row in db.execute(query, (NUMBERS_MOST,))][::-1]


def states(db: sqlite3.Connection) -> list[State]:
    """Return the states that were told last, the newest standing last."""
    query = "SELECT record FROM states ORDER BY said_at DESC LIMIT ?"
    return [msgspec.json.decode(row[0], type=State) for row in db.execute(query, (STATES_MOST,))][::-1]


def conversations(db: sqlite3.Connection, now: float) -> list[Window]:
    """Return open customer-service windows, the one that closes last standing last: one more than memory keeps."""
    query = """SELECT phone_number_id, recipient, closes_at, alias FROM conversations WHERE closes_at > ?
        ORDER BY 3 DESC LIMIT ?"""
    return [Window(*row) for row in db.execute(query, (now, WINDOWS_MOST + 1))][::-1]


def resends(db: sqlite3.Connection, where: str, *values: Any) -> list[Resend]:
    """Return resends."""
    found = db.execute(f"SELECT record FROM resends WHERE {where}", values)  # noqa: S608 (constants)
    return [msgspec.json.decode(row[0], type=Resend) for row in found]


def recent_campaign_messages(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return the wamid of the newest campaign message from each number to each person, the newest last."""
    query = """SELECT phone_number_id, recipient, wamid FROM messages
        WHERE rowid > (SELECT MAX(rowid) FROM messages) - ? AND campaign <> '' ORDER BY rowid"""
    return {(row[0], row[1]): row[2] for row in db.execute(query, (RECENT_MOST,))}


_HASHES = """WITH asked(one, owner) AS (
        SELECT value, COALESCE((SELECT person FROM people WHERE alias = value), value) FROM json_each(?)),
    hashes(one, hash) AS (SELECT one, one FROM asked UNION SELECT one, owner FROM asked
        UNION SELECT one, alias FROM asked JOIN people ON person = owner)"""
"""All hashes of each person who is asked for by one of them."""


def people(db: sqlite3.Connection, hashes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each of these hashes all that stand for the same person, itself among them."""
    found: dict[str, tuple[str, ...]] = {}
    query = f"{_HASHES} SELECT one, hash FROM hashes ORDER BY hash"  # noqa: S608
    for one, other in db.execute(query, (_listed(hashes),)):
        found[one] = (*found.get(one, ()), other)
    return found


def preferences(db: sqlite3.Connection, people: Sequence[str]) -> dict[str, tuple[bool, float]]:
    """Return whether these people stopped marketing messages, and when they said so: the newest word of all hashes."""
    query = f"{_HASHES} SELECT one, is_stopped, at FROM hashes JOIN preferences ON recipient = hash ORDER BY at"  # noqa: S608
    found = db.execute(query, (_listed(people),))
    return {one: (bool(is_stopped), at) for one, is_stopped, at in found}


def messages_page(db: sqlite3.Connection, before: int, limit: int, persons: Sequence[str], state: str) -> Page:
    """Return messages, newest first, of some people or of all."""
    if persons:
        source = "json_each(?) AS places CROSS JOIN messages ON bucket = places.value AND recipient IN "
        source += "(SELECT value FROM json_each(?))"
        narrowed: tuple[str, ...] = (buckets.listed(db), msgspec.json.encode(persons).decode())
    else:
        source, narrowed = "messages", ()
    query = f"""SELECT messages.rowid, record FROM {source} WHERE messages.rowid < ? AND (? = '' OR state = ?)
        ORDER BY messages.rowid DESC LIMIT ?"""  # noqa: S608 (constants)
    found = db.execute(query, (*narrowed, before, state, state, limit + 1)).fetchall()
    return page([(row[0], rows.message(row[1])) for row in found], limit)


def campaigns(db: sqlite3.Connection, before: str, limit: int) -> Page:
    """Return campaigns, the one heard of last first; the cursor is a time and an id."""
    told = _CAMPAIGNS_CURSOR.fullmatch(before)
    bound = (math.inf, 0) if told is None else (float(told[1]), int(told[2]))
    query = """SELECT id, campaign, first_at, last_at, (SELECT json_group_object(heading, count) FROM campaign_counts
        WHERE campaign_counts.campaign = campaigns.campaign) FROM campaigns
        WHERE (last_at, id) < (?, ?) ORDER BY last_at DESC, id DESC LIMIT ?"""
    found = db.execute(query, (*bound, limit + 1)).fetchall()
    decode = msgspec.json.Decoder(dict[str, int]).decode
    items = [Campaign(row[1], row[2], row[3], decode(row[4])) for row in found[:limit]]
    return Page(items, f"{found[limit - 1][3]}_{found[limit - 1][0]}" if len(found) > limit else "")


def unengaged(db: sqlite3.Connection, campaign: str, before: float, after: int, limit: int) -> Page:
    """Return messages of a campaign that were delivered before a time and not read, in order, behind a place."""
    query = """SELECT rowid, record FROM messages WHERE campaign = ? AND campaign <> '' AND rowid > ?
        AND state = 'delivered' ORDER BY rowid LIMIT ?"""
    found = [(row[0], rows.message(row[1])) for row in db.execute(query, (campaign, after, limit))]
    items = [one for _, one in found if one.replied_at is None and (one.first("delivered") or before) < before]
    return Page(items, str(found[-1][0]) if len(found) == limit else "")


def silent(db: sqlite3.Connection, before: float) -> dict[str, int]:
    """Return how many messages the Graph API took before a time without a status since, by phone number id."""
    query = "SELECT phone_number_id, COUNT(*) FROM messages WHERE state = 'accepted' AND started_at < ? GROUP BY 1"
    return dict(db.execute(query, (before,)).fetchall())


def cursor(before: str) -> int:
    """Return the rowid that a page's cursor stands for; what is none stands for the newest."""
    return int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 2**62


def page(found: list[tuple[int, Any]], limit: int) -> Page:
    """Return a page of records with their rowids, of which one more than the limit was asked for."""
    items = found[:limit]
    return Page([item for _, item in items], str(items[-1][0]) if len(found) > limit else "")


def newest_drill(db: sqlite3.Connection) -> AuditEntry | None:
    """Return the note of the newest drill."""
    query = (
        "SELECT at, actor, action, target, reason, position FROM audit WHERE action = 'drill' ORDER BY id DESC LIMIT 1"
    )
    row = db.execute(query).fetchone()
    return None if row is None else AuditEntry(*row)


def outbox(db: sqlite3.Connection, before: int, limit: int, state: str, destination: str) -> Page:
    """Return outbox rows, newest first."""
    query = f"""SELECT {_OUTBOX} FROM outbox WHERE id < ? AND ? IN (state, '') AND ? IN (destination, '')
        ORDER BY id DESC LIMIT ?"""  # noqa: S608
    found = db.execute(query, (before, state, destination, limit + 1)).fetchall()
    return page([(row[0], OutboxRow(*row)) for row in found], limit)


def outbox_row(db: sqlite3.Connection, row_id: int) -> OutboxRow | None:
    """Return one outbox row."""
    row = db.execute(f"SELECT {_OUTBOX} FROM outbox WHERE id = ?", (row_id,)).fetchone()  # noqa: S608
    return None if row is None else OutboxRow(*row)


def incident(db: sqlite3.Connection, incident_id: str) -> Incident | None:
    """Return one incident."""
    row = db.execute("SELECT record FROM incidents WHERE id = ?", (incident_id,)).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=Incident)


def pauses_of(db: sqlite3.Connection, incident_id: str) -> list[Pause]:
    """Return the pauses that an incident has brought about, in their order."""
    query = "SELECT record FROM pauses WHERE instr(record, CAST(? AS BLOB)) ORDER BY rowid"
    found = [msgspec.json.decode(row[0], type=Pause) for row in db.execute(query, (incident_id,))]
    return [pause for pause in found if pause.incident_id == incident_id]


def alerts_of(db: sqlite3.Connection, pause_ids: frozenset[str], since: float, until: float) -> list[Alert]:
    """Return the alerts of pauses that began within a time, in their order."""
    query = "SELECT record FROM alerts WHERE since BETWEEN ? AND ? ORDER BY rowid"
    found = [msgspec.json.decode(row[0], type=Alert) for row in db.execute(query, (since, until))]
    return [alert for alert in found if pause_ids.intersection(alert.pause_ids)]


def notes(db: sqlite3.Connection, since: float, until: float) -> list[AuditEntry]:
    """Return the audit's notes within a time, in their order."""
    query = "SELECT at, actor, action, target, reason, position FROM audit WHERE at BETWEEN ? AND ? ORDER BY id"
    return [AuditEntry(*row) for row in db.execute(query, (since, until))]


def volume(db: sqlite3.Connection, waba_id: str, since: float, until: float) -> dict[str, int]:
    """Return how many messages an account sent within a time, by their state now; it looks at every message."""
    query = """SELECT state, COUNT(*) FROM messages WHERE started_at >= ? AND started_at < ? AND state <> 'received'
        AND json_extract(record, '$[1]') = ? GROUP BY state"""
    return dict(db.execute(query, (since, until, waba_id)).fetchall())


def _listed(values: Sequence[str]) -> str:
    """Return values as json_each takes them."""
    return msgspec.json.encode(values).decode()
