"""`GET /v1/events`: the feed as server-sent events, and what its followers say of how far they are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import feed
from monitor.feed import Feed
from monitor.pipeline import Pipeline
from monitor.store.protocol import Store
from monitor.web import answers
from monitor.web.answers import Refusal
from monitor.web.asks import positive

HEARTBEAT_SECONDS, HEARTBEAT_LEAST_SECONDS = 5.0, 1.0
FOLLOWERS_MOST = 1_000
RETRY = b"retry: 500\n\n"  # how soon a browser comes back, in milliseconds
CATCH_UP_ENTRIES = 200
SEND_SECONDS = 10.0  # a follower that takes nothing for so long is let go
_NAME = 100


class SeenAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A follower says that it has taken up a position."""

    follower: Annotated[str, msgspec.Meta(min_length=1, max_length=_NAME)]
    position: int


class Events:
    """The endpoints below /v1/events and /v1/followers."""

    def __init__(self, hub: Feed, store: Store, pipeline: Pipeline, *, observe_seen: Callable[[float], None]) -> None:
        self._feed = hub
        self._store = store
        self._pipeline = pipeline
        self._observe_seen = observe_seen

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/events", answers.guarded(self.events), methods=["GET"]),
            Route("/v1/events/seen", answers.guarded(self.seen), methods=["POST"]),
            Route("/v1/followers", answers.guarded(self.followers), methods=["GET"]),
        ]

    async def events(self, request: Request) -> Response:
        """Stream what changes from now on, after how it stands; or what came after `Last-Event-ID`."""
        asked = request.query_params
        names = frozenset(asked["events"].split(",")) if asked.get("events") else feed.USUAL
        if unknown := sorted(names - feed.ALL):
            raise Refusal(422, "invalid", f"events: {', '.join(unknown)}: not among {', '.join(sorted(feed.ALL))}")
        heartbeat_seconds = positive(asked["heartbeat"], "heartbeat") if "heartbeat" in asked else HEARTBEAT_SECONDS
        if heartbeat_seconds < HEARTBEAT_LEAST_SECONDS:
            raise Refusal(422, "invalid", f"heartbeat: at least {HEARTBEAT_LEAST_SECONDS:g}s")
        if len(self._feed.followers) >= FOLLOWERS_MOST:
            raise Refusal(503, "too_many_followers", f"{FOLLOWERS_MOST} streams are open")
        if not self._pipeline.is_loaded:
            raise Refusal(503, "not_ready", "what stands is not loaded yet")
        peer = request.client.host if request.client is not None else ""
        last = request.headers.get("last-event-id", asked.get("after", ""))
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else None
        stream = self._stream(asked.get("follower", peer)[:_NAME], names, after, heartbeat_seconds)
        return EventSourceResponse(stream, ping=0, send_timeout=SEND_SECONDS)

    async def seen(self, request: Request) -> Response:
        """Note how far a follower is; `seconds` since that was committed."""
        ask = await answers.read(request, SeenAsk)
        seconds = self._feed.seen(ask.follower, ask.position)
        if seconds is not None:
            self._observe_seen(seconds)
        return answers.json({"seconds": seconds})

    async def followers(self, _: Request) -> Response:
        """List the open streams."""
        return answers.json({"followers": feed.shown(self._feed.followers)})

    async def _stream(
        self, name: str, names: frozenset[str], after: int | None, heartbeat_seconds: float
    ) -> AsyncIterator[bytes]:
        hub = self._feed
        follower = hub.follow(name, names)
        begun_at = hub.position
        try:
            missed = after if after is not None and not names.isdisjoint(feed.OF_JOURNAL) else begun_at
            changed = None if after is None else hub.since(after, names)
            yield RETRY + (hub.snapshot(is_whole=missed >= begun_at) if changed is None else changed)
            if missed < begun_at:
                async for block in self._journaled(missed, begun_at, names):
                    yield block
            yield hub.heartbeat(follower)
            while True:
                try:
                    async with asyncio.timeout(heartbeat_seconds):
                        given = await follower.blocks.get()
                except TimeoutError:
                    yield hub.heartbeat(follower)
                    continue
                if given is None:
                    return
                position, block = given
                if position > begun_at:
                    yield block
                    follower.sent_position = position
        finally:
            hub.leave(follower)

    async def _journaled(self, after: int, until: int, names: frozenset[str]) -> AsyncIterator[bytes]:
        """Yield what the journal holds of a stretch that a follower has missed, entry by entry."""
        while after < until:
            entries = await self._store.read(after, CATCH_UP_ENTRIES)
            for entry in entries:
                if entry.position <= until:
                    block = feed.written(feed.of_events(self._pipeline.events(entry), names), entry.position)
                    if block:
                        yield block
            if not entries:
                return
            after = entries[-1].position
            await asyncio.sleep(0)
