"""The v1 API: what stands and what happened, and the writes of operators and workers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import pseudonyms
from monitor.actions import Pause, is_in_force
from monitor.events import (
    FlagResolved,
    OperatorAct,
    PausePlaced,
    PauseReleased,
    ResendsClaimed,
    ResendSettled,
)
from monitor.messages import Message
from monitor.pipeline import Pipeline
from monitor.store.protocol import OPERATOR, Arrival, Page, Store, StoreUnavailableError
from monitor.web.asks import AckAsk, AskError, ClaimAsk, PauseAsk, Signed, end_of, positive, scope_of
from monitor.web.gate import pause_described

PAGE_MOST = 1000
PAGE_USUAL = 100
BODY_BYTES_MOST = 64 * 1024
EFFECT_SECONDS = 5.0
_encode = msgspec.json.Encoder(enc_hook=str).encode
_T = TypeVar("_T")
Endpoint = Callable[[Request], Awaitable[Response]]


class Refusal(Exception):
    """The answer is an error: a status and one snake_case word, with a sentence for people."""

    def __init__(self, status: int, error: str, message: str) -> None:
        self.status = status
        self.error = error
        self.message = message
        super().__init__(message)


class Api:
    """The endpoints over one store and pipeline."""

    def __init__(self, store: Store, pipeline: Pipeline, hash_key: bytes, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._hash_key = hash_key
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes below /v1, gate excepted."""
        return [
            Route("/v1/pauses", _guarded(self.pauses), methods=["GET"]),
            Route("/v1/pauses", _guarded(self.place_pause), methods=["POST"]),
            Route("/v1/pauses/{pause_id}/resume", _guarded(self.resume), methods=["POST"]),
            Route("/v1/flags", _guarded(self.flags), methods=["GET"]),
            Route("/v1/flags/{flag_id}/resolve", _guarded(self.resolve_flag), methods=["POST"]),
            Route("/v1/resends", _guarded(self.resends), methods=["GET"]),
            Route("/v1/resends/claim", _guarded(self.claim_resends), methods=["POST"]),
            Route("/v1/resends/{resend_id}/ack", _guarded(self.settle_resend), methods=["POST"]),
            Route("/v1/messages", _guarded(self.messages), methods=["GET"]),
            Route("/v1/messages/{wamid:path}", _guarded(self.message), methods=["GET"]),
            Route("/v1/audit", _guarded(self.audit), methods=["GET"]),
        ]

    async def pauses(self, request: Request) -> Response:
        """List pauses, newest first; those in force unless `all=true`."""
        active_at = None if request.query_params.get("all") == "true" else self._clock()
        page = await self._store.pauses(*_paging(request), active_at=active_at)
        return _page("pauses", page, self._shown_pause)

    async def place_pause(self, request: Request) -> Response:
        """Pause a scope; answers once it is in force."""
        ask = await _read(request, PauseAsk)
        scope, scope_id = scope_of(ask)
        if scope == "recipient":
            scope_id = pseudonyms.recipient(self._hash_key, scope_id.lstrip("+"))
        act = PausePlaced(ask.actor, ask.reason, scope, scope_id, ask.lane, end_of(ask, self._clock()))
        position = await self._enact(act)
        pause = await self._store.pause(f"p{position}-0")
        return _json({"pause": self._shown_pause(pause)} if pause else {}, 201)

    async def resume(self, request: Request) -> Response:
        """Release a pause; 409 where it is over already."""
        ask = await _read(request, Signed)
        pause_id = request.path_params["pause_id"]
        pause = await self._store.pause(pause_id)
        if pause is None:
            raise Refusal(404, "unknown_pause", f"there is no pause {pause_id}")
        if not is_in_force(pause, self._clock()):
            raise Refusal(409, "not_in_force", f"pause {pause_id} is over")
        await self._enact(PauseReleased(ask.actor, ask.reason, pause_id))
        released = await self._store.pause(pause_id)
        return _json({"pause": self._shown_pause(released)} if released else {})

    async def flags(self, request: Request) -> Response:
        """List flags, newest first; `open=true` or `open=false` narrows."""
        asked = request.query_params.get("open")
        is_open = {"true": True, "false": False}.get(asked or "")
        return _page("flags", await self._store.flags(*_paging(request), is_open=is_open))

    async def resolve_flag(self, request: Request) -> Response:
        """Close a flag; 409 where it is closed already."""
        ask = await _read(request, Signed)
        flag_id = request.path_params["flag_id"]
        flag = await self._store.flag(flag_id)
        if flag is None:
            raise Refusal(404, "unknown_flag", f"there is no flag {flag_id}")
        if flag.resolved_at is not None:
            raise Refusal(409, "resolved_already", f"flag {flag_id} was resolved by {flag.resolved_by}")
        await self._enact(FlagResolved(ask.actor, ask.reason, flag_id))
        return _json({"flag": await self._store.flag(flag_id)})

    async def resends(self, request: Request) -> Response:
        """List resends, newest first; `state=pending` and so on narrows."""
        state = request.query_params.get("state", "")
        return _page("resends", await self._store.resends(*_paging(request), state=state))

    async def claim_resends(self, request: Request) -> Response:
        """Hand resends that are due to one worker, for the length of a lease."""
        ask = await _read(request, ClaimAsk)
        now = self._clock()
        lease_until = now + positive(ask.lease, "lease")
        due = tuple(resend.id for resend in await self._store.due_resends(now, ask.limit))
        if not due:
            return _json({"resends": []})
        position = await self._enact(ResendsClaimed(ask.actor, due, lease_until))
        found = [await self._store.resend(resend_id) for resend_id in due]
        return _json({"resends": [resend for resend in found if resend and resend.claim == str(position)]})

    async def settle_resend(self, request: Request) -> Response:
        """Take a worker's word on a resend; 409 where it was settled before."""
        ask = await _read(request, AckAsk)
        resend_id = request.path_params["resend_id"]
        resend = await self._store.resend(resend_id)
        if resend is None:
            raise Refusal(404, "unknown_resend", f"there is no resend {resend_id}")
        if resend.state not in {"pending", "claimed"}:
            raise Refusal(409, "settled_already", f"resend {resend_id} is {resend.state}")
        await self._enact(ResendSettled(ask.actor, ask.reason, resend_id, ask.outcome))
        return _json({"resend": await self._store.resend(resend_id)})

    async def messages(self, request: Request) -> Response:
        """List messages, newest first; `recipient` takes a number and is hashed here."""
        number = request.query_params.get("recipient", "").lstrip("+ ")
        recipient = pseudonyms.recipient(self._hash_key, number)
        state = request.query_params.get("state", "")
        page = await self._store.recent_messages(*_paging(request), recipient=recipient, state=state)
        return _page("messages", page, _shown_message)

    async def message(self, request: Request) -> Response:
        """Return one message and its timeline."""
        wamid = request.path_params["wamid"]
        found = await self._store.messages([wamid])
        if wamid not in found:
            raise Refusal(404, "unknown_message", "no status of this message was received, or it is past retention")
        return _json(_shown_message(found[wamid]))

    async def audit(self, request: Request) -> Response:
        """List who did what, newest first."""
        return _page("audit", await self._store.audit(*_paging(request)))

    def _shown_pause(self, pause: Pause) -> dict[str, Any]:
        return {**pause_described(pause), "in_force": is_in_force(pause, self._clock())}

    async def _enact(self, act: OperatorAct) -> int:
        """Journal an act and wait until it has taken effect; return its position."""
        try:
            position = await self._store.append(Arrival(OPERATOR, self._clock(), msgspec.json.encode(act)))
            if position is None:
                raise Refusal(500, "not_journaled", "an operator's act was taken for a copy")
            self._pipeline.wake()
            async with asyncio.timeout(EFFECT_SECONDS):
                await self._pipeline.reach(position)
        except StoreUnavailableError as error:
            raise Refusal(503, "journal_unavailable", str(error)) from None
        except TimeoutError:
            raise Refusal(503, "pipeline_late", "journaled, but not yet in force; see /metrics for the lag") from None
        return position


def _guarded(endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return _json({"error": refusal.error, "message": refusal.message}, refusal.status)
        except AskError as error:
            return _json({"error": "invalid", "message": str(error)}, 422)
        except StoreUnavailableError as error:
            return _json({"error": "journal_unavailable", "message": str(error)}, 503)

    return guarded


async def _read(request: Request, kind: type[_T]) -> _T:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refusal(415, "not_json", "Content-Type must be application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MOST:
            raise Refusal(413, "too_large", f"at most {BODY_BYTES_MOST} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, "invalid", str(error)) from None


def _paging(request: Request) -> tuple[str, int]:
    limit = request.query_params.get("limit", "")
    most = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 6 else PAGE_USUAL
    return request.query_params.get("cursor", ""), max(1, min(most, PAGE_MOST))


def _shown_message(message: Message) -> dict[str, Any]:
    return {
        "wamid": message.wamid,
        "state": message.state,
        "direction": message.direction,
        "waba_id": message.waba_id,
        "phone_number_id": message.phone_number_id,
        "recipient": message.recipient,
        "category": message.category,
        "biz_opaque_callback_data": message.callback_data,
        "timeline": [
            {
                "status": step.status,
                "timestamp": step.occurred_at,
                "received_at": step.received_at,
                "codes": step.codes,
            }
            for step in sorted(message.steps, key=lambda step: (step.occurred_at, step.received_at))
        ],
    }


def _page(name: str, page: Page, shown: Callable[[Any], Any] = lambda item: item) -> Response:
    return _json({name: [shown(item) for item in page.items], "next_cursor": page.next_cursor})


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")
