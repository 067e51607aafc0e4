"""What must leave, leaves: claim rows, send them, settle them; one line for each destination.

A row goes only when it has been delivered. Rows that share a key leave in their order: one that fails holds back the
others of its key and nobody else. Where nothing gets through, the whole line waits and then tries a single row.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

import msgspec

from monitor import logs
from monitor.channels import SendError
from monitor.store.protocol import Claim, Settlement, Store

CLAIM_MOST = 256
LEASE_SECONDS = 60.0  # beside the time that the rows of a claim may take
POLL_SECONDS = 1.0  # how soon a row that waits for its time is noticed
GATHER_SECONDS = 0.05  # how long a first delivery waits for others: they are claimed and settled together
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MOST_SECONDS = 60.0
DOWN_AFTER_LEAST = 3  # failures in a row; or as many as are under way at once
PROBE_MOST_SECONDS = 5.0  # how soon a destination that is up again is noticed
PUT_BACK_SECONDS = 5.0  # less is how clocks are kept right


class Destination(msgspec.Struct, frozen=True):
    """Where rows go: `send` returns None when the row is done, or the time at which to send it again.

    `keys` says with which others a row keeps its order; so many as `concurrency` says are under way at once. In a
    serial one nothing goes before what failed.
    """

    name: str
    kind: str
    send: Callable[[Claim], Awaitable[float | None]]
    keys: Callable[[Claim], Iterable[Hashable]] = lambda _: ()
    is_serial: bool = False
    concurrency: int = 16
    timeout_seconds: float = 10.0
    backoff_most_seconds: float = BACKOFF_MOST_SECONDS


class Outbox:
    """The lines; each claims, sends and settles until it is stopped."""

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
        self._gathering: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self.destinations = tuple(destinations)

    def wake(self) -> None:
        """Say that rows may have been added."""
        for event in self._wake.values():
            event.set()

    def wake_soon(self) -> None:
        """Say that rows have been added, and that more may follow."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathered)

    def stop(self) -> None:
        """Claim nothing more; what is being sent is finished and settled."""
        self._is_stopping = True
        self.wake()

    def line(self, destination: Destination) -> "Line":
        """Return a line for one destination."""
        wake = self._wake[destination.name]
        return Line(self._store, destination, clock=self._clock, count=self._count, wake=wake)

    async def run(self, destination: Destination) -> None:
        """Serve one destination until stopped."""
        wake, line = self._wake[destination.name], self.line(destination)
        try:
            await self._store.renew(destination.name, self._clock(), is_start=True)
            while not self._is_stopping:
                wake.clear()
                if not await line.turn():
                    try:
                        async with asyncio.timeout(POLL_SECONDS):
                            await wake.wait()
                    except TimeoutError:
                        pass
            await line.finish()
        finally:
            line.cancel()

    def _gathered(self) -> None:
        self._gathering = None
        self.wake()


class Line:
    """One destination's rows on their way: those under way, the newest of each key, and the keys that are held."""

    def __init__(
        self,
        store: Store,
        destination: Destination,
        *,
        clock: Callable[[], float],
        count: Callable[[str, str], None],
        wake: asyncio.Event,
    ) -> None:
        self._store = store
        self._destination = destination
        self._clock = clock
        self._count = count
        self._wake = wake
        self._room = asyncio.Semaphore(destination.concurrency)
        self._down_after = max(DOWN_AFTER_LEAST, destination.concurrency)
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._newest: dict[Hashable, asyncio.Task[None]] = {}
        self._held: dict[Hashable, tuple[int, float]] = {}
        self._settlements: list[Settlement] = []
        self._freed: list[int] = []
        self._failures = 0
        self._resume_at = 0.0
        self._looked_at = 0.0
        self._is_stopping = False

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._under_way)

    async def turn(self) -> bool:
        """Settle what has ended and claim what is due; say whether there was anything to do."""
        is_settled = await self._settle()
        return await self._claim() > 0 or is_settled

    async def finish(self) -> None:
        """Let what is being sent end, give back what is not, and settle."""
        self._is_stopping = True
        if self._under_way:
            await asyncio.wait(self._under_way.values())
        await self._settle()

    def cancel(self) -> None:
        """Break off what is under way."""
        for task in self._under_way.values():
            task.cancel()

    async def _settle(self) -> bool:
        if not self._settlements and not self._freed:
            return False
        settlements, self._settlements = self._settlements, []
        freed, self._freed = self._freed, []
        await self._store.settle(settlements, freed)
        return True

    async def _claim(self) -> int:
        now = self._clock()
        if now < self._looked_at - PUT_BACK_SECONDS:
            await self._forget_times(now)
        self._looked_at = now
        most = 1 if self._failures >= self._down_after else CLAIM_MOST
        room = most - len(self._under_way)
        if now < self._resume_at or (room < most // 2 and self._under_way) or room <= 0:
            return 0
        lease_seconds = LEASE_SECONDS + self._destination.timeout_seconds * (1 + most / self._destination.concurrency)
        claims = await self._store.claim(self._destination.name, now, lease_seconds, room)
        for claim in claims:
            if claim.row.id not in self._under_way:
                self._start(claim, now)
        return len(claims)

    async def _forget_times(self, now: float) -> None:
        """Let what waits be due: the clock was put back, and its time may be a day away."""
        self._resume_at = 0.0
        self._held = {key: (holder, 0.0) for key, (holder, _) in self._held.items()}
        await self._store.renew(self._destination.name, now, is_start=False)

    def _start(self, claim: Claim, now: float) -> None:
        row, keys = claim.row, tuple(self._destination.keys(claim))
        for key in keys:
            holder = self._held.get(key)
            if holder is not None and holder[1] <= now and holder[0] not in self._under_way and holder[0] != row.id:
                del self._held[key]  # it was due before and is not there any more: it comes first in a claim
        before = {self._newest[key] for key in keys if key in self._newest}
        task = asyncio.get_running_loop().create_task(self._serve(claim, keys, before))
        self._under_way[row.id] = task
        self._newest.update(dict.fromkeys(keys, task))

    async def _serve(self, claim: Claim, keys: tuple[Hashable, ...], before: set[asyncio.Task[None]]) -> None:
        row = claim.row
        if before:
            await asyncio.wait(before)
        held = [self._held[key][1] for key in keys if key in self._held and self._held[key][0] != row.id]
        if held:
            self._note(Settlement(row.id, "held", max(held)), keys)
        else:
            async with self._room:
                if self._is_stopping or self._clock() < self._resume_at:
                    self._hold(row.id, keys, self._clock())
                    self._freed.append(row.id)
                else:
                    self._note(await self._send(claim), keys)
        del self._under_way[row.id]
        own = asyncio.current_task()
        for key in keys:
            if self._newest.get(key) is own:
                del self._newest[key]
        self._wake.set()

    def _note(self, settlement: Settlement, keys: tuple[Hashable, ...]) -> None:
        self._settlements.append(settlement)
        if settlement.outcome in {"held", "retry"}:
            self._hold(settlement.id, keys, settlement.next_at)
            return
        for key in keys:
            if key in self._held and self._held[key][0] == settlement.id:
                del self._held[key]

    def _hold(self, row_id: int, keys: tuple[Hashable, ...], until: float) -> None:
        for key in keys:
            if key not in self._held or self._held[key][0] == row_id:
                self._held[key] = (row_id, until)

    async def _send(self, claim: Claim) -> Settlement:
        row, name = claim.row, self._destination.name
        try:
            again_at = await self._destination.send(claim)
        except SendError as error:
            if error.is_permanent:
                self._count(name, "dead")
                logs.get().error("outbox_row_dead", destination=name, row=row.id, reason=error.reason)
                return Settlement(row.id, "dead", error=error.reason)
            return self._retry(claim, error.reason, error.retry_after_seconds)
        except Exception as error:  # noqa: BLE001 (one broad except per row: schedule the retry)
            logs.get().exception("outbox_row_failed", destination=name, row=row.id)
            return self._retry(claim, type(error).__name__, None)
        self._count(name, "ok")
        await self._succeeded()
        return Settlement(row.id, "done") if again_at is None else Settlement(row.id, "again", again_at)

    def _retry(self, claim: Claim, reason: str, after_seconds: float | None) -> Settlement:
        row, now, chance = claim.row, self._clock(), random.random()  # noqa: S311 (jitter)
        self._count(self._destination.name, "retry")
        self._failures += 1
        if self._failures == self._down_after:
            logs.get().warning("destination_down", destination=self._destination.name, reason=reason)
        if self._failures >= self._down_after:
            probe_at = now + min(PROBE_MOST_SECONDS, backoff(self._failures - self._down_after, chance))
            self._resume_at = max(self._resume_at, probe_at)
        if row.attempts == 0:
            logs.get().warning("outbox_row_waits", destination=self._destination.name, row=row.id, reason=reason)
        wait = backoff(row.attempts, chance, self._destination.backoff_most_seconds)
        wait = wait if after_seconds is None else after_seconds
        if after_seconds is not None or self._destination.is_serial:
            self._resume_at = max(self._resume_at, now + wait)
        return Settlement(row.id, "retry", now + wait, reason)

    async def _succeeded(self) -> None:
        """Note that the destination takes something; what failed while it took nothing is due again."""
        was_down, self._failures = self._failures >= self._down_after, 0
        self._resume_at = 0.0
        if was_down:
            logs.get().info("destination_up", destination=self._destination.name)
            await self._settle()
            await self._store.renew(self._destination.name, self._clock(), is_start=False)
            self._held = {key: (holder, 0.0) for key, (holder, _) in self._held.items()}


def backoff(attempts: int, chance: float, most_seconds: float = BACKOFF_MOST_SECONDS) -> float:
    """Return seconds to wait after so many failures in a row: doubling, half of it left to `chance` in [0, 1)."""
    full: float = min(most_seconds, BACKOFF_FIRST_SECONDS * 2 ** min(attempts, 20))
    return full / 2 + full / 2 * chance
