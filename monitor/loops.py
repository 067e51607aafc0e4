"""Background loops that are started again when they fail."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from monitor import logs
from monitor.store.protocol import StoreUnavailableError

FIRST_SECONDS, LONGEST_SECONDS = 0.1, 10.0  # before a loop is started again
STORE_SECONDS = 0.5  # at the most, where the store is away: what is accepted once it is back takes effect


class Loops:
    """Those that run; `count` is told the kind of one that failed: its name up to a colon."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop until it returns or is cancelled."""
        task = asyncio.get_running_loop().create_task(self._run(name, loop), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, *, but: str) -> None:
        """Cancel all but those of a kind."""
        for task in self._tasks - self._of(but):
            task.cancel()

    async def finished(self, kind: str, seconds: float) -> None:
        """Let loops of a kind, empty for all, end by themselves for so long; then cancel them."""
        tasks = self._of(kind)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    def _of(self, kind: str) -> set[asyncio.Task[None]]:
        return {task for task in self._tasks if task.get_name().startswith(kind)}

    async def _run(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        wait, told_at = FIRST_SECONDS, -LONGEST_SECONDS
        while True:
            started_at, longest_seconds = time.monotonic(), LONGEST_SECONDS
            try:
                return await loop()
            except StoreUnavailableError as error:
                longest_seconds, now = STORE_SECONDS, time.monotonic()
                if now >= told_at + LONGEST_SECONDS:
                    told_at = now
                    logs.get().warning("loop_waits_for_store", loop=name, reason=str(error))
            except Exception:  # noqa: BLE001 (one around each background loop: log, count, start again)
                logs.get().exception("loop_failed", loop=name)
            self._count(name.partition(":")[0])
            has_lasted = time.monotonic() - started_at > LONGEST_SECONDS
            wait = FIRST_SECONDS if has_lasted else min(wait * 2, longest_seconds)
            await asyncio.sleep(wait)
