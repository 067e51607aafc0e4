"""Who asks a sidecar's gate all the while, and hears its answers in their order."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from tests.harness.sidecar import Sidecar

EVERY_SECONDS = 0.01


@contextlib.contextmanager
def meanwhile(ask: Callable[[], None]) -> Iterator[None]:
    """Ask a hundred times a second until the block ends."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(EVERY_SECONDS):
            ask()

    asking = threading.Thread(target=run)
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join()


@contextlib.contextmanager
def asked(sidecar: Sidecar, number: str) -> Iterator[list[int]]:
    """Ask whether a number may send until the block ends; a no of somebody who does not know yet is not noted."""
    answers: list[int] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            answer = sidecar.get(f"/v1/gate/{number}")
            if answer.status != 403 or answer.json()["reason"] != "not_ready":
                answers.append(answer.status)

    with meanwhile(ask):
        yield answers
