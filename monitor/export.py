"""Journal and messages as Parquet in Hive-style partitions by day, resumable: for Presto, Trino, Athena or DuckDB."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from monitor import partitions
from monitor.partitions import FIRSTS, JOURNAL, ROWS_AT_ONCE, TABLES, WORDS, Partition, Row, Source

MANIFEST, LOCK = "_export.json", "_export.lock"
GROUP_ROWS, GROUP_BYTES = 100_000, 64 * 1024 * 1024  # of a Parquet row group, which must fit in memory
SETTLE_SECONDS = 60.0  # `updated_at` is a time of receipt: the next commit's may be the same or a little earlier


class Manifest(msgspec.Struct, frozen=True):
    """What has been written: up to where each partition goes, by table and day, and the journal of all days."""

    written: dict[str, dict[str, float]] = {}
    journal_through: int = 0
    has_bodies: bool = False

    def mark(self, partition: Partition) -> float | None:
        """Return up to where a partition was written, None for not at all."""
        return self.written.get(partition.table, {}).get(partition.day)

    def marked(self, partition: Partition, mark: float) -> "Manifest":
        """Return the manifest with a partition written up to a mark."""
        days = {**self.written.get(partition.table, {}), partition.day: mark}
        return msgspec.structs.replace(self, written={**self.written, partition.table: days})


class Options(msgspec.Struct, frozen=True):
    """What to export; bodies are Meta's own bytes, in which phone numbers stand."""

    tables: tuple[str, ...] = TABLES
    since: date | None = None
    until: date | None = None
    has_bodies: bool = False


class ExportError(Exception):
    """The export can't be made; the message says why."""


def due(found: Sequence[Partition], options: Options, manifest: Manifest) -> list[Partition]:
    """Return the partitions that are asked for and are new, or have changed since they were written."""
    return [one for one in found if _is_asked(one, options) and _is_new(one, manifest.mark(one))]


def run(
    source: Source,
    out: Path,
    options: Options,
    progress: Callable[[Partition], None] = lambda _: None,
    begin: Callable[[Sequence[Partition]], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> dict[str, int]:
    """Write what is due and return how many rows of each table; a run that is broken off is taken up by the next.

    `begin` is told what is due, `progress` each partition once it counts as written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        now, head = clock(), partitions.head(source)
        manifest = _opened(out, options, recovered(out, read_manifest(out)), head)
        _replace(out / MANIFEST, manifest)
        after = {JOURNAL: manifest.journal_through}
        found = [one for table in options.tables for one in partitions.partitions(source, table, after.get(table, 0))]
        waiting = due(found, options, manifest)
        begin(waiting)
        counts = dict.fromkeys(options.tables, 0)
        for partition in waiting:
            count, outdated = _write(source, out, partition, int(manifest.mark(partition) or 0), options)
            settled = partition.newest if partition.table == JOURNAL else min(partition.newest, now - SETTLE_SECONDS)
            manifest = manifest.marked(partition, settled)
            _replace(out / MANIFEST, manifest)
            for file in outdated:
                file.unlink()
            counts[partition.table] += count
            progress(partition)
        if JOURNAL in options.tables and options.since is None and options.until is None:
            _replace(out / MANIFEST, msgspec.structs.replace(manifest, journal_through=head))
    return counts


def read_manifest(out: Path) -> Manifest:
    """Return what was written to a directory before."""
    file = out / MANIFEST
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest) if file.exists() else Manifest()
    except msgspec.DecodeError as error:
        raise ExportError(f"{file} is not a manifest of an export: {error}") from None


def recovered(out: Path, manifest: Manifest) -> Manifest:
    """Clear up behind a run that was broken off and return the manifest with the journal files that it finished."""
    marks = dict(manifest.written.get(JOURNAL, {}))
    for directory in (found for table in TABLES for found in (out / table).glob("date=*")):
        for unfinished in directory.glob("_part-*"):
            unfinished.unlink()
        files = _files(directory)
        if directory.parent.name != JOURNAL:
            for outdated in files[:-1]:  # the newest file holds all that the one before it held
                outdated.unlink()
        elif files:
            day = directory.name.removeprefix("date=")
            marks[day] = max(marks.get(day, 0.0), _number(files[-1]))
    return msgspec.structs.replace(manifest, written={**manifest.written, JOURNAL: marks})


def _opened(out: Path, options: Options, manifest: Manifest, head: int) -> Manifest:
    """Return the manifest to go on with; refuse what would mix two stores or two forms of the journal."""
    marks = manifest.written.get(JOURNAL, {})
    if head < max(manifest.journal_through, *marks.values(), 0):
        raise ExportError(f"{out} was exported from another store: its journal goes further than this one's")
    if JOURNAL not in options.tables:
        return manifest
    if marks and manifest.has_bodies != options.has_bodies:
        form = "with" if manifest.has_bodies else "without"
        raise ExportError(f"{out} holds the journal {form} bodies; take another directory for the other form")
    return msgspec.structs.replace(manifest, has_bodies=options.has_bodies)


def _is_asked(partition: Partition, options: Options) -> bool:
    day = date.fromisoformat(partition.day)
    return (options.since is None or day >= options.since) and (options.until is None or day <= options.until)


def _is_new(partition: Partition, mark: float | None) -> bool:
    return partition.rows > 0 if mark is None else partition.newest > mark


def _write(source: Source, out: Path, partition: Partition, after: int, options: Options) -> tuple[int, list[Path]]:
    """Write one file, of the journal's new entries or all of a day's messages; return its rows and what it replaces."""
    import pyarrow as arrow  # noqa: PLC0415 (an extra: the command line works without it)
    from pyarrow import parquet  # noqa: PLC0415

    directory = out / partition.table / f"date={partition.day}"
    directory.mkdir(parents=True, exist_ok=True)
    files = _files(directory)
    if partition.table == JOURNAL:
        number, outdated, schema = partition.last, [], _journal_schema(arrow, options)
        found = partitions.journal(source, partition, after, has_bodies=options.has_bodies)
    else:
        number, outdated, schema = _number(files[-1]) + 1 if files else 1, files, _messages_schema(arrow)
        found = _with_removed(source, parquet, partitions.messages(source, partition), files)
    finished = directory / f"part-{number:012d}.parquet"
    unfinished = finished.with_name(f"_{finished.name}")
    count = 0
    with parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for group in _grouped(arrow.Table.from_pylist(batch, schema=schema) for batch in found):
            written = arrow.concat_tables(group)
            writer.write_table(written)
            count += written.num_rows
    if source.is_overwritten():
        raise ExportError("the sidecar was started while its store was read as one at rest; run the export again")
    _synced(unfinished)
    unfinished.replace(finished)
    for place in (directory, directory.parent, out):  # the manifest must not be durable before what it speaks of
        _synced(place)
    return count, outdated


def _with_removed(
    source: Source, parquet: Any, found: Iterator[list[Row]], files: Sequence[Path]
) -> Iterator[list[Row]]:
    """Yield a day's messages and then, from the files before, those that retention has removed from the store."""
    known = set[str]()
    for batch in found:
        known.update(row["wamid"] for row in batch if files)
        yield batch
    for old in (batch.to_pylist() for file in files for batch in parquet.ParquetFile(file).iter_batches(ROWS_AT_ONCE)):
        gone = [row for row in old if row["wamid"] not in known]
        elsewhere = partitions.standing(source, [row["wamid"] for row in gone])  # an earlier status moved them
        yield [row for row in gone if row["wamid"] not in elsewhere]


def _grouped(tables: Iterator[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for table in tables:
        group.append(table)
        if sum(one.num_rows for one in group) >= GROUP_ROWS or sum(one.nbytes for one in group) >= GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _journal_schema(arrow: Any, options: Options) -> Any:
    fields = [
        ("position", arrow.int64()), ("kind", arrow.string()), ("received_at", arrow.timestamp("us", "UTC")),
        ("is_signed", arrow.bool_()), ("body_bytes", arrow.int64()),
    ]  # fmt: skip
    return arrow.schema([*fields, ("body", arrow.binary())] if options.has_bodies else fields)


def _messages_schema(arrow: Any) -> Any:
    at, word = arrow.timestamp("us", "UTC"), arrow.string()
    times = ("started_at", *(f"{name}_at" for name in FIRSTS), "replied_at", "updated_at")
    codes = arrow.list_(arrow.int64())  # not int32: a webhook may hold a code of 18 digits
    steps = arrow.list_(arrow.struct([("status", word), ("occurred_at", at), ("received_at", at)]))
    fields = [*((name, word) for name in WORDS), *((name, at) for name in times)]
    return arrow.schema([*fields, ("codes", codes), ("steps", steps)])


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(f"another export is writing to {out}") from None
        yield


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.parquet"), key=_number)


def _number(file: Path) -> int:
    return int(file.stem.removeprefix("part-"))


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(file: Path, manifest: Manifest) -> None:
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    _synced(unfinished)
    unfinished.replace(file)
    _synced(file.parent)
