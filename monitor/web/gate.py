"""The gate over HTTP, in its three forms: a plain ASGI callable, since every outbound message may ask it."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from monitor import countries, durations, gate, logs, pseudonyms
from monitor.actions import Pause, is_in_force, is_reinstated
from monitor.gate import Ask, Verdict
from monitor.limits import limit
from monitor.rates import Rates
from monitor.receive import Receive, Scope, Send
from monitor.traces import Traces
from monitor.usages import Usages

PATH = "/v1/gate"
BLOCKED = 368
WAIT_MOST_SECONDS = 30.0
ASK_AGAIN_SECONDS = 0.05
WAITING_MOST = 1_000  # questions that are held at once; further ones are answered as things stand
_KNOWN = frozenset(
    {"phone_number_id", "waba_id", "category", "template", "recipient", "kind", "country", "campaign", "language"}
)
_CATEGORIES = frozenset(gate.LANES_OF)
_TOLD = b"x-gate-"
_TELLABLE = (_KNOWN | {"caller"}) - {"phone_number_id", "waba_id"}
_URI_HEADERS = (b"x-original-uri", b"x-forwarded-uri")
_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_ALLOWED = {
    verdict.reason: _encode({"allow": True, "reason": verdict.reason}) for verdict in (gate.NOT_PAUSED, gate.NOT_A_SEND)
} | {gate.WINDOW_CLOSED.reason: _encode({"allow": True, "reason": "window_closed", "warnings": ["window_closed"]})}
_QUERY_MOST = 4096
_NUMBER_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class GateEndpoint:
    """Answers from memory: the published pauses, and the account of each number."""

    def __init__(
        self,
        pauses: Callable[[Ask], Iterable[Pause]],
        wabas: Callable[[], Mapping[str, str]],
        is_window_open: Callable[[str, str, float], bool],
        hash_keys: Sequence[bytes],
        *,
        usages: Usages,
        is_loaded: Callable[[], bool],
        on_error: Callable[[], Mapping[str, str]],
        clock: Callable[[], float],
        count: Callable[[str, str], None],
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        self._is_loaded = is_loaded
        self._on_error = on_error
        self._waiting = 0
        self._pauses = pauses
        self._wabas = wabas
        self._is_window_open = is_window_open
        self._hash_keys = hash_keys
        self._rates = Rates()
        self._usages = usages
        self._clock = clock
        self._count = count

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 200 or 403: nginx makes a 500 of any other code."""
        if scope["method"] not in {"GET", "HEAD"} and not _uri(scope) and not _is_graph(scope["path"][len(PATH) + 1 :]):
            await _answer(send, 405, b'{"error":"method_not_allowed"}', [(b"allow", b"GET, HEAD")])
            return
        ask = self._ask(scope)
        verdict = self.decide(ask)
        waits_until = self._clock() + _wait_seconds(scope["query_string"])
        while (
            not verdict.allow
            and verdict.share is None
            and (left := waits_until - self._clock()) > 0
            and self._waiting < WAITING_MOST
        ):
            self._waiting += 1
            try:
                await asyncio.sleep(min(left, ASK_AGAIN_SECONDS))
            finally:
                self._waiting -= 1
            verdict = self.decide(ask)
        self._count("allow" if verdict.allow else "deny", verdict.reason)
        if self._traces is not None and (parent := traceparent(scope["headers"])):
            self._traces.decided(parent, self._clock(), as_attributes(verdict))
        if verdict.allow and verdict.limits:
            await _answer(send, 200, _encode(described(verdict)), [])
            return
        if verdict.allow:
            warned = [(b"x-gate-warning", verdict.warning.encode())] if verdict.warning else []
            body = _ALLOWED.get(verdict.reason) or _encode(described(verdict))
            await _answer(send, 200, body, warned)
            return
        headers = [
            (b"retry-after", str(verdict.retry_after_seconds).encode()),
            (b"x-gate-reason", reason_of(verdict).encode()),
            (b"x-gate-code", _code(verdict)),
        ]
        await _answer(send, 403, _encode(described(verdict)), headers)

    def decide(self, ask: Ask) -> Verdict:
        """Return the verdict as things stand, or what the configuration says where it can't be told."""
        now = self._clock()
        if not self._is_loaded():
            return gate.untold(ask, self._on_error(), "not_ready")
        try:
            verdict = gate.decide(
                self._pauses(ask),
                ask,
                self._wabas(),
                now,
                lambda number, person: self._is_window_open(number, person, now),
            )
            if verdict.limits:
                wait_seconds = self._rates.take(verdict.limits, now)
                verdict = gate.throttled(verdict, wait_seconds) if wait_seconds else verdict
            if self._usages.is_known and verdict.allow and ask.is_send:
                verdict = self._within_quota(ask, now) or verdict
        except Exception:  # noqa: BLE001 (the gate's own fault must not decide by a 500: the configuration does)
            logs.get().exception("gate_failed")
            return gate.untold(ask, self._on_error(), "gate_failed")
        return verdict

    def _within_quota(self, ask: Ask, now: float) -> Verdict | None:
        """Return the denial of a send for which Meta's quota leaves no room now, None where it does."""
        subject = ask.waba_id or self._wabas().get(ask.phone_number_id, "") or ask.phone_number_id
        slowing = self._usages.slowing(subject, now)
        if slowing is None or self._rates.share(f"{slowing.kind}:{subject}", slowing.share):
            return None
        return gate.used_up(slowing.kind, slowing.share, slowing.retry_after_seconds)

    def _ask(self, scope: Scope) -> Ask:
        """Read the question from the path, the query and a gateway's headers; what can't be read is left unknown."""
        formerly: tuple[str, ...] = ()
        path: str = scope["path"]
        rest = path[len(PATH) + 1 :]
        query: bytes = scope["query_string"]
        asked = told_by(scope["headers"])
        asked.pop("caller", None)
        if query:
            pairs = parse_qsl(query[:_QUERY_MOST].decode("latin-1"))
            asked.update((name, value) for name, value in pairs if name in _KNOWN)
        uri = f"/{rest}" if "/" in rest.rstrip("/") or _is_graph(rest) else _uri(scope).decode("latin-1")
        if rest and not uri.startswith(f"/{rest}"):
            asked["phone_number_id"], uri = rest.rstrip("/"), ""
        for name in ("phone_number_id", "waba_id"):
            if name in asked:
                asked[name] = _id(asked[name].strip())
        if asked.get("recipient"):
            asked.setdefault("country", countries.of(pseudonyms.written(asked["recipient"])))
            asked["recipient"], *older = pseudonyms.recipients(self._hash_keys, asked["recipient"]) or ("",)
            formerly = tuple(older)
        if "category" in asked and (category := asked["category"].lower()) in _CATEGORIES:
            asked["category"] = category
        if not uri:
            return msgspec.convert({**asked, "formerly": formerly}, Ask)
        named = gate.from_uri(uri)
        told = {**asked, "phone_number_id": named.phone_number_id, "formerly": formerly}
        return msgspec.structs.replace(named, **told) if asked else named


def described(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the API shows it."""
    pause = verdict.pause
    if pause is None:
        told: dict[str, Any] = {"allow": verdict.allow, "reason": verdict.reason}
        if verdict.share is not None:
            told["share"] = verdict.share
        return told if verdict.allow else {**told, "retry_after_seconds": verdict.retry_after_seconds}
    shown = {
        "allow": verdict.allow,
        "reason": verdict.reason,
        "key": gate.key_of(pause),
        "keys": _keys(verdict),
        "rule": pause.rule,
        "pause": pause_described(pause),
        "may_release": gate.may_release(pause),
        "others": [_in_short(other) for other in verdict.others],
        "retry_after_seconds": verdict.retry_after_seconds,
    }
    limits = {"per_second": verdict.per_second, "share": verdict.share}
    return {**shown, **{name: value for name, value in limits.items() if value is not None}}


def pause_described(pause: Pause) -> dict[str, Any]:
    """Return a pause as the API shows it: `until` is a time, or who ends it."""
    shown: dict[str, Any] = msgspec.to_builtins(pause)
    open_end = "cleared" if pause.until_cleared else "resumed"
    shown["until"] = open_end if pause.until is None else pause.until
    if pause.asked_scope != pause.scope:
        shown["note"] = f"asked for scope {pause.asked_scope}, whose id the event did not tell"
    return shown


def described_at(pause: Pause, now: float) -> dict[str, Any]:
    """Return a pause as the API shows it, with what it does now: `stage` tells a stop from what lets some through."""
    shown = {**pause_described(pause), "key": gate.key_of(pause), "may_release": gate.may_release(pause)}
    if not is_in_force(pause, now):
        return {**shown, "in_force": False, "stage": "reinstated" if is_reinstated(pause, now) else "over"}
    allowed = limit(pause, now)
    return {**shown, "in_force": True, "stage": "closed" if allowed is None else allowed.name}


def _keys(verdict: Verdict) -> dict[str, str]:
    """Return what each of the keys says: a send needs all of them."""
    pauses = [verdict.pause, *verdict.others] if verdict.pause is not None and not verdict.limits else []
    denying = {gate.key_of(pause) for pause in pauses if pause is not None}
    limiting = {gate.key_of(pause) for pause in verdict.limits}
    return {key: "denies" if key in denying else "limits" if key in limiting else "permits" for key in gate.KEYS}


def _in_short(pause: Pause) -> dict[str, Any]:
    told = pause_described(pause)
    names = ("id", "rule", "scope", "scope_id", "lane", "code", "since", "until")
    return {"key": gate.key_of(pause), **{name: told[name] for name in names}}


def reason_of(verdict: Verdict) -> str:
    """Return a verdict in one line, for a header."""
    pause = verdict.pause
    if pause is None:
        return verdict.reason
    code = "" if pause.code is None else f"; code={pause.code}"
    return f"{verdict.reason}; rule={pause.rule}{code}; pause={pause.id}"


def traceparent(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the W3C traceparent of a request, empty where there is none."""
    return next((value.decode("latin-1") for name, value in headers if name == b"traceparent"), "")


def as_attributes(verdict: Verdict) -> dict[str, str]:
    """Return a verdict as attributes of a span."""
    told = {"whatsapp.gate.decision": "allow" if verdict.allow else "deny", "whatsapp.gate.reason": verdict.reason}
    pause = verdict.pause
    if pause is not None:
        told |= {
            "whatsapp.gate.rule": pause.rule,
            "whatsapp.gate.pause": pause.id,
            "whatsapp.gate.key": gate.key_of(pause),
        }
    return told


def told_by(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return what the application told of a message in headers, which gateways pass on."""
    return {
        known: value[:_QUERY_MOST].decode("latin-1")
        for name, value in headers
        if name.startswith(_TOLD) and value and (known := name[len(_TOLD) :].decode("latin-1")) in _TELLABLE
    }


def _code(verdict: Verdict) -> bytes:
    """Return the code that a gateway may show as Graph's: the one that caused the pause, else that of a block."""
    code = verdict.pause.code if verdict.pause is not None else None
    return str(BLOCKED if code is None else code).encode()


def _wait_seconds(query: bytes) -> float:
    """Return how long the question may be held, 0 where that is not asked for or can't be read."""
    if b"wait=" not in query:
        return 0.0
    asked = dict(parse_qsl(query[:_QUERY_MOST].decode("latin-1"))).get("wait", "")
    try:
        return min(durations.parse(asked), WAIT_MOST_SECONDS)
    except ValueError:
        return 0.0


def _is_graph(rest: str) -> bool:
    """Say whether what follows the gate's path is a Graph path, as Envoy appends it."""
    return rest[:1] == "v" and rest[1:2].isdigit() and "/" in rest


def _id(text: str) -> str:
    """Return an id as Meta writes them, empty for what can't be one: then it may be anybody's."""
    return text if _NUMBER_ID.fullmatch(text) else ""


def _uri(scope: Scope) -> bytes:
    """Return the original request's URI as a gateway tells it; where two tell of different ones, it may be any."""
    told = {bytes(value) for name, value in scope["headers"] if name in _URI_HEADERS}
    return b"" if not told else told.pop() if len(told) == 1 else b"/"


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
