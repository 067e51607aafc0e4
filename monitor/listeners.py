"""Sockets and servers: uvicorn with the deadlines and limits that it lacks."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES_MOST = 32 * 1024
FRAMING_MOST = 16  # bytes that came for each byte of a chunked body: sizes, extensions and trailers
HEADER_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 75  # longer than a reverse proxy keeps an idle upstream connection
GRACEFUL_SECONDS = 5
BACKLOG = 2048


class Protocol(HttpToolsProtocol):
    """httptools' protocol with a deadline and a size limit for headers; without them an idle client stays for ever."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._is_in_headers = True
        self._header_bytes = 0
        self._raw_bytes = self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have grown too large; the clock runs while they are unfinished."""
        is_in_body = not self._is_in_headers
        if self._is_in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if is_in_body and not self._is_in_headers:
            self._raw_bytes += len(data)
            if self._raw_bytes > HEADER_BYTES_MOST + FRAMING_MOST * self._body_bytes:
                self._end(b"431 Request Header Fields Too Large")
            return
        if not self._is_in_headers or not self._header_bytes:
            return
        if self._header_bytes > HEADER_BYTES_MOST:
            self._end(b"431 Request Header Fields Too Large")
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._is_in_headers = True
        self._header_bytes += 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer after the body is nobody's."""
        if self._is_in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that its headers are read; refuse them where they name no host or two, or are too large in one piece."""
        is_large = self._header_bytes > HEADER_BYTES_MOST
        self._is_in_headers = False
        self._header_bytes = self._raw_bytes = self._body_bytes = 0
        self._stop_clock()
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._end(b"400 Bad Request")
            return
        if is_large and sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEADER_BYTES_MOST:
            self._end(b"431 Request Header Fields Too Large")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the next request's headers."""
        if self.cycle is not None:
            super().on_message_complete()
        self._is_in_headers = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body that somebody reads."""
        self._body_bytes += len(body)
        if self.cycle is not None:
            super().on_body(body)

    def _too_slow(self) -> None:
        self._deadline = None
        if self._header_bytes:
            self._end(b"408 Request Timeout")
        else:
            self.transport.close()

    def _end(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


def server(app: Any) -> Server:
    """Return a server for an ASGI application."""
    return Server(
        uvicorn.Config(
            app,
            http=Protocol,
            loop="none",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            backlog=BACKLOG,
        )
    )


def bind(address: str) -> socket.socket:
    """Return a socket bound to HOST:PORT; raise ValueError for what is no address, OSError where it is taken."""
    host, port = split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(False)
    return bound


def split(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `:PORT` or `[IPv6]:PORT`."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"not an address: {address!r}; write it as HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 (as Prometheus reads `:PORT`)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host's address."""
    return host == "localhost" or host == "::1" or host.startswith("127.")
