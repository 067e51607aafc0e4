"""Who asks a sidecar's gate all the while, and hears its answers in their order."""

import contextlib
import threading
from collections.abc import Iterator

from tests.harness.sidecar import Sidecar

EVERY_SECONDS = 0.01


@contextlib.contextmanager
def asked(sidecar: Sidecar, number: str) -> Iterator[list[int]]:
    """Ask whether a number may send until the block ends; a no of somebody who does not know yet is not noted."""
    answers: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(EVERY_SECONDS):
            with contextlib.suppress(OSError):
                answer = sidecar.get(f"/v1/gate/{number}")
                if answer.status != 403 or answer.json()["reason"] != "not_ready":
                    answers.append(answer.status)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        stop.set()
        asking.join()
