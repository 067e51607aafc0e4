"""Opening the embedded store: the file is ours alone, its schema brought up to date, and nothing is held any more."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from monitor.store import queries
from monitor.store.high_water import HighWater
from monitor.store.protocol import StoreInUseError
from monitor.store.sqlite import SqliteStore
from monitor.store.writer import DIGESTS_MOST, Writer

SCHEMA_VERSION = 5
BUSY_MILLISECONDS = 1_250  # for a stranger's lock; who comes meanwhile waits twice, and is answered 503 within 3 s


def open_store(path: Path, forward_to: Sequence[str] = ()) -> SqliteStore:
    """Open or make the store in `path`; raise StoreInUseError where another process holds it or it can't be read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreInUseError(f"{path} can't be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreInUseError(f"{path} is in use by another process") from None
    with contextlib.ExitStack() as undone:
        undone.callback(os.close, lock)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # the file is nobody else's to read
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
            undone.callback(connection.close)
            _prepare(connection)
            head, digests = queries.head(connection), _digests(connection)
            high_water = HighWater(path.with_name(f"{path.name}.head"))
            undone.callback(high_water.close)
            lost = range(head + 1, high_water.read() + 1)
            reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            undone.callback(reader.close)
            reader.execute("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError, StoreInUseError) as error:
            raise StoreInUseError(f"{path} can't be opened: {error}") from error
        undone.pop_all()
    # What comes now stands behind what was lost, so that no position ever means two things.
    writer = Writer(connection, head + len(lost), digests, high_water.mark)
    writer.forward_to = tuple(forward_to)
    opened = _identities(path)
    writer.is_there = lambda: _identities(path) == opened
    return SqliteStore(path, lock, high_water, writer, reader, lost)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreInUseError(f"it has schema {version}, this version reads up to {SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages, 16 MB: fewer stalls than the default 1,000
    scripts = {n: f"upgrade_{n}.sql" for n in range(version + 1, SCHEMA_VERSION + 1)}
    for reached, script in (scripts if version else {SCHEMA_VERSION: "schema.sql"}).items():
        text = Path(__file__).with_name(script).read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE; {text} PRAGMA user_version = {reached}; COMMIT;")
    # Nobody else can hold a lease while the lock is ours: those of a process that died are free.
    connection.execute("UPDATE outbox SET lease_until = NULL WHERE lease_until IS NOT NULL")


def _identities(path: Path) -> list[tuple[int, int]]:
    """Return which files stand under the names of the store and of its log."""
    found: list[tuple[int, int]] = []
    for name in (path, f"{path}-wal"):
        with contextlib.suppress(OSError):
            known = os.stat(name)  # noqa: PTH116 (before each transaction)
            found.append((known.st_dev, known.st_ino))
    return found


def _digests(db: sqlite3.Connection) -> list[bytes]:
    query = "SELECT digest FROM journal WHERE digest IS NOT NULL ORDER BY position DESC LIMIT ?"
    return [row[0] for row in db.execute(query, (DIGESTS_MOST,))][::-1]
