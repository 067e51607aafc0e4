"""One request to an ASGI application, without a server."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


async def call(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Iterable[tuple[str, str | bytes]] = (),
    body: bytes | Iterable[bytes] = b"",
    is_cut_off: bool = False,
    is_unfinished: bool = False,
) -> Answer:
    """Send a request, its body in pieces where it is given so; `is_cut_off` disconnects instead of ending it.

    `is_unfinished` neither ends it nor disconnects.
    """
    path, _, query = path.partition("?")
    pieces = [body] if isinstance(body, bytes) else list(body)
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "headers": [
            (name.lower().encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers
        ],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces and is_cut_off:
            return {"type": "http.disconnect"}
        if not pieces:
            await asyncio.sleep(3600)  # a client that waits for its answer says nothing more
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces) or is_cut_off or is_unfinished}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    named = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], named, b"".join(message.get("body", b"") for message in sent[1:]))
