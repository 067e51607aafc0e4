"""Opening connections: an address is judged when it is dialed, so that no name or spelling leads around it."""

import socket
from collections.abc import Sequence
from typing import Any

import aiohttp

from monitor import networks
from monitor.networks import Network


class ForbiddenAddressError(OSError):
    """The address lies in a network that we never connect to."""


def connector(deny: Sequence[Network], connections_most: int) -> aiohttp.TCPConnector:
    """Return a pool of connections that opens none into the denied networks."""

    def opened(address: Any) -> socket.socket:
        family, kind, protocol, _, place = address
        found = networks.forbidden(str(place[0]), deny)
        if found is not None:
            raise ForbiddenAddressError(f"{place[0]} lies in {found}, where nothing is sent")
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(limit=connections_most, socket_factory=opened)


def is_forbidden(error: aiohttp.ClientError) -> bool:
    """Say whether a request failed because of where it would have gone."""
    return isinstance(getattr(error, "os_error", None), ForbiddenAddressError) or "where nothing is sent" in str(error)
