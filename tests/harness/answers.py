"""A server's answers on its bad days, as scripts: bytes to write, seconds to wait, and RESET to break off."""

import contextlib
import functools
import gzip
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Final

RESET: Final = "reset"
Part = bytes | float | str
DRIP_SECONDS = 0.2
BOMB_BYTES = 200 * 1024 * 1024


def told(status: int, *lines: str, body: bytes = b"") -> Iterator[Part]:
    """A whole answer with further header lines."""
    yield head(status, *lines, f"Content-Length: {len(body)}") + body


def dripping_head() -> Iterator[Part]:
    """A head of which a byte comes now and then, for longer than anybody waits."""
    for byte in head(200, "X-Filling: " + "x" * 1_000, "Content-Length: 0"):
        yield bytes([byte])
        yield DRIP_SECONDS


def dripping_body(status: int = 200) -> Iterator[Part]:
    """A head at once, and then a body as slow as that."""
    yield head(status, "Content-Length: 1000")
    for _ in range(1_000):
        yield b"x"
        yield DRIP_SECONDS


def endless(status: int) -> Iterator[Part]:
    """A body that does not end, as fast as it is read."""
    yield head(status, "Transfer-Encoding: chunked")
    while True:
        yield b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


def bomb(status: int) -> Iterator[Part]:
    """A small body that grows to a large one where somebody unpacks it."""
    yield head(status, "Content-Encoding: gzip", f"Content-Length: {len(_bomb())}") + _bomb()


def reset_in_body(status: int = 200) -> Iterator[Part]:
    """The beginning of an answer, then RST."""
    yield head(status, "Content-Length: 1000") + b"x" * 100
    yield 0.05
    yield RESET


def no_http() -> Iterator[Part]:
    """Something else than HTTP."""
    yield b"220 mail.example.org ESMTP\r\n"


def head(status: int, *lines: str) -> bytes:
    """Return the head of an answer after which the connection ends."""
    return "\r\n".join([f"HTTP/1.1 {status} X", "Connection: close", *lines, "", ""]).encode()


def play(script: Iterable[Part], connection: socket.socket) -> None:
    """Write a script to a connection, until whoever asked is gone."""
    with contextlib.suppress(OSError):
        for part in script:
            if isinstance(part, bytes):
                connection.sendall(part)
            elif isinstance(part, float):
                time.sleep(part)
            else:
                reset(connection)
                return


def reset(connection: socket.socket) -> None:
    """Close a connection that nobody else reads with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b"\0" * (BOMB_BYTES // 200)) * 200
