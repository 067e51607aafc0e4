"""Journal and messages as Parquet in Hive-style partitions by day, resumable: for Presto, Trino, Athena or DuckDB."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from monitor.messages import Message
from monitor.store import rows

MANIFEST = "_export.json"
ROWS_AT_ONCE = 10_000
GROUP_ROWS = 100_000  # rows of a Parquet row group, which must fit in memory
TABLES = ("journal", "messages")


class Partition(msgspec.Struct, frozen=True):
    """One day of one table: how many rows it has, and up to where or when they go.

    `mark` is the highest position of the journal, which only grows, or the newest change of a day's messages, which are
    written anew as a whole.
    """

    table: str
    day: str
    rows: int
    mark: float


class Manifest(msgspec.Struct):
    """What has been written: the mark of each partition, by table and day."""

    written: dict[str, dict[str, float]] = {}


class Options(msgspec.Struct, frozen=True):
    """What to export; bodies are Meta's own bytes, in which phone numbers stand."""

    tables: tuple[str, ...] = TABLES
    since: date | None = None
    until: date | None = None
    has_bodies: bool = False


class ExportError(Exception):
    """The export can't be made; the message says why."""


def connect(path: Path, schema_version: int) -> sqlite3.Connection:
    """Open a store read-only, beside a running sidecar or without one."""
    if not path.exists():
        raise ExportError(f"there is no store at {path}")
    # Without its -wal file a store is at rest; SQLite then opens it read-only only when told that nobody writes.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        db.execute("PRAGMA query_only = ON")
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise ExportError(f"{path} can't be read: {error}") from None
    if version != schema_version:
        raise ExportError(
            f"{path} has schema {version}, this version exports {schema_version}; start it once to upgrade"
        )
    return db


def due(db: sqlite3.Connection, options: Options, manifest: Manifest) -> list[Partition]:
    """Return the partitions that are new or have changed since they were written, oldest first."""
    found = []
    for table in options.tables:
        marks = manifest.written.get(table, {})
        for partition in _partitions(db, table):
            day = date.fromisoformat(partition.day)
            is_asked = (options.since is None or day >= options.since) and (
                options.until is None or day <= options.until
            )
            if is_asked and partition.mark > marks.get(partition.day, -1.0):
                found.append(partition)
    return found


def run(
    db: sqlite3.Connection, out: Path, options: Options, progress: Callable[[Partition], None] = lambda _: None
) -> dict[str, int]:
    """Write what is due and return how many rows of each table; a run that is broken off is taken up by the next."""
    manifest = read_manifest(out)
    counts = dict.fromkeys(options.tables, 0)
    for partition in due(db, options, manifest):
        after = manifest.written.get(partition.table, {}).get(partition.day, 0.0)
        counts[partition.table] += _write(db, out, partition, after, options)
        manifest.written.setdefault(partition.table, {})[partition.day] = partition.mark
        _replace(out / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        progress(partition)
    return counts


def read_manifest(out: Path) -> Manifest:
    """Return what was written to a directory before."""
    file = out / MANIFEST
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest) if file.exists() else Manifest()
    except msgspec.DecodeError as error:
        raise ExportError(f"{file} is not a manifest of an export: {error}") from None


def _partitions(db: sqlite3.Connection, table: str) -> Iterator[Partition]:
    at, mark = {"journal": ("received_at", "position"), "messages": ("started_at", "updated_at")}[table]
    query = f"SELECT date({at}, 'unixepoch'), COUNT(*), MAX({mark}) FROM {table} GROUP BY 1 ORDER BY 1"  # noqa: S608
    for day, count, mark in db.execute(query).fetchall():
        yield Partition(table, day, count, float(mark))


def _write(db: sqlite3.Connection, out: Path, partition: Partition, after: float, options: Options) -> int:
    """Write one partition's file: the journal's new entries beside the old files, a day's messages in their place."""
    import pyarrow as arrow  # noqa: PLC0415 (an extra: the command line works without it)
    from pyarrow import parquet  # noqa: PLC0415

    directory = out / partition.table / f"date={partition.day}"
    directory.mkdir(parents=True, exist_ok=True)
    for rest in directory.glob("_*"):
        rest.unlink()
    is_journal = partition.table == "journal"
    name = (
        f"part-{int(partition.mark):012d}.parquet" if is_journal else f"part-{int(partition.mark * 1e6):020d}.parquet"
    )
    schema = _journal_schema(arrow, options) if is_journal else _messages_schema(arrow)
    found = _journal(db, partition, after, options) if is_journal else _messages(db, partition)
    before = [] if is_journal else [old for old in directory.glob("part-*.parquet") if old.name != name]
    unfinished = directory / f"_{name}"
    count, known = 0, set[str]()
    with parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for group in _grouped(found):
            count += len(group)
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
            known.update(row["wamid"] for row in group if before)
        for old in before:  # what retention has removed from the store stays in the history
            for batch in parquet.ParquetFile(old).iter_batches(ROWS_AT_ONCE):
                kept = [row for row in batch.to_pylist() if row["wamid"] not in known]
                writer.write_table(arrow.Table.from_pylist(kept, schema=schema))
    _synced(unfinished)
    unfinished.replace(directory / name)
    for old in before:
        old.unlink()
    return count


def _journal(db: sqlite3.Connection, partition: Partition, after: float, options: Options) -> Iterator[dict[str, Any]]:
    start, end = _bounds(partition.day)
    body = "body" if options.has_bodies else "NULL"
    query = f"""SELECT position, kind, received_at, signature <> '', length(body), {body} FROM journal
        WHERE position > ? AND position <= ? AND received_at >= ? AND received_at < ? ORDER BY position LIMIT ?"""  # noqa: S608
    position = int(after)
    while found := db.execute(query, (position, int(partition.mark), start, end, ROWS_AT_ONCE)).fetchall():
        for row in found:
            entry = {
                "position": row[0], "kind": row[1], "received_at": _time(row[2]), "is_signed": bool(row[3]),
                "body_bytes": row[4],
            }  # fmt: skip
            yield {**entry, "body": row[5]} if options.has_bodies else entry
        position = found[-1][0]


def _messages(db: sqlite3.Connection, partition: Partition) -> Iterator[dict[str, Any]]:
    start, end = _bounds(partition.day)
    query = """SELECT rowid, updated_at, record FROM messages
        WHERE rowid > ? AND started_at >= ? AND started_at < ? ORDER BY rowid LIMIT ?"""
    place = 0
    while found := db.execute(query, (place, start, end, ROWS_AT_ONCE)).fetchall():
        for row in found:
            yield _flat(rows.message(row[2]), row[1])
        place = found[-1][0]


def _flat(message: Message, updated_at: float) -> dict[str, Any]:
    names = ("sent", "delivered", "read", "failed")
    return {
        **{
            name: getattr(message, name)
            for name in (
                "wamid", "waba_id", "phone_number_id", "recipient", "direction", "category", "template", "campaign",
                "callback_data", "state", "billable",
            )
        },
        "started_at": _time(message.started_at),
        **{f"{name}_at": _time(message.first(name)) for name in names},
        "replied_at": _time(message.replied_at),
        "updated_at": _time(updated_at),
        "codes": sorted({code for step in message.steps for code in step.codes}),
        "steps": [
            {"status": step.status, "occurred_at": _time(step.occurred_at), "received_at": _time(step.received_at)}
            for step in message.steps
        ],
    }  # fmt: skip


def _journal_schema(arrow: Any, options: Options) -> Any:
    fields = [
        ("position", arrow.int64()), ("kind", arrow.string()), ("received_at", arrow.timestamp("us", "UTC")),
        ("is_signed", arrow.bool_()), ("body_bytes", arrow.int64()),
    ]  # fmt: skip
    return arrow.schema([*fields, ("body", arrow.binary())] if options.has_bodies else fields)


def _messages_schema(arrow: Any) -> Any:
    time, word = arrow.timestamp("us", "UTC"), arrow.string()
    step = arrow.struct([("status", word), ("occurred_at", time), ("received_at", time)])
    words = (
        "wamid", "waba_id", "phone_number_id", "recipient", "direction", "category", "template", "campaign",
        "callback_data", "state", "billable",
    )  # fmt: skip
    times = ("started_at", "sent_at", "delivered_at", "read_at", "failed_at", "replied_at", "updated_at")
    return arrow.schema(
        [*((name, word) for name in words), *((name, time) for name in times),
         ("codes", arrow.list_(arrow.int64())), ("steps", arrow.list_(step))]
    )  # fmt: skip


def _grouped(found: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in found:
        group.append(row)
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _bounds(day: str) -> tuple[float, float]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return start.timestamp(), (start + timedelta(days=1)).timestamp()


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _synced(file: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())


def _replace(file: Path, text: bytes) -> None:
    unfinished = file.with_name(f"_{file.name}.new")
    unfinished.write_bytes(text)
    _synced(unfinished)
    unfinished.replace(file)
