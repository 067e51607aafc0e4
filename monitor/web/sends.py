"""`POST /v1/sends`: an application that does not send through the proxy reports what the Graph API answered."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import countries, pseudonyms, sends
from monitor.pipeline import Pipeline
from monitor.sends import Attempt
from monitor.store.protocol import SEND, Arrival, Store
from monitor.web import answers
from monitor.web.answers import Refusal

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Short = Annotated[str, msgspec.Meta(max_length=512)]


_SENT = {"type": "object", "required": ["id"], "properties": {"id": {"type": ["string", "number"], "minLength": 1}}}
_GRAPH_S = {  # what an answer of Graph's holds: the message's id, or an error
    "anyOf": [
        {"required": ["messages"], "properties": {"messages": {"type": "array", "minItems": 1, "items": _SENT}}},
        {"required": ["error"], "properties": {"error": {"type": "object"}}},
    ]
}


class SendAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A send and Graph's answer to it, as it came."""

    phone_number_id: _Id
    answer: Annotated[dict[str, Any], msgspec.Meta(extra_json_schema=_GRAPH_S)]
    waba_id: _Short = ""
    recipient: _Short = ""
    category: _Short = ""
    template: _Short = ""
    language: _Short = ""
    campaign: _Short = ""
    biz_opaque_callback_data: _Short = ""
    caller: Annotated[str, msgspec.Meta(max_length=100)] = ""


class Sends:
    """The endpoint."""

    def __init__(self, store: Store, pipeline: Pipeline, hash_key: bytes, clock: Callable[[], float]) -> None:
        self._store = store
        self._pipeline = pipeline
        self._hash_key = hash_key
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/v1/sends", answers.guarded(self.report), methods=["POST"])]

    async def report(self, request: Request) -> Response:
        """Journal what became of a send; 202 once that is durable."""
        ask = await answers.read(request, SendAsk)
        now = self._clock()
        attempt = Attempt(
            ask.phone_number_id,
            ask.waba_id or self._pipeline.memory.wabas.get(ask.phone_number_id, ""),
            pseudonyms.recipient(self._hash_key, ask.recipient),
            ask.category.lower(),
            ask.template,
            ask.language,
            ask.campaign,
            ask.biz_opaque_callback_data,
            countries.of(pseudonyms.written(ask.recipient)),
            ask.caller,
        )
        if sends.is_own(ask.answer):
            return answers.json({"position": None, "ignored": "the proxy's own refusal"}, 200)
        event = sends.event(attempt, ask.answer, now)
        if event is None:
            raise Refusal(422, "invalid", "answer: neither `messages` with an id nor an `error`, as Graph writes them")
        position = await self._store.append(Arrival(SEND, now, msgspec.json.encode(event)))
        self._pipeline.wake()
        return answers.json({"position": position}, 202)
