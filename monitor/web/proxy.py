"""The egress proxy: any Graph path under /graph, streamed; sends ask the gate first, and answers are learned from."""

import asyncio
import hashlib
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from monitor import duplicates, gate, logs, sends, tokens
from monitor.deadlines import Deadlines
from monitor.duplicates import Earlier
from monitor.events import Send as SendEvent
from monitor.gate import Ask, Verdict
from monitor.receive import Receive, Scope, Send
from monitor.sends import Attempt
from monitor.spans import Exchange
from monitor.store.protocol import FirstAnswer, StoreUnavailableError
from monitor.traces import Traces
from monitor.upstream import Headers, Upstream, UpstreamError, answer_headers, pieces
from monitor.web import refusals
from monitor.web.gate import as_attributes, told_by, traceparent
from monitor.web.idempotency import HEADER, REPLAYED, FirstAnswers, NotSentError, ReusedError

PATH = "/graph"
SEND_BYTES_MOST = 1024 * 1024  # a message is JSON and names its media by id
ANSWER_BYTES_MOST = 1024 * 1024
BODY_SECONDS = 15.0
IN_FLIGHT_BYTES_MOST = 64 * 1024 * 1024  # of messages that are being read
_JSON = (b"content-type", b"application/json")
_PREFIX = PATH.encode() + b"/"
_CROOKED = re.compile(rb"//|/(?:\.|%2e){1,2}(?:/|$)|%2f|%5c|\\", re.IGNORECASE)  # no path of Graph's looks like this
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_UNREAD = {408: "too_slow", 413: "too_large", 503: "overloaded"}
_NOTHING: Mapping[bytes, bytes] = {}
_AS_IT_IS = {b"accept-encoding": b"identity"}  # what Graph answers to a send must be understood
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
    """A send on its way through, with when it was asked for and what the gate said."""

    def __init__(
        self,
        scope: Scope,
        path: str,
        body: bytes,
        number: str,
        attempt: Attempt,
        fingerprint: bytes | None,
        asked_at: float,
    ) -> None:
        self.asked_at = self.decided_at = asked_at
        self.decision: Mapping[str, str] = {}
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
        deadlines: Deadlines,
        first: FirstAnswers,
        count_send: Callable[[str, str], None],
        count_verdict: Callable[[str, str], None],
        traces: Traces | None = None,
    ) -> None:
        self._deadlines = deadlines
        self._traces = traces
        self._upstream = upstream
        self._target = target
        self._decide = decide
        self._attempt = attempt
        self._learn = learn
        self._learn_usage = learn_usage
        self._clock = clock
        self._sends = duplicates.Sends()
        self._in_flight_bytes = 0
        self._first = first
        self._count_send = count_send
        self._count_verdict = count_verdict
        self._learning: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        raw: bytes = scope["raw_path"]
        if not raw.startswith(_PREFIX) or _CROOKED.search(raw) is not None or not _is_readable(scope["headers"]):
            await _refuse(send, 400, 100, "malformed", "a plain path below /graph/ and headers in UTF-8 are needed")
            return
        path = raw[len(PATH) :].decode("latin-1")
        is_rewritten = gate.is_rewritten(scope["query_string"].decode("latin-1"))
        named = Ask() if is_rewritten else gate.from_uri(path, is_graph=True)
        try:
            is_reading = scope["method"] in _READING and not is_rewritten
            if named.is_send and (not is_reading or named.phone_number_id):
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
            async with self._deadlines.within(None), self._ask(scope, path, body, target) as answer:
                await _start(send, answer.status, answer_headers(answer))
                is_begun = True
                async for piece in pieces(answer):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, UpstreamError) as reason:
            error = _unanswered(reason)
            if not is_begun:  # else nothing ends the answer, and the server cuts the connection: no false end
                await _tell(send, *refusals.unanswered(error))

    async def _message(self, scope: Scope, receive: Receive, send: Send, path: str, number: str) -> None:
        body = await self._whole(receive)
        if isinstance(body, int):
            await _refuse(send, body, 100, _UNREAD[body], f"a message of at most {SEND_BYTES_MOST} bytes is taken")
            return
        said = _json(body)
        ask, attempt = self._attempt(number, told_by(scope["headers"]), said, _peer(scope))
        key = next((value for name, value in scope["headers"] if name == HEADER), b"")
        name, *formerly = self._first.names(number, key) if key else ("",)
        fingerprint = None if key else duplicates.fingerprint(number, said)
        passing = _Passing(scope, path, body, number, attempt, fingerprint, self._clock())

        def refused() -> FirstAnswer | None:
            return self._refused(ask, passing)

        try:
            if key:
                unknown = _own(name, b"", *refusals.unanswered(UpstreamError("broken_off", is_sent=True)))
                answer, is_replayed = await self._first.once(
                    name, body, refused, unknown, lambda: self._passed_on(passing, name), formerly
                )
            else:
                answer, is_replayed = refused() or await self._passed_on(passing, ""), False
        except NotSentError:
            await _tell(send, *refusals.unanswered(UpstreamError("unreachable", is_sent=False)))
            return
        except ReusedError:
            await _refuse(send, 422, 100, "idempotency_key_reused", "this Idempotency-Key was used for another message")
            return
        except StoreUnavailableError:
            await _refuse(
                send, 503, 2, "journal_unavailable", "what was answered under this Idempotency-Key is not known"
            )
            return
        if is_replayed:
            self._count_send(number, "replayed")
        await _tell(send, answer.status, [*answer.headers, REPLAYED] if is_replayed else answer.headers, answer.body)

    async def _whole(self, receive: Receive) -> bytes | int:
        """Return the body of a message; 408, 413 or 503 where it is too slow, too large, or one too many at once."""
        found = bytearray()
        try:
            async with self._deadlines.within(BODY_SECONDS):
                async for piece in _incoming(receive):
                    found += piece
                    self._in_flight_bytes += len(piece)
                    if len(found) > SEND_BYTES_MOST:
                        return 413
                    if self._in_flight_bytes > IN_FLIGHT_BYTES_MOST:
                        return 503
        except TimeoutError:
            return 408
        finally:
            self._in_flight_bytes -= len(found)
        return bytes(found)

    def _refused(self, ask: Ask, passing: "_Passing") -> FirstAnswer | None:
        """Return why a send must not leave now, None where it may."""
        verdict = self._decide(ask)
        self._count_verdict("allow" if verdict.allow else "deny", verdict.reason)
        self._trace_verdict(passing, verdict)
        if not verdict.allow:
            self._count_send(passing.number, "throttled" if refusals.is_passing(verdict) else "refused")
            return _own("", b"", *refusals.paused(verdict))
        earlier = self._repeated(passing) if passing.fingerprint and ask.is_send else None
        if earlier is None:
            return None
        self._count_send(passing.number, "duplicate")
        return _own("", b"", *refusals.repetition(earlier))

    def _trace_verdict(self, passing: "_Passing", verdict: Verdict) -> None:
        """Note a permission for the message's own trace; tell of a denial in the trace of who asked."""
        if self._traces is None:
            return
        passing.decided_at, passing.decision = self._clock(), as_attributes(verdict)
        if not verdict.allow and (parent := traceparent(passing.scope["headers"])):
            self._traces.decided(parent, passing.decided_at, passing.decision)

    def _trace_exchange(self, passing: "_Passing", wamid: str, status: int) -> None:
        if self._traces is not None and wamid:
            seen = Exchange(
                passing.asked_at, passing.decided_at, self._clock(), status, passing.number, passing.decision,
                traceparent(passing.scope["headers"]),
            )  # fmt: skip
            self._traces.exchanged(wamid, seen)

    def _repeated(self, passing: "_Passing") -> Earlier | None:
        """Note that a send begins and journal it where it repeats another; return that one where it must not pass."""
        target = self._target()
        if target.duplicates == "off" or passing.fingerprint is None:
            return None
        at = self._clock()
        is_refused = target.duplicates == "enforce"
        within_seconds, caller = target.duplicates_within_seconds, passing.attempt.caller
        earlier = self._sends.note(passing.fingerprint, caller, within_seconds, at, is_passing=not is_refused)
        if earlier is None:
            return None
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
        found: FirstAnswer | None = None
        is_known = False
        try:
            async with (
                self._deadlines.within(target.timeout_seconds),
                self._ask(passing.scope, passing.path, marked or passing.body, target, _AS_IT_IS) as answer,
            ):
                told = await _within(pieces(answer), ANSWER_BYTES_MOST)
                self._learn_usage(attempt, answer.raw_headers)
                found = FirstAnswer(name, digest, answer.status, answer_headers(answer), told, attempt.recipient)
        except (TimeoutError, UpstreamError) as reason:
            error = _unanswered(reason)
            self._count_send(number, "unknown" if error.is_sent else "unreachable")
            is_known = not error.is_sent
            if not error.is_sent:
                raise NotSentError from None
            self._note(attempt, sends.unsettled(attempt, token if marked else "", self._clock()))
            return _own(name, digest, *refusals.unanswered(error))
        finally:
            if found is None:  # whatever ended it
                self._ended(passing, is_known=is_known)
        event = sends.event(attempt, _json(found.body), self._clock())
        wamid = getattr(event, "wamid", "")
        self._ended(passing, wamid=wamid, is_known=found.status < 500)
        self._trace_exchange(passing, wamid, found.status)
        if event is not None:
            self._note(attempt, event)
        elif not _is_plain(found.headers):
            self._count_send(number, "not_learned")
        return found

    def _ended(self, passing: "_Passing", *, wamid: str = "", is_known: bool) -> None:
        if passing.fingerprint:
            self._sends.end(passing.fingerprint, wamid=wamid, is_known=is_known)

    def _ask(
        self,
        scope: Scope,
        path: str,
        body: bytes | AsyncIterator[bytes],
        target: Target,
        instead: Mapping[bytes, bytes] = _NOTHING,
    ) -> Any:
        """Ask Graph what the application asks, with some headers replaced."""
        query = scope["query_string"].decode("latin-1")
        url = f"{target.url.rstrip('/')}{path}{'?' + query if query else ''}"
        changed = {b"content-length": str(len(body)).encode(), **instead} if isinstance(body, bytes) else instead
        headers = [
            (name, changed.get(name, value)) for name, value in scope["headers"] if not name.startswith(b"x-gate-")
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


def _unanswered(reason: TimeoutError | UpstreamError) -> UpstreamError:
    return reason if isinstance(reason, UpstreamError) else UpstreamError("timeout", is_sent=True)


async def _incoming(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _within(found: AsyncIterator[bytes], most: int) -> bytes:
    """Return a whole answer; raise UpstreamError where it is longer than any to a message."""
    whole = bytearray()
    async for piece in found:
        whole += piece
        if len(whole) > most:
            raise UpstreamError("broken_off", is_sent=True)
    return bytes(whole)


def _is_readable(headers: Headers) -> bool:
    """Say whether headers can be passed on."""
    try:
        for name, value in headers:
            name.decode(), value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plain(headers: Headers) -> bool:
    return all(value == b"identity" for name, value in headers if name == b"content-encoding")


def _json(body: bytes) -> Any:
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _own(name: str, digest: bytes, status: int, headers: Headers, body: bytes) -> FirstAnswer:
    return FirstAnswer(name, digest, status, list(headers), body)


def _token(mode: str, name: str) -> tuple[str, str]:
    """Return kind and token of a send: the name of its Idempotency-Key where it has one; empty for none."""
    if name and mode != "never":
        return tokens.KEYED, name
    return (tokens.RANDOM, uuid.uuid4().hex) if mode == "always" else ("", "")


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _refuse(send: Send, status: int, code: int, reason: str, told: str, headers: Headers = ()) -> None:
    await _tell(send, *refusals.refusal(status, code, reason, told, headers))


async def _tell(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
