"""A flood is taken up little by little, in its order."""

import asyncio
import itertools

from monitor.pacing import Pace, paced


async def begun(pace: Pace, count: int) -> tuple[list[int], list[asyncio.Task[None]]]:
    """Let so many ask for their turn at once; return those that had it, as they have it, and who asked."""
    had: list[int] = []

    async def one(number: int) -> None:
        await pace.turn()
        had.append(number)

    return had, [asyncio.create_task(one(number)) for number in range(count)]


async def turns(had: list[int], count: int) -> list[int]:
    """Return how many had their turn after each turn of the loop."""
    found = []
    for _ in range(count):
        await asyncio.sleep(0)
        found.append(len(had))
    return found


async def test_so_many_begin_in_each_turn_and_the_others_later_in_their_order() -> None:
    had, tasks = await begun(Pace(3), 10)

    grown = await turns(had, 12)
    await asyncio.gather(*tasks)

    assert grown[0] == 3
    assert max(after - before for before, after in itertools.pairwise(grown)) <= 3
    assert had == list(range(10))


async def test_who_comes_while_others_wait_does_not_overtake_them() -> None:
    pace = Pace(1)
    had, tasks = await begun(pace, 3)
    await asyncio.sleep(0)
    later, more = await begun(pace, 1)
    await asyncio.gather(*tasks)

    assert had == [0, 1, 2]
    await asyncio.gather(*more)
    assert later == [0]


async def test_who_went_away_takes_nobody_s_turn() -> None:
    pace = Pace(1)
    had, tasks = await begun(pace, 4)
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()

    async with asyncio.timeout(1):
        await tasks[3]

    assert had == [0, 3]


async def test_it_costs_no_turn_while_nobody_waits() -> None:
    pace = Pace(2)
    for _ in range(5):
        had, tasks = await begun(pace, 2)
        await asyncio.sleep(0)
        assert had == [0, 1]
        await asyncio.gather(*tasks)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_an_application_begins_when_its_turn_has_come() -> None:
    seen: list[str] = []

    async def app(scope: str, receive: object, send: object) -> None:
        seen.append(scope)

    answer = paced(app, 1)
    tasks = [asyncio.create_task(answer(name, None, None)) for name in ("a", "b")]
    await asyncio.sleep(0)
    assert seen == ["a"]
    await asyncio.gather(*tasks)
    assert seen == ["a", "b"]
