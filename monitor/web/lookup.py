"""The search: a message by its wamid, or a person's messages by a number that goes no further than the hash of it."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import pseudonyms
from monitor.messages import Message
from monitor.store.protocol import Store
from monitor.web.asks import AskError
from monitor.web.forms import Forms, fields_of

MESSAGES_SHOWN = 50
WANTED_MOST = 512
_WAMID = "wamid."


class Found(msgspec.Struct, frozen=True):
    """A message and the trace that it is exported as."""

    message: Message
    trace_id: str


class Lookup:
    """The endpoint: by POST, so that what is looked for stands in no URL, no history and no log."""

    def __init__(self, store: Store, pages: Forms, hash_keys: Sequence[bytes]) -> None:
        self._store = store
        self._forms = pages
        self._hash_keys = hash_keys

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route("/search", self._forms.guarded(self.search), methods=["POST"])]

    async def search(self, request: Request) -> Response:
        """Show what is known; it changes nothing, so that it needs no mark. A number is not shown again."""
        wanted = (await fields_of(request)).get("wanted", "")
        if not wanted:
            raise AskError("Give a message id (wamid…), a phone number or a business-scoped user id.")
        if len(wanted) > WANTED_MOST:
            raise AskError(f"That is no message id and no number: at most {WANTED_MOST} characters.")
        messages = list((await self._store.messages([wanted])).values())
        person = ""
        if not messages and not wanted.startswith(_WAMID):
            hashes = pseudonyms.recipients(self._hash_keys, wanted)
            person = next(iter(hashes), "")
            people = [one for known in (await self._store.people(hashes)).values() for one in known] or [""]
            messages = (await self._store.recent_messages("", MESSAGES_SHOWN, people=people, state="")).items
        found = [Found(one, f"{pseudonyms.trace_id(self._hash_keys[0], one.wamid):032x}") for one in messages]
        values = {"found": found, "person": person, "most": MESSAGES_SHOWN}
        return self._forms.shown(request, "found.html", values)
