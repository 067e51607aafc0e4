"""A damaged file: what was committed before the damage is kept, or nothing is touched and a sentence names the file."""

import contextlib
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import meta, oracle, patience, peer, promises, tier
from tests.harness.meta import NUMBER, Traffic
from tests.harness.oracle import Delivery
from tests.harness.sidecar import Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.loss]

DELIVERIES = 50
LOG_HEADER, FRAME_HEADER, PAGE = 32, 24, 4096  # sqlite.org/fileformat2.html, 4: the write-ahead log
FRAME = FRAME_HEADER + PAGE
QUIET = ("--log.level", "error")
FILES = ("monitor.db", "monitor.db-wal", "hash.key")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sidecar that was killed: paused in the file itself, and fifty deliveries in its log alone."""
    with Sidecar(tmp_path_factory.mktemp("crashed")) as sidecar, meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        assert sidecar.terminate() == 0
        sidecar.start(*QUIET)
        traffic = Traffic(1)
        for _ in range(DELIVERIES):
            assert sender.post(traffic.delivery()).status == 200
        sidecar.settle()
        sidecar.kill()
        return sidecar.directory


@pytest.fixture
def copy(crashed: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    for name in FILES:
        shutil.copy2(crashed / name, tmp_path)
    return tmp_path


def commits(log: bytes) -> list[int]:
    """Return where each transaction of a write-ahead log ends."""
    frames = range(LOG_HEADER, len(log) - FRAME + 1, FRAME)
    return [at + FRAME for at in frames if struct.unpack_from(">I", log, at + 4)[0]]


def kept(folder: Path, bytes_of_log: int) -> list[Delivery]:
    """Return the deliveries of a copy whose log is so long."""
    folder.mkdir()
    for name in FILES:
        shutil.copy2(folder.parent / name, folder)
    with (folder / "monitor.db-wal").open("r+b") as log:
        log.truncate(bytes_of_log)
    return oracle.read(folder / "monitor.db").deliveries


def cut(size: int) -> Callable[[bytes], tuple[bytes, int]]:
    """Cut off so many bytes: what is before the first of them is whole."""
    return lambda log: (log[:-size], len(log) - size)


def zeroed(log: bytes) -> tuple[bytes, int]:
    """Put 512 zero bytes into the middle, the first of them where there was none."""
    at = next(at for at in range(len(log) // 2, len(log)) if log[at])
    return log[:at] + bytes(512) + log[at + 512 :], at


DAMAGES = {
    "cut_1": (cut(1), DELIVERIES - 2, DELIVERIES),
    "cut_4120": (cut(4120), DELIVERIES - 2, DELIVERIES),
    "cut_400000": (cut(400_000), 1, DELIVERIES - 5),
    "zeroed_512": (zeroed, 1, DELIVERIES - 10),
    **tier.of({}, {f"cut_{size}": (cut(size), DELIVERIES - 2, DELIVERIES) for size in (2000, 4096, 9000)}),
}


@pytest.mark.parametrize(("damage", "least", "most"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_log_keeps_every_transaction_before_the_damage_and_the_pause(
    copy: Path, damage: Callable[[bytes], tuple[bytes, int]], least: int, most: int
) -> None:
    log = (copy / "monitor.db-wal").read_bytes()
    damaged, whole_until = damage(log)
    expected = kept(copy / "expected", max(end for end in commits(log) if end <= whole_until))
    (copy / "monitor.db-wal").write_bytes(damaged)

    with Sidecar(copy) as sidecar, meta.of(sidecar) as sender:
        sidecar.start(*QUIET)
        assert sidecar.get(f"/v1/gate/{NUMBER}").status == 403
        after = Traffic(2, "after")
        assert [sender.post(after.delivery()).status for _ in range(5)] == [200] * 5
        found = promises.assert_held(sidecar, sender.acked)

    assert least <= len(expected) - 1 <= most
    assert found.deliveries[: len(expected)] == expected
    assert len(found.deliveries) == len(expected) + 5


def test_the_log_is_worth_looking_at_since_without_it_all_is_gone(copy: Path) -> None:
    """The other arm: the fifty deliveries stand in the log, in transactions of their own."""
    log = (copy / "monitor.db-wal").read_bytes()

    assert len(oracle.read(copy / "monitor.db").deliveries) == DELIVERIES + 1
    assert len(kept(copy / "without", LOG_HEADER)) == 1
    assert len(commits(log)) > DELIVERIES


def foreign(file: Path) -> None:
    file.write_bytes(b"somebody's letters\n" * 1000)


def newer(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")


def forbidden(file: Path) -> None:
    file.chmod(0o000)


def read_only(file: Path) -> None:
    file.chmod(0o400)


def closed(file: Path) -> None:
    file.parent.chmod(0o500)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def corrupt(*tables: str) -> Callable[[Path], None]:
    """Return what overwrites the root pages of tables, of the schema itself where none is named."""

    def damage(file: Path) -> None:
        with contextlib.closing(sqlite3.connect(file)) as db:
            roots = dict(db.execute("SELECT name, rootpage FROM sqlite_master"))
        with file.open("r+b") as pages:
            for at in [(roots[name] - 1) * PAGE for name in tables] or [100]:
                pages.seek(at)
                pages.write(b"\xff" * (PAGE - 100))

    return damage


USELESS = {
    "foreign": (foreign, "not a database"),
    "newer": (newer, "schema 99"),
    "forbidden": (forbidden, "Permission denied"),
    "corrupt_journal": (corrupt("journal"), "malformed"),
    "corrupt_messages": (corrupt("messages"), "malformed"),
    **tier.of(
        {},
        {
            "a_folder": (a_folder, "directory"),
            "read_only": (read_only, "Permission denied"),
            "closed": (closed, "Permission denied"),
            "corrupt_schema": (corrupt(), "malformed"),
            "corrupt_pauses": (corrupt("pauses"), "malformed"),
        },
    ),
}


@pytest.mark.parametrize(("damage", "told"), USELESS.values(), ids=USELESS)
def test_a_store_that_can_t_be_used_is_refused_with_3_and_a_sentence_and_never_written(
    copy: Path, damage: Callable[[Path], None], told: str
) -> None:
    file = copy / "monitor.db"
    (copy / "monitor.db-wal").unlink()
    sidecar = Sidecar(copy)
    sidecar.log_file = copy.parent / f"{copy.name}.log"
    damage(file)
    before = file.read_bytes() if file.is_file() else b""
    # Root may do everything unless it gives that up.
    without = "--bounding-set=-dac_override,-dac_read_search"
    sidecar.program = (peer.path("setpriv"), without, *sidecar.program)

    with sidecar:
        sidecar.launch(*QUIET)
        code = sidecar.wait()
    copy.chmod(0o700)

    assert code == 3
    assert (len(sidecar.log.splitlines()), str(file) in sidecar.log, told in sidecar.log) == (1, True, True)
    assert (file.read_bytes() if file.is_file() else b"") == before


@pytest.mark.parametrize("is_link", [False, True], ids=["same_path", "symbolic_link"])
def test_a_second_sidecar_on_the_same_file_is_refused_and_the_first_goes_on(copy: Path, is_link: bool) -> None:
    folder = copy
    if is_link:
        folder = copy / "other"
        folder.mkdir()
        shutil.copy2(copy / "hash.key", folder)
        (folder / "monitor.db").symlink_to(copy / "monitor.db")
    with Sidecar(copy) as first, Sidecar(folder) as second, meta.of(first) as sender:
        first.start(*QUIET)
        second.launch(*QUIET)
        assert second.wait() == 3
        assert "in use" in second.log

        assert first.get(f"/v1/gate/{NUMBER}").status == 403
        assert sender.post(meta.delivery("wamid.beside")).status == 200
        promises.assert_held(first, sender.acked)
