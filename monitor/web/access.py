"""Who may use the internal listener: who has a token or password where there are some, and no other site's pages."""

import ipaddress
import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import quote

from monitor import roles
from monitor.attempts import Attempts
from monitor.receive import Receive, Scope, Send
from monitor.roles import Granted
from monitor.web import credentials
from monitor.web.credentials import BUSY_SECONDS, Credentials
from monitor.web.sessions import Sessions

LOGIN = "/login"
_OPEN = frozenset({"/-/healthy", "/-/ready", LOGIN})  # probes carry no token, and whoever signs in has none yet
_STATIC = "/static/"  # the page's own scripts and styles, which tell nothing
_GRAPH = "/graph/"  # requests carry Graph's own token, which Graph checks
_READS = frozenset({"GET", "HEAD"})
_ASKED = ("/v1/gate", _GRAPH)  # gateways name their upstream as they like, and these two tell and change nothing
_PAGES = re.compile(r"/(?:(?:pauses|flags|incidents)/[A-Za-z0-9-]+(?:/[a-z]+)?|search|logout)?")
"""What people see in a browser: what they write there by a form goes by their session."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Access:
    """Wraps an application; what credentials grant, and the `hosts` that it may be called by, may change meanwhile.

    The application finds in `scope["actor"]` the name that somebody is known by, if any.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Any],
        known: Credentials,
        hosts: Callable[[], Collection[str]],
        sessions: Sessions,
        attempts: Attempts,
    ) -> None:
        self._attempts = attempts
        self._app = app
        self._credentials = known
        self._hosts = hosts
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, or 403 for a write that another site's page makes a browser send.

        No path has a control character: the `$` of a route takes one more line feed than what a role is asked for.
        """
        path: str = scope["path"]
        if not path.isprintable() and _CONTROLS.search(path) is not None:
            await _refuse(send, 404, b"not_found", [])
            return
        is_guarded = bool(self._credentials.granted())
        if not is_guarded and not path.startswith(_ASKED) and not self._is_ours(scope):
            await _refuse(send, 421, b"misdirected", [])
            return
        if not is_guarded and scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if is_guarded and not is_open(path) and not await self._may(scope, headers, send):
            return
        if scope["method"] not in _READS and _is_foreign(headers):
            await _refuse(send, 403, b"cross_origin", [])
            return
        await self._app(scope, receive, send)

    async def _may(self, scope: Scope, headers: dict[bytes, bytes], send: Send) -> bool:
        """Say whether whoever asks may do so; where not, answer 401, 403, 429, or lead a browser to the form."""
        claimed, address = headers.get(b"authorization", b"").decode("latin-1"), str((scope.get("client") or ("",))[0])
        found, wait_seconds = await self._known(scope, claimed, address)
        if wait_seconds:
            await _refuse(send, 429, b"too_many_tokens", [(b"retry-after", str(wait_seconds).encode())])
            return False
        if found is None:
            if not claimed and b"text/html" in headers.get(b"accept", b"") and is_page(scope["path"]):
                await _sign_in(send, scope)
                return False
            await _refuse(send, 401, b"unauthorized", self._asked())
            return False
        if found.role < roles.needed(scope["method"], scope["path"]):
            await _refuse(send, 403, b"forbidden", [])
            return False
        scope["actor"] = found.name
        return True

    async def _known(self, scope: Scope, claimed: str, address: str) -> tuple[Granted | None, int]:
        """Return what a request's token, password or session grants, and how long one that is wrong is to wait.

        A session reads everything and writes by the page only.
        """
        scheme, _, told = claimed.partition(" ")
        pair = credentials.basic(told) if scheme.lower() == "basic" else None
        found = self._credentials.of_token(told) if scheme.lower() == "bearer" else None
        if pair is not None:
            found = self._credentials.known(*pair)
        if found is None and (scope["method"] in _READS or is_page(scope["path"])):
            found = self._sessions.granted(scope["headers"])
        if found is not None or not claimed:
            return found, 0
        if wait_seconds := self._attempts.wait_seconds(address):
            return None, wait_seconds
        if pair is not None:
            if self._credentials.is_busy:
                return None, BUSY_SECONDS
            found = await self._credentials.tried(self._attempts, address, claimed.encode(), *pair)
        if found is None:
            self._attempts.failed(address, claimed.encode())
        return found, 0

    def _asked(self) -> list[tuple[bytes, bytes]]:
        """Return how to say who one is; a browser is asked for a password by its own window where there are users."""
        asked = [(b"www-authenticate", b'Bearer realm="whatsapp-monitor"')]
        if any(one.is_user for one in self._credentials.granted()):
            asked.append((b"www-authenticate", b'Basic realm="whatsapp-monitor", charset="UTF-8"'))
        return asked

    def _is_ours(self, scope: Scope) -> bool:
        """Say whether a request to this machine's own address names it: no page's name that was bound to it anew."""
        server = scope.get("server")
        if not server or not _is_loopback(server[0]):
            return True
        named = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        host = re.sub(r":[0-9]*$", "", named).strip("[]").lower()
        return host in {"", "localhost"} or _is_address(host) or host in self._hosts()


def is_open(path: str) -> bool:
    """Say whether a path asks nobody who they are."""
    return path in _OPEN or path.startswith((_GRAPH, _STATIC))


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
