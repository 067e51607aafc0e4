"""Graph, as the egress proxy reaches it: streamed, byte for byte both ways, over connections that are kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2

CONNECTIONS_MOST = 1_000
IDLE_CONNECTIONS_MOST = 100
Headers = Sequence[tuple[bytes, bytes]]
# What is between two neighbours only (RFC 9110, 7.6.1), and what the client library sets itself.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"host"}
)  # fmt: skip


class UpstreamError(Exception):
    """No answer of Graph's: `reason` is unreachable, timeout or broken_off; `is_sent`: it may have been taken."""

    def __init__(self, reason: str, *, is_sent: bool) -> None:
        self.reason = reason
        self.is_sent = is_sent
        super().__init__(reason)


class Upstream:
    """One pool of connections."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS_MOST, max_keepalive_connections=IDLE_CONNECTIONS_MOST)
        self._client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, limits=limits)
        for name in list(self._client.headers):
            del self._client.headers[name]  # what the application did not say is not said for it

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes],
        timeout_seconds: float,
        connect_seconds: float,
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and yield the answer once its headers are there; raise UpstreamError where none comes."""
        timeout = httpx2.Timeout(timeout_seconds, connect=connect_seconds, pool=connect_seconds)
        kept = [(name, value) for name, value in headers if name not in HOP_BY_HOP]
        request = self._client.build_request(method, url, headers=kept, content=body, timeout=timeout)
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise UpstreamError("unreachable", is_sent=False) from None
        except (httpx2.TimeoutException, TimeoutError):
            raise UpstreamError("timeout", is_sent=True) from None
        except httpx2.TransportError:
            raise UpstreamError("broken_off", is_sent=True) from None
        try:
            yield response
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the answer's body as it came; raise UpstreamError where it ends too soon."""
    try:
        async for piece in response.aiter_raw():
            yield piece
    except httpx2.TimeoutException:
        raise UpstreamError("timeout", is_sent=True) from None
    except httpx2.TransportError:
        raise UpstreamError("broken_off", is_sent=True) from None


def answer_headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """Return the answer's headers without those that are between Graph and us."""
    return [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in HOP_BY_HOP]
