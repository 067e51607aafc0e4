"""A TCP proxy with the faults of networks, whose mood may change while it runs."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

from tests.harness import answers, ports


class Wire:
    """Carries bytes to a port of this machine, by its mood; what is open feels a new one with its next bytes.

    `refusing` does not listen; `resetting` ends a connection with RST at its first bytes; `half_open` lets connect,
    reads nothing and says nothing; `mute_there` and `mute_back` lose what goes to the port and what comes back; `slow`
    holds each piece back for `delay_seconds`; `dripping` carries `piece_bytes` at a time with as long between them;
    `cutting` ends a connection after so many bytes of an answer.
    """

    def __init__(self, to: int, mood: str = "well", *, delay_seconds: float = 0.05, piece_bytes: int = 16) -> None:
        self.port = ports.free()
        self.mood = mood
        self._to = to
        self._delay_seconds = delay_seconds
        self._piece_bytes = piece_bytes
        self._listening: socket.socket | None = None
        self._open: list[socket.socket] = []

    def turn(self, mood: str) -> None:
        """Take another mood."""
        self.mood = mood
        if mood == "refusing":
            self._hang_up()
        elif self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def __enter__(self) -> Self:
        self.turn(self.mood)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._hang_up()
        self.mood = "refusing"

    def _hang_up(self) -> None:
        found, self._open = self._open, []
        if self._listening is not None:
            found.append(self._listening)
            self._listening = None
        for one in found:
            _end(one)

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError), listening:
            while True:
                near, _ = listening.accept()
                self._open.append(near)
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        while self.mood == "half_open":
            time.sleep(0.02)
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self._to)) as far:
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()
            self._pump(near, far, False)

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                match self.mood:
                    case "resetting" if not is_answer:
                        answers.reset(source)
                        break
                    case "mute_back" if is_answer:
                        continue
                    case "mute_there" if not is_answer:
                        continue
                    case "cutting" if is_answer:
                        sink.sendall(data[: self._piece_bytes])
                        break
                    case "dripping":
                        self._drip(data, sink)
                        continue
                    case "slow":
                        time.sleep(self._delay_seconds)
                sink.sendall(data)
        _end(sink)

    def _drip(self, data: bytes, sink: socket.socket) -> None:
        for start in range(0, len(data), self._piece_bytes):
            sink.sendall(data[start : start + self._piece_bytes])
            time.sleep(self._delay_seconds)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
