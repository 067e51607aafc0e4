"""The product, gone at a named point: `python -m tests.harness.failing POINT:N serve ...` dies there at the Nth pass.

It dies as by a SIGKILL: nothing is finished, flushed or closed. The product holds no code of tests: its own functions
are wrapped here before it starts. `POINT:N:careless` is the other arm, which answers 200 before it journals.
"""

import asyncio
import functools
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from monitor import app, receive, senders, signature
from monitor.__main__ import main
from monitor.pipeline import Pipeline
from monitor.receive import Receiver
from monitor.store import opening
from monitor.store.protocol import WEBHOOK, Arrival, Before
from monitor.store.retention import Retention
from monitor.store.sqlite import SqliteStore
from monitor.store.writer import Writer

GONE = 137  # what a shell says of somebody who was killed
CARELESS = "careless"
CARELESS_SECONDS = 0.2  # between an answer and its journal entry, in the other arm
CHECKPOINT_PAGES = 20
PRUNE_SECONDS = 0.2


class Point(StrEnum):
    """Where it may die."""

    BODY_READ = "body_read"
    SIGNATURE_VERIFIED = "signature_verified"
    BEFORE_BEGIN = "before_begin"
    MID_TRANSACTION = "mid_transaction"  # the delivery is inserted, its forwards are not
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"  # of a delivery that was not answered yet
    BEFORE_PIPELINE_COMMIT = "before_pipeline_commit"
    MID_PIPELINE_COMMIT = "mid_pipeline_commit"  # the effects are written, the cursor is not
    AFTER_PIPELINE_COMMIT = "after_pipeline_commit"  # nobody has heard of the effects yet
    PAUSE_WRITTEN = "pause_written"
    BEFORE_CLAIM = "before_claim"
    AFTER_CLAIM = "after_claim"
    FORWARD_SENT = "forward_sent"  # and not settled
    CHECKPOINT = "checkpoint"
    RETENTION = "retention"
    RELOAD = "reload"
    UPGRADE = "upgrade"


class Passes:
    """Counts passes; the last one is the end."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def one(self) -> None:
        """Pass."""
        with self._lock:
            self._left -= 1
            if not self._left:
                os._exit(GONE)


def arm(point: Point, one: Callable[[], None]) -> None:
    """Let each pass of a point call `one`."""
    match point:
        case Point.BODY_READ:
            _awaited(Receiver, "_body", one)
        case Point.SIGNATURE_VERIFIED:
            _after(signature, "verify", one)
        case Point.BEFORE_BEGIN:
            _stated("BEGIN IMMEDIATE", one)
        case Point.MID_TRANSACTION:
            _stated("INSERT INTO outbox", one)
        case Point.BEFORE_COMMIT:
            _stated("COMMIT", one)
        case Point.AFTER_COMMIT:
            _after(Writer, "_transact", one, is_pass=lambda outcome: bool(outcome[0]))
        case Point.BEFORE_PIPELINE_COMMIT:
            _before(SqliteStore, "commit", one)
        case Point.MID_PIPELINE_COMMIT:
            _stated("INSERT OR REPLACE INTO cursors", one)
        case Point.AFTER_PIPELINE_COMMIT:
            _awaited(SqliteStore, "commit", one)
        case Point.PAUSE_WRITTEN:
            _stated("INSERT INTO pauses", one)
        case Point.BEFORE_CLAIM:
            _before(SqliteStore, "claim", one)
        case Point.AFTER_CLAIM:
            _awaited(SqliteStore, "claim", one, is_pass=bool)
        case Point.FORWARD_SENT:
            _awaited(senders, "forward", one)
        case Point.CHECKPOINT:
            _checkpointing(one)
        case Point.RETENTION:
            _forget_soon()
            _after(Retention, "prune", one, is_pass=bool)
        case Point.RELOAD:
            _before(Pipeline, "adopt", one)
        case Point.UPGRADE:
            _stated("PRAGMA user_version = ", one)


def answer_first() -> None:
    """Let deliveries be answered before they are journaled."""
    late: set[asyncio.Task[None]] = set()

    async def take(self: Receiver, claimed: bytes, receiving: receive.Receive, send: receive.Send) -> None:
        body = await self._body(receiving)
        assert isinstance(body, bytes)
        await receive._answer(send, 200)

        async def journal() -> None:
            await asyncio.sleep(CARELESS_SECONDS)
            await self._journal.append(Arrival(WEBHOOK, self._clock(), body, claimed.decode("ascii")))

        late.add(asyncio.get_running_loop().create_task(journal()))

    _replace(Receiver, "_take", take)


def _before(owner: object, name: str, one: Callable[[], None]) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*values: Any, **named: Any) -> Any:
        one()
        return function(*values, **named)

    _replace(owner, name, wrapped)


def _after(
    owner: object, name: str, one: Callable[[], None], *, is_pass: Callable[[Any], bool] = lambda _: True
) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*values: Any, **named: Any) -> Any:
        result = function(*values, **named)
        if is_pass(result):
            one()
        return result

    _replace(owner, name, wrapped)


def _awaited(
    owner: object, name: str, one: Callable[[], None], *, is_pass: Callable[[Any], bool] = lambda _: True
) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*values: Any, **named: Any) -> Any:
        result = await function(*values, **named)
        if is_pass(result):
            one()
        return result

    _replace(owner, name, wrapped)


def _stated(start: str, one: Callable[[], None]) -> None:
    """Pass before each statement of the one connection that writes which begins so."""
    prepare = opening._prepare

    def prepared(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda statement: one() if statement.lstrip().startswith(start) else None)
        prepare(connection)

    _replace(opening, "_prepare", prepared)


def _checkpointing(one: Callable[[], None]) -> None:
    """Pass whenever the file itself is written, which only a checkpoint does; checkpoint often."""
    prepare = opening._prepare

    def prepared(connection: sqlite3.Connection) -> None:
        prepare(connection)
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        threading.Thread(target=watch, args=(path,), daemon=True).start()

    def watch(path: str) -> None:
        known = os.stat(path)  # noqa: PTH116 (a loop that must not miss a moment)
        while True:
            found = os.stat(path)  # noqa: PTH116
            if (found.st_mtime_ns, found.st_size) != (known.st_mtime_ns, known.st_size):
                known = found
                one()

    _replace(opening, "_prepare", prepared)


def _forget_soon() -> None:
    """Let what is older than a moment be past retention."""
    prune = SqliteStore.prune

    async def hurried(self: SqliteStore, before: Before) -> int:
        soon = time.time() - PRUNE_SECONDS
        return await prune(self, msgspec.structs.replace(before, journal=soon, bodies=soon, messages=soon))

    _replace(SqliteStore, "prune", hurried)
    _replace(app, "PRUNE_SECONDS", PRUNE_SECONDS)


def _replace(owner: object, name: str, value: Any) -> None:
    setattr(owner, name, value)


if __name__ == "__main__":
    named, passes, *others = sys.argv.pop(1).split(":")
    arm(Point(named), Passes(int(passes)).one)
    if CARELESS in others:
        answer_first()
    main()
