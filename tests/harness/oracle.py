"""What a sidecar's database says after the process is dead, read without changing it."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


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
    messages: list[tuple[str, list[tuple[str, str]]]]


def read(database: Path) -> Oracle:
    """Look into the database of a process that does not run."""
    with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
        journal = db.execute("SELECT position, kind, signature, body FROM journal ORDER BY position").fetchall()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        cursor = db.execute("SELECT position FROM cursors").fetchone() if "cursors" in tables else None
        rows = db.execute("SELECT wamid, record FROM messages").fetchall() if "messages" in tables else []
        return Oracle(
            integrity=db.execute("PRAGMA integrity_check").fetchone()[0],
            positions=[position for position, *_ in journal],
            deliveries=[
                Delivery(position, signature, body) for position, kind, signature, body in journal if kind == "webhook"
            ],
            cursor=cursor[0] if cursor else 0,
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
