"""The journal as it is read, from memory and from the file, and the end of what was in it."""

import asyncio
import shutil
from pathlib import Path

import pytest

from monitor import payloads
from monitor.store import retention, room, tail
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Before, Commit, Entry, StoreUnavailableError
from monitor.store.sqlite import SqliteStore
from tests.records import NOW

ME = "15550000001"


async def journal(store: SqliteStore, *numbers: int) -> None:
    """Append entries with bodies of ten bytes."""
    for number in numbers:
        await store.append(Arrival("webhook", NOW, b"%010d" % number, "sha256=x"))


async def lose_the_file(store: SqliteStore) -> None:
    """Let nothing be read from the file any more."""
    await store._read(lambda db: db.close())


async def positions(store: SqliteStore, after: int) -> list[int]:
    return [entry.position for entry in await store.read(after, 9)]


async def test_an_entry_is_found_by_its_position_and_one_that_is_gone_is_none(store: SqliteStore) -> None:
    await journal(store, 1, 2)

    assert await store.entry(2) == Entry(2, "webhook", NOW, b"0000000002", "sha256=x")
    assert await store.entry(3) is None


async def test_whoever_has_caught_up_reads_from_memory(store: SqliteStore) -> None:
    await journal(store, 1, 2, 3)
    await lose_the_file(store)

    assert await positions(store, 0) == [1, 2, 3]
    assert await positions(store, 1) == [2, 3]
    assert await positions(store, 2) == [3]
    assert await positions(store, 3) == []
    with pytest.raises(StoreUnavailableError):
        await positions(store, 0)


async def test_what_does_not_fit_into_memory_is_read_from_the_file(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 25)
    await journal(store, 1, 2, 3, 4, 5)

    assert await positions(store, 0) == [1, 2, 3, 4, 5]
    assert await positions(store, 4) == [5]
    assert await positions(store, 5) == []


@pytest.mark.parametrize(("count", "oldest"), [(2, 1), (3, 3), (4, 3), (5, 5)])
async def test_memory_holds_no_more_than_fits_and_always_the_newest(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, count: int, oldest: int
) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 20)
    await journal(store, *range(count))
    await lose_the_file(store)

    if oldest > 1:
        with pytest.raises(StoreUnavailableError):
            await store.read(oldest - 2, 9)
    assert await positions(store, oldest - 1) == list(range(oldest, count + 1))


async def test_what_was_read_makes_room_in_memory(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 20)
    await journal(store, 1, 2)
    await positions(store, 1)

    await journal(store, 3)
    await lose_the_file(store)

    assert await positions(store, 1) == [2, 3]


async def test_an_erasure_empties_the_memory_of_bodies(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_BYTES", 20)
    await journal(store, 1)
    await store.erase(ME)

    await journal(store, 2, 3)
    await lose_the_file(store)

    assert await positions(store, 1) == [2, 3]
    with pytest.raises(StoreUnavailableError):
        await positions(store, 0)


async def test_a_person_s_other_id_that_a_later_body_tells_is_erased_everywhere(store: SqliteStore) -> None:
    store.writer.forward_to = ()
    other = payloads.status("wamid.1", "sent", NOW, recipient="US.1")
    both = {**payloads.status("wamid.2", "sent", NOW, recipient=ME), "recipient_user_id": "US.1"}
    for status in (other, both):
        body = payloads.delivery(payloads.change("200", statuses=[status]))
        await store.append(Arrival("webhook", NOW, body))

    done = await store.erase(ME)

    assert (done.entries, done.waiting, done.ids) == (2, 0, frozenset({ME, "US.1"}))
    assert [entry.kind for entry in await store.read(0, 9)] == ["erased", "erased"]


async def test_of_what_was_shredded_the_files_hold_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "monitor.db")
    body = payloads.delivery(payloads.change("200", statuses=[payloads.status("wamid.1", "sent", NOW, recipient=ME)]))
    await store.append(Arrival("webhook", NOW, body))
    before = _written(tmp_path)

    await store.erase(ME)
    await store.shred()

    assert ME.encode() in before
    assert ME.encode() not in _written(tmp_path)
    await store.close()


def _written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.parametrize(("seconds", "is_more"), [(3_600.0, True), (0.0, False)])
async def test_retention_takes_more_at_once_while_its_steps_are_quick_and_else_fewer(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, seconds: float, is_more: bool
) -> None:
    monkeypatch.setattr(retention, "STEP_SECONDS", seconds)
    await store.commit(Commit(1, NOW, seen={f"key {number}": NOW for number in range(1_000)}))
    before = Before(NOW + 1, NOW - 1, NOW - 1, NOW - 1)

    first, second = await store.prune(before), await store.prune(before)

    assert (first > 0, second > 0) == (True, True)
    assert (second > first) is is_more


async def test_deliveries_that_wait_for_their_commit_are_counted(store: SqliteStore) -> None:
    tasks = [asyncio.create_task(store.append(Arrival("tick", NOW, b"{}"))) for _ in range(3)]
    await asyncio.sleep(0)

    waiting = store.waiting
    await asyncio.gather(*tasks)

    assert (waiting, store.waiting) == (3, 0)


async def test_there_is_room_until_the_disk_cannot_be_seen(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOKED_AT_SECONDS", 0.0)
    before = store.has_room()

    shutil.rmtree(store.path.parent)

    assert (before, store.has_room()) == (True, False)


async def test_the_store_takes_as_much_disk_as_its_files(store: SqliteStore) -> None:
    await journal(store, 1, 2)

    assert store.size_bytes() == sum(path.stat().st_size for path in store.path.parent.iterdir()) > 0
