"""Deadlines of what is under way, which our own end brings nearer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Deadlines:
    """Bounds that are open; once somebody leaves, none reaches beyond that end."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._end_at: float | None = None

    @contextlib.asynccontextmanager
    async def within(self, seconds: float | None) -> AsyncIterator[None]:
        """Bound what is done within by a time, and by our own end; raise TimeoutError beyond."""
        async with asyncio.timeout(seconds) as bound:
            self._bring(bound)
            self._open.add(bound)
            try:
                yield
            finally:
                self._open.discard(bound)

    def leave(self, seconds: float) -> None:
        """Let what is under way end in so many seconds at the latest."""
        self._end_at = asyncio.get_running_loop().time() + seconds
        for bound in self._open:
            self._bring(bound)

    def _bring(self, bound: asyncio.Timeout) -> None:
        when = bound.when()
        if self._end_at is not None and not bound.expired() and (when is None or when > self._end_at):
            bound.reschedule(self._end_at)
