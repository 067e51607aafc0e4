"""Commit time, retention and searches as the message table grows to ten million; prints a table.

`python -m tests.bench.growth [LARGEST]` takes some minutes and about 8 GB of disk; what it makes it removes.
"""

import asyncio
import contextlib
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from monitor.messages import Message, Step
from monitor.store.opening import open_store
from monitor.store.protocol import Arrival, Before, Commit
from monitor.store.sqlite import SqliteStore

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
COMMITS, NEW, MOVED = 300, 50, 100  # what a step commits at a usual load: messages that are new, and that moved on
STARTED_AT = 1_700_000_000.0
FILL = 20_000


def message(number: int, *names: str) -> Message:
    """Return a message as its statuses leave it; ids and hashes are as random as real ones."""
    digest = hashlib.blake2b(str(number).encode(), digest_size=24).hexdigest()
    at = STARTED_AT + number / 1_000
    steps = tuple(Step(name, str(int(at)), at, at) for name in names)
    return Message(
        f"wamid.HBgL{digest[:36]}", "100000000000001", "200000000000001", digest[24:], "outbound", "utility", "",
        names[-1], steps, "true", started_at=at, due_at=at + 3e6 if names[-1] == "sent" else None,
    )  # fmt: skip


async def fill(store: SqliteStore, start: int, end: int) -> None:
    """Add messages that have come to their end."""
    for first in range(start, end, FILL):
        made = [message(number, "sent", "delivered", "read") for number in range(first, min(first + FILL, end))]
        await store.commit(Commit(first, made[-1].started_at, made))


async def commits(store: SqliteStore, size: int, chance: random.Random) -> tuple[list[float], int]:
    """Return the seconds of each commit, and the size of the table after them."""
    seconds = []
    for _ in range(COMMITS):
        new = [message(number, "sent") for number in range(size, size + NEW)]
        size += NEW
        moved = [message(chance.randrange(max(0, size - 50_000), size), "sent", "delivered") for _ in range(MOVED)]
        started = time.perf_counter()
        await store.messages([one.wamid for one in (*new, *moved)])
        await store.commit(Commit(size, STARTED_AT + size / 1_000, [*new, *moved]))
        seconds.append(time.perf_counter() - started)
    return seconds, size


async def retention(store: SqliteStore, before: float, seconds: float) -> tuple[list[float], int]:
    """Return how long deliveries took to be journaled while old messages were removed, and how many those were."""
    waits: list[float] = []
    removed = 0
    is_over = asyncio.Event()

    async def deliver() -> None:
        number = 0
        while not is_over.is_set():
            started = time.perf_counter()
            await store.append(Arrival("operator", before, msgspec.json.encode({"n": number})))
            waits.append(time.perf_counter() - started)
            number += 1
            await asyncio.sleep(0.005)

    delivering = asyncio.create_task(deliver())
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and (gone := await store.prune(Before(before, before, before, before))):
        removed += gone
        await asyncio.sleep(0.05)
    is_over.set()
    await delivering
    return waits, removed


async def measured(path: Path, largest: int) -> None:
    """Print a row for each size."""
    print("| messages | step read and committed, p50 | p99 | search by person | longest wait in retention | removed |")
    print("|---|---|---|---|---|---|")
    store = open_store(path)
    chance = random.Random(1)
    size = 0
    for target in (one for one in SIZES if one <= largest):
        await fill(store, size, target)
        size = target
        await commits(store, size, chance)  # warm
        size += COMMITS * NEW
        seconds, size = await commits(store, size, chance)
        people = [message(chance.randrange(size), "sent").recipient for _ in range(20)]
        started = time.perf_counter()
        for person in people:
            await store.recent_messages("", 100, people=[person], state="")
        searched = (time.perf_counter() - started) / len(people)
        waits, removed = await retention(store, STARTED_AT + size / 1_000 / 2, 5.0)
        print(
            f"| {target:,} | {statistics.median(seconds) * 1e3:.1f} ms | {_percentile(seconds, 99) * 1e3:.1f} ms "
            f"| {searched * 1e3:.1f} ms | {max(waits) * 1e3:.0f} ms | {removed / 5:,.0f}/s |",
            flush=True,
        )
    await store.close()


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


if __name__ == "__main__":
    with _folder() as made:
        asyncio.run(measured(made / "monitor.db", int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]))
