"""What is under way ends at its own time, or at ours."""

import asyncio

import pytest

from monitor.deadlines import Deadlines


async def test_what_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError):
        async with Deadlines().within(0.01):
            await asyncio.sleep(60)


async def test_our_end_is_everybody_s_and_no_sooner_end_is_put_off() -> None:
    deadlines = Deadlines()
    ended: list[float | None] = []

    async def last(seconds: float | None) -> None:
        with pytest.raises(TimeoutError):
            async with deadlines.within(seconds):
                await asyncio.sleep(60)
        ended.append(seconds)

    lasting = [asyncio.create_task(last(seconds)) for seconds in (None, 30.0, 0.01)]
    await asyncio.sleep(0)
    deadlines.leave(0.05)
    lasting.append(asyncio.create_task(last(10.0)))
    await asyncio.gather(*lasting)

    assert ended[0] == 0.01
    assert set(ended[1:]) == {None, 30.0, 10.0}


async def test_what_has_ended_is_no_longer_bound() -> None:
    deadlines = Deadlines()
    async with deadlines.within(1.0):
        pass

    deadlines.leave(0.0)
    await asyncio.sleep(0.01)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
