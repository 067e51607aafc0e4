"""Opening the embedded store: the file is ours alone, its schema brought up to date, and nothing is held any more."""

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from monitor.store import queries
from monitor.store.protocol import StoreInUseError
from monitor.store.sqlite import SqliteStore
from monitor.store.writer import DIGESTS_MOST, Writer

SCHEMA_VERSION = 4
BUSY_MILLISECONDS = 2_000  # how long a stranger's lock on the file is waited for before the answer is 503


def open_store(path: Path, forward_to: Sequence[str] = ()) -> SqliteStore:
    """Open or make the store in `path`; raise StoreInUseError where another process holds it or it can't be read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreInUseError(f"{path} is in use by another process") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # the file is nobody else's to read
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        _prepare(connection)
        last_position = queries.head(connection)
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        reader.execute("PRAGMA query_only = ON")
    except (sqlite3.Error, OSError, StoreInUseError) as error:
        os.close(lock)
        raise StoreInUseError(f"{path} can't be opened: {error}") from error
    writer = Writer(connection, last_position, _digests(connection))
    writer.forward_to = tuple(forward_to)
    return SqliteStore(path, lock, writer, reader)


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


def _digests(db: sqlite3.Connection) -> list[bytes]:
    query = "SELECT digest FROM journal WHERE digest IS NOT NULL ORDER BY position DESC LIMIT ?"
    return [row[0] for row in db.execute(query, (DIGESTS_MOST,))][::-1]
