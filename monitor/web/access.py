"""Who may use the internal listener: bearer tokens where some are configured, and no other site's pages."""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from monitor.receive import Receive, Scope, Send
from monitor.secrets import Secret

_OPEN = frozenset({"/-/healthy", "/-/ready"})  # probes carry no token
_GRAPH = "/graph/"  # requests carry Graph's own token, which Graph checks
_READS = frozenset({"GET", "HEAD"})


class Access:
    """Wraps an application; `tokens` may change while it runs."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], tokens: Callable[[], Sequence[Secret]]) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, or 403 for a write that another site's page makes a browser send."""
        tokens = self._tokens()
        if not tokens and scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_open = scope["path"] in _OPEN or scope["path"].startswith(_GRAPH)
        if tokens and not is_open and not _is_known(headers.get(b"authorization", b""), tokens):
            await _refuse(send, 401, b"unauthorized", [(b"www-authenticate", b'Bearer realm="whatsapp-monitor"')])
            return
        if scope["method"] not in _READS and _is_foreign(headers):
            await _refuse(send, 403, b"cross_origin", [])
            return
        await self._app(scope, receive, send)


def _is_known(header: bytes, tokens: Sequence[Secret]) -> bool:
    scheme, _, claimed = header.partition(b" ")
    is_known = False
    for token in tokens:
        is_known |= hmac.compare_digest(token.reveal().encode(), claimed.strip())
    return is_known and scheme.lower() == b"bearer"


def _is_foreign(headers: dict[bytes, bytes]) -> bool:
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in {b"same-origin", b"none"}
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host", b"")


async def _refuse(send: Send, status: int, error: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    body = b'{"error":"' + error + b'"}'
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
