"""The page's scripts and styles, its own and those of others (static/NOTICE.md): read once, named by their hash."""

import functools
import gzip
import hashlib
from importlib import resources
from pathlib import PurePath

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


class Static(msgspec.Struct, frozen=True):
    """One file as it is sent."""

    kind: str
    body: bytes
    packed: bytes
    digest: str


class Statics:
    """The files by name."""

    def __init__(self) -> None:
        self._files = {
            one.name: _read(one.name, one.read_bytes())
            for one in (resources.files("monitor.web") / "static").iterdir()
            if PurePath(one.name).suffix in _KINDS
        }

    def url(self, name: str) -> str:
        """Return where a file is found: its hash stands in the address, so that it may be kept for ever."""
        return f"/static/{name}?v={self._files[name].digest}"

    async def file(self, request: Request) -> Response:
        """Answer GET /static/{name}."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            return Response(status_code=404)
        is_packed = "gzip" in request.headers.get("accept-encoding", "")
        is_named = request.query_params.get("v") == found.digest
        headers = {
            "Cache-Control": _FOR_EVER if is_named else "no-cache",
            "Content-Type": found.kind,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
            **({"Content-Encoding": "gzip"} if is_packed else {}),
        }
        return Response(found.packed if is_packed else found.body, headers=headers)


@functools.cache
def shipped() -> Statics:
    """Return the files that come with the package."""
    return Statics()


def _read(name: str, body: bytes) -> Static:
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Static(_KINDS[PurePath(name).suffix], body, gzip.compress(body, mtime=0), digest)
