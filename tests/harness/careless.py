"""A receiver that answers before it journals, in the sidecar's place: a test of losses must see it lose.

`python -m tests.harness.careless PORT DATABASE` serves until it is killed, or for a minute.
"""

import contextlib
import queue
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.harness import exchange, patience
from tests.harness.listener import Listener, Request

LAZY_SECONDS = 0.05
LIFE_SECONDS = 60.0


@contextlib.contextmanager
def running(port: int, database: Path, *before: str) -> Iterator[None]:
    """Run it, with something before it, until the block ends: then kill it."""
    command = [*before, sys.executable, "-m", "tests.harness.careless", str(port), str(database)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        patience.until(lambda: exchange.ask(port, "POST", "/ready", b"").status)
        yield
    finally:
        process.kill()
        process.wait()


def main(port: int, database: Path) -> None:
    """Answer 200 at once, and write what came a little later."""
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_write, args=(database, waiting), daemon=True).start()

    def take(request: Request) -> int:
        waiting.put(request)
        return 200

    listener = Listener(port, take)
    listener.open()
    time.sleep(LIFE_SECONDS)
    listener.close()


def _write(database: Path, waiting: queue.SimpleQueue[Request]) -> None:
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE IF NOT EXISTS journal (position INTEGER PRIMARY KEY, kind TEXT, signature TEXT, body BLOB)"
    )
    while True:
        time.sleep(LAZY_SECONDS)
        db.execute("BEGIN IMMEDIATE")
        while not waiting.empty():
            request = waiting.get()
            row = ("webhook", request.headers.get("x-hub-signature-256", ""), request.body)
            db.execute("INSERT INTO journal (kind, signature, body) VALUES (?, ?, ?)", row)
        db.execute("COMMIT")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
