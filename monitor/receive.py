"""The public listener's application: Meta's webhook path and nothing else.

A plain ASGI callable, since this is the hot path: a framework's router and response objects would cost a third of it.
"""

import asyncio
import contextlib
import hmac
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from monitor import signature
from monitor.attempts import Attempts
from monitor.deadlines import Deadlines
from monitor.store.protocol import WEBHOOK, Arrival, StoreUnavailableError

BODY_BYTES_MOST = 4 * 1024 * 1024  # Meta sends up to 3 MB
DISCARD_BYTES_MOST = 16 * 1024 * 1024  # what is read of a body that is too large, so that the sender hears the answer
IN_FLIGHT_BYTES_MOST = 64 * 1024 * 1024
WAITING_MOST = 5_000
BODY_SECONDS = 15.0
HELD_SECONDS = 2.0  # what comes waits for what came before to be acted upon, so long at the most
HELD_AGAIN_SECONDS = 0.02
RETRY_AFTER = b"5"
_CHALLENGE = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_NOSNIFF = (b"x-content-type-options", b"nosniff")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Journal(Protocol):
    """What receiving needs of a store."""

    @property
    def waiting(self) -> int:
        """How many arrivals wait for their commit."""
        ...

    def has_room(self) -> bool:
        """Say whether the disk has room for more."""
        ...

    async def append(self, arrival: Arrival) -> int | None:
        """Journal durably; None for a copy."""
        ...


class Door(msgspec.Struct, frozen=True):
    """Whom we let in: the path, and the secrets any of which may have signed."""

    path: str
    app_secrets: tuple[bytes, ...]
    verify_tokens: tuple[bytes, ...]


class Receiver:
    """Answers the public listener; `door` may be replaced while it runs."""

    def __init__(
        self,
        door: Door,
        journal: Journal,
        *,
        clock: Callable[[], float],
        count: Callable[[str], None],
        count_signed: Callable[[int], None],
        journaled: Callable[[], None],
        is_behind: Callable[[], bool],
        attempts: Attempts,
        deadlines: Deadlines,
    ) -> None:
        self.door = door
        self._deadlines = deadlines
        self._journal = journal
        self._clock = clock
        self._count = count
        self._count_signed = count_signed
        self._journaled = journaled
        self._is_behind = is_behind
        self._held = asyncio.Lock()
        self._attempts = attempts
        self._serial = itertools.count()
        self._in_flight_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route one request."""
        if scope["type"] != "http" or scope["path"] != self.door.path:
            await _answer(send, 404)
        elif scope["method"] == "POST":
            await self.receive(scope["headers"], receive, send)
        elif scope["method"] == "GET":
            await self.verify(scope["query_string"], str((scope.get("client") or ("",))[0]), send)
        else:
            await _answer(send, 404)

    async def receive(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        """Verify, journal, answer: 200 only once the delivery is durable."""
        signatures = [value for name, value in headers if name == b"x-hub-signature-256"]
        fault = signature.form_fault(signatures)
        if fault is not None:
            return await self._refuse(send, 401, fault)
        named = dict(headers)
        if any(name == b"content-encoding" and value != b"identity" for name, value in headers):
            return await _answer(send, 415)
        declared = _length(named)
        if declared > BODY_BYTES_MOST:
            await self._discard(receive)
            return await self._refuse(send, 413, "too_large")
        if self._journal.waiting >= WAITING_MOST or self._in_flight_bytes + declared > IN_FLIGHT_BYTES_MOST:
            return await self._refuse(send, 503, "overloaded")
        if not self._journal.has_room():
            return await self._refuse(send, 503, "disk_full")
        self._in_flight_bytes += declared
        try:
            await self._take(signatures[0], receive, send)
        finally:
            self._in_flight_bytes -= declared

    async def verify(self, query: bytes, address: str, send: Send) -> None:
        """Answer Meta's subscription check with its challenge, if it knows one of the tokens.

        Each wrong one counts, the same one too; a right one never waits, whoever guesses from the same address.
        """
        asked = parse_qs(query.decode("latin-1"), keep_blank_values=True)
        mode, token, challenge = (_only(asked, name) for name in ("hub.mode", "hub.verify_token", "hub.challenge"))
        claimed = token.encode()
        is_known = False
        for known in self.door.verify_tokens:
            is_known |= hmac.compare_digest(known, claimed)
        if not is_known:
            if wait_seconds := self._attempts.wait_seconds(address):
                return await _answer(send, 429, b"", (b"retry-after", str(wait_seconds).encode()))
            self._attempts.failed(address, b"%d" % next(self._serial))
            return await _answer(send, 403)
        if mode != "subscribe" or _CHALLENGE.fullmatch(challenge) is None:
            return await _answer(send, 403)
        return await _answer(send, 200, challenge.encode(), _NOSNIFF)

    async def _take(self, claimed: bytes, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if isinstance(body, int):
            if body == 413:
                self._count("too_large")
            return await _answer(send, body) if body else None
        signed_by = signature.verify(body, claimed, self.door.app_secrets)
        if not signed_by:
            return await self._refuse(send, 401, signature.MISMATCH)
        if self._is_behind() or self._held.locked():
            await self._wait()
        try:
            position = await self._journal.append(Arrival(WEBHOOK, self._clock(), body, claimed.decode("ascii")))
        except StoreUnavailableError:
            return await self._refuse(send, 503, "journal_unavailable")
        self._journaled()
        self._count_signed(signed_by)
        self._count("duplicate" if position is None else "accepted")
        return await _answer(send, 200)

    async def _wait(self) -> None:
        """Wait until what came before has been acted upon, in the order of arrival, or for long enough."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELD_SECONDS), self._held:
                while self._is_behind():
                    await asyncio.sleep(HELD_AGAIN_SECONDS)

    async def _body(self, receive: Receive) -> bytes | int:
        """Return the body, or the status that ends the request: 408, 413, or 0 where nobody is left to answer."""
        message = await receive()
        if message["type"] == "http.disconnect":
            return 0
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body if len(body) <= BODY_BYTES_MOST else 413
        chunks = [body]
        size = len(body)
        try:
            async with self._deadlines.within(BODY_SECONDS):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return 0
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > BODY_BYTES_MOST:
                        if message.get("more_body", False):
                            await self._discard(receive)
                        return 413
        except TimeoutError:
            return 408
        return b"".join(chunks)

    async def _discard(self, receive: Receive) -> None:
        """Read on for a while without keeping anything: a sender that is cut off sees a reset instead of the answer."""
        size = 0
        try:
            async with self._deadlines.within(BODY_SECONDS):
                while size < DISCARD_BYTES_MOST:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    async def _refuse(self, send: Send, status: int, outcome: str) -> None:
        self._count(outcome)
        extra = ((b"retry-after", RETRY_AFTER),) if status == 503 else ()
        await _answer(send, status, b"", *extra)


async def _answer(send: Send, status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
    closing = ((b"connection", b"close"),) if status in {408, 413} else ()
    length = (b"content-length", str(len(body)).encode())
    kind = (_PLAIN,) if body else ()
    await send({"type": "http.response.start", "status": status, "headers": [length, *kind, *closing, *headers]})
    await send({"type": "http.response.body", "body": body})


def _length(headers: Mapping[bytes, bytes]) -> int:
    """Return how many bytes to reckon with: the most where none is told, as in pieces."""
    if b"transfer-encoding" in headers:
        return BODY_BYTES_MOST
    value = headers.get(b"content-length", b"0")
    return int(value) if value.isdigit() and len(value) < 19 else BODY_BYTES_MOST + 1


def _only(asked: dict[str, list[str]], name: str) -> str:
    values = asked.get(name, [])
    return values[0] if len(values) == 1 else ""
