"""So much in each turn of the event loop: what a flood brings is taken up little by little, and others get in.

A turn runs everything that is ready before it looks who else has come. Without this, sixty deliveries that arrive
together are verified in one turn, and whoever asks the gate meanwhile waits for all of them, twice.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

SLICE_SECONDS = 0.0005  # how long the event loop is held before others may run


async def sliced(work: Iterable[None]) -> None:
    """Do all of the work; where it yields, others may run."""
    started = time.perf_counter()
    for _ in work:
        if time.perf_counter() - started > SLICE_SECONDS:
            await asyncio.sleep(0)
            started = time.perf_counter()


class Pace:
    """Lets `most` through in each turn; those who come later wait for the next ones, in their order."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_counting = False

    async def turn(self) -> None:
        """Return in this turn where there is room, else in one of the next."""
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _next(self) -> None:
        self._left = self._most
        while self._left and self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # who waited may have gone away
                self._left -= 1
                future.set_result(None)
        self._is_counting = self._left < self._most
        if self._is_counting:
            asyncio.get_running_loop().call_soon(self._next)


def paced(app: Any, most: int) -> Any:
    """Return an ASGI application that begins so many requests in each turn of the loop."""
    pace = Pace(most)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await pace.turn()
        await app(scope, receive, send)

    return answer
