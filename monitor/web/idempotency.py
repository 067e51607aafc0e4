"""Idempotency keys: under one key a message is sent once, and every repetition hears the first answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from monitor import logs
from monitor.store.protocol import FirstAnswer, StoreUnavailableError

HEADER = b"idempotency-key"
KEY_BYTES_MOST = 255
REPLAYED = (b"idempotency-replayed", b"true")
# Graph refused it for certain, so nothing was sent and the same key may be tried again; whatever else was answered, and
# no answer at all, may mean that the message left.
RETRIED = frozenset({400, 401, 403, 404, 408, 409, 429})


class ReusedError(Exception):
    """The key was used before for another body."""


class FirstAnswers:
    """Remembers first answers durably, and lets concurrent twins wait for the one that is under way."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[FirstAnswer | None]],
        keep: Callable[[FirstAnswer], Awaitable[None]],
        hash_key: bytes,
    ) -> None:
        self._load = load
        self._keep = keep
        self._hash_key = hash_key
        self._under_way: dict[str, asyncio.Future[FirstAnswer | None]] = {}

    def name(self, phone_number_id: str, key: bytes) -> str:
        """Return the name under which an answer is kept: nobody's own key is."""
        told = phone_number_id.encode() + b"\n" + key[:KEY_BYTES_MOST]
        return hashlib.blake2b(told, digest_size=16, key=self._hash_key[:64], person=b"idempotency").hexdigest()

    async def once(
        self, name: str, body: bytes, send: Callable[[], Awaitable[FirstAnswer]]
    ) -> tuple[FirstAnswer, bool]:
        """Return the first answer under a name, and whether it had been given before; `send` makes it.

        Raise ReusedError where the name stands for another body. What `send` raises reaches its own caller, and the
        twins that waited send for themselves, one after the other.
        """
        digest = hashlib.blake2b(body, digest_size=16).digest()
        while (under_way := self._under_way.get(name)) is not None:
            known = await asyncio.shield(under_way)
            if known is not None:
                return _same(known, digest), True
        future: asyncio.Future[FirstAnswer | None] = asyncio.get_running_loop().create_future()
        self._under_way[name] = future
        answer: FirstAnswer | None = None
        try:
            known = await self._load(name)
            if known is not None:
                answer = known
                return _same(known, digest), True
            made = await send()
            if made.status not in RETRIED:
                answer = made
                await self._kept(made)
            return made, False
        finally:
            del self._under_way[name]
            future.set_result(answer)

    async def _kept(self, made: FirstAnswer) -> None:
        """Keep an answer; where the store can't, the message is sent all the same, and its twins here know of it."""
        try:
            await self._keep(made)
        except StoreUnavailableError as error:
            logs.get().warning("answer_not_kept", reason=str(error))


def _same(known: FirstAnswer, digest: bytes) -> FirstAnswer:
    if known.digest and known.digest != digest:
        raise ReusedError
    return known
