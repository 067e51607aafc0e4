"""The outbox: what was claimed comes to an end, waits, or is free again, and a start or a recovery lets it be due."""

import pytest
from msgspec.structs import astuple

from monitor.store import queries
from monitor.store.protocol import Arrival, Backlog, Commit, Enqueue, Settlement
from monitor.store.rows import AGAIN_MOST_SECONDS
from monitor.store.sqlite import SqliteStore
from tests.records import NOW


async def fill(store: SqliteStore, *references: str, destination: str = "am") -> list[int]:
    """Enqueue rows and claim them; return their ids."""
    rows = [Enqueue(destination, "alertmanager", reference) for reference in references]
    await store.commit(Commit(1, NOW, outbox=rows))
    return [claim.row.id for claim in await store.claim(destination, NOW, 60.0, 99)]


async def due(store: SqliteStore, at: float, destination: str = "am") -> list[str]:
    """Claim what is due; return what it refers to."""
    return [claim.row.reference for claim in await store.claim(destination, at, 60.0, 99)]


@pytest.mark.parametrize(
    ("outcome", "left"),
    [
        ("retry", (2, 0, "new", "pending")),
        ("again", (0, 1, "", "pending")),
        ("held", (1, 0, "old", "pending")),
        ("dead", (2, 0, "new", "dead")),
    ],
)
async def test_a_settled_row_says_what_became_of_it(
    store: SqliteStore, outcome: str, left: tuple[int, int, str, str]
) -> None:
    (one,) = await fill(store, "a0")
    await store.settle([Settlement(one, "retry", NOW, "old")], [one])
    await due(store, NOW)

    await store.settle([Settlement(one, outcome, NOW + 9, "new")], [one])

    row = await store.outbox_row(one)
    assert row is not None
    assert astuple(row)[5:] == left
    assert await due(store, NOW + 8) == []
    assert await due(store, NOW + 9) == ["a0"] * (outcome != "dead")


async def test_a_row_that_is_done_is_gone_and_the_others_are_as_they_were(store: SqliteStore) -> None:
    first, second = await fill(store, "a0", "a1")

    await store.settle([Settlement(first, "done")], [first])

    assert await store.outbox_row(first) is None
    assert await due(store, NOW + 59) == []
    assert await due(store, NOW + 60) == ["a1"]
    row = await store.outbox_row(second)
    assert row is not None
    assert astuple(row) == (second, "am", "alertmanager", "a1", NOW, 0, 0, "", "pending")


async def test_what_was_claimed_and_not_settled_is_free_again(store: SqliteStore) -> None:
    first, second, _ = await fill(store, "a0", "a1", "a2")

    await store.settle([Settlement(first, "retry", NOW + 9)], [first, second])

    assert await due(store, NOW) == ["a1"]


@pytest.mark.parametrize(
    ("outcome", "seconds", "is_due"),
    [
        ("retry", 600.0, True),
        ("held", 600.0, True),
        ("again", AGAIN_MOST_SECONDS, False),
        ("again", AGAIN_MOST_SECONDS + 1, True),
        ("dead", 600.0, False),
    ],
)
async def test_where_a_destination_answers_again_what_waits_after_a_failure_is_due(
    store: SqliteStore, outcome: str, seconds: float, is_due: bool
) -> None:
    (one,) = await fill(store, "a0")
    (other,) = await fill(store, "b0", destination="pager")
    await store.settle([Settlement(row, outcome, NOW + seconds) for row in (one, other)], [])

    await store.renew("am", NOW, is_start=False)

    assert await due(store, NOW) == ["a0"] * is_due
    assert await due(store, NOW, "pager") == []


@pytest.mark.parametrize("is_start", [True, False])
async def test_only_at_a_start_leases_end_and_only_of_that_destination(store: SqliteStore, is_start: bool) -> None:
    await fill(store, "a0")
    await fill(store, "b0", destination="pager")

    await store.renew("am", NOW, is_start=is_start)

    assert await due(store, NOW) == ["a0"] * is_start
    assert await due(store, NOW, "pager") == []


async def test_what_is_enqueued_twice_is_one_row_that_is_due_as_early_as_either(store: SqliteStore) -> None:
    row = Enqueue("am", "alertmanager", "a0")
    await store.commit(Commit(1, NOW + 9, outbox=[row]))

    await store.commit(Commit(2, NOW, outbox=[row]))

    assert await due(store, NOW) == ["a0"]
    assert await store.backlog() == {"am": Backlog(1, 0, NOW + 9)}


@pytest.mark.parametrize(("most", "claimed"), [(15, [3, 2, 0]), (20, [4, 1, 0]), (40, [5, 0, 0])])
async def test_large_rows_are_claimed_a_few_at_a_time_and_what_has_no_body_is_not_large(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, most: int, claimed: list[int]
) -> None:
    monkeypatch.setattr(queries, "CLAIM_BYTES_MOST", most)
    await store.commit(Commit(0, NOW, outbox=[Enqueue("app", "webhook", "g0")]))
    for number in range(4):
        await store.append(Arrival("webhook", NOW, b"%010d" % number))

    assert [len(await store.claim("app", NOW, 60, 9)) for _ in range(3)] == claimed
