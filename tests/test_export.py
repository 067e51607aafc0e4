"""Parquet: what is written, once, whatever breaks it off; and what the documentation asks of it."""

import re
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from monitor import export
from monitor.cli import main
from monitor.export import ExportError, Options, Partition
from monitor.messages import Message, Step
from monitor.store.protocol import Arrival, Commit
from monitor.store.sqlite import SCHEMA_VERSION, SqliteStore, open_store

DAY = 86_400.0
NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
NUMBER = "15550100011"
QUERIES = re.findall(
    r"```sql\n(SELECT.*?)```",
    (Path(__file__).parents[1] / "docs" / "analytics.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


def message(number: int, *names: str, at: float = NOW, codes: tuple[int, ...] = ()) -> Message:
    steps = tuple(Step(name, str(place), at + 10 * place, at, codes) for place, name in enumerate(names))
    return Message(
        f"wamid.{number}", "100", "200", "hash", "outbound", "utility", "", names[-1], steps, "true", started_at=at
    )


async def fill(store: SqliteStore, *messages: Message, now: float = NOW) -> None:
    cursor = await store.cursor()
    await store.append(Arrival("webhook", now, f'{{"to": "{NUMBER}", "n": {cursor}}}'.encode(), "sha256=x"))
    await store.commit(Commit(cursor + 1, now, list(messages)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "monitor.db")
    await fill(opened, message(1, "sent", "delivered"), message(2, "sent", "delivered", "read"))
    await fill(opened, message(3, "failed", at=NOW + DAY, codes=(131026,)), now=NOW + DAY)
    yield opened
    await opened.close()


def run(store: SqliteStore, out: Path, options: Options | None = None, **more: Any) -> dict[str, int]:
    out.mkdir(exist_ok=True)
    return export.run(export.connect(store.path, SCHEMA_VERSION), out, options or Options(), **more)


def rows(out: Path, table: str = "messages", columns: str = "wamid, state") -> list[tuple[Any, ...]]:
    return ask(f"SELECT {columns} FROM read_parquet('{out}/{table}/**/*.parquet') ORDER BY ALL")


def ask(query: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(query).fetchall()


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


async def test_a_second_run_writes_only_what_is_new_or_has_changed(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    nothing = run(store, tmp_path / "out")
    await fill(store, message(3, "failed", "delivered", at=NOW + DAY), message(4, "sent", at=NOW), now=NOW + DAY + 60)

    again = run(store, tmp_path / "out")

    assert nothing == {"journal": 0, "messages": 0}
    assert again == {"journal": 1, "messages": 4}
    assert [state for _, state in rows(tmp_path / "out")] == ["delivered", "read", "delivered", "sent"]
    assert [position for (position,) in rows(tmp_path / "out", "journal", "position")] == [1, 2, 3]


@pytest.mark.parametrize("broken_after", [1, 2, 3])
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

    for table, columns in (("messages", "wamid, state"), ("journal", "position")):
        assert rows(tmp_path / "out", table, columns) == rows(tmp_path / "whole", table, columns)


async def test_a_crash_while_a_file_is_written_leaves_none_that_is_read(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_synced", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run(store, tmp_path / "out")
    visible = list((tmp_path / "out").rglob("part-*"))
    monkeypatch.undo()

    run(store, tmp_path / "out")

    assert visible == []
    assert not list((tmp_path / "out").rglob("_part-*"))
    assert len(rows(tmp_path / "out")) == 3


async def test_numbers_leave_only_with_the_bodies(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    run(store, tmp_path / "bodies", Options(("journal",), has_bodies=True))

    described = ask(f"DESCRIBE SELECT * FROM read_parquet('{tmp_path}/out/journal/**/*.parquet')")
    assert "body" not in {name for name, *_ in described}
    bodies = rows(tmp_path / "bodies", "journal", "decode(body)")
    assert all(NUMBER in body for (body,) in bodies)


async def test_days_narrow_what_is_written(store: SqliteStore, tmp_path: Path) -> None:
    first = run(store, tmp_path / "out", Options(until=date(2023, 11, 14)))
    second = run(store, tmp_path / "out", Options(since=date(2023, 11, 15)))

    assert (first["messages"], second["messages"]) == (2, 1)


async def test_what_retention_removed_stays_in_the_history(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    await store.writer.run(lambda db: db.execute("DELETE FROM messages WHERE wamid = 'wamid.1'") and None)
    await fill(store, message(2, "sent", "delivered", "read", "played"), now=NOW + 5)

    run(store, tmp_path / "out")

    assert rows(tmp_path / "out")[:2] == [("wamid.1", "delivered"), ("wamid.2", "played")]


async def test_each_documented_query_runs(store: SqliteStore, tmp_path: Path) -> None:
    run(store, tmp_path / "out")
    rates, failures, seconds = (ask(query.replace("'messages/", f"'{tmp_path}/out/messages/")) for query in QUERIES)

    assert rates == [(date(2023, 11, 14), "utility", 2, 1.0), (date(2023, 11, 15), "utility", 1, 0.0)]
    assert failures == [(date(2023, 11, 15), 131026, 1)]
    assert seconds == [("200", 10.0, 10.0)]


async def test_a_stopped_sidecar_s_store_is_read_too(tmp_path: Path) -> None:
    opened = open_store(tmp_path / "monitor.db")
    await fill(opened, message(1, "sent"))
    await opened.close()

    assert run(opened, tmp_path / "out")["messages"] == 1


def test_no_store_another_schema_and_a_strange_manifest_are_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no store"):
        export.connect(tmp_path / "none.db", 1)
    (tmp_path / "other.db").write_bytes(b"")
    with pytest.raises(ExportError, match="schema 0"):
        export.connect(tmp_path / "other.db", SCHEMA_VERSION)
    (tmp_path / export.MANIFEST).write_text("[]")
    with pytest.raises(ExportError, match="not a manifest"):
        export.read_manifest(tmp_path)


def test_the_command_exports_and_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "core.yml").write_text("rules: []\n")
    (tmp_path / "monitor.yml").write_text(
        f"webhook: {{app_secrets: [{'x' * 32}], verify_tokens: [token]}}\n"
        "store: {url: 'sqlite:///monitor.db'}\nrules: {files: [core.yml]}\n"
    )
    arguments = ["export", "--config.file", str(tmp_path / "monitor.yml"), "--out", str(tmp_path / "out")]
    missing = CliRunner().invoke(main, arguments)
    made = open_store(tmp_path / "monitor.db")
    made.writer._connection.close()
    made._reader.close()

    done = CliRunner().invoke(main, arguments)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    bare = CliRunner().invoke(main, arguments)

    assert (missing.exit_code, "no store" in missing.output) == (1, True)
    assert (done.exit_code, "messages: 0 rows" in done.output) == (0, True)
    assert (bare.exit_code, "whatsapp-monitor[export]" in bare.output) == (2, True)
