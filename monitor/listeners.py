"""Sockets and servers: uvicorn with the deadlines and limits that it lacks."""

import asyncio
import contextlib
import functools
import re
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from monitor import certificates
from monitor.receive import RETRY_AFTER

HEADER_BYTES_MOST = 32 * 1024
FRAMING_MOST = 16  # bytes that came for each byte of a chunked body: sizes, extensions and trailers
HEADER_SECONDS = 10.0
LINGER_SECONDS = 10.0  # for what is still sent after its answer: who is cut off sees a reset instead of it
KEEP_ALIVE_SECONDS = 75  # longer than a reverse proxy keeps an idle upstream connection
GRACEFUL_SECONDS = 5
BACKLOG = 2048
CONNECTIONS_MOST = 10_000  # of one listener, where the system lets us have so many files
FILES_KEPT = 128  # for the store, for what leaves, and for everybody who is told that there is no room
_UPGRADE, _IGNORED = re.compile(rb"\r\nupgrade:", re.IGNORECASE), b"x-upgrade-ignored"
_VERSIONS = frozenset({"1.0", "1.1"})
_CODINGS: tuple[list[bytes], ...] = ([], [b"chunked"])


class Admission:
    """Whom a listener lets in: so many at a time, and where names are given, only certificates that have one."""

    def __init__(self, connections_most: int, refused: Callable[[str], None]) -> None:
        self.connections_most = connections_most
        self.names: frozenset[str] = frozenset()
        self.refused = refused

    def objection(self, connections: int, transport: asyncio.Transport) -> str:
        """Return why a new connection, the last of so many, is not let in; "" where it is."""
        if connections > self.connections_most:
            return "too_many"
        if self.names and not self.names & certificates.names(transport.get_extra_info("peercert")):
            return "certificate"
        return ""


class Protocol(HttpToolsProtocol):
    """httptools' protocol with a deadline and a size limit for headers; without them an idle client stays for ever.

    The deadline holds for a body's first byte too: whoever asks for it waits without an end. Who reads a body sets its
    own; an answer that comes before the body's end says that it closes, and what is sent after it is bounded here.
    """

    def __init__(self, *args: Any, admission: Admission, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._admission = admission
        self._is_in_headers = True
        self._is_body_due = False
        self._keeps_alive = self._is_leaving = self._is_over = False
        self._header_bytes = 0
        self._raw_bytes = self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request, unless whoever connects is not let in."""
        super().connection_made(transport)
        objection = self._admission.objection(len(self.connections), transport)
        if objection:
            self._admission.refused(objection)
            if objection == "too_many":
                self._end(b"503 Service Unavailable")
            else:
                transport.abort()
            return
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have grown too large; the clock runs while they are unfinished."""
        if self._is_over:
            return
        is_in_body = not self._is_in_headers
        if self._is_in_headers:
            self._header_bytes += len(data)
            data = _without_upgrade(data)
        super().data_received(data)
        if not self._is_in_headers:
            self._close_early()
        if is_in_body and not self._is_in_headers:
            self._raw_bytes += len(data)
            if self._raw_bytes > HEADER_BYTES_MOST + FRAMING_MOST * self._body_bytes:
                self._end(b"431 Request Header Fields Too Large")
            return
        if self._is_body_due and self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)
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
        if self._is_in_headers and name != _IGNORED:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that its headers are read; refuse what may be read in two ways, or is too large in one piece."""
        is_large = self._header_bytes > HEADER_BYTES_MOST
        self._is_in_headers, self._is_body_due = False, True
        self._header_bytes = self._raw_bytes = self._body_bytes = 0
        if self._is_over:
            return
        if not self._is_plain():
            self._end(b"400 Bad Request")
            return
        if is_large and sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEADER_BYTES_MOST:
            self._end(b"431 Request Header Fields Too Large")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the next request's headers."""
        self._body_has_begun()
        self._is_in_headers = True
        cycle = self.cycle
        if cycle is None or self._is_over:
            return
        if cycle.transport is not self.transport and not cycle.response_started:
            cycle.transport, cycle.keep_alive = self.transport, self._keeps_alive and not self._is_leaving
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body that somebody reads."""
        self._body_has_begun()
        self._body_bytes += len(body)
        if self.cycle is not None and not self._is_over:
            super().on_body(body)

    def shutdown(self) -> None:
        """Answer what is under way, and nothing after it."""
        self._is_leaving = True
        super().shutdown()

    def _close_early(self) -> None:
        """Let the request that is not whole yet be the connection's last, unless it is whole before its answer."""
        cycle = self.cycle
        if cycle is not None and cycle.transport is self.transport:
            self._keeps_alive, cycle.keep_alive = cycle.keep_alive, False
            cycle.transport = _Lingering(self.transport, functools.partial(self._linger, cycle))  # type: ignore[assignment]

    def _linger(self, cycle: RequestResponseCycle) -> None:
        """Close, but take in for a while what is still sent of a request that is answered."""
        if self._is_over:
            return
        if self._is_leaving or self.transport.is_closing() or not cycle.response_complete or not cycle.more_body:
            self.transport.close()
            return
        self._is_over = True
        self._stop_clock()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _is_plain(self) -> bool:
        """Say whether nobody on the way can have read the request as another one.

        httptools takes any version, and codings before `chunked` that nobody here undoes. After an `Upgrade` that was
        not taken out, in a head in pieces or behind another request, it takes no body for one.
        """
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        is_named = hosts == 1 or (not hosts and version == "1.0")
        is_ours = version in _VERSIONS and not self.parser.should_upgrade()
        return is_ours and is_named and self.url.startswith((b"/", b"*")) and codings in _CODINGS

    def _body_has_begun(self) -> None:
        if self._is_body_due:
            self._is_body_due = False
            self._stop_clock()

    def _too_slow(self) -> None:
        self._deadline = None
        is_answered = self.cycle is not None and self.cycle.response_started
        if self._header_bytes or (self._is_body_due and not is_answered):
            self._end(b"408 Request Timeout")
        else:
            self.transport.close()

    def _end(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        self._is_over = True
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Lingering:
    """What an answer is written to that may come too early: its end is not the connection's."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def _without_upgrade(data: bytes) -> bytes:
    """Return the bytes of a head with another name for `Upgrade`, which we don't: httptools would leave out the body.

    Java's HttpClient asks for h2c in each request without TLS.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\n" + _IGNORED + b":", head) + end + rest


class Server(uvicorn.Server):
    """A server that leaves signals to the process, and whose certificates and headers may change."""

    def __init__(self, config: uvicorn.Config, admission: Admission) -> None:
        super().__init__(config)
        self.admission = admission
        self.bound: socket.socket | None = None

    def leave(self, seconds: float) -> None:
        """Take no more connections, and give what is under way so many seconds."""
        self.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]  # it waits for it as it is
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the one socket that there is."""
        self.bound = sockets[0] if sockets else None
        await self.lifespan.startup()
        self.servers: list[asyncio.Server] = []
        await self.renew(self.config.ssl)
        self.started = True

    async def renew(self, context: ssl.SSLContext | None) -> None:
        """Serve connections that come from now on by another context, on the same socket; the others stay."""
        if self.bound is None:
            return
        make = functools.partial(
            self.config.http_protocol_class,  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )
        listening = await asyncio.get_running_loop().create_server(
            make,
            sock=self.bound.dup(),
            ssl=context,
            backlog=BACKLOG,
            ssl_handshake_timeout=None if context is None else HEADER_SECONDS,
        )
        old, self.servers = self.servers, [listening]
        for one in old:
            one.close()


def server(app: Any, refused: Callable[[str], None] = lambda _: None, context: ssl.SSLContext | None = None) -> Server:
    """Return a server for an ASGI application; `refused` is told why a connection was not let in."""
    admission = Admission(connections_most(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), refused)
    config = uvicorn.Config(
        _told_to_come_again(app),
        http=functools.partial(Protocol, admission=admission),  # type: ignore[arg-type]
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
    config.load()
    config.ssl = context
    return Server(config, admission)


def with_headers(app: Any, headers: Callable[[], list[tuple[bytes, bytes]]]) -> Any:
    """Return an application whose answers have these headers where they have none of the name."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        more = headers()

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in more if name not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await app(scope, receive, sent if more else send)

    return answer


def _told_to_come_again(app: Any) -> Any:
    """Return an application that answers 503, not 500, to whoever still waits when the process leaves."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        is_begun = False

        async def sent(message: Any) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await app(scope, receive, sent)
        except asyncio.CancelledError:  # only who leaves cancels what is under way
            if is_begun:
                raise
            headers = [(b"content-length", b"0"), (b"connection", b"close"), (b"retry-after", RETRY_AFTER)]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return answer


def raise_files() -> None:
    """Take as many open files as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_most(files: int) -> int:
    """Return how many connections each of the two listeners takes where a process may have so many open files."""
    return max(16, min(CONNECTIONS_MOST, (files - FILES_KEPT) // 2)) if files >= 0 else CONNECTIONS_MOST


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
