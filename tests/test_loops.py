"""Background loops are started again: soon where the store was away, ever more rarely where our own code fails."""

import asyncio

import pytest
from structlog.testing import capture_logs

from monitor.loops import LONGEST_SECONDS, STORE_SECONDS, Loops
from monitor.store.protocol import StoreUnavailableError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give what was waited, which takes no time."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return waited


async def ten_failures(error: Exception) -> list[str]:
    """Run a loop that fails ten times; return what was counted."""
    counted: list[str] = []
    loops = Loops(counted.append)

    async def loop() -> None:
        if len(counted) < 10:
            raise error

    loops.start("pipeline:one", loop)
    await loops.finished("", 9.0)
    return counted


async def test_a_loop_that_waits_for_the_store_looks_again_soon_and_says_so_once(waits: list[float]) -> None:
    with capture_logs() as told:
        counted = await ten_failures(StoreUnavailableError("locked"))

    assert counted == ["pipeline"] * 10
    assert max(waits) == STORE_SECONDS
    assert [(one["event"], one["reason"]) for one in told] == [("loop_waits_for_store", "locked")]


async def test_a_loop_that_fails_is_started_again_ever_more_rarely(waits: list[float]) -> None:
    with capture_logs() as told:
        await ten_failures(ValueError("our own mistake"))

    assert waits == sorted(waits)
    assert max(waits) == LONGEST_SECONDS
    assert len(told) == 10
