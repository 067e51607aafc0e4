"""Answers of the API: JSON, pages of records, and refusals with a word for machines and a sentence for people."""

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from monitor import roles, scalars
from monitor.store.protocol import Page, StoreUnavailableError
from monitor.web.asks import AskError

PAGE_MOST = 1000
PAGE_USUAL = 100
YES_OR_NO = ("true", "false")
BODY_BYTES_MOST = 64 * 1024
BODY_SECONDS = 15.0
_QUOTED = re.compile(r"(unknown field `|enum value ')(.*)([`'])", re.DOTALL)  # as msgspec repeats what was sent
LIMIT_MOST = 999_999_999  # may be asked for
_LIMIT = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
Endpoint = Callable[[Request], Awaitable[Response]]
_encode = msgspec.json.Encoder(enc_hook=str).encode
_T = TypeVar("_T")


class Refusal(Exception):
    """The answer is an error: a status and one snake_case word, with a sentence for people."""

    def __init__(self, status: int, error: str, message: str) -> None:
        self.status = status
        self.error = error
        self.message = message
        super().__init__(message)


def guarded(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its refusals answered."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return json({"error": refusal.error, "message": refusal.message}, refusal.status)
        except AskError as error:
            return json({"error": "invalid", "message": str(error)}, 422)
        except StoreUnavailableError as error:
            return json({"error": "journal_unavailable", "message": str(error)}, 503)

    return answer


async def body_of(request: Request, content_type: str, otherwise: str, bytes_most: int = BODY_BYTES_MOST) -> bytes:
    """Return the request's body; raise Refusal for another type of content (with this word), too much or too slow."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != content_type:
        raise Refusal(415, otherwise, f"Content-Type must be {content_type}")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_most:
                    raise Refusal(413, "too_large", f"at most {bytes_most} bytes")
    except TimeoutError:
        raise Refusal(408, "too_slow", f"the body must arrive within {BODY_SECONDS:g} s") from None
    return body


async def read(request: Request, kind: type[_T], bytes_most: int = BODY_BYTES_MOST) -> _T:
    """Return the request's JSON body as a record; raise Refusal with what is wrong."""
    body = await body_of(request, "application/json", "not_json", bytes_most)
    name = request.scope.get("actor", "")
    try:
        return msgspec.convert(signed(_numbers(msgspec.json.decode(body)), name, kind), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, "invalid", _QUOTED.sub(_shown, str(error))) from None


def signed(fields: Any, name: str, kind: type) -> Any:
    """Return what was sent with who stands in the audit: whoever is known by name can't act as somebody else."""
    if not name or not isinstance(fields, dict) or "actor" not in getattr(kind, "__struct_fields__", ()):
        return fields
    claimed = fields.get("actor", "")
    return {**fields, "actor": roles.actor(name, claimed)} if isinstance(claimed, str) else fields


def paging(request: Request) -> tuple[str, int]:
    """Return the cursor and the limit that were asked for; raise Refusal for a limit that is no number."""
    limit = request.query_params.get("limit", str(PAGE_USUAL))
    if _LIMIT.fullmatch(limit) is None:
        raise Refusal(422, "invalid", f"limit: must be a whole number from 1 to {PAGE_MOST}")
    return request.query_params.get("cursor", ""), min(int(limit), PAGE_MOST)


def one_of(request: Request, name: str, allowed: Iterable[str]) -> str:
    """Return which of these words was asked for, empty where none was; raise Refusal for another one."""
    given = request.query_params.get(name, "")
    if given and given not in allowed:
        raise Refusal(422, "invalid", f"{name} must be one of {', '.join(allowed)}")
    return given


def yes_or_no(request: Request, name: str) -> bool | None:
    """Return what was asked for, None where nothing was; raise Refusal for another word than true and false."""
    return {"true": True, "false": False}.get(one_of(request, name, YES_OR_NO))


async def no_route(request: Request, _: Exception) -> Response:
    """Answer what no route takes: 405 with all methods of a path that others take, else 404."""
    allowed: set[str] = set()
    for one in request.app.routes:
        if one.matches(request.scope)[0] != Match.NONE:
            allowed |= one.methods or set()
    if not allowed:
        return json({"error": "not_found"}, 404)
    answer = json({"error": "method_not_allowed"}, 405)
    answer.headers["allow"] = ", ".join(sorted(allowed))
    return answer


def page(name: str, found: Page, shown: Callable[[Any], Any] = lambda item: item) -> Response:
    """Answer a page of records."""
    return json({name: [shown(item) for item in found.items], "next_cursor": found.next_cursor})


def json(value: Any, status: int = 200) -> Response:
    """Answer JSON."""
    return Response(_encode(value), status, media_type="application/json")


def _numbers(fields: Any) -> Any:
    """Return fields with 5.0 as 5: JSON knows one kind of number, msgspec two."""
    if not isinstance(fields, dict):
        return fields
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in fields.items()
    }


def _shown(found: re.Match[str]) -> str:
    """Return what was quoted, if it is a word: somebody's number may stand where none belongs."""
    return f"{found[1]}{scalars.word(found[2])}{found[3]}"
