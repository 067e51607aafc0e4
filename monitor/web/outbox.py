"""The outbox over HTTP: what waits, what a destination refused for good, and having that tried again."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.events import OutboxRetried
from monitor.pipeline import Pipeline
from monitor.store.protocol import OutboxRow, Store
from monitor.web import answers
from monitor.web.acts import Acts
from monitor.web.answers import Refusal, guarded
from monitor.web.asks import Signed, Text

STATES = ("pending", "dead")


class RetryAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Try again all that one destination, or each, has refused for good."""

    actor: Text
    reason: Text
    destination: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Outbox:
    """The endpoints below /v1/outbox."""

    def __init__(
        self, store: Store, pipeline: Pipeline, clock: Callable[[], float], *, retried: Callable[[], None]
    ) -> None:
        self._store = store
        self._acts = Acts(store, pipeline, clock)
        self._retried = retried

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/outbox", guarded(self.rows), methods=["GET"]),
            Route("/v1/outbox/retry", guarded(self.retry_all), methods=["POST"]),
            Route("/v1/outbox/{row_id:int}", guarded(self.row), methods=["GET"]),
            Route("/v1/outbox/{row_id:int}/retry", guarded(self.retry), methods=["POST"]),
        ]

    async def rows(self, request: Request) -> Response:
        """List what has not been delivered, newest first; `state=dead` is what was refused for good."""
        state = answers.one_of(request, "state", STATES)
        destination = request.query_params.get("destination", "")
        found = await self._store.outbox(*answers.paging(request), state=state, destination=destination)
        return answers.page("rows", found)

    async def row(self, request: Request) -> Response:
        """Return one row, with how large the forwarded body is, or what the alert says."""
        found = await self._known(request)
        told: dict[str, Any] = msgspec.to_builtins(found)
        if found.kind == "forward":
            entry = await self._store.entry(int(found.reference))
            told["received_at"], told["bytes"] = (entry.received_at, len(entry.body)) if entry else (None, None)
        elif found.kind != "firing":
            told["alert"] = msgspec.to_builtins(await self._store.alert(found.reference.partition("#")[0]))
        return answers.json({"row": told})

    async def retry(self, request: Request) -> Response:
        """Try one row again; 409 where it was not refused for good."""
        ask = await answers.read(request, Signed)
        found = await self._known(request)
        if found.state != "dead":
            raise Refusal(409, "not_dead", f"row {found.id} is {found.state}")
        await self._acts.enact(OutboxRetried(ask.actor, ask.reason, found.id))
        self._retried()
        return answers.json({"row": await self._store.outbox_row(found.id)})

    async def retry_all(self, request: Request) -> Response:
        """Try all again that one destination, or each, has refused for good."""
        ask = await answers.read(request, RetryAsk)
        before = await self._store.backlog()
        counted = {name: one.dead for name, one in before.items() if one.dead and ask.destination in {name, ""}}
        if not counted:
            raise Refusal(409, "none_dead", "nothing was refused for good")
        await self._acts.enact(OutboxRetried(ask.actor, ask.reason, 0, ask.destination))
        self._retried()
        return answers.json({"retried": counted})

    async def _known(self, request: Request) -> OutboxRow:
        row_id: int = request.path_params["row_id"]
        found = await self._store.outbox_row(row_id) if row_id < 2**62 else None
        if found is None:
            raise Refusal(404, "unknown_row", f"there is no row {row_id}: it was delivered, or never was")
        return found
