"""Answers of the API: JSON, pages of records, and refusals with a word for machines and a sentence for people."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.store.protocol import Page, StoreUnavailableError
from monitor.web.asks import AskError

PAGE_MOST = 1000
PAGE_USUAL = 100
BODY_BYTES_MOST = 64 * 1024
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


async def body_of(request: Request, content_type: str, otherwise: str) -> bytes:
    """Return the request's body; raise Refusal for another type of content, with this word, and for one too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != content_type:
        raise Refusal(415, otherwise, f"Content-Type must be {content_type}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MOST:
            raise Refusal(413, "too_large", f"at most {BODY_BYTES_MOST} bytes")
    return body


async def read(request: Request, kind: type[_T]) -> _T:
    """Return the request's JSON body as a record; raise Refusal with what is wrong."""
    body = await body_of(request, "application/json", "not_json")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(422, "invalid", str(error)) from None


def paging(request: Request) -> tuple[str, int]:
    """Return the cursor and the limit that were asked for."""
    limit = request.query_params.get("limit", "")
    most = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 6 else PAGE_USUAL
    return request.query_params.get("cursor", ""), max(1, min(most, PAGE_MOST))


def page(name: str, found: Page, shown: Callable[[Any], Any] = lambda item: item) -> Response:
    """Answer a page of records."""
    return json({name: [shown(item) for item in found.items], "next_cursor": found.next_cursor})


def json(value: Any, status: int = 200) -> Response:
    """Answer JSON."""
    return Response(_encode(value), status, media_type="application/json")
