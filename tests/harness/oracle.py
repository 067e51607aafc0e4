"""What a sidecar's database says after the process is dead, read without changing it."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from monitor.messages import ANOMALIES
from monitor.store import chain


@dataclass(frozen=True)
class Delivery:
    """A webhook in the journal."""

    position: int
    signature: str
    body: bytes


@dataclass(frozen=True)
class Oracle:
    """One look into the file; `messages` are wamid and (status, stamp) of each step, one item for each row."""

    integrity: str
    positions: list[int]
    deliveries: list[Delivery]
    cursor: int
    audit_broken_at: int | None
    messages: list[tuple[str, list[tuple[str, str]]]]


def read(database: Path) -> Oracle:
    """Look into the database of a process that does not run."""
    with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
        journal = db.execute("SELECT position, kind, signature, body FROM journal ORDER BY position").fetchall()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        is_chained = any(row[1] == "hash" for row in db.execute("PRAGMA table_info(audit)"))
        cursor = db.execute("SELECT position FROM cursors").fetchone() if "cursors" in tables else None
        rows = db.execute("SELECT wamid, record FROM messages").fetchall() if "messages" in tables else []
        return Oracle(
            integrity=db.execute("PRAGMA integrity_check").fetchone()[0],
            positions=[position for position, *_ in journal],
            deliveries=[
                Delivery(position, signature, body) for position, kind, signature, body in journal if kind == "webhook"
            ],
            cursor=cursor[0] if cursor else 0,
            audit_broken_at=chain.verify(chain.read(db)).broken_at if is_chained else None,
            messages=[(wamid, [(step[0], step[1]) for step in json.loads(record)[8]]) for wamid, record in rows],
        )


def lost(acked: Iterable[bytes], oracle: Oracle) -> set[bytes]:
    """Return the bodies that were answered 200 and are not in the journal."""
    return set(acked) - {delivery.body for delivery in oracle.deliveries}


def told(deliveries: Iterable[bytes]) -> dict[str, set[tuple[str, str]]]:
    """Return what the bodies say of each message: the (status, stamp) pairs that its row must hold."""
    found: dict[str, set[tuple[str, str]]] = {}
    for body in deliveries:
        for entry in json.loads(body)["entry"]:
            for change in entry["changes"]:
                for item in change["value"].get("statuses", []):
                    found.setdefault(item["id"], set()).add((item["status"], item["timestamp"]))
                for item in change["value"].get("messages", []):
                    found.setdefault(item["id"], set()).add(("received", ""))
    return found


def assert_kept(acked: Iterable[bytes], oracle: Oracle, forwarded: Iterable[bytes] | None = None) -> None:
    """Check what holds after every fault, once all that was journaled has been acted upon.

    The file is whole, and so is the audit's chain; what was answered 200 is there; positions have no gap; no body
    stands twice; what the bodies say of each message stands in its row once; the application got each body at least
    once, and nothing else.
    """
    assert oracle.integrity == "ok"
    assert oracle.audit_broken_at is None
    assert lost(acked, oracle) == set()
    assert oracle.positions == list(range(1, len(oracle.positions) + 1))
    bodies = [delivery.body for delivery in oracle.deliveries]
    assert len(set(bodies)) == len(bodies)
    if forwarded is not None:
        assert set(forwarded) == set(bodies)
    whole = told(bodies)
    assert len(oracle.messages) == len(whole)
    for wamid, found in oracle.messages:
        steps = [step for step in found if step[0] not in ANOMALIES]  # those are our own findings
        assert len(set(steps)) == len(steps)
        assert (wamid, set(steps)) == (wamid, whole[wamid])
