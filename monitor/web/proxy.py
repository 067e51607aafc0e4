"""The egress proxy: any Graph path under /graph, streamed; sends ask the gate first, and answers are learned from."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from monitor import duplicates, gate, logs, sends, tokens
from monitor.duplicates import Earlier
from monitor.events import Send as SendEvent
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
DUPLICATE = 506
LIMITS = {"usage_account": 80007, "usage_app": 4}  # Graph's own codes for what is used up
_JSON = (b"content-type", b"application/json")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Target(msgspec.Struct, frozen=True):
    """Where Graph is, how long it may take, which sends are marked, and what is done about duplicates."""

    url: str
    timeout_seconds: float
    connect_seconds: float
    mark_sends: str = "keyed"
    duplicates: str = "shadow"
    duplicates_within_seconds: float = 60.0


class _Passing:
    """A send on its way through."""

    def __init__(
        self, scope: Scope, path: str, body: bytes, number: str, attempt: Attempt, fingerprint: bytes | None
    ) -> None:
        self.scope = scope
        self.path = path
        self.body = body
        self.number = number
        self.attempt = attempt
        self.fingerprint = fingerprint


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
        attempt: Callable[[str, Mapping[str, str], Any, str], tuple[Ask, Attempt]],
        learn: Callable[[SendEvent], Awaitable[None]],
        learn_usage: Callable[[Attempt, Headers], None],
        clock: Callable[[], float],
        first: FirstAnswers,
        count_send: Callable[[str, str], None],
        count_verdict: Callable[[str, str], None],
    ) -> None:
        self._upstream = upstream
        self._target = target
        self._decide = decide
        self._attempt = attempt
        self._learn = learn
        self._learn_usage = learn_usage
        self._clock = clock
        self._sends = duplicates.Sends()
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
        said = _json(body)
        ask, attempt = self._attempt(number, told_by(scope["headers"]), said, _peer(scope))
        verdict = self._decide(ask)
        self._count_verdict("allow" if verdict.allow else "deny", verdict.reason)
        if not verdict.allow:
            self._count_send(number, "throttled" if _is_passing(verdict) else "refused")
            await _paused(send, verdict)
            return
        key = next((value for name, value in scope["headers"] if name == HEADER), b"")
        passing = _Passing(scope, path, body, number, attempt, b"" if key else duplicates.fingerprint(number, said))
        if passing.fingerprint and (earlier := self._repeated(passing)) is not None:
            self._count_send(number, "duplicate")
            await _repetition(send, earlier)
            return
        try:
            if key:
                name = self._first.name(number, key)
                answer, is_replayed = await self._first.once(name, body, lambda: self._passed_on(passing, name))
            else:
                answer, is_replayed = await self._passed_on(passing, ""), False
        except UpstreamError as error:
            await _tell(send, *_unanswered(error))
            return
        except ReusedError:
            await _refuse(send, 422, 100, "idempotency_key_reused", "this Idempotency-Key was used for another message")
            return
        if is_replayed:
            self._count_send(number, "replayed")
        await _tell(send, answer.status, [*answer.headers, REPLAYED] if is_replayed else answer.headers, answer.body)

    def _repeated(self, passing: "_Passing") -> Earlier | None:
        """Note that a send begins and journal it where it repeats another; return that one where it must not pass."""
        target = self._target()
        if target.duplicates == "off" or passing.fingerprint is None:
            return None
        at = self._clock()
        earlier = self._sends.note(passing.fingerprint, passing.attempt.caller, target.duplicates_within_seconds, at)
        if earlier is None:
            return None
        is_refused = target.duplicates == "enforce"
        passing.attempt = msgspec.structs.replace(passing.attempt, trigger=earlier.trigger)
        self._note(passing.attempt, sends.duplicate(passing.attempt, earlier, at, is_refused=is_refused))
        return earlier if is_refused else None

    async def _passed_on(self, passing: "_Passing", name: str) -> FirstAnswer:
        """Send a message on and return what is to be answered; learn from it where it is Graph's."""
        number, attempt = passing.number, passing.attempt
        digest = hashlib.blake2b(passing.body, digest_size=16).digest()
        target = self._target()
        kind, token = _token(target.mark_sends, name)
        marked = tokens.marked(passing.body, kind, token) if token else None
        try:
            async with self._ask(passing.scope, passing.path, marked or passing.body, target) as answer:
                told = b"".join([piece async for piece in pieces(answer)])
                self._learn_usage(attempt, answer.raw_headers)
                found = FirstAnswer(name, digest, answer.status, answer_headers(answer), told)
        except UpstreamError as error:
            self._count_send(number, "unknown" if error.is_sent else "unreachable")
            self._ended(passing, is_known=not error.is_sent)
            if not error.is_sent:
                raise
            self._note(attempt, sends.unsettled(attempt, token if marked else "", self._clock()))
            status, headers, own = _unanswered(error)
            return FirstAnswer(name, digest, status, list(headers), own)
        event = sends.event(attempt, _json(told), self._clock()) if len(told) <= ANSWER_BYTES_MOST else None
        self._ended(passing, wamid=getattr(event, "wamid", ""), is_known=found.status < 500)
        if event is not None:
            self._note(attempt, event)
        return found

    def _ended(self, passing: "_Passing", *, wamid: str = "", is_known: bool) -> None:
        if passing.fingerprint:
            self._sends.end(passing.fingerprint, wamid=wamid, is_known=is_known)

    def _ask(self, scope: Scope, path: str, body: bytes | AsyncIterator[bytes], target: Target) -> Any:
        query = scope["query_string"].decode("latin-1")
        url = f"{target.url.rstrip('/')}{path}{'?' + query if query else ''}"
        headers = [
            (name, str(len(body)).encode() if name == b"content-length" and isinstance(body, bytes) else value)
            for name, value in scope["headers"]
            if not name.startswith(b"x-gate-")
        ]
        return self._upstream.ask(scope["method"], url, headers, body, target.timeout_seconds, target.connect_seconds)

    def _note(self, attempt: Attempt, event: SendEvent) -> None:
        """Journal what became of a send; the application does not wait for that."""
        task = asyncio.get_running_loop().create_task(self._learned(attempt, event))
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    async def _learned(self, attempt: Attempt, event: SendEvent) -> None:
        try:
            await self._learn(event)
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
    status, shown = (429, LIMITS.get(verdict.reason, 130429)) if _is_passing(verdict) else (403, 368)
    retry = str(verdict.retry_after_seconds or 1).encode()
    headers = [(b"retry-after", retry), (b"x-gate-reason", reason_of(verdict).encode())]
    await _refuse(send, status, shown if code is None else code, verdict.reason, reason_of(verdict), headers)


async def _repetition(send: Send, earlier: Earlier) -> None:
    told = f"the same message was sent to the same person {earlier.gap_seconds:.1f} s ago"
    headers = [(b"x-gate-reason", f"duplicate; trigger={earlier.trigger}; first={earlier.wamid}".encode())]
    await _refuse(send, 409, DUPLICATE, "duplicate", f"{told} {earlier.wamid}".rstrip(), headers)


def _token(mode: str, name: str) -> tuple[str, str]:
    """Return kind and token of a send: the name of its Idempotency-Key where it has one; empty for none."""
    if name and mode != "never":
        return tokens.KEYED, name
    return (tokens.RANDOM, uuid.uuid4().hex) if mode == "always" else ("", "")


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_passing(verdict: Verdict) -> bool:
    """Say whether it is only a matter of a little waiting: a limit, or one person who got too much at once."""
    return (
        verdict.share is not None
        or bool(verdict.limits)
        or (verdict.pause is not None and verdict.pause.scope == "pair")
    )


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
        "is_transient": status not in {409, 413, 422},
    }
    body = _encode({"error": error})
    return status, [_JSON, (b"content-length", str(len(body)).encode()), *headers], body


async def _tell(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
