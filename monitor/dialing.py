"""Opening connections: an address is judged when it is dialed, so that no name or spelling leads around it."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import aiohttp
import requests
from aiohttp.abc import AbstractResolver, ResolveResult
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from monitor import networks
from monitor.networks import Network


class ForbiddenAddressError(OSError):
    """The address lies in a network that we never connect to."""


class Resolver(AbstractResolver):
    """Looks each name up in a thread of its own, for which nobody waits.

    The event loop has four threads for all names: a name server that says nothing about some of them would hold up the
    others, and then the end of the process.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; raise OSError where there are none."""
        found: Future[list[ResolveResult]] = Future()
        threading.Thread(target=_look_up, args=(host, port, family, found), name="resolver", daemon=True).start()
        return await asyncio.wrap_future(found)

    async def close(self) -> None:
        """Hold nothing."""


def connector(deny: Sequence[Network], connections_most: int) -> aiohttp.TCPConnector:
    """Return a pool of connections that opens none into the denied networks."""

    def opened(address: Any) -> socket.socket:
        family, kind, protocol, _, place = address
        found = networks.forbidden(str(place[0]), deny)
        if found is not None:
            raise ForbiddenAddressError(f"{place[0]} lies in {found}, where nothing is sent")
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(limit=connections_most, socket_factory=opened, resolver=Resolver())


def session(deny: Sequence[Network]) -> requests.Session:
    """Return a session of `requests` that sends nothing into the denied networks."""

    def judged(made: socket.socket) -> socket.socket:
        place = made.getpeername()[0]
        found = networks.forbidden(str(place), deny)
        if found is not None:
            made.close()
            raise ForbiddenAddressError(f"{place} lies in {found}, where nothing is sent")
        return made

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return judged(super()._new_conn())

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return judged(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    adapter, made = HTTPAdapter(), requests.Session()
    adapter.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made


def is_forbidden(error: aiohttp.ClientError) -> bool:
    """Say whether a request failed because of where it would have gone."""
    return isinstance(getattr(error, "os_error", None), ForbiddenAddressError) or "where nothing is sent" in str(error)


def _look_up(host: str, port: int, family: socket.AddressFamily, found: Future[list[ResolveResult]]) -> None:
    if not found.set_running_or_notify_cancel():
        return
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        found.set_result([_resolved(host, one, proto, place) for one, _, proto, _, place in known])
    except (OSError, ValueError) as error:
        found.set_exception(error)


def _resolved(host: str, family: int, proto: int, place: Any) -> ResolveResult:
    address, port = socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)  # keeps a link's zone
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=int(port), family=family, proto=proto, flags=flags)
