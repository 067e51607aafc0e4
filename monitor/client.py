"""A gate for applications: it follows the sidecar's events and answers from memory, without a round trip.

    with Gate("http://127.0.0.1:9368", on_error="deny") as gate:
        if gate.check(phone_number_id="106540352242922", category="marketing").allow:
            send()

What only the sidecar can tell (how much a throttle has let through, what stops a single person) is asked of it over
HTTP. While the stream is down for longer than `stale_seconds`, and where the sidecar does not answer, `on_error`
decides.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Self, TypedDict, Unpack

import httpx2
import msgspec

from monitor import gate, pictures
from monitor.gate import Ask, Verdict
from monitor.pictures import Picture

HEARTBEAT_SECONDS = 2.0
RETRY_SECONDS = (0.1, 5.0)  # first and longest wait before the stream is opened again
EVENT_BYTES_MOST = 64 * 1024 * 1024  # a snapshot of ten thousand pauses
_WORDS = frozenset({"deny", "allow"})
_REFUSED = frozenset({401, 403})
_log = logging.getLogger(__name__)


class Asked(TypedDict, total=False):
    """What is known of a message that is about to be sent: the more is said, the less stops it."""

    phone_number_id: str
    waba_id: str
    category: str
    template: str
    language: str
    recipient: str
    kind: str
    country: str
    campaign: str


class Answer(msgspec.Struct, frozen=True):
    """May it be sent? `reason` is one snake_case word; the others say which pause denies, and whose key it is."""

    allow: bool
    reason: str
    retry_after_seconds: int | None = None
    key: str = ""
    rule: str = ""
    code: int | None = None
    pause_id: str = ""


class SendingPausedError(Exception):
    """Nothing may be sent now; `answer` says why, and when to ask again."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        again = "" if answer.retry_after_seconds is None else f"; ask again in {answer.retry_after_seconds} s"
        super().__init__(f"sending is paused: {answer.reason}{again}")

    @property
    def retry_after_seconds(self) -> int:
        """When to ask again."""
        return self.answer.retry_after_seconds or 1


class _Following:
    """What both gates have in common: the picture, how it is kept, and how an answer is made of it."""

    def __init__(
        self,
        url: str,
        token: str,
        name: str,
        on_error: str | Mapping[str, str],
        stale_seconds: float,
        timeout: float,
        verify: ssl.SSLContext | bool,
    ) -> None:
        self.url = url.rstrip("/")
        self._name = name
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.on_error = dict.fromkeys(gate.EVERY_LANE, on_error) if isinstance(on_error, str) else on_error
        if not gate.EVERY_LANE.issuperset(self.on_error) or not _WORDS.issuperset(self.on_error.values()):
            lanes = ", ".join(sorted(gate.EVERY_LANE))
            raise ValueError(f"on_error is deny, allow, or one of them for each of {lanes}; not {on_error!r}")
        self.stale_seconds = stale_seconds
        self.timeout_seconds = timeout
        self._verify = verify
        self.picture = Picture()
        self.last_id = ""
        self._is_owing = False
        self._is_refused = False
        self._failures = 0

    @property
    def name(self) -> str:
        """What the sidecar calls this follower: as told, else the host and process."""
        return self._name or f"{socket.gethostname()}:{os.getpid()}"

    def forget(self) -> None:
        """Begin anew: what a parent process knew is not kept up here."""
        self.picture, self.last_id, self._is_owing = Picture(), "", False

    def options(self) -> dict[str, Any]:
        """Return how the HTTP client is made."""
        return {
            "headers": self.headers,
            "timeout": self.timeout_seconds,
            "trust_env": False,
            "follow_redirects": False,
            "verify": self._verify,
        }

    def stream(self) -> dict[str, Any]:
        """Return how the stream is asked for."""
        return {
            "url": f"{self.url}/v1/events",
            "params": {"follower": self.name, "events": "pause,number", "heartbeat": f"{int(HEARTBEAT_SECONDS)}s"},
            "headers": {"Last-Event-ID": self.last_id} if self.last_id else {},
            "timeout": httpx2.Timeout(self.timeout_seconds, read=3 * HEARTBEAT_SECONDS),
            "max_event_size": EVENT_BYTES_MOST,
        }

    def opened(self, status: int) -> None:
        """Tell once that the sidecar wants another token: who has none is answered by `on_error` for ever."""
        if status in _REFUSED and not self._is_refused:
            _log.warning(
                "%s refuses the follower %s with %d: it needs the token of a viewer", self.url, self.name, status
            )
        self._is_refused = status in _REFUSED

    def take(self, event: httpx2.ServerSentEvent) -> bool:
        """Take up an event; return whether it should be acknowledged."""
        self.picture = pictures.told(self.picture, event.event, event.data, time.time())
        self._failures = 0
        self._is_owing |= event.event == "pause"
        if event.id in {"", self.last_id}:  # more of the same step is to come
            return False
        self.last_id = event.id
        is_owing, self._is_owing = self._is_owing, False
        return is_owing

    def wait_seconds(self) -> float:
        """Return how long to wait before the stream is opened again."""
        first, longest = RETRY_SECONDS
        self._failures += 1
        most: float = min(longest, first * 2 ** min(self._failures, 10))
        return most * (0.5 + random.random() / 2)  # noqa: S311 (jitter)

    def verdict(self, ask: Ask) -> Verdict | None:
        """Return the verdict from memory, None where the sidecar must be asked."""
        return pictures.decide(self.picture, ask, time.time(), self.stale_seconds, self.on_error)

    def unanswered(self, ask: Ask) -> Answer:
        """Return the answer where the sidecar does not give one."""
        return _answer(gate.untold(ask, self.on_error, "unreachable"))

    def answered(self, ask: Ask, answer: httpx2.Response) -> Answer:
        """Return the sidecar's own answer."""
        if answer.status_code not in {200, 403}:
            return self.unanswered(ask)
        try:
            said: dict[str, Any] = answer.json()
            pause = said.get("pause") or {}
            return Answer(
                bool(said["allow"]), said["reason"], said.get("retry_after_seconds"), said.get("key", ""),
                said.get("rule", ""), pause.get("code"), pause.get("id", ""),
            )  # fmt: skip
        except (ValueError, KeyError, AttributeError):
            return self.unanswered(ask)


class Gate:
    """The gate for threads: one background thread follows the stream. A process that forked gets one of its own."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:9368",
        *,
        token: str = "",
        name: str = "",
        on_error: str | Mapping[str, str] = "deny",
        stale_seconds: float = 10.0,
        timeout_seconds: float = 2.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._following = _Following(url, token, name, on_error, stale_seconds, timeout_seconds, verify)
        self._starting = threading.Lock()
        self._heard = threading.Event()
        self._closing = threading.Event()
        self._client: httpx2.Client | None = None
        self._pid = 0

    def start(self, wait_seconds: float = 5.0) -> Self:
        """Follow the stream; return once the sidecar has told how it stands, or after so many seconds."""
        self._running()
        self._heard.wait(wait_seconds)
        return self

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._client is not None and self._pid == os.getpid():
            self._client.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self, **asked: Unpack[Asked]) -> Answer:
        """Say whether a message may be sent, as far as it is described."""
        client = self._running()
        following, ask = self._following, Ask(**asked)
        verdict = following.verdict(ask)
        if verdict is not None:
            return _answer(verdict)
        try:
            return following.answered(ask, client.get(f"{following.url}/v1/gate", params=_params(ask)))
        except httpx2.HTTPError:
            return following.unanswered(ask)

    def require(self, **asked: Unpack[Asked]) -> None:
        """Return if the message may be sent, raise SendingPausedError if not."""
        answer = self.check(**asked)
        if not answer.allow:
            raise SendingPausedError(answer)

    def _running(self) -> httpx2.Client:
        if self._client is None or self._pid != os.getpid():
            with self._starting:
                if self._client is None or self._pid != os.getpid():
                    self._pid = os.getpid()
                    self._following.forget()
                    self._heard.clear()
                    self._client = httpx2.Client(**self._following.options())
                    threading.Thread(target=self._follow, args=(self._client,), name="gate", daemon=True).start()
        return self._client

    def _follow(self, client: httpx2.Client) -> None:
        following = self._following
        while not self._closing.is_set():
            try:
                with client.sse(**following.stream()) as events:
                    following.opened(events.response.status_code)
                    for event in events:
                        is_worth = following.take(event)
                        self._heard.set()
                        if is_worth:
                            client.post(f"{following.url}/v1/events/seen", json=_seen(following))
            except (httpx2.HTTPError, msgspec.MsgspecError, RuntimeError):  # RuntimeError: the client was closed
                pass
            self._closing.wait(following.wait_seconds())


class AsyncGate:
    """The gate for an event loop: one task follows the stream."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:9368",
        *,
        token: str = "",
        name: str = "",
        on_error: str | Mapping[str, str] = "deny",
        stale_seconds: float = 10.0,
        timeout_seconds: float = 2.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._following = _Following(url, token, name, on_error, stale_seconds, timeout_seconds, verify)
        self._heard = asyncio.Event()
        self._client: httpx2.AsyncClient | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, wait_seconds: float = 5.0) -> Self:
        """Follow the stream; return once the sidecar has told how it stands, or after so many seconds."""
        if self._client is None:
            self._client = httpx2.AsyncClient(**self._following.options())
            self._spawn(self._follow(self._client))
        try:
            async with asyncio.timeout(wait_seconds):
                await self._heard.wait()
        except TimeoutError:
            pass
        return self

    async def close(self) -> None:
        """Stop following."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check(self, **asked: Unpack[Asked]) -> Answer:
        """Say whether a message may be sent, as far as it is described."""
        following, ask = self._following, Ask(**asked)
        verdict = following.verdict(ask)
        if verdict is not None:
            return _answer(verdict)
        if self._client is None:
            return following.unanswered(ask)
        try:
            return following.answered(ask, await self._client.get(f"{following.url}/v1/gate", params=_params(ask)))
        except httpx2.HTTPError:
            return following.unanswered(ask)

    async def require(self, **asked: Unpack[Asked]) -> None:
        """Return if the message may be sent, raise SendingPausedError if not."""
        answer = await self.check(**asked)
        if not answer.allow:
            raise SendingPausedError(answer)

    async def _follow(self, client: httpx2.AsyncClient) -> None:
        following = self._following
        while True:
            try:
                async with client.sse(**following.stream()) as events:
                    following.opened(events.response.status_code)
                    async for event in events:
                        is_worth = following.take(event)
                        self._heard.set()
                        if is_worth:
                            self._spawn(self._acknowledge(client))
            except (httpx2.HTTPError, msgspec.MsgspecError):
                pass
            await asyncio.sleep(following.wait_seconds())

    async def _acknowledge(self, client: httpx2.AsyncClient) -> None:
        with contextlib.suppress(httpx2.HTTPError):  # the next one says more
            await client.post(f"{self._following.url}/v1/events/seen", json=_seen(self._following))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _params(ask: Ask) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(ask).items() if value and name != "is_send"}


def _seen(following: _Following) -> dict[str, object]:
    return {"follower": following.name, "position": int(following.last_id or 0)}


def _answer(verdict: Verdict) -> Answer:
    pause = verdict.pause
    if pause is None:
        return Answer(verdict.allow, verdict.reason, verdict.retry_after_seconds)
    key = gate.key_of(pause)
    return Answer(verdict.allow, verdict.reason, verdict.retry_after_seconds, key, pause.rule, pause.code, pause.id)
