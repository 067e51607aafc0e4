"""`POST /v1/people/forget`: a person erased everywhere: messages, what stands, and Meta's own bytes in the journal."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import logs, pseudonyms
from monitor.events import PersonForgotten
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.acts import Acts
from monitor.web.asks import ForgetAsk


class People:
    """The endpoint."""

    def __init__(
        self, store: Store, pipeline: Pipeline, hash_keys: Sequence[bytes], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._acts = Acts(store, pipeline, clock)
        self._hash_keys = hash_keys

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/v1/people/forget", answers.guarded(self.forget), methods=["POST"])]

    async def forget(self, request: Request) -> Response:
        """Erase a person; entries that still wait to be forwarded are left, and counted as `waiting`."""
        ask = await answers.read(request, ForgetAsk)
        erasing = await self._store.erase(pseudonyms.written(ask.recipient))
        hashes = [one for named in sorted(erasing.ids) for one in pseudonyms.recipients(self._hash_keys, named)]
        people = dict.fromkeys(one for known in (await self._store.people(hashes)).values() for one in known)
        await self._acts.enact(PersonForgotten(ask.actor, ask.reason, tuple(people)))
        await self._store.shred()
        logs.get().info("person_forgotten", actor=ask.actor, entries=erasing.entries, waiting=erasing.waiting)
        return answers.json({"entries": erasing.entries, "waiting": erasing.waiting})
