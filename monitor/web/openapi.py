"""`GET /openapi.json`: what the internal listener answers, for programs; made from the routes themselves."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import __version__, durations, gate, messages, resends
from monitor.web import answers, outbox
from monitor.web.access import is_open, is_page
from monitor.web.alertmanager import Notification
from monitor.web.asks import PAUSED, RESUMED, AckAsk, ClaimAsk, ForgetAsk, PauseAsk, ResumeAsk, Signed
from monitor.web.drills import DrillAsk
from monitor.web.events import SeenAsk
from monitor.web.outbox import RetryAsk
from monitor.web.sends import SendAsk

PATH = "/openapi.json"
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/pauses"): Annotated[PauseAsk, msgspec.Meta(extra_json_schema=PAUSED)],
    ("POST", "/v1/pauses/{pause_id}/resume"): Annotated[ResumeAsk, msgspec.Meta(extra_json_schema=RESUMED)],
    ("POST", "/v1/flags/{flag_id}/resolve"): Signed,
    ("POST", "/v1/resends/claim"): ClaimAsk,
    ("POST", "/v1/resends/{resend_id}/ack"): AckAsk,
    ("POST", "/v1/incidents/{incident_id}/close"): Signed,
    ("POST", "/v1/outbox/{row_id}/retry"): Signed,
    ("POST", "/v1/outbox/retry"): RetryAsk,
    ("POST", "/v1/people/forget"): ForgetAsk,
    ("POST", "/v1/sends"): SendAsk,
    ("POST", "/v1/drills"): DrillAsk,
    ("POST", "/v1/events/seen"): SeenAsk,
    ("POST", "/v1/alertmanager"): Notification,
}
_UNENGAGED = "/v1/campaigns/{campaign}/unengaged"
_PAGED = ("limit", "cursor")
QUERIES: dict[str, Sequence[str]] = {
    "/v1/pauses": ("all", *_PAGED),
    "/v1/flags": ("open", *_PAGED),
    "/v1/resends": ("state", *_PAGED),
    "/v1/messages": ("recipient", "state", *_PAGED),
    "/v1/incidents": _PAGED,
    "/v1/audit": _PAGED,
    "/v1/firings": ("live", *_PAGED),
    "/v1/campaigns": _PAGED,
    _UNENGAGED: ("after", "keys", *_PAGED),
    "/v1/outbox": ("state", "destination", *_PAGED),
    "/v1/events": ("events", "follower", "heartbeat", "after"),
    "/-/reload": ("acknowledge_loosening",),
    "/metrics": ("name[]",),
}
_ASKED = sorted(field for field in gate.Ask.__struct_fields__ if field not in {"is_send", "formerly"})
_PAGES = frozenset({"/login", "/live", "/static/{name}", PATH})
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_TEXT: dict[str, Any] = {"type": "string"}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": answers.LIMIT_MOST}
_YES_OR_NO = {"enum": ["", *answers.YES_OR_NO]}
_VALUES: dict[tuple[str, str], dict[str, Any]] = {
    ("/v1/outbox", "state"): {"enum": ["", *outbox.STATES]},
    ("/v1/resends", "state"): {"enum": ["", *resends.STATES]},
    ("/v1/messages", "state"): {"enum": ["", *messages.STATES]},
    ("/v1/pauses", "all"): _YES_OR_NO,
    ("/v1/flags", "open"): _YES_OR_NO,
    ("/v1/firings", "live"): _YES_OR_NO,
    (_UNENGAGED, "keys"): _YES_OR_NO,
    (_UNENGAGED, "after"): {"type": "string", "pattern": durations.POSITIVE, "maxLength": 32},
}
_SECURITY: list[dict[str, list[str]]] = [{"token": []}, {"user": []}]
_ANSWERS = {
    "2XX": {"description": "Done."},
    "4XX": {
        "description": "Refused, with a word and a sentence; 401 without a token, 403 where its role does not suffice.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refused"}}},
    },
    "503": {"description": "The store can't be written to now."},
}
_REFUSED = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error"],
}


def route(routes: Sequence[Route], is_guarded: Callable[[], bool]) -> Route:
    """Return the route that describes the others; `is_guarded` says whether one must say who one is."""
    described = document(routes)

    async def told(_: Request) -> Response:
        """Describe what this listener answers."""
        return answers.json({**described, "security": _SECURITY if is_guarded() else []})

    return Route(PATH, told, methods=["GET"])


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of what programs use: the pages that people see are left out."""
    schemas, components = msgspec.json.schema_components(BODIES.values(), ref_template="#/components/schemas/{name}")
    bodies = dict(zip(BODIES, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in routes:
        path = _PARAMETER.sub(r"{\1}", one.path)
        if path in _PAGES or is_page(_PARAMETER.sub("x", one.path)):
            continue
        for method in sorted((one.methods or {"GET"}) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(method, path, inspect.getdoc(one.endpoint), bodies)
    for path in ("/v1/gate", "/v1/gate/{phone_number_id}"):
        paths[path] = {"get": _gate(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "WhatsApp monitor, internal listener", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Refused": _REFUSED},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(
    method: str, path: str, told: str | None, bodies: dict[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    asked = QUERIES.get(path, ()) if method == "GET" or path == "/-/reload" else ()
    operation: dict[str, Any] = {
        "summary": (told or "").partition("\n")[0],
        "parameters": [*_path(path), *_query(path, asked)],
        "responses": _ANSWERS,
    }
    if is_open(path):
        operation["security"] = []
    body = bodies.get((method, path))
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _gate(path: str) -> dict[str, Any]:
    asked = [name for name in _ASKED if f"{{{name}}}" not in path]
    may = {"description": "It may be sent now."}
    must_not = {"description": "It must not be sent now: why, by whose key, and until when."}
    odd = {"404": {"description": "The path has a control character."}} if "{" in path else {}
    return {
        "summary": "Ask whether a message may be sent now.",
        "parameters": [*_path(path), *_query(path, (*asked, "wait"))],
        "responses": {"200": may, "403": must_not, **odd},
    }


def _path(path: str) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(path):
        kind = "integer" if name == "row_id" else "string"
        yield {"name": name, "in": "path", "required": True, "schema": {"type": kind}}


def _query(path: str, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        schema = _LIMIT if name == "limit" else _VALUES.get((path, name), _TEXT)
        yield {"name": name, "in": "query", "required": False, "schema": schema}
