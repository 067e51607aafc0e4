"""What must leave, leaves: in order, again after failures, and never twice once it is done."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor import outbox, persons
from monitor.channels import SendError
from monitor.outbox import BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS, Destination, Line, Outbox
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Claim
from monitor.store.sqlite import SqliteStore


def body(number: int, person: str = "one") -> bytes:
    return f'{{"number": {number}, "recipient_id": "{person}"}}'.encode()


class World:
    """An outbox with one destination that answers as it is told, by journal position."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.now = 1_000.0
        self.sent: list[str] = []
        self.tried: list[str] = []
        self.answers: dict[str, SendError | Exception | float] = {}
        self.counted: list[str] = []
        self.under_way = self.most_under_way = 0
        self.lasts: dict[str, asyncio.Event] = {}
        self.line = self.made()

    def made(self, *, order: str = "person", concurrency: int = 4) -> Line:
        keys = {
            "person": lambda claim: persons.of(claim.entry.body), "all": lambda _: persons.NOBODY, "none": lambda _: ()
        }[order]  # fmt: skip
        destination = Destination("app", "forward", self.send, keys, order == "all", concurrency)
        box = Outbox(
            self.store, [destination], clock=lambda: self.now, count=lambda _, outcome: self.counted.append(outcome)
        )
        return box.line(destination)

    async def append(self, *persons_in_turn: str) -> None:
        for number, person in enumerate(persons_in_turn):
            await self.store.append(Arrival("webhook", 1_000.0, body(number + len(self.tried) * 1_000, person)))

    async def send(self, claim: Claim) -> float | None:
        reference = claim.row.reference
        self.tried.append(reference)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            if reference in self.lasts:
                await self.lasts[reference].wait()
        finally:
            self.under_way -= 1
        answer = self.answers.get(reference)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(reference)
        return answer

    async def turn(self) -> None:
        """Claim and send what is due until nothing is under way, and settle it."""
        while await self.line.turn() or self.line.is_busy:
            await asyncio.sleep(0.001)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = open_store(tmp_path / "monitor.db", ["app"])
    yield World(store)
    await store.close()


async def test_what_is_about_one_person_leaves_once_and_in_order(world: World) -> None:
    await world.append("ada", "ada", "ada")

    await world.turn()
    await world.turn()

    assert world.sent == ["1", "2", "3"]
    assert world.most_under_way == 1


async def test_what_is_about_several_leaves_side_by_side_as_far_as_allowed(world: World) -> None:
    await world.append(*(f"person {number}" for number in range(12)))

    await world.turn()

    assert sorted(map(int, world.sent)) == list(range(1, 13))
    assert world.most_under_way == 4


async def test_a_batch_waits_for_each_person_in_it_and_they_for_the_batch(world: World) -> None:
    await world.append("ada", "bob")
    both = b'{"statuses": [{"recipient_id": "ada"}, {"recipient_id": "bob"}]}'
    await world.store.append(Arrival("webhook", 1_000.0, both))
    await world.append("bob", "carl")
    world.lasts["1"] = asyncio.Event()
    turning = asyncio.create_task(world.turn())
    while world.sent != ["2", "5"]:
        await asyncio.sleep(0.001)

    world.lasts["1"].set()
    await turning

    assert world.sent == ["2", "5", "1", "3", "4"]


async def test_a_failure_holds_back_the_same_person_until_it_is_mended_and_nobody_else(world: World) -> None:
    await world.append("ada", "bob", "bob", "carl")
    world.answers["2"] = SendError("status_500")
    await world.turn()
    held = list(world.sent)
    await world.append("bob", "dora")
    await world.turn()
    later = list(world.sent)
    del world.answers["2"]
    world.now += BACKOFF_FIRST_SECONDS
    await world.turn()

    assert held == ["1", "4"]
    assert later == ["1", "4", "6"]
    assert world.sent == ["1", "4", "6", "2", "3", "5"]
    assert world.counted.count("retry") == 1


async def test_in_a_serial_destination_a_failure_holds_back_all_that_came_later(world: World) -> None:
    world.line = world.made(order="all", concurrency=1)
    await world.append("ada", "bob", "carl")
    world.answers["2"] = SendError("status_500")
    await world.turn()
    await world.turn()
    held = list(world.sent)
    world.answers.clear()
    world.now += BACKOFF_FIRST_SECONDS
    await world.turn()

    assert held == ["1"]
    assert world.sent == ["1", "2", "3"]


async def test_without_order_one_person_s_rows_go_on_beside_a_failure(world: World) -> None:
    world.line = world.made(order="none")
    await world.append("ada", "ada", "ada")
    world.answers["1"] = SendError("status_500")

    await world.turn()

    assert sorted(world.sent) == ["2", "3"]


async def test_a_destination_that_takes_nothing_is_tried_with_one_row_at_a_time(world: World) -> None:
    people = [f"person {number}" for number in range(300)]
    await world.append(*people)
    world.answers = {str(number): SendError("unreachable") for number in range(1, 301)}
    await world.turn()
    at_once = len(world.tried)
    for _ in range(3):
        world.now += 5
        await world.turn()
    probed = len(world.tried) - at_once
    world.answers.clear()
    world.now += 5
    await world.turn()
    await world.turn()

    assert at_once <= 8
    assert probed == 3
    assert sorted(map(int, world.sent)) == list(range(1, 301))


async def test_what_failed_while_nothing_got_through_is_due_as_soon_as_something_does(world: World) -> None:
    await world.append("ada", "bob", "carl", "dora", "ada")
    world.answers = {str(number): SendError("unreachable", retry_after_seconds=60.0) for number in range(1, 5)}
    await world.turn()
    await world.append("eve")
    world.answers.clear()
    world.now += 61
    await world.turn()

    assert sorted(world.sent) == ["1", "2", "3", "4", "5", "6"]
    assert world.sent.index("1") < world.sent.index("5")


async def test_a_restart_tries_again_at_once_and_keeps_the_order(world: World) -> None:
    await world.append("ada", "ada")
    world.answers["1"] = SendError("status_500", retry_after_seconds=600.0)
    await world.turn()
    world.answers.clear()
    await world.store.renew("app", world.now, is_start=True)
    world.line = world.made()
    await world.turn()

    assert world.sent == ["1", "2"]


async def test_what_is_refused_for_good_is_kept_apart_and_holds_nothing_back(world: World) -> None:
    await world.append("ada", "ada", "ada")
    world.answers["1"] = SendError("status_400", is_permanent=True)

    await world.turn()

    backlog = (await world.store.backlog())["app"]
    assert world.sent == ["2", "3"]
    assert (backlog.pending, backlog.dead) == (0, 1)


async def test_a_sender_s_own_mistake_is_tried_again(world: World) -> None:
    await world.append("ada", "ada")
    world.answers["1"] = RuntimeError("our mistake")
    await world.turn()
    world.answers.clear()
    world.now += 1
    await world.turn()

    assert world.sent == ["1", "2"]


async def test_retry_after_is_kept_to_by_the_whole_destination(world: World) -> None:
    await world.append("ada")
    world.answers["1"] = SendError("status_429", retry_after_seconds=120.0)
    await world.turn()
    world.answers.clear()
    await world.append("bob")
    world.now += 119
    await world.turn()
    early = list(world.sent)
    world.now += 1
    await world.turn()

    assert early == []
    assert sorted(world.sent) == ["1", "2"]


async def test_a_row_may_ask_to_be_sent_again(world: World) -> None:
    await world.append("ada")
    world.answers["1"] = 1_030.0
    await world.turn()
    world.now = 1_029.0
    await world.turn()
    early = list(world.sent)
    world.now = 1_030.0
    del world.answers["1"]
    await world.turn()

    assert early == ["1"]
    assert world.sent == ["1", "1"]


async def test_a_stop_finishes_what_is_being_sent_and_gives_back_the_rest(world: World) -> None:
    await world.append(*(f"person {number}" for number in range(9)))
    world.lasts["1"] = asyncio.Event()
    world.line = world.made(concurrency=1)
    await world.line.turn()
    while not world.tried:
        await asyncio.sleep(0.001)
    finishing = asyncio.create_task(world.line.finish())
    await asyncio.sleep(0)
    world.lasts["1"].set()
    await finishing
    claims = await world.store.claim("app", world.now, 60.0, 99)

    assert world.sent == ["1"]
    assert [claim.row.reference for claim in claims] == [str(number) for number in range(2, 10)]


def test_waits_double_up_to_a_minute_with_half_of_it_left_to_chance() -> None:
    assert outbox.backoff(0, 0.0) == BACKOFF_FIRST_SECONDS / 2
    assert outbox.backoff(3, 0.999) < BACKOFF_FIRST_SECONDS * 8
    assert BACKOFF_MOST_SECONDS / 2 <= outbox.backoff(10_000, 0.5) <= BACKOFF_MOST_SECONDS


@pytest.mark.parametrize(
    ("delivery", "found"),
    [
        (b'{"from":"1","to":"2"}', (b"1",)),
        (b'{"recipient_id" : "1", "wa_id":"1"}', (b"1",)),
        (b'{"statuses":[{"recipient_id":"1"},{"recipient_user_id":"US.2"}]}', (b"1", b"US.2")),
        (b'{"field":"account_update"}', persons.NOBODY),
        (b"not JSON", persons.NOBODY),
    ],
)
def test_a_delivery_is_about_those_whom_it_names(delivery: bytes, found: tuple[bytes, ...]) -> None:
    assert persons.of(delivery) == found


async def test_a_clock_that_is_put_back_holds_nothing_back(world: World) -> None:
    world.answers = {"1": SendError("down"), "2": 1_030.0}
    await world.append("ada", "bob")
    await world.turn()

    world.now -= 900
    world.answers = {}
    await world.turn()

    assert world.sent == ["2", "1", "2"]


async def test_what_was_told_by_a_clock_that_is_put_back_is_told_again_after_a_restart_too(world: World) -> None:
    world.answers = {"1": 1_030.0}
    await world.append("ada")
    await world.turn()

    await world.store.renew("app", 1_001.0, is_start=True)
    assert await world.store.claim("app", 1_001.0, 60.0, 9) == []
    await world.store.renew("app", 800.0, is_start=True)

    assert len(await world.store.claim("app", 800.0, 60.0, 9)) == 1
