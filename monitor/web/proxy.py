"""The egress proxy: any Graph path under /graph, streamed; sends ask the gate first, and answers are learned from."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from monitor import gate, logs, sends
from monitor.gate import Ask, Verdict
from monitor.receive import Receive, Scope, Send
from monitor.sends import Attempt
from monitor.store.protocol import FirstAnswer
from monitor.upstream import Headers, Upstream, UpstreamError, answer_headers, pieces
from monitor.web.gate import reason_of, told_by
from monitor.web.idempotency import HEADER, REPLAYED, FirstAnswers, ReusedError

PATH = "/graph"
SEND_BYTES_MOST = 1024 * 1024  # a message is JSON and names its media by id
ANSWER_BYTES_MOST = 1024 * 1024
_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Target(msgspec.Struct, frozen=True):
    """Where Graph is, and how long it may take."""

    url: str
    timeout_seconds: float
    connect_seconds: float


class ClientGoneError(Exception):
    """The application hung up before its request had ended."""


class Proxy:
    """Passes requests on; `decide` asks the gate, `attempt` makes of a send what is known of it, `learn` journals."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        target: Callable[[], Target],
        decide: Callable[[Ask], Verdict],
        attempt: Callable[[str, Mapping[str, str], Any], tuple[Ask, Attempt]],
        learn: Callable[[Attempt, Any], Awaitable[None]],
        first: FirstAnswers,
        count_send: Callable[[str, str], None],
        count_verdict: Callable[[str, str], None],
    ) -> None:
        self._upstream = upstream
        self._target = target
        self._decide = decide
        self._attempt = attempt
        self._learn = learn
        self._first = first
        self._count_send = count_send
        self._count_verdict = count_verdict
        self._learning: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        path = scope["raw_path"].decode("latin-1").removeprefix(PATH)
        named = gate.from_uri(path)
        try:
            if scope["method"] == "POST" and named.is_send:
                await self._message(scope, receive, send, path, named.phone_number_id)
            else:
                await self._stream(scope, receive, send, path)
        except ClientGoneError:
            return

    async def _stream(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Pass any other call on, its body and its answer in the pieces in which they come."""
        has_body = any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])
        body = _incoming(receive) if has_body else b""
        target, is_begun = self._target(), False
        try:
            async with self._ask(scope, path, body, target) as answer:
                await _start(send, answer.status, answer_headers(answer))
                is_begun = True
                async for piece in pieces(answer):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except UpstreamError as error:
            if not is_begun:  # else nothing ends the answer, and the server cuts the connection: no false end
                await _tell(send, *_unanswered(error))

    async def _message(self, scope: Scope, receive: Receive, send: Send, path: str, number: str) -> None:
        body = await _whole(receive)
        if body is None:
            await _refuse(send, 413, 100, "too_large", f"a message of more than {SEND_BYTES_MOST} bytes")
            return
        ask, attempt = self._attempt(number, told_by(scope["headers"]), _json(body))
        verdict = self._decide(ask)
        self._count_verdict("allow" if verdict.allow else "deny", verdict.reason)
        if not verdict.allow:
            self._count_send(number, "throttled" if _is_passing(verdict) else "refused")
            await _paused(send, verdict)
            return

        async def pass_on() -> FirstAnswer:
            return await self._passed_on(scope, path, body, number, attempt)

        key = next((value for name, value in scope["headers"] if name == HEADER), b"")
        try:
            if key:
                answer, is_replayed = await self._first.once(self._first.name(number, key), body, pass_on)
            else:
                answer, is_replayed = await pass_on(), False
        except UpstreamError as error:
            await _tell(send, *_unanswered(error))
            return
        except ReusedError:
            await _refuse(send, 422, 100, "idempotency_key_reused", "this Idempotency-Key was used for another message")
            return
        if is_replayed:
            self._count_send(number, "replayed")
        await _tell(send, answer.status, [*answer.headers, REPLAYED] if is_replayed else answer.headers, answer.body)

    async def _passed_on(self, scope: Scope, path: str, body: bytes, number: str, attempt: Attempt) -> FirstAnswer:
        """Send a message on and return what is to be answered; learn from it where it is Graph's."""
        headers = dict(scope["headers"])
        name = self._first.name(number, headers.get(HEADER, b""))
        digest = hashlib.blake2b(body, digest_size=16).digest()
        try:
            async with self._ask(scope, path, body, self._target()) as answer:
                told = b"".join([piece async for piece in pieces(answer)])
                found = FirstAnswer(name, digest, answer.status, answer_headers(answer), told)
        except UpstreamError as error:
            self._count_send(number, "unknown" if error.is_sent else "unreachable")
            if not error.is_sent:
                raise
            status, kind, own = _unanswered(error)
            return FirstAnswer(name, digest, status, list(kind), own)
        if len(told) <= ANSWER_BYTES_MOST:
            self._note(attempt, _json(told))
        return found

    def _ask(self, scope: Scope, path: str, body: bytes | AsyncIterator[bytes], target: Target) -> Any:
        query = scope["query_string"].decode("latin-1")
        url = f"{target.url.rstrip('/')}{path}{'?' + query if query else ''}"
        headers = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-gate-")]
        return self._upstream.ask(scope["method"], url, headers, body, target.timeout_seconds, target.connect_seconds)

    def _note(self, attempt: Attempt, told: Any) -> None:
        """Journal what Graph answered; the application has its answer already."""
        task = asyncio.get_running_loop().create_task(self._learned(attempt, told))
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    async def _learned(self, attempt: Attempt, told: Any) -> None:
        try:
            await self._learn(attempt, told)
        except Exception:  # noqa: BLE001 (the send is done: what was not learned of it is counted and logged)
            self._count_send(attempt.phone_number_id, "not_journaled")
            logs.get().exception("send_not_journaled", phone_number_id=attempt.phone_number_id)


async def _incoming(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _whole(receive: Receive) -> bytes | None:
    """Return the body, None where it is too large for a message."""
    found = bytearray()
    async for piece in _incoming(receive):
        found += piece
        if len(found) > SEND_BYTES_MOST:
            return None
    return bytes(found)


def _json(body: bytes) -> Any:
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


async def _paused(send: Send, verdict: Verdict) -> None:
    """Answer as Graph does where it refuses, with the code that caused the pause; 429 for what only came too fast."""
    code = verdict.pause.code if verdict.pause is not None else None
    status, shown = (429, 130429) if _is_passing(verdict) else (403, 368)
    retry = str(verdict.retry_after_seconds or 1).encode()
    headers = [(b"retry-after", retry), (b"x-gate-reason", reason_of(verdict).encode())]
    await _refuse(send, status, shown if code is None else code, verdict.reason, reason_of(verdict), headers)


def _is_passing(verdict: Verdict) -> bool:
    """Say whether it is only a matter of a little waiting: a limit, or one person who got too much at once."""
    return bool(verdict.limits) or (verdict.pause is not None and verdict.pause.scope == "pair")


def _unanswered(error: UpstreamError) -> tuple[int, Headers, bytes]:
    status = 504 if error.reason == "timeout" else 502
    told = "Graph did not answer in time" if error.reason == "timeout" else f"Graph could not be asked: {error.reason}"
    return _refusal(status, 2, error.reason, told)  # 2: Graph's own code for a service that is down for now


async def _refuse(send: Send, status: int, code: int, reason: str, told: str, headers: Headers = ()) -> None:
    await _tell(send, *_refusal(status, code, reason, told, headers))


def _refusal(status: int, code: int, reason: str, told: str, headers: Headers = ()) -> tuple[int, Headers, bytes]:
    """Return an answer of our own in Graph's form."""
    error = {
        "message": f"whatsapp-monitor: {told}",
        "type": sends.OWN_TYPE,
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": reason},
        "is_transient": status not in {413, 422},
    }
    body = _encode({"error": error})
    return status, [_JSON, (b"content-length", str(len(body)).encode()), *headers], body


async def _tell(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
