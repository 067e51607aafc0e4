"""The one thread that writes: whatever waits when a commit ends forms the next transaction (group commit)."""

import asyncio
import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from monitor.store import bulk
from monitor.store.protocol import WEBHOOK, Arrival, Entry, StoreUnavailableError

DIGESTS_MOST = 100_000  # bodies that a copy is known by: about a minute at Meta's highest rate, hours at a usual one
CHECKPOINT_TRIES, CHECKPOINT_SECONDS = 20, 0.1
_DIGEST_BYTES = 16
_JOURNAL = "INSERT INTO journal (position, kind, received_at, digest, signature, body)"
_OUTBOX = "INSERT INTO outbox (destination, kind, reference, state, created_at, next_at, attempts, sent, error)"

Work = Callable[[sqlite3.Connection], Any]
_Outcome = tuple[list[Entry | None], list[Any]]


class _Group(asyncio.Future[list[Entry | None]]):
    """What everyone of a group waits for; one caller that is cancelled must not wake the rest.

    `asyncio.shield` does the same for 3.5 µs a delivery: an eighth of the whole.
    """

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 (asyncio's signature)
        """Refuse: the caller's own cancellation takes effect when the group is done."""
        return False


class Writer:
    """Holds the only connection that ever writes or checkpoints.

    A failed transaction leaves nothing behind and fails every caller in it. After an I/O error nothing more is written:
    a failed fsync must not be retried (the pages may be gone), so `is_broken` asks for a restart.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        last_position: int,
        digests: Iterable[bytes],
        mark: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._next_position = last_position + 1
        self._digests = dict.fromkeys(digests)
        self._mark = mark
        self._arrivals: list[Arrival] = []
        self._works: list[tuple[Work, asyncio.Future[Any]]] = []
        self._is_lasting = False  # whether something that waits must be durable before its caller hears
        self._group: _Group | None = None
        self._is_flush_called = False
        self._flushing: asyncio.Future[_Outcome] | None = None
        self.forward_to: tuple[str, ...] = ()
        self.is_broken = False
        self.is_there: Callable[[], bool] = lambda: True
        self.on_appended: Callable[[Sequence[Entry]], None] = lambda _: None
        self.on_flush: Callable[[float, int], None] = lambda _seconds, _count: None

    @property
    def waiting(self) -> int:
        """How many arrivals wait for a transaction."""
        return len(self._arrivals)

    @property
    def last_position(self) -> int:
        """The position of the newest durable entry."""
        return self._next_position - 1

    async def append(self, arrival: Arrival) -> Entry | None:
        """Journal an arrival; return its entry, or None for a copy of a known body."""
        if self._group is None:
            self._group = _Group(loop=asyncio.get_running_loop())
        group, index = self._group, len(self._arrivals)
        self._arrivals.append(arrival)
        self._is_lasting = True
        self._flush_soon()
        return (await group)[index]

    async def run(self, work: Work, *, is_lasting: bool = True) -> Any:
        """Run a function of the connection within a transaction and return what it returns, once that is durable.

        What is not lasting is not waited for on disk (decision 18): it outlives our death, and a power cut undoes it
        unless something lasting was written since.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._works.append((work, future))
        self._is_lasting = self._is_lasting or is_lasting
        self._flush_soon()
        return await future

    async def checkpoint(self) -> None:
        """Move the log into the file and empty it, once what waits is written; a reader may hold that up."""
        await self.run(lambda _: None)
        loop = asyncio.get_running_loop()
        for _ in range(CHECKPOINT_TRIES):
            if await loop.run_in_executor(self._thread, self._emptied):
                return
            await asyncio.sleep(CHECKPOINT_SECONDS)

    async def close(self) -> None:
        """Write what waits, checkpoint and close."""
        while self._flushing is not None or self._is_flush_called:
            if self._flushing is not None:
                await asyncio.wait([self._flushing])
            await asyncio.sleep(0)
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _emptied(self) -> bool:
        is_busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._connection.execute("PRAGMA secure_delete = OFF")
        return not is_busy

    def _flush_soon(self) -> None:
        """Start a transaction once the loop has read what else has come in this turn."""
        if self._flushing is None and not self._is_flush_called:
            self._is_flush_called = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        self._is_flush_called = False
        arrivals, works, group, is_lasting = self._arrivals, self._works, self._group, self._is_lasting
        self._arrivals, self._works, self._group, self._is_lasting = [], [], None, False
        started_at = loop.time()
        todo = [work for work, _ in works]
        flushing = loop.run_in_executor(self._thread, self._transact, arrivals, todo, is_lasting)
        self._flushing = flushing

        def finished(flushed: asyncio.Future[_Outcome]) -> None:
            self._flushing = None
            error = flushed.exception()
            if error is None:
                entries, results = flushed.result()
                self.on_appended([entry for entry in entries if entry is not None])
                if group is not None and not group.done():
                    group.set_result(entries)
                for (_, future), result in zip(works, results, strict=True):
                    _settle(future, result)
                self.on_flush(loop.time() - started_at, len(arrivals))
            else:
                failed: list[asyncio.Future[Any]] = [future for _, future in works]
                if group is not None:
                    failed.append(group)
                for future in failed:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # a caller that went away must not make asyncio complain
            if self._arrivals or self._works:
                self._flush()

        flushing.add_done_callback(finished)

    def _transact(self, arrivals: Sequence[Arrival], works: Sequence[Work], is_lasting: bool) -> _Outcome:
        """Write one group; runs on the writer's thread."""
        if self.is_broken:
            raise StoreUnavailableError("the store failed; a restart recovers it")
        if not self.is_there():  # what goes into a file that has no name any more is gone when we are
            raise StoreUnavailableError(
                "the store's file was removed or replaced; put it back, or restart with another"
            )
        connection = self._connection
        position, known = self._next_position, len(self._digests)
        try:
            connection.execute("PRAGMA synchronous = FULL" if is_lasting else "PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            entries = self._insert(arrivals)
            results = [self._apart(work) for work in works]
            connection.execute("COMMIT")
        except Exception as error:  # whatever it was (no memory, a text that can't be coded), nothing of it may stay
            self._next_position = position
            for digest in list(itertools.islice(reversed(self._digests), len(self._digests) - known)):
                del self._digests[digest]
            name = getattr(error, "sqlite_errorname", "")
            self.is_broken = name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY_"))
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise StoreUnavailableError(f"{name or type(error).__name__}: {error}") from error
        if self._next_position != position:
            with contextlib.suppress(OSError):  # the entries are durable, marked or not
                self._mark(self.last_position)
        for digest in list(itertools.islice(self._digests, max(0, len(self._digests) - DIGESTS_MOST))):
            del self._digests[digest]
        return entries, results

    def _insert(self, arrivals: Sequence[Arrival]) -> list[Entry | None]:
        """Write arrivals with a forward row per destination; None for a copy of a body that is known."""
        entries: list[Entry | None] = []
        journal: list[tuple[Any, ...]] = []
        forwards: list[tuple[Any, ...]] = []
        for arrival in arrivals:
            position, at = self._next_position, arrival.received_at
            digest: bytes | None = None
            if arrival.kind == WEBHOOK:
                digest = hashlib.blake2b(arrival.body, digest_size=_DIGEST_BYTES).digest()
                if digest in self._digests:
                    entries.append(None)
                    continue
                self._digests[digest] = None
                forwards.extend(
                    (name, "forward", str(position), "pending", at, at, 0, 0, "") for name in self.forward_to
                )
            journal.append((position, arrival.kind, at, digest, arrival.signature, arrival.body))
            entries.append(Entry(position, arrival.kind, at, arrival.body, arrival.signature))
            self._next_position += 1
        bulk.insert(self._connection, _JOURNAL, journal)
        bulk.insert(self._connection, _OUTBOX, forwards)
        return entries

    def _apart(self, work: Work) -> Any:
        """Run one work so that its own mistake undoes only itself."""
        connection = self._connection
        connection.execute("SAVEPOINT work")
        try:
            result = work(connection)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 (returned to the caller of `run`, who raises it)
            connection.execute("ROLLBACK TO work")
            result = error
        connection.execute("RELEASE work")
        return result


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
