"""HTTP towards one target: its identity, TLS, proxy and deadline, over connections that are kept."""

import asyncio
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec

from monitor import dialing, identity, logs
from monitor.networks import Network
from monitor.targets import HttpOptions

ANSWER_BYTES_MOST = 64 * 1024
CONNECTIONS_MOST = 256
REREAD_SECONDS = 10.0  # how long credentials from a file are kept: tokens that a platform rotates
# What trying again can't mend: the request itself is refused. 401, 403 and 404 are a deployment's passing states.
_PERMANENT = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422, 431, 501})
_RETRY_AFTER_MOST_SECONDS = 3600.0


class SendError(Exception):
    """It did not arrive; `is_permanent` says that trying again makes no sense."""

    def __init__(self, reason: str, *, is_permanent: bool = False, retry_after_seconds: float | None = None) -> None:
        self.reason = reason
        self.is_permanent = is_permanent
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)


class Answer(msgspec.Struct, frozen=True):
    """What came back, whatever its status; of its body the beginning."""

    status: int
    body: bytes
    date: str = ""
    retry_after: str = ""


class Channel:
    """One pool of connections to one target; raises ValueError where its files can't be read."""

    def __init__(self, options: HttpOptions, directory: Path, deny: Sequence[Network]) -> None:
        self._options = options
        self._directory = directory
        self._deny = deny
        self._tls = identity.tls(options.tls_config, directory)
        self._headers = identity.headers(options, directory)
        self._read_at = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, further: dict[str, str]) -> bytes:
        """Post a body and return the beginning of the answer's; raise SendError for anything but a 2xx in time."""
        answer = await self.ask("POST", url, further, body)
        if 200 <= answer.status < 300:
            return answer.body
        raise SendError(
            f"status_{answer.status}",
            is_permanent=answer.status in _PERMANENT,
            retry_after_seconds=_retry_after(answer.retry_after),
        )

    async def ask(self, method: str, url: str, further: dict[str, str], body: bytes | None = None) -> Answer:
        """Return what a request is answered with; raise SendError where nothing is in time."""
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._ask(method, url, further, body)
        except TimeoutError:
            raise SendError("timeout") from None
        except aiohttp.ClientHttpProxyError as error:
            raise SendError(f"proxy_status_{error.status}") from None
        except aiohttp.InvalidURL:
            raise SendError("invalid_url", is_permanent=True) from None
        except aiohttp.ClientSSLError:
            raise SendError("tls") from None
        except aiohttp.ClientConnectorError as error:
            raise SendError("forbidden_address" if dialing.is_forbidden(error) else "unreachable") from None
        except aiohttp.ClientError:
            raise SendError("broken_off") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, url: str, further: dict[str, str], body: bytes | None) -> Answer:
        options = self._options
        proxy = proxy_of(options, url)
        async with self._opened().request(
            method, url, data=body, headers=self._identity() | further, allow_redirects=False, ssl=self._tls,
            proxy=proxy, proxy_headers=None if proxy is None else _connect_headers(options),
            server_hostname=None if options.tls_config is None else options.tls_config.server_name,
        ) as answer:  # fmt: skip
            told = b""
            async for piece in answer.content.iter_any():
                told += piece
                if len(told) > ANSWER_BYTES_MOST:
                    break
        found = answer.headers
        return Answer(answer.status, told, found.get("Date", ""), found.get("Retry-After", ""))

    def _identity(self) -> dict[str, str]:
        """Return the headers of each request; what comes from files is read again now and then, if it can be."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at > REREAD_SECONDS:
            self._read_at = now
            try:
                self._headers = identity.headers(self._options, self._directory)
            except ValueError as error:
                logs.get().warning("credentials_not_read", name=self._options.name, reason=str(error))
        return self._headers

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=dialing.connector(self._deny, CONNECTIONS_MOST), auto_decompress=False, trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(),
                skip_auto_headers=("Accept",),
            )  # fmt: skip
        return self._session


def proxy_of(options: HttpOptions, url: str) -> str | None:
    """Return the proxy by which a URL is reached, None for straight."""
    if options.proxy_url is None and not options.proxy_from_environment:
        return None
    parts = urlsplit(url)
    known = urllib.request.getproxies_environment() if options.proxy_from_environment else {"no": options.no_proxy}
    if urllib.request.proxy_bypass_environment(parts.netloc, known):  # type: ignore[attr-defined]
        return None
    return options.proxy_url or known.get(parts.scheme) or known.get("all")


def _connect_headers(options: HttpOptions) -> dict[str, str]:
    return {name: ", ".join(one.reveal() for one in told) for name, told in options.proxy_connect_header.items()}


def _retry_after(value: str) -> float | None:
    """Return a Retry-After in seconds, from 1 second to 1 hour; None where there is none that can be read."""
    if value.isascii() and value.isdigit():
        return min(max(float(value), 1.0), _RETRY_AFTER_MOST_SECONDS)
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds() if value else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None if seconds is None else min(max(seconds, 1.0), _RETRY_AFTER_MOST_SECONDS)
