"""The internal listener's application: gate first, everything else through Starlette's router."""

import asyncio
import functools
import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol
from urllib.parse import urlsplit

import jinja2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor import countries, gate, pseudonyms, sends, standing
from monitor.actions import Pause
from monitor.attempts import Attempts
from monitor.config import Loaded
from monitor.deadlines import Deadlines
from monitor.document import Mistake
from monitor.events import Send as SendEvent
from monitor.exposition import Page
from monitor.feed import Feed
from monitor.gate import Ask
from monitor.hour import Hour
from monitor.metrics import Metrics
from monitor.pipeline import Pipeline
from monitor.receive import Receive, Scope, Send
from monitor.sends import Attempt
from monitor.store.protocol import SEND, Arrival, Store
from monitor.traces import Traces
from monitor.upstream import Headers, Upstream
from monitor.usages import ACCOUNT, Usages
from monitor.web import answers, openapi
from monitor.web.access import Access
from monitor.web.acts import Acts
from monitor.web.alertmanager import Alertmanager
from monitor.web.api import Api
from monitor.web.board import Board
from monitor.web.campaigns import Campaigns
from monitor.web.credentials import Credentials
from monitor.web.desk import Desk
from monitor.web.drills import Drills
from monitor.web.events import Events
from monitor.web.forms import Forms
from monitor.web.gate import PATH as GATE_PATH
from monitor.web.gate import GateEndpoint
from monitor.web.idempotency import FirstAnswers
from monitor.web.login import Login
from monitor.web.lookup import Lookup
from monitor.web.outbox import Outbox
from monitor.web.page import StatusPage
from monitor.web.people import People
from monitor.web.proxy import PATH as PROXY_PATH
from monitor.web.proxy import Proxy, Target
from monitor.web.rules import Rules
from monitor.web.sends import Sends
from monitor.web.sessions import Sessions

CALLER_MOST = 100
EARLY = frozenset({"/-/healthy", "/-/ready", "/metrics"})  # what is answered, beside the gate, while it starts
NAMES_MOST = 50  # `name[]` values of one scrape
GZIP_LEVEL = 5


class Wakeful(Protocol):
    """What can be told that there is work."""

    def wake(self) -> None:
        """Say that rows may wait."""
        ...


class Parts(Protocol):
    """What the internal listener shows and steers."""

    loaded: Loaded
    metrics: Metrics
    page: Page
    pipeline: Pipeline
    deadlines: Deadlines
    rendering: Executor
    upstream: Upstream
    feed: Feed
    traces: Traces | None
    hour: Hour
    board: Board
    usages: Usages
    templates: jinja2.Environment

    @property
    def clock(self) -> Callable[[], float]:
        """The time in Unix seconds."""
        ...

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def outbox(self) -> Wakeful:
        """What must leave."""
        ...

    @property
    def is_started(self) -> bool:
        """Whether what stands is loaded, and all that runs has begun."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come."""
        ...

    async def reload(self, *, is_loosening_acknowledged: bool = False) -> Sequence[Mistake]:
        """Take up changed files; return what is wrong with them."""
        ...

    async def refresh(self) -> None:
        """Prepare a scrape."""
        ...


def internal(parts: Parts, hash_keys: Sequence[bytes]) -> Access:
    """Return the ASGI application."""
    known = Credentials(lambda: parts.loaded.granted)
    sessions = Sessions(hash_keys[0], known.granted, parts.clock)
    attempts = Attempts(parts.clock, lambda outcome: parts.metrics.logins_failed.of(outcome).inc())
    router = _router(parts, sessions, known, attempts, hash_keys)
    endpoint = _gate(parts, hash_keys)
    proxy = _proxy(parts, endpoint, hash_keys)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(f"{PROXY_PATH}/"):
            await proxy(scope, receive, send)
            return
        if path.startswith(GATE_PATH) and (len(path) == len(GATE_PATH) or path[len(GATE_PATH)] == "/"):
            await endpoint(scope, receive, send)
            return
        if not parts.is_started and path not in EARLY:
            told = {"error": "not_ready", "message": "what stands is not loaded yet"}
            await JSONResponse(told, 503, {"Retry-After": "1"})(scope, receive, send)
            return
        await router(scope, receive, send)

    def hosts() -> set[str]:
        loaded = parts.loaded.config
        return {(urlsplit(loaded.alerts.external_url).hostname or "").lower(), *map(str.lower, loaded.web.hosts)}

    return Access(route, known, hosts, sessions, attempts)


def _router(
    parts: Parts, sessions: Sessions, known: Credentials, attempts: Attempts, hash_keys: Sequence[bytes]
) -> Starlette:
    """Return everything but the gate and the proxy."""
    own = _Own(parts)
    acts = Acts(parts.store, parts.pipeline, parts.clock)
    routes = [
        *_pages(parts, acts, sessions, known, attempts, hash_keys),
        Route("/metrics", own.metrics),
        Route("/-/healthy", own.healthy),
        Route("/-/ready", own.ready),
        Route("/-/reload", own.reload, methods=["POST", "PUT"]),
        *Api(parts.store, parts.pipeline, acts, hash_keys, parts.clock).routes(),
        *Campaigns(parts.store, parts.clock).routes(),
        *Rules(parts.store, parts.pipeline, parts.clock).routes(),
        *Sends(parts.store, parts.pipeline, hash_keys[0], parts.clock).routes(),
        *Events(
            parts.feed, parts.store, parts.pipeline, observe_seen=parts.metrics.follower_seconds.of().observe
        ).routes(),
        *Outbox(parts.store, parts.pipeline, parts.clock, retried=lambda: parts.outbox.wake()).routes(),
        *Alertmanager(parts.store, parts.pipeline, parts.clock, lambda: bool(parts.loaded.granted)).routes(),
        *Drills(parts.store, parts.pipeline, parts.clock).routes(),
        *People(parts.store, parts.pipeline, hash_keys, parts.clock).routes(),
    ]
    described = openapi.route(routes, lambda: bool(parts.loaded.granted))
    return Starlette(routes=[*routes, described], exception_handlers={404: answers.no_route, 405: answers.no_route})


def _pages(
    parts: Parts, acts: Acts, sessions: Sessions, known: Credentials, attempts: Attempts, hash_keys: Sequence[bytes]
) -> list[Route]:
    """Return what people see in a browser."""
    pages = Forms(
        parts.templates,
        sessions,
        parts.clock,
        is_secure=lambda: parts.loaded.config.alerts.external_url.startswith("https:"),
    )
    return [
        *StatusPage(parts.board, parts.templates, pages, parts.clock).routes(),
        *Desk(parts.store, parts.pipeline, acts, pages, parts.clock).routes(),
        *Lookup(parts.store, pages, hash_keys).routes(),
        *Login(pages, known, attempts).routes(),
    ]


def _gate(parts: Parts, hash_keys: Sequence[bytes]) -> GateEndpoint:
    """Return the gate over what stands."""

    def pauses(ask: Ask) -> Iterable[Pause]:
        stands = parts.pipeline.standing
        return standing.concerning(stands, gate.narrow(ask)) if stands.narrow else stands.wide.values()

    def count(verdict: str, reason: str) -> None:
        parts.metrics.gate_checks.of(verdict, reason, "check").inc()
        if verdict == "deny":
            parts.hour.refused()

    memory = parts.pipeline.memory
    return GateEndpoint(
        pauses,
        lambda: memory.wabas,
        memory.conversations.is_open,
        hash_keys,
        usages=parts.usages,
        is_loaded=lambda: parts.pipeline.is_loaded,
        on_error=lambda: parts.loaded.config.gate.on_error.model_dump(),
        clock=parts.clock,
        count=count,
        traces=parts.traces,
    )


def _attempt(
    wabas: Mapping[str, str],
    hash_keys: Sequence[bytes],
    phone_number_id: str,
    told: Mapping[str, str],
    body: Any,
    peer: str,
) -> tuple[Ask, Attempt]:
    """Return what a send asks of the gate, and what is remembered of it, by its body and what its caller tells."""
    content = sends.content(body)
    person = pseudonyms.written(told.get("recipient") or content.recipient)
    waba_id = wabas.get(phone_number_id, "")
    recipient, *formerly = pseudonyms.recipients(hash_keys, person) or ("",)
    country = told.get("country") or countries.of(person)
    category, campaign = told.get("category", "").lower(), told.get("campaign", "")
    template = content.template or told.get("template", "")
    kind = told.get("kind") or ("template" if content.kind == "template" else "free_form" if content.kind else "")
    language = content.language or told.get("language", "")
    is_send = not sends.is_receipt(body)
    ask = Ask(
        phone_number_id, waba_id, category, template, recipient, kind, country, campaign, language, is_send,
        tuple(formerly),
    )  # fmt: skip
    return ask, Attempt(
        phone_number_id, waba_id, recipient, category, template, content.language, campaign,
        content.callback_data, country, (told.get("caller") or peer)[:CALLER_MOST],
    )  # fmt: skip


def _proxy(parts: Parts, endpoint: GateEndpoint, hash_keys: Sequence[bytes]) -> Proxy:
    """Return the egress proxy over the same gate."""

    def target() -> Target:
        graph = parts.loaded.config.graph
        found = graph.duplicates
        return Target(graph.url, graph.timeout, graph.connect_timeout, graph.mark_sends, found.mode, found.within)

    async def learn(event: SendEvent) -> None:
        await parts.store.append(Arrival(SEND, parts.clock(), msgspec.json.encode(event)))
        parts.pipeline.wake()

    def learn_usage(attempt: Attempt, headers: Headers) -> None:
        subject = attempt.waba_id or attempt.phone_number_id
        for kind, percent in parts.usages.learn(subject, headers, parts.clock()):
            waba_id, _ = parts.metrics.sender(attempt.waba_id if kind == ACCOUNT else "", "")
            parts.metrics.graph_usage.of(waba_id, kind).set(percent / 100.0)

    def count_send(phone_number_id: str, outcome: str) -> None:
        known = parts.metrics.bounded("phone_number_id", phone_number_id, parts.metrics.caps.numbers)
        parts.metrics.sends.of(known, outcome).inc()

    def count_verdict(verdict: str, reason: str) -> None:
        parts.metrics.gate_checks.of(verdict, reason, "proxy").inc()
        if verdict == "deny":
            parts.hour.refused()

    return Proxy(
        parts.upstream,
        target=target,
        decide=endpoint.decide,
        attempt=functools.partial(_attempt, parts.pipeline.memory.wabas, hash_keys),
        learn=learn,
        learn_usage=learn_usage,
        clock=parts.clock,
        deadlines=parts.deadlines,
        first=FirstAnswers(
            parts.store.first_answer,
            lambda one: parts.store.keep_answer(one, parts.clock()),
            parts.store.drop_answer,
            hash_keys,
        ),
        count_send=count_send,
        count_verdict=count_verdict,
        traces=parts.traces,
    )


class _Own:
    """What the process tells of itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def metrics(self, request: Request) -> Response:
        """Answer a scrape in the format that was asked for; written on a thread of its own."""
        parts = self._parts
        names = tuple(sorted(set(request.query_params.getlist("name[]"))))
        if len(names) > NAMES_MOST:
            return PlainTextResponse(f"at most {NAMES_MOST} names\n", 400)
        await parts.refresh()
        accept = request.headers.get("accept", "")
        loop = asyncio.get_running_loop()
        body, content_type = await loop.run_in_executor(parts.rendering, parts.page.text, accept, names)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = await loop.run_in_executor(parts.rendering, gzip.compress, body, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers={**headers, "Content-Type": content_type})

    async def healthy(self, _: Request) -> Response:
        """Answer that the process runs."""
        return PlainTextResponse("WhatsApp monitor is healthy.\n")

    async def ready(self, _: Request) -> Response:
        """Answer whether traffic should come."""
        if self._parts.is_ready:
            return PlainTextResponse("WhatsApp monitor is ready.\n")
        return PlainTextResponse("WhatsApp monitor is not ready.\n", 503)

    async def reload(self, request: Request) -> Response:
        """Reload configuration and rules; the old ones stay on error, or where others would stop less unasked."""
        asked = request.query_params
        is_acknowledged = "true" in {asked.get("acknowledge_loosening"), asked.get("acknowledge-loosening")}
        mistakes = await self._parts.reload(is_loosening_acknowledged=is_acknowledged)
        if mistakes:
            shown: list[Any] = [str(mistake) for mistake in mistakes]
            return JSONResponse({"error": "reload_failed", "mistakes": shown}, 500)
        return answers.json({"reloaded": True})
