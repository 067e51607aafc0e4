"""Graph, as the egress proxy reaches it: streamed, byte for byte both ways, over connections that are kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import yarl
from multidict import CIMultiDict

from monitor import dialing
from monitor.networks import Network

CONNECTIONS_MOST = 1_000
HEADER_BYTES_MOST = 64 * 1024  # a line of Graph's answer: usage headers name every account
NOT_MODIFIED = 304  # says how long a body would be, and has none
Headers = Sequence[tuple[bytes, bytes]]
# What is between two neighbours only (RFC 9110, 7.6.1), and what the client library sets itself.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"host", b"expect"}
)  # fmt: skip
_NOT_SAID = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # what the application did not say itself


class UpstreamError(Exception):
    """No answer of Graph's: `reason` is unreachable, timeout or broken_off; `is_sent`: it may have been taken."""

    def __init__(self, reason: str, *, is_sent: bool) -> None:
        self.reason = reason
        self.is_sent = is_sent
        super().__init__(reason)


class Upstream:
    """One pool of connections, made with the first request."""

    def __init__(self, deny: Sequence[Network] = ()) -> None:
        self._deny = deny
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes],
        timeout_seconds: float,
        connect_seconds: float,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield the answer once its headers are there; raise UpstreamError where none comes."""
        named = CIMultiDict((name.decode(), value.decode()) for name, value in _end_to_end(headers))
        timeout = aiohttp.ClientTimeout(
            connect=connect_seconds, sock_connect=connect_seconds, sock_read=timeout_seconds
        )
        request = self._opened().request(
            method, yarl.URL(url, encoded=True), headers=named, data=body, timeout=timeout, allow_redirects=False
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await request
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            raise UpstreamError("unreachable", is_sent=False) from None
        except TimeoutError:
            raise UpstreamError("timeout", is_sent=True) from None
        except aiohttp.ClientError:
            raise UpstreamError("broken_off", is_sent=True) from None
        try:
            yield response
        finally:
            response.close() if not response.content.is_eof() else response.release()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = dialing.connector(self._deny, CONNECTIONS_MOST)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, trust_env=False, skip_auto_headers=_NOT_SAID,
                cookie_jar=aiohttp.DummyCookieJar(), max_line_size=HEADER_BYTES_MOST,
                max_field_size=HEADER_BYTES_MOST,
            )  # fmt: skip
        return self._session


async def pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the answer's body as it came; raise UpstreamError where it ends too soon."""
    try:
        async for piece in response.content.iter_any():
            yield piece
    except TimeoutError:
        raise UpstreamError("timeout", is_sent=True) from None
    except aiohttp.ClientError:
        raise UpstreamError("broken_off", is_sent=True) from None


def answer_headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """Return the answer's headers without those that are between Graph and us."""
    found = _end_to_end([(name.lower(), value) for name, value in response.raw_headers])
    return [one for one in found if response.status != NOT_MODIFIED or one[0] != b"content-length"]


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return headers without those that are between two neighbours, by their nature or as `Connection` names them."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP and name not in named]
