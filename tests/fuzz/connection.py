"""The listener's protocol over a transport that only remembers."""

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn.server import ServerState

from monitor import listeners
from monitor.attempts import Attempts
from monitor.deadlines import Deadlines
from monitor.receive import Door, Receiver
from monitor.store.protocol import Arrival


class Journal:
    """Takes everything and keeps nothing."""

    waiting = 0

    def has_room(self) -> bool:
        """Say yes."""
        return True

    async def append(self, arrival: Arrival) -> int | None:
        """Take it."""
        return 1


class Transport(asyncio.Transport):
    """A connection without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:
        """Remember what is answered."""
        if not self.is_closed:
            self.written += data

    def close(self) -> None:
        """Close."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Say whether it is closed."""
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know nothing."""
        return default

    def can_write_eof(self) -> bool:
        """Say no."""
        return False

    def pause_reading(self) -> None:
        """Go on."""

    def resume_reading(self) -> None:
        """Go on."""


class Connection:
    """One connection to the public listener."""

    def __init__(self, secret: bytes) -> None:
        door = Door("/webhook", (secret,), (b"token",))
        self.app = Receiver(
            door,
            Journal(),
            clock=float,
            count=lambda _: None,
            count_signed=lambda _: None,
            journaled=lambda: None,
            is_behind=lambda: False,
            attempts=Attempts(float, lambda _: None),
            deadlines=Deadlines(),
        )

    async def feed(self, data: bytes) -> bytes:
        """Send bytes, in pieces that the first of them chooses; return what was answered."""
        failed: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failed.append(context.get("exception") or context))
        made = listeners.server(self.app)
        state, transport = ServerState(), Transport()
        protocol = listeners.Protocol(
            config=made.config, server_state=state, app_state={}, _loop=loop, admission=made.admission
        )
        protocol.connection_made(transport)
        for piece in _pieces(data):
            if transport.is_closed:
                break
            protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        tasks = list(state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        failed += [task.exception() for task in tasks if task.done() and not task.cancelled() and task.exception()]
        if failed:
            raise failed[0] if isinstance(failed[0], BaseException) else AssertionError(failed[0])
        return bytes(transport.written)


def _pieces(data: bytes) -> Sequence[bytes]:
    size = data[0] if data else 0
    rest = data[1:]
    return [rest] if size < 16 else [rest[start : start + size] for start in range(0, len(rest), size)]
