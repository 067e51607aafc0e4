"""An HTTP server on loopback with the moods of bad days, to be asked from the same loop."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tests.harness.answers import Part

MOODS = ("down", "slow", "hanging", "closing", "half", "refusing", "failing", "moved", "flooding")


class Faulty:
    """Answers each request by its mood, or plays a script; `bodies` and `heads` are what reached it."""

    def __init__(
        self,
        mood: str = "well",
        answer: bytes = b"",
        status: int = 200,
        script: Callable[[], Iterable[Part]] | None = None,
    ) -> None:
        self.mood = mood
        self.script = script
        self.answer = answer
        self.status = status
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.mood == "down":
            self._server.close()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                self.bodies.append(await reader.readexactly(int(sizes[0].split(b":")[1]) if sizes else 0))
                if not await self._answer(writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        """Write an answer; say whether the connection is kept."""
        if self.script is not None:
            await self._play(self.script(), writer)
            return False
        status, length, body = self.status, len(self.answer), self.answer
        match self.mood:
            case "slow":
                await asyncio.sleep(0.1)
            case "hanging":
                await asyncio.sleep(3600)
            case "closing":
                return False
            case "half":
                length += 10
            case "refusing":
                status = 400
            case "failing":
                status = 503
            case "moved":
                status = 302
            case "flooding":
                length, body = 10**9, b"x" * 200_000
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nLocation: {self.url}/elsewhere\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return self.mood not in {"half", "flooding"}

    async def _play(self, script: Iterable[Part], writer: asyncio.StreamWriter) -> None:
        for part in script:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
