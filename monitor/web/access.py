"""Who may use the internal listener: bearer tokens where some are configured, and no other site's pages."""

import hmac
import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import quote

from monitor import roles
from monitor.receive import Receive, Scope, Send
from monitor.roles import Granted, Role
from monitor.web.attempts import Attempts
from monitor.web.sessions import Sessions

LOGIN = "/login"
_OPEN = frozenset({"/-/healthy", "/-/ready", LOGIN})  # probes carry no token, and whoever signs in has none yet
_STATIC = "/static/"  # the page's own scripts and styles, which tell nothing
_GRAPH = "/graph/"  # requests carry Graph's own token, which Graph checks
_READS = frozenset({"GET", "HEAD"})
_ASKED = ("/v1/gate", _GRAPH)  # gateways name their upstream as they like, and these two tell and change nothing
_PAGES = re.compile(r"/(?:(?:pauses|flags|incidents)/[A-Za-z0-9-]+(?:/[a-z]+)?|search|logout)?")
"""What people see in a browser: what they write there by a form goes by their session."""


class Access:
    """Wraps an application; `tokens`, and the `hosts` that it may be called by, may change while it runs."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Any],
        tokens: Callable[[], Sequence[Granted]],
        hosts: Callable[[], Collection[str]],
        sessions: Sessions,
        attempts: Attempts,
    ) -> None:
        self._attempts = attempts
        self._app = app
        self._tokens = tokens
        self._hosts = hosts
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, or 403 for a write that another site's page makes a browser send."""
        tokens = self._tokens()
        if not tokens and not scope["path"].startswith(_ASKED) and not self._is_ours(scope):
            await _refuse(send, 421, b"misdirected", [])
            return
        if not tokens and scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        is_open = scope["path"] in _OPEN or scope["path"].startswith((_GRAPH, _STATIC))
        if tokens and not is_open and not await self._may(scope, headers, tokens, send):
            return
        if scope["method"] not in _READS and _is_foreign(headers):
            await _refuse(send, 403, b"cross_origin", [])
            return
        await self._app(scope, receive, send)

    async def _may(self, scope: Scope, headers: dict[bytes, bytes], tokens: Sequence[Granted], send: Send) -> bool:
        """Say whether whoever asks may do so; where not, answer 401, 403, 429, or lead a browser to the form."""
        claimed, address = headers.get(b"authorization", b""), str((scope.get("client") or ("",))[0])
        role = self._role(scope, claimed, tokens)
        if role is None:
            if claimed and (wait_seconds := self._attempts.wait_seconds(address)):
                await _refuse(send, 429, b"too_many_tokens", [(b"retry-after", str(wait_seconds).encode())])
                return False
            if claimed:
                self._attempts.failed(address, claimed)
            elif b"text/html" in headers.get(b"accept", b"") and is_page(scope["path"]):
                await _sign_in(send, scope)
                return False
            await _refuse(send, 401, b"unauthorized", [(b"www-authenticate", b'Bearer realm="whatsapp-monitor"')])
            return False
        if role < roles.needed(scope["method"], scope["path"]):
            await _refuse(send, 403, b"forbidden", [])
            return False
        return True

    def _role(self, scope: Scope, claimed: bytes, tokens: Sequence[Granted]) -> Role | None:
        """Return the role of a token; or of a session, which reads everything and writes by the page only."""
        role = _of_token(claimed, tokens)
        if role is None and (scope["method"] in _READS or is_page(scope["path"])):
            return self._sessions.role(scope["headers"])
        return role

    def _is_ours(self, scope: Scope) -> bool:
        """Say whether a request to this machine's own address names it: no page's name that was bound to it anew."""
        server = scope.get("server")
        if not server or not _is_loopback(server[0]):
            return True
        named = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        host = re.sub(r":[0-9]*$", "", named).strip("[]").lower()
        return host in {"", "localhost"} or _is_address(host) or host in self._hosts()


def is_page(path: str) -> bool:
    """Say whether a path is one of the pages that people see in a browser."""
    return _PAGES.fullmatch(path) is not None


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _of_token(header: bytes, tokens: Sequence[Granted]) -> Role | None:
    scheme, _, claimed = header.partition(b" ")
    role = None
    for token in tokens:
        if hmac.compare_digest(token.secret.reveal().encode(), claimed.strip()):
            role = max(token.role, role or token.role)
    return role if scheme.lower() == b"bearer" else None


def _is_foreign(headers: dict[bytes, bytes]) -> bool:
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in {b"same-origin", b"none"}
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host", b"")


async def _sign_in(send: Send, scope: Scope) -> None:
    """Send a browser to the form that asks for a token, and back to the page that it wanted to see."""
    wanted = scope["path"] if scope["method"] in _READS else "/"
    place = f"{LOGIN}?next={quote(wanted, safe='/')}".encode()
    headers = [(b"location", place), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int, error: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    body = b'{"error":"' + error + b'"}'
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
