"""What must leave, leaves: claim rows, send them, settle them; one worker for each destination.

A row goes only when it has been delivered. In an ordered destination one failure holds back what came later; in the
others each row has its own pace.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from monitor import logs
from monitor.senders import SendError
from monitor.store.protocol import OutboxRow, Settlement, Store

LEASE_SECONDS = 60.0
CLAIM_MOST = 64
POLL_SECONDS = 1.0  # how soon a row that waits for its time is noticed
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MOST_SECONDS = 60.0


class Destination(msgspec.Struct, frozen=True):
    """Where rows go: `send` returns None when the row is done, or the time at which to send it again."""

    name: str
    kind: str
    is_ordered: bool
    send: Callable[[OutboxRow], Awaitable[float | None]]


class Outbox:
    """The workers; each claims, sends and settles until it is stopped."""

    def __init__(
        self,
        store: Store,
        destinations: Sequence[Destination],
        *,
        clock: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._count = count
        self._wake = {destination.name: asyncio.Event() for destination in destinations}
        self._is_stopping = False
        self.destinations = tuple(destinations)

    def wake(self) -> None:
        """Say that rows may have been added."""
        for event in self._wake.values():
            event.set()

    def stop(self) -> None:
        """Claim nothing more; what is being sent is finished and settled."""
        self._is_stopping = True
        self.wake()

    async def run(self, destination: Destination) -> None:
        """Serve one destination until stopped."""
        wake = self._wake[destination.name]
        while not self._is_stopping:
            wake.clear()
            if not await self.step(destination):
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await wake.wait()
                except TimeoutError:
                    pass

    async def step(self, destination: Destination) -> int:
        """Claim, send and settle once; return how many rows were done with."""
        now = self._clock()
        rows = await self._store.claim(
            destination.name, now, LEASE_SECONDS, CLAIM_MOST, is_ordered=destination.is_ordered
        )
        if not rows:
            return 0
        if destination.is_ordered:
            settlements = []
            for row in rows:
                if self._is_stopping or self._clock() - now > LEASE_SECONDS / 2:
                    break
                settlement = await self._send(destination, row)
                settlements.append(settlement)
                if settlement.outcome == "retry":
                    break
        else:
            settlements = list(await asyncio.gather(*(self._send(destination, row) for row in rows)))
        await self._store.settle(settlements, [row.id for row in rows])
        return sum(settlement.outcome != "retry" for settlement in settlements)

    async def _send(self, destination: Destination, row: OutboxRow) -> Settlement:
        try:
            again_at = await destination.send(row)
        except SendError as error:
            if error.is_permanent:
                self._count(destination.name, "dead")
                logs.get().error("outbox_row_dead", destination=destination.name, row=row.id, reason=error.reason)
                return Settlement(row.id, "dead", error=error.reason)
            return self._retry(destination, row, error.reason, error.retry_after_seconds)
        except Exception as error:  # noqa: BLE001 (one broad except per row: schedule the retry)
            logs.get().exception("outbox_row_failed", destination=destination.name, row=row.id)
            return self._retry(destination, row, type(error).__name__, None)
        self._count(destination.name, "ok")
        return Settlement(row.id, "done") if again_at is None else Settlement(row.id, "again", again_at)

    def _retry(self, destination: Destination, row: OutboxRow, reason: str, after_seconds: float | None) -> Settlement:
        self._count(destination.name, "retry")
        if row.attempts == 0:
            logs.get().warning("outbox_row_waits", destination=destination.name, row=row.id, reason=reason)
        wait = backoff(row.attempts, random.random()) if after_seconds is None else after_seconds  # noqa: S311 (jitter)
        return Settlement(row.id, "retry", self._clock() + wait, reason)


def backoff(attempts: int, chance: float) -> float:
    """Return seconds to wait after so many failures in a row: doubling, half of it left to `chance` in [0, 1)."""
    full: float = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(attempts, 20))
    return full / 2 + full / 2 * chance
