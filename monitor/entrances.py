"""Listeners as their web configuration files say: with TLS, headers and certificates that may change while they run."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from monitor import certificates, listeners, logs
from monitor.config import Entrance
from monitor.listeners import Server

RENEW_SECONDS = 1.0  # how soon a certificate that was written anew is served


def server(served: Any, entrance: Callable[[], Entrance], refused: Callable[[str], None]) -> Server:
    """Return a server for an ASGI application; `refused` is told why a connection was not let in."""
    found = entrance()
    made = listeners.server(listeners.with_headers(served, lambda: entrance().file.headers()), refused, _context(found))
    made.admission.names = _names(found)
    return made


async def renew(serving: Server, entrance: Callable[[], Entrance]) -> None:
    """Serve by other certificates as soon as they, or the file that names them, have changed; else by the old."""
    served = entrance()
    known = certificates.stamp(served.file.tls_server_config, served.directory)
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        found = entrance()
        stamp = certificates.stamp(found.file.tls_server_config, found.directory)
        if (found, stamp) == (served, known):
            continue
        served, known = found, stamp
        try:
            context = await asyncio.to_thread(_context, found)
        except ValueError as error:  # often the key is written a moment after the certificate
            logs.get().error("certificates_kept", reason=str(error))
            continue
        serving.admission.names = _names(found)
        await serving.renew(context)
        logs.get().info("certificates_renewed")


def _context(entrance: Entrance) -> ssl.SSLContext | None:
    tls = entrance.file.tls_server_config
    return None if tls is None else certificates.context(tls, entrance.directory)


def _names(entrance: Entrance) -> frozenset[str]:
    tls = entrance.file.tls_server_config
    return frozenset() if tls is None else frozenset(tls.client_allowed_sans)
