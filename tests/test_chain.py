"""The audit's chain: whole as it is written, and broken wherever somebody has laid hands on it."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.actions import AuditEntry
from monitor.cli import main
from monitor.store import chain
from monitor.store.chain import Verification
from monitor.store.opening import open_store

COLUMNS = "at, actor, action, target, reason"
SCHEMAS = Path(__file__).parent / "schemas"


async def closed(path: Path) -> None:
    """Make a store, and close it."""
    await open_store(path).close()


def note(number: int, actor: str = "ann", action: str = "pause") -> AuditEntry:
    return AuditEntry(float(number), actor, action, f"p{number}-0", "why", number)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    asyncio.run(closed(tmp_path / "monitor.db"))
    with sqlite3.connect(tmp_path / "monitor.db") as made:
        for number in range(1, 6):
            chain.append(made, note(number))
            chain.append(made, note(number, "rule:block", "fired"))
        made.commit()
        yield made
    made.close()


def verified(db: sqlite3.Connection, head: str = "") -> Verification:
    return chain.verify(chain.read(db), head)


def test_what_was_written_is_whole_and_rules_turns_are_not_in_it(db: sqlite3.Connection) -> None:
    found = verified(db)

    assert (found.chained, found.unchained, found.broken_at) == (5, 0, None)
    db.execute("DELETE FROM audit WHERE action = 'fired'")  # as retention does
    assert verified(db) == found
    assert verified(db, found.head).is_head_known


@pytest.mark.parametrize(
    ("harm", "broken_at"),
    [
        (lambda db: db.execute("UPDATE audit SET reason = 'another' WHERE id = 5"), 5),
        (lambda db: db.execute("UPDATE audit SET actor = 'bob' WHERE id = 1"), 1),
        (lambda db: db.execute("DELETE FROM audit WHERE id = 3"), 5),
        (lambda db: db.execute("DELETE FROM audit WHERE id = 1"), 3),
        (lambda db: db.execute(f"INSERT INTO audit SELECT 100, {COLUMNS}, 9, '' FROM audit LIMIT 1"), 100),
        (lambda db: db.execute("UPDATE audit SET hash = '' WHERE id = 7"), 7),
    ],
)  # fmt: skip
def test_every_harm_shows_where_it_was_done(
    db: sqlite3.Connection, harm: Callable[[sqlite3.Connection], object], broken_at: int
) -> None:
    harm(db)

    assert verified(db).broken_at == broken_at


def test_an_end_that_was_cut_off_shows_by_its_head(db: sqlite3.Connection) -> None:
    head = verified(db).head
    db.execute("DELETE FROM audit WHERE id >= 7")

    found = verified(db, head)

    assert (found.broken_at, found.is_head_known) == (None, False)


async def test_notes_from_before_the_chain_are_kept_and_told(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    with sqlite3.connect(path) as old:
        old.executescript((SCHEMAS / "3.sql").read_text(encoding="utf-8") + "PRAGMA user_version = 3;")
        old.execute(f"INSERT INTO audit ({COLUMNS}, position) VALUES (1, 'a', 'pause', 'p', '', 1)")
    old.close()
    store = open_store(path)
    await store.close()
    with sqlite3.connect(path) as db:
        chain.append(db, note(2))
        found = verified(db)
        assert (count(db), found.chained, found.unchained, found.broken_at) == (2, 1, 1, None)
    db.close()


def count(db: sqlite3.Connection) -> int:
    """Return how many notes there are."""
    return int(db.execute("SELECT COUNT(*) FROM audit").fetchone()[0])


def test_the_command_says_whole_broken_and_cut(tmp_path: Path, db: sqlite3.Connection) -> None:
    config = tmp_path / "monitor.yml"
    config.write_text(
        "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [t]}\nstore: {url: sqlite:///monitor.db}\n"
        f"rules: {{files: ['{Path(__file__).parents[1]}/rules/monitor/core.yml']}}\n"
    )

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["audit", "verify", "--config.file", str(config), *options])
        return result.exit_code, result.output

    code, said = run()
    cut, missing = run("--head", "0" * 32)
    db.execute("UPDATE audit SET reason = 'another' WHERE id = 5")
    db.commit()
    broken, where = run()

    assert (code, said) == (0, f"Whole: 5 notes. Head: {verified_head(said)}\n")
    assert (cut, "its end was cut off" in missing) == (1, True)
    assert (broken, "Broken at note 5" in where) == (1, True)


def verified_head(said: str) -> str:
    """Return the head that the command printed."""
    return said.rstrip().rpartition(" ")[2]
