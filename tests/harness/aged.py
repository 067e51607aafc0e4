"""A store as weeks of traffic leave it: a million deliveries, acted upon, made by copying the traces of one message."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from monitor import payloads
from tests.harness import meta, patience
from tests.harness.meta import NUMBER, WABA_ID
from tests.harness.sidecar import Sidecar

STEPS = ("sent", "delivered", "read")  # one delivery each
AGE_SECONDS = 7 * 86400.0
RECENT_SECONDS = 60.0  # before now, when the last one came
_DIGEST_BYTES = 16
_WAMID = "wamid.aged.0000000000"
_ENTRY = "INSERT INTO journal (position, kind, received_at, digest, signature, body) VALUES (?, 'webhook', ?, ?, ?, ?)"


def fill(sidecar: Sidecar, deliveries: int, age_seconds: float = AGE_SECONDS) -> None:
    """Give a sidecar that does not run a pause in force and a journal of so many deliveries behind its cursor.

    The product makes a pause and one message of its own; that message's rows are what all others are like.
    """
    with meta.of(sidecar) as sender:
        sidecar.start("--log.level", "error")
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        for step in STEPS:
            assert sender.post(_body(_WAMID, step, time.time()).encode()).status == 200
        sidecar.settle()
        assert sidecar.terminate() == 0
    with contextlib.closing(sqlite3.connect(sidecar.database, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        head = db.execute("SELECT position FROM cursors WHERE name = 'pipeline'").fetchone()[0]
        db.execute("BEGIN")
        db.execute("UPDATE journal SET received_at = received_at - ?", (age_seconds + RECENT_SECONDS,))
        db.executemany(_ENTRY, _entries(deliveries, head, age_seconds))
        db.executemany(*_messages(db, deliveries // len(STEPS)))
        db.execute("UPDATE cursors SET position = ?", (head + deliveries,))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _entries(count: int, head: int, age_seconds: float) -> Iterator[tuple[int, float, bytes, str, str]]:
    last_at = time.time() - RECENT_SECONDS
    like = {step: _body(_WAMID, step, last_at).partition(_WAMID) for step in STEPS}
    signed = f"sha256={'0' * 64}"
    for number in range(count):
        before, _, behind = like[STEPS[number % len(STEPS)]]
        body = f"{before}{_wamid(number // len(STEPS))}{behind}"
        digest = hashlib.blake2b(body.encode(), digest_size=_DIGEST_BYTES).digest()
        at = last_at - age_seconds * (count - 1 - number) / count
        yield head + 1 + number, at, digest, signed, body


def _messages(db: sqlite3.Connection, count: int) -> tuple[str, Iterator[tuple[Any, ...]]]:
    found = db.execute("SELECT * FROM messages WHERE wamid = ?", (_WAMID,))
    names = [column[0] for column in found.description]
    row = dict(zip(names, found.fetchone(), strict=True))
    last_at = time.time() - RECENT_SECONDS

    def rows() -> Iterator[tuple[Any, ...]]:
        for number in range(1, count):
            wamid = _wamid(number)
            at = last_at - AGE_SECONDS * (count - number) / count
            changed = {
                "wamid": wamid,
                "started_at": at,
                "updated_at": at,
                "bucket": number // 1024,
                "record": row["record"].replace(_WAMID, wamid),
            }
            yield tuple({**row, **changed}.values())

    return f"INSERT INTO messages ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows()


def _body(wamid: str, step: str, at: float) -> str:
    return payloads.delivery(
        payloads.change(NUMBER, statuses=[payloads.status(wamid, step, at)]), waba_id=WABA_ID
    ).decode()


def _wamid(number: int) -> str:
    return f"wamid.aged.{number:010d}"
