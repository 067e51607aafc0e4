"""What must leave, leaves: in order, again after failures, and never twice once it is done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor import outbox
from monitor.outbox import BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS, Destination, Outbox
from monitor.senders import SendError
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, OutboxRow
from monitor.store.sqlite import SqliteStore


class World:
    """An outbox with one destination that answers as it is told."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.now = 1_000.0
        self.sent: list[str] = []
        self.answers: dict[str, SendError | Exception | float] = {}
        self.counted: list[str] = []

    async def send(self, row: OutboxRow) -> float | None:
        answer = self.answers.get(row.reference)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(row.reference)
        return answer

    async def step(self, *, is_ordered: bool = True) -> int:
        destination = Destination("app", "forward", is_ordered, self.send)
        box = Outbox(
            self.store, [destination], clock=lambda: self.now, count=lambda _, outcome: self.counted.append(outcome)
        )
        return await box.step(destination)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = open_store(tmp_path / "monitor.db", ["app"])
    for number in range(3):
        await store.append(Arrival("webhook", 1_000.0, f"body {number}".encode()))
    yield World(store)
    await store.close()


async def test_rows_leave_once_and_in_order(world: World) -> None:
    counts = [await world.step(), await world.step()]

    assert counts == [3, 0]
    assert world.sent == ["1", "2", "3"]


async def test_a_failure_holds_back_what_came_later_until_it_is_mended(world: World) -> None:
    world.answers["2"] = SendError("status_500")
    await world.step()
    await world.step()
    held = list(world.sent)
    del world.answers["2"]
    world.now += BACKOFF_FIRST_SECONDS
    await world.step()

    assert held == ["1"]
    assert world.sent == ["1", "2", "3"]
    assert world.counted == ["ok", "retry", "ok", "ok"]


async def test_an_unordered_destination_goes_on_beside_a_failure(world: World) -> None:
    world.answers["1"] = SendError("status_500")

    await world.step(is_ordered=False)

    assert sorted(world.sent) == ["2", "3"]


async def test_what_is_refused_for_good_is_kept_apart_and_holds_nothing_back(world: World) -> None:
    world.answers["1"] = SendError("status_400", is_permanent=True)

    await world.step()

    backlog = (await world.store.backlog())["app"]
    assert world.sent == ["2", "3"]
    assert (backlog.pending, backlog.dead) == (0, 1)


async def test_a_sender_s_own_mistake_is_tried_again(world: World) -> None:
    world.answers["1"] = RuntimeError("our mistake")
    await world.step()
    world.answers.clear()
    world.now += 1
    await world.step()

    assert world.sent == ["1", "2", "3"]


async def test_retry_after_is_kept_to(world: World) -> None:
    world.answers["1"] = SendError("status_429", retry_after_seconds=120.0)
    await world.step()
    world.answers.clear()
    world.now += 119
    early = await world.step()
    world.now += 1
    due = await world.step()

    assert (early, due) == (0, 3)


async def test_a_row_may_ask_to_be_sent_again(world: World) -> None:
    world.answers["1"] = 1_030.0
    await world.step(is_ordered=False)
    world.now = 1_029.0
    early = await world.step(is_ordered=False)
    world.now = 1_030.0
    await world.step(is_ordered=False)

    assert early == 0
    assert world.sent.count("1") == 2


def test_waits_double_up_to_a_minute_with_half_of_it_left_to_chance() -> None:
    assert outbox.backoff(0, 0.0) == BACKOFF_FIRST_SECONDS / 2
    assert outbox.backoff(3, 0.999) < BACKOFF_FIRST_SECONDS * 8
    assert BACKOFF_MOST_SECONDS / 2 <= outbox.backoff(10_000, 0.5) <= BACKOFF_MOST_SECONDS
