"""The gate over HTTP, in its three forms: a plain ASGI callable, since every outbound message may ask it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from monitor import countries, gate, pseudonyms
from monitor.actions import Pause
from monitor.gate import Ask, Verdict
from monitor.rates import Rates
from monitor.receive import Receive, Scope, Send

PATH = "/v1/gate"
_KNOWN = frozenset({"phone_number_id", "waba_id", "category", "template", "recipient", "kind", "country", "campaign"})
_CATEGORIES = frozenset(gate.LANES_OF)
_URI_HEADERS = (b"x-original-uri", b"x-forwarded-uri")
_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_ALLOWED = {
    verdict.reason: _encode({"allow": True, "reason": verdict.reason}) for verdict in (gate.NOT_PAUSED, gate.NOT_A_SEND)
} | {gate.WINDOW_CLOSED.reason: _encode({"allow": True, "reason": "window_closed", "warnings": ["window_closed"]})}
_QUERY_MOST = 4096


class GateEndpoint:
    """Answers from memory: the published pauses, and the account of each number."""

    def __init__(
        self,
        pauses: Callable[[Ask], Iterable[Pause]],
        wabas: Callable[[], Mapping[str, str]],
        is_window_open: Callable[[str, str, float], bool],
        hash_key: bytes,
        *,
        clock: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._pauses = pauses
        self._wabas = wabas
        self._is_window_open = is_window_open
        self._hash_key = hash_key
        self._rates = Rates()
        self._clock = clock
        self._count = count

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 200 or 403: nginx makes a 500 of any other code."""
        if scope["method"] not in {"GET", "HEAD"} and not _uri(scope):
            await _answer(send, 405, b'{"error":"method_not_allowed"}', [(b"allow", b"GET, HEAD")])
            return
        now = self._clock()
        ask = self._ask(scope)
        verdict = gate.decide(
            self._pauses(ask),
            ask,
            self._wabas(),
            now,
            lambda number, person: self._is_window_open(number, person, now),
        )
        if verdict.per_second is not None and verdict.pause is not None:
            wait_seconds = self._rates.take(verdict.pause, verdict.per_second, now)
            verdict = gate.throttled(verdict, wait_seconds) if wait_seconds else verdict
        self._count("allow" if verdict.allow else "deny", verdict.reason)
        if verdict.allow and verdict.per_second is not None:
            await _answer(send, 200, _encode(described(verdict)), [])
            return
        if verdict.allow:
            warned = [(b"x-gate-warning", verdict.warning.encode())] if verdict.warning else []
            await _answer(send, 200, _ALLOWED[verdict.reason], warned)
            return
        headers = [
            (b"retry-after", str(verdict.retry_after_seconds).encode()),
            (b"x-gate-reason", _reason(verdict).encode()),
        ]
        await _answer(send, 403, _encode(described(verdict)), headers)

    def _ask(self, scope: Scope) -> Ask:
        """Read the question from the path, the query or a gateway's header; what can't be read is left unknown."""
        path: str = scope["path"]
        asked = {"phone_number_id": path[len(PATH) + 1 :].rstrip("/")} if len(path) > len(PATH) + 1 else {}
        query: bytes = scope["query_string"]
        if query:
            pairs = parse_qsl(query[:_QUERY_MOST].decode("latin-1"))
            asked = {**{name: value for name, value in pairs if name in _KNOWN}, **asked}
        if not asked:
            uri = _uri(scope)
            return gate.from_uri(unquote(uri.decode("latin-1"))) if uri else Ask()
        if asked.get("recipient"):
            asked.setdefault("country", countries.of(pseudonyms.written(asked["recipient"])))
            asked["recipient"] = pseudonyms.recipient(self._hash_key, asked["recipient"])
        if "category" in asked and (category := asked["category"].lower()) in _CATEGORIES:
            asked["category"] = category
        return msgspec.convert(asked, Ask)


def described(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the API shows it."""
    pause = verdict.pause
    if pause is None:
        return {"allow": verdict.allow, "reason": verdict.reason}
    shown = {
        "allow": verdict.allow,
        "reason": verdict.reason,
        "rule": pause.rule,
        "pause": pause_described(pause),
        "retry_after_seconds": verdict.retry_after_seconds,
    }
    return shown if verdict.per_second is None else {**shown, "per_second": verdict.per_second}


def pause_described(pause: Pause) -> dict[str, Any]:
    """Return a pause as the API shows it: `until` is a time, or who ends it."""
    shown: dict[str, Any] = msgspec.to_builtins(pause)
    open_end = "cleared" if pause.until_cleared else "resumed"
    shown["until"] = open_end if pause.until is None else pause.until
    if pause.asked_scope != pause.scope:
        shown["note"] = f"asked for scope {pause.asked_scope}, whose id the event did not tell"
    return shown


def _reason(verdict: Verdict) -> str:
    pause = verdict.pause
    if pause is None:
        return verdict.reason
    code = "" if pause.code is None else f"; code={pause.code}"
    return f"{verdict.reason}; rule={pause.rule}{code}; pause={pause.id}"


def _uri(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name in _URI_HEADERS:
            return bytes(value)
    return b""


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
