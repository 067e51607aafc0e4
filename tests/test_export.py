"""Parquet: what is written, once, whatever breaks it off; and what the documentation asks of it."""

import fcntl
import io
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from monitor import export, partitions
from monitor.cli import main
from monitor.export import ExportError, Manifest, Options
from monitor.messages import Message, Step
from monitor.partitions import Partition, UnreadableError
from monitor.store.opening import SCHEMA_VERSION, open_store
from monitor.store.protocol import Arrival, Commit
from monitor.store.sqlite import SqliteStore

DAY = 86_400.0
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
MIDNIGHT = 1_700_006_400.0  # the beginning of 2023-11-15
NUMBER = "15550100011"
QUERIES = re.findall(
    r"```sql\n(.*?)```",
    (Path(__file__).parents[1] / "docs" / "analytics.md")
    .read_text(encoding="utf-8")
    .partition("<!-- the queries below are run by tests/test_export.py -->")[2],
    re.DOTALL,
)


def message(number: int, *names: str, at: float = NOW, codes: tuple[int, ...] = ()) -> Message:
    return heard(number, *((name, at + 10 * place) for place, name in enumerate(names)), codes=codes)


def heard(number: int, *steps: tuple[str, float], codes: tuple[int, ...] = ()) -> Message:
    made = tuple(Step(name, str(place), at, at, codes) for place, (name, at) in enumerate(steps))
    start = min(at for _, at in steps)
    return Message(
        f"wamid.{number}", "100", "200", "hash", "outbound", "utility", "", steps[-1][0], made, "true", started_at=start
    )


async def fill(store: SqliteStore, *messages: Message, now: float = NOW) -> None:
    cursor = await store.cursor()
    await store.append(Arrival("webhook", now, f'{{"to": "{NUMBER}", "n": {cursor}}}'.encode(), "sha256=x"))
    await store.commit(Commit(cursor + 1, now, list(messages)))


async def remove(store: SqliteStore, wamid: str) -> None:
    await store.writer.run(lambda db: db.execute("DELETE FROM messages WHERE wamid = ?", (wamid,)) and None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "monitor.db")
    await fill(opened, message(1, "sent", "delivered"), message(2, "sent", "delivered", "read"))
    await fill(opened, message(3, "failed", at=NOW + DAY, codes=(131026,)), now=NOW + DAY)
    yield opened
    await opened.close()


def run(store: SqliteStore, out: Path, options: Options | None = None, **more: Any) -> dict[str, int]:
    source = partitions.connect(store.path, SCHEMA_VERSION)
    try:
        return export.run(source, out, options or Options(), **more)
    finally:
        source.db.close()


def rows(out: Path, table: str = "messages", columns: str = "wamid, state") -> list[tuple[Any, ...]]:
    return ask(
        f"SELECT {columns} FROM read_parquet('{out}/{table}/**/*.parquet', hive_partitioning = true) ORDER BY ALL"
    )


def ask(query: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(query).fetchall()


def configured(directory: Path) -> list[str]:
    (directory / "core.yml").write_text("rules: []\n")
    (directory / "monitor.yml").write_text(
        f"webhook: {{app_secrets: [{'x' * 32}], verify_tokens: [token]}}\n"
        "store: {url: 'sqlite:///monitor.db'}\nrules: {files: [core.yml]}\n"
    )
    return ["export", "--config.file", str(directory / "monitor.yml"), "--out", str(directory / "out")]


async def test_both_tables_are_written_by_day_beside_a_store_in_use(store: SqliteStore, tmp_path: Path) -> None:
    counts = run(store, tmp_path / "out")

    assert counts == {"journal": 2, "messages": 3}
    assert rows(tmp_path / "out") == [("wamid.1", "delivered"), ("wamid.2", "read"), ("wamid.3", "failed")]
    assert rows(tmp_path / "out", "journal", "position, kind, is_signed") == [
        (1, "webhook", True),
        (2, "webhook", True),
    ]
    days = sorted(path.name for path in (tmp_path / "out" / "messages").iterdir())
    assert days == ["date=2023-11-14", "date=2023-11-15"]
    await fill(store, message(4, "sent"))


async def test_the_columns_are_those_that_are_documented(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    found = {
        table: [
            (name, kind)
            for name, kind, *_ in ask(f"DESCRIBE SELECT * EXCLUDE date FROM '{tmp_path}/out/{table}/**/*.parquet'")
        ]
        for table in ("journal", "messages")
    }

    inside = ask(f"SELECT DISTINCT name FROM parquet_schema('{tmp_path}/out/**/*.parquet')")
    compression = ask(f"SELECT DISTINCT compression FROM parquet_metadata('{tmp_path}/out/**/*.parquet')")
    documented = (Path(__file__).parents[1] / "docs" / "analytics.md").read_text(encoding="utf-8")
    assert ("date",) not in inside
    assert compression == [("ZSTD",)]
    assert found["journal"][2] == ("received_at", "TIMESTAMP WITH TIME ZONE")
    assert dict(found["messages"])["codes"] == "BIGINT[]"
    assert [name for columns in found.values() for name, _ in columns if f"`{name}`" not in documented] == []


async def test_a_store_is_opened_for_reading_only(store: SqliteStore) -> None:
    source = partitions.connect(store.path, SCHEMA_VERSION)

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        source.db.execute("DELETE FROM journal")
    source.db.close()


async def test_no_statement_reads_more_than_a_few_rows(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(export, "GROUP_ROWS", 4)
    await fill(store, *(message(number, "sent") for number in range(10, 25)))
    largest = 0
    fetched = partitions._fetched

    def watched(*values: Any) -> list[Any]:
        nonlocal largest
        found = fetched(*values)
        largest = max(largest, len(found))
        return found

    monkeypatch.setattr(partitions, "_fetched", watched)
    counts = run(store, tmp_path / "out")

    groups = ask(f"SELECT max(num_row_groups) FROM parquet_file_metadata('{tmp_path}/out/messages/**/*.parquet')")
    assert counts == {"journal": 3, "messages": 18}
    assert largest == 2
    assert groups == [(4,)]
    assert len(rows(tmp_path / "out")) == 18


async def test_a_second_run_writes_only_what_is_new_or_has_changed(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    nothing = run(store, tmp_path / "out")
    await fill(store, message(3, "failed", "delivered", at=NOW + DAY), message(4, "sent", at=NOW), now=NOW + DAY + 60)

    again = run(store, tmp_path / "out")

    assert nothing == {"journal": 0, "messages": 0}
    assert again == {"journal": 1, "messages": 4}
    assert [state for _, state in rows(tmp_path / "out")] == ["delivered", "read", "delivered", "sent"]
    assert [position for (position,) in rows(tmp_path / "out", "journal", "position")] == [1, 2, 3]
    assert len(list((tmp_path / "out" / "messages").rglob("*.parquet"))) == 2


async def test_a_change_with_the_same_time_as_the_newest_one_is_not_missed(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out", clock=lambda: NOW + DAY + 1)
    await fill(store, message(3, "failed", "delivered", at=NOW + DAY), now=NOW + DAY)

    run(store, tmp_path / "out", clock=lambda: NOW + DAY + 2)

    assert rows(tmp_path / "out")[2] == ("wamid.3", "delivered")


@pytest.mark.parametrize("broken_after", [1, 2, 3, 4])
async def test_a_run_that_is_broken_off_is_taken_up_and_doubles_nothing(
    store: SqliteStore, tmp_path: Path, broken_after: int
) -> None:
    seen: list[Partition] = []

    def break_off(partition: Partition) -> None:
        seen.append(partition)
        if len(seen) == broken_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "out", progress=break_off)
    run(store, tmp_path / "out")
    run(store, tmp_path / "whole")

    assert len(seen) == broken_after
    for table, columns in (("messages", "wamid, state, date"), ("journal", "position, date")):
        assert rows(tmp_path / "out", table, columns) == rows(tmp_path / "whole", table, columns)


@pytest.mark.parametrize("broken_at", [1, 2, 3, 4])
async def test_a_run_that_dies_before_the_manifest_is_written_doubles_nothing(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    calls, replace = 0, export._replace

    def break_off(file: Path, manifest: Manifest) -> None:
        nonlocal calls
        calls += 1
        if calls > broken_at:
            raise KeyboardInterrupt
        replace(file, manifest)

    monkeypatch.setattr(export, "_replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "out")
    monkeypatch.undo()
    await fill(store, message(4, "sent"), now=NOW + 1)
    await fill(store, message(5, "sent", at=NOW + DAY), now=NOW + DAY + 1)

    run(store, tmp_path / "out")

    assert [position for (position,) in rows(tmp_path / "out", "journal", "position")] == [1, 2, 3, 4]
    assert [wamid for (wamid,) in rows(tmp_path / "out", columns="wamid")] == [f"wamid.{n}" for n in range(1, 6)]


async def test_a_run_that_dies_before_an_old_file_is_removed_doubles_nothing(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, tmp_path / "out")
    await fill(store, message(2, "sent", "delivered", "read", "played"), now=NOW + 5)

    def break_off(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", break_off)
    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "out")
    monkeypatch.undo()
    both = len(rows(tmp_path / "out"))
    await remove(store, "wamid.1")
    run(store, tmp_path / "out")
    await fill(store, message(4, "sent"), now=NOW + 6)

    run(store, tmp_path / "out")

    assert both == 5
    assert [wamid for (wamid,) in rows(tmp_path / "out", columns="wamid")] == [f"wamid.{n}" for n in range(1, 5)]


async def test_a_crash_while_a_file_is_written_leaves_none_that_is_read(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = export._synced

    def full(path: Path) -> None:
        if path.suffix == ".parquet":
            raise OSError("disk full")
        synced(path)

    monkeypatch.setattr(export, "_synced", full)
    with pytest.raises(OSError, match="disk full"):
        run(store, tmp_path / "out")
    visible = list((tmp_path / "out").rglob("part-*"))
    monkeypatch.undo()

    run(store, tmp_path / "out")

    assert visible == []
    assert not list((tmp_path / "out").rglob("_part-*"))
    assert len(rows(tmp_path / "out")) == 3


async def test_an_entry_just_before_midnight_is_not_lost(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store, now=MIDNIGHT - 0.0004)

    run(store, tmp_path / "out")

    assert rows(tmp_path / "out", "journal", "position, date::VARCHAR") == [
        (1, "2023-11-14"), (2, "2023-11-15"), (3, "2023-11-14"),
    ]  # fmt: skip


async def test_a_message_that_began_the_day_before_leaves_the_later_day(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store, heard(7, ("delivered", MIDNIGHT + 5)), now=MIDNIGHT + 6)
    run(store, tmp_path / "out")
    await fill(store, heard(7, ("delivered", MIDNIGHT + 5), ("sent", MIDNIGHT - 5)), now=NOW + DAY + 60)

    run(store, tmp_path / "out")
    nothing = run(store, tmp_path / "out")

    assert rows(tmp_path / "out", columns="wamid, date::VARCHAR")[-1:] == [("wamid.7", "2023-11-14")]
    assert len(rows(tmp_path / "out")) == 4
    assert nothing["messages"] == 0


async def test_what_retention_removed_stays_in_the_history(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    await remove(store, "wamid.1")
    await fill(store, message(2, "sent", "delivered", "read", "played"), now=NOW + 5)

    run(store, tmp_path / "out")

    assert rows(tmp_path / "out")[:2] == [("wamid.1", "delivered"), ("wamid.2", "played")]


async def test_numbers_leave_only_with_the_bodies(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    run(store, tmp_path / "bodies", Options(("journal",), has_bodies=True))

    values = [parquet.read_table(file).to_pylist() for file in (tmp_path / "out").rglob("*.parquet")]
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert NUMBER not in repr(values)
    assert len(written) == 6
    assert not any(NUMBER.encode() in text for text in written)
    bodies = rows(tmp_path / "bodies", "journal", "body, body_bytes")
    assert [body for body, _ in bodies] == [f'{{"to": "{NUMBER}", "n": {number}}}'.encode() for number in (0, 1)]
    assert all(len(body) == length for body, length in bodies)


@pytest.mark.parametrize("has_bodies", [True, False])
async def test_a_directory_holds_one_form_of_the_journal(store: SqliteStore, tmp_path: Path, has_bodies: bool) -> None:
    run(store, tmp_path / "out", Options(has_bodies=has_bodies))

    with pytest.raises(ExportError, match="bodies"):
        run(store, tmp_path / "out", Options(has_bodies=not has_bodies))
    assert run(store, tmp_path / "out", Options(("messages",), has_bodies=not has_bodies)) == {"messages": 0}


async def test_days_and_tables_narrow_what_is_written_and_the_rest_can_follow(
    store: SqliteStore, tmp_path: Path
) -> None:
    first = run(store, tmp_path / "out", Options(until=date(2023, 11, 14)))
    second = run(store, tmp_path / "out", Options(("messages",), since=date(2023, 11, 15)))
    third = run(store, tmp_path / "out")

    assert first == {"journal": 1, "messages": 2}
    assert second == {"messages": 1}
    assert third == {"journal": 1, "messages": 0}
    assert len(rows(tmp_path / "out", "journal", "position")) == 2


async def test_a_code_of_many_digits_is_no_obstacle(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store, message(4, "failed", codes=(10**17,)))

    run(store, tmp_path / "out")

    assert rows(tmp_path / "out", columns="codes")[-1] == ([10**17],)


async def test_each_documented_query_runs(store: SqliteStore, tmp_path: Path) -> None:
    await fill(store, message(4, "sent", "delivered", at=NOW + DAY), message(5, "sent", at=NOW + DAY), now=NOW + DAY)
    slow = heard(6, ("sent", NOW + DAY), ("delivered", NOW + DAY + 30))
    await fill(store, slow, message(7, "received", at=NOW), now=NOW + DAY)
    run(store, tmp_path / "out")

    rates, failures, seconds = (ask(query.replace("'messages/", f"'{tmp_path}/out/messages/")) for query in QUERIES)

    assert rates == [(date(2023, 11, 14), "utility", 3, 0.667), (date(2023, 11, 15), "utility", 4, 0.5)]
    assert failures == [(date(2023, 11, 15), 131026, 1)]
    assert seconds == [("200", 10.0, pytest.approx(27.0))]


async def test_a_stopped_sidecar_s_store_is_read_too_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    opened = open_store(tmp_path / "store" / "monitor.db")
    await fill(opened, message(1, "sent"))
    await opened.close()
    before = sorted((tmp_path / "store").iterdir())

    assert run(opened, tmp_path / "out")["messages"] == 1
    assert sorted((tmp_path / "store").iterdir()) == before


async def test_a_sidecar_that_starts_while_its_store_is_read_at_rest_is_noticed(tmp_path: Path) -> None:
    opened = open_store(tmp_path / "monitor.db")
    await fill(opened, message(1, "sent"))
    await opened.close()
    source = partitions.connect(opened.path, SCHEMA_VERSION)
    again = open_store(tmp_path / "monitor.db")
    await fill(again, message(2, "sent"))
    await again.close()

    with pytest.raises(ExportError, match="sidecar was started"):
        export.run(source, tmp_path / "out", Options())
    source.db.close()

    assert not list((tmp_path / "out").rglob("part-*"))
    assert run(opened, tmp_path / "out")["messages"] == 2


async def test_two_exports_to_one_directory_and_two_stores_in_one_are_refused(
    store: SqliteStore, tmp_path: Path
) -> None:
    run(store, tmp_path / "out")
    with (tmp_path / "out" / export.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match="another export"):
            run(store, tmp_path / "out")

    other = open_store(tmp_path / "other.db")
    await fill(other, message(1, "sent"))
    with pytest.raises(ExportError, match="another store"):
        run(other, tmp_path / "out")
    await other.close()


def test_no_store_another_schema_no_database_and_a_strange_manifest_are_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="no store"):
        partitions.connect(tmp_path / "none.db", 1)
    (tmp_path / "other.db").write_bytes(b"")
    with pytest.raises(UnreadableError, match="schema 0"):
        partitions.connect(tmp_path / "other.db", SCHEMA_VERSION)
    (tmp_path / "text.db").write_bytes(b"not a database, but somebody's file" * 100)
    with pytest.raises(UnreadableError, match="not a database"):
        partitions.connect(tmp_path / "text.db", SCHEMA_VERSION)
    (tmp_path / export.MANIFEST).write_text("[]")
    with pytest.raises(ExportError, match="not a manifest"):
        export.read_manifest(tmp_path)


async def test_the_command_exports_and_says_what(tmp_path: Path) -> None:
    arguments = configured(tmp_path)
    missing = CliRunner().invoke(main, arguments)
    made = open_store(tmp_path / "monitor.db")
    await fill(made, message(1, "sent"))

    done = CliRunner().invoke(main, arguments)
    again = CliRunner().invoke(main, [*arguments, "--with-bodies"])
    await made.close()

    assert (missing.exit_code, "no store" in missing.output) == (1, True)
    assert (done.exit_code, done.output) == (0, "journal: 1 rows, messages: 1 rows in 2 partitions\n")
    assert (again.exit_code, "without bodies" in again.output) == (1, True)


async def test_a_store_of_another_schema_fails_the_command(tmp_path: Path) -> None:
    arguments = configured(tmp_path)
    with sqlite3.connect(tmp_path / "monitor.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    refused = CliRunner().invoke(main, arguments)

    assert (refused.exit_code, "schema 99" in refused.output) == (1, True)


async def test_a_store_that_fails_midway_fails_the_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = configured(tmp_path)
    made = open_store(tmp_path / "monitor.db")
    await fill(made, message(1, "sent"))
    await made.writer.run(lambda db: db.execute("ALTER TABLE messages RENAME TO gone") and None)

    failed = CliRunner().invoke(main, arguments)
    await made.close()

    assert (failed.exit_code, "can't be read" in failed.output) == (1, True)
    assert isinstance(failed.exception, SystemExit)


def test_progress_is_shown_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    made = open_store(tmp_path / "monitor.db")
    made.writer._connection.execute("INSERT INTO journal VALUES (1, 'tick', ?, NULL, '', x'')", (NOW,))
    made.writer._connection.close()
    made._reader.close()
    monkeypatch.setattr(sys, "stderr", shown)

    main(configured(tmp_path), standalone_mode=False)

    assert "exporting" in shown.getvalue()
    assert "1/1" in shown.getvalue()


def test_without_the_extra_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    bare = CliRunner().invoke(main, configured(tmp_path))

    assert (bare.exit_code, "whatsapp-monitor[export]" in bare.output) == (2, True)
