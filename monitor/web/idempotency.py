"""Idempotency keys: under one key a message is sent once, and every repetition hears the first answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

from monitor import logs
from monitor.store.protocol import FirstAnswer, StoreUnavailableError

HEADER = b"idempotency-key"
REPLAYED = (b"idempotency-replayed", b"true")


class ReusedError(Exception):
    """The key was used before for another body."""


class NotSentError(Exception):
    """Nothing was sent, for certain: the same key may be tried again."""


class FirstAnswers:
    """Remembers first answers durably, and lets concurrent twins wait for the one that is under way."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[FirstAnswer | None]],
        keep: Callable[[FirstAnswer], Awaitable[None]],
        drop: Callable[[str], Awaitable[None]],
        hash_keys: Sequence[bytes],
    ) -> None:
        self._load = load
        self._keep = keep
        self._drop = drop
        self._hash_keys = hash_keys
        self._under_way: dict[str, asyncio.Future[FirstAnswer | None]] = {}

    def names(self, phone_number_id: str, key: bytes) -> tuple[str, ...]:
        """Return the name under which an answer is kept: nobody's own key is; then those under older hash keys."""
        told = phone_number_id.encode() + b"\n" + key
        return tuple(
            hashlib.blake2b(told, digest_size=16, key=one, person=b"idempotency").hexdigest() for one in self._hash_keys
        )

    async def once(
        self,
        name: str,
        body: bytes,
        refused: Callable[[], FirstAnswer | None],
        unknown: FirstAnswer,
        send: Callable[[], Awaitable[FirstAnswer]],
        formerly: Sequence[str] = (),
    ) -> tuple[FirstAnswer, bool]:
        """Return the first answer under a name, and whether it had been given before; `send` makes it.

        `refused` says why nothing may be sent, if so. `unknown` is kept before anything leaves: it is what a repetition
        hears if this process dies meanwhile. `formerly` are names under which it may be known too. Raise ReusedError
        where the name stands for another body, NotSentError where `send` did, and StoreUnavailableError where nothing
        can be kept, so that nothing is sent.
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
            answer = await self._load(name)
            for one in formerly:
                answer = answer or await self._load(one)
            if answer is not None:
                return _same(answer, digest), True
            refusal = refused()
            if refusal is not None:
                return refusal, False
            await self._keep(unknown)
            try:
                made = await send()
            except NotSentError:
                await self._drop(name)
                raise
            if is_refusal(made.status):
                await self._drop(name)
            else:
                answer = made
                await self._kept(made)
            return made, False
        finally:
            del self._under_way[name]
            future.set_result(answer)

    async def _kept(self, made: FirstAnswer) -> None:
        """Keep an answer; where the store can't any more, its twins here know of it, and later ones that it left."""
        try:
            await self._keep(made)
        except StoreUnavailableError as error:
            logs.get().warning("answer_not_kept", reason=str(error))


def is_refusal(status: int) -> bool:
    """Say whether Graph refused it for certain, so that nothing was sent; anything else may mean that it left."""
    return 400 <= status < 500


def _same(known: FirstAnswer, digest: bytes) -> FirstAnswer:
    if known.digest and known.digest != digest:
        raise ReusedError
    return known
