"""Opening and closing: the file is ours alone, of a schema that we know, and in the end nothing is held."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.actions import Resend
from monitor.memory import Number
from monitor.store.opening import SCHEMA_VERSION, open_store
from monitor.store.protocol import Arrival, Commit, StoreInUseError
from monitor.store.sqlite import SqliteStore
from tests import records
from tests.records import NOW


async def test_a_second_process_is_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreInUseError, match="in use"):
        open_store(store.path)


@pytest.mark.parametrize("harm", ["held", "newer", "no file for the mark", "no second connection"])
async def test_a_store_that_is_not_opened_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    path = tmp_path / "monitor.db"
    first = open_store(path)
    if harm == "newer":
        await first.writer.run(lambda connection: connection.execute("PRAGMA user_version = 99") and None)
    if harm != "held":
        await first.close()
    if harm == "no file for the mark":
        path.with_name("monitor.db.head").unlink()
        path.with_name("monitor.db.head").mkdir()
    if harm == "no second connection":
        monkeypatch.setattr("monitor.store.opening.sqlite3.connect", _first_only(sqlite3.connect))
    held = _files_held()

    with pytest.raises(StoreInUseError) as raised:
        open_store(path)

    assert _files_held() <= held
    assert str(raised.value).startswith(str(path))
    if harm == "held":
        await first.close()


def _files_held() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def _first_only(connect: Any) -> Any:
    def refusing(*names: Any, **options: Any) -> sqlite3.Connection:
        if options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        made: sqlite3.Connection = connect(*names, **options)
        return made

    return refusing


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreInUseError, match=r"file/monitor\.db can't be opened"):
        open_store(tmp_path / "file" / "monitor.db")


@pytest.mark.parametrize("name", ["file/monitor.db", "a" * 300, "/proc/monitor/monitor.db"])
def test_a_place_where_nothing_can_be_written_is_said_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreInUseError, match="can't be opened: "):
        open_store(tmp_path / name)


def test_a_newer_schema_and_a_file_of_another_kind_are_refused_and_kept(tmp_path: Path) -> None:
    newer, other = tmp_path / "newer.db", tmp_path / "other.db"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    other.write_bytes(b"not a database, but somebody's file" * 100)

    for path, message in ((newer, "schema 99"), (other, "not a database")):
        before = path.read_bytes()
        with pytest.raises(StoreInUseError, match=message):
            open_store(path)
        assert path.read_bytes() == before


async def test_a_store_of_the_first_schema_is_upgraded_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    schema = (Path(__file__).parent / "schemas" / "1.sql").read_text(encoding="utf-8")
    with sqlite3.connect(path) as db:
        db.executescript(f"{schema} PRAGMA user_version = 1;")
        steps = '[["sent","1",5.0,6.0,[]],["failed","2",7.0,8.0,[131043]]]'
        row = ("wamid.1", "100", "200", "hash", "outbound", "utility", "data", "failed", steps, 1, 8.0)
        db.execute(f"INSERT INTO messages VALUES ({', '.join('?' * 11)})", row)
        resend = Resend("r1-0", "wamid.1", "100", "200", "hash", "utility", 131043, "rule", "", 8.0, 8.0)
        values = ("r1-0", "wamid.1", "200", "pending", 8.0, msgspec.json.encode(resend))
        db.execute("INSERT INTO resends VALUES (?, ?, ?, ?, ?, ?)", values)
        db.execute("INSERT INTO numbers VALUES ('200', '100')")
        db.execute("INSERT INTO cursors VALUES ('pipeline', 7)")
    db.close()

    opened = open_store(path)
    try:
        (message,) = (await opened.messages(["wamid.1"])).values()
        page = await opened.recent_messages("", 10, people=["hash"], state="failed")
        assert (message.state, message.billable, message.callback_data) == ("failed", "unknown", "data")
        assert (message.steps[1].codes, message.started_at, message.due_at) == ((131043,), 5.0, None)
        assert page.items == [message]
        assert await opened.waiting_resends() == [resend]
        assert await opened.numbers() == [Number("200", "100", "", 0.0)]
        assert await opened.cursor() == 7
    finally:
        await opened.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    db.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_an_upgraded_store_has_the_tables_columns_and_indexes_of_a_new_one(tmp_path: Path, version: int) -> None:
    schema = (Path(__file__).parent / "schemas" / f"{version}.sql").read_text(encoding="utf-8")
    with sqlite3.connect(tmp_path / "old.db") as db:
        db.executescript(f"{schema} PRAGMA user_version = {version};")
    db.close()

    for name in ("old.db", "new.db"):
        await open_store(tmp_path / name).close()

    assert _shape(tmp_path / "old.db") == _shape(tmp_path / "new.db")


async def test_a_closed_store_holds_no_file_and_no_thread_and_leaves_one_whole_file(tmp_path: Path) -> None:
    files, threads = _files_held(), set(threading.enumerate())
    store = open_store(tmp_path / "monitor.db")
    await store.append(Arrival("webhook", NOW, b"body"))
    assert await store.head() == 1

    await store.close()

    assert _files_held() <= files
    assert set(threading.enumerate()) <= threads
    assert not (tmp_path / "monitor.db-wal").exists()


async def test_what_is_being_read_when_the_store_closes_is_read_to_its_end(tmp_path: Path) -> None:
    store = open_store(tmp_path / "monitor.db")
    await store.commit(Commit(1, NOW, [records.message(number) for number in range(200)]))
    reads = [asyncio.create_task(store.recent_messages("", 200, people=[], state="")) for _ in range(20)]
    await asyncio.sleep(0)

    await store.close()

    assert [len((await read).items) for read in reads] == [200] * 20


def _shape(path: Path) -> set[tuple[str, ...]]:
    """Return each table with each of its columns, and each index as it was written."""
    with sqlite3.connect(path) as db:
        columns = """SELECT tables.name, columns.name, columns.type, columns."notnull"
            FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"""
        indexes = "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index'"
        found = {tuple(map(str, row)) for query in (columns, indexes) for row in db.execute(query)}
    db.close()
    return found
