"""First answers: twins wait, what failed is tried again, and a store that is down loses nothing that matters here."""

import asyncio
import hashlib

import pytest

from monitor.store.protocol import FirstAnswer, StoreUnavailableError
from monitor.web.idempotency import FirstAnswers, ReusedError


class Kept:
    """A store of answers, which may be down."""

    def __init__(self) -> None:
        self.answers: dict[str, FirstAnswer] = {}
        self.is_down = False

    async def load(self, key: str) -> FirstAnswer | None:
        return self.answers.get(key)

    async def keep(self, answer: FirstAnswer) -> None:
        if self.is_down:
            raise StoreUnavailableError("down")
        self.answers.setdefault(answer.key, answer)


class Sender:
    """Answers with these statuses in turn, each after a moment."""

    def __init__(self, first: FirstAnswers, *statuses: int | Exception) -> None:
        self.first = first
        self.statuses = list(statuses)
        self.sent = 0

    async def send(self, body: bytes = b"body") -> tuple[int, bool]:
        async def made() -> FirstAnswer:
            self.sent += 1
            await asyncio.sleep(0.01)
            status = self.statuses.pop(0)
            if isinstance(status, Exception):
                raise status
            digest = hashlib.blake2b(body, digest_size=16).digest()
            return FirstAnswer("name", digest, status, [], b"")

        answer, is_replayed = await self.first.once("name", body, made)
        return answer.status, is_replayed


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def first(kept: Kept) -> FirstAnswers:
    return FirstAnswers(kept.load, kept.keep, b"key")


async def test_twins_hear_the_one_answer(first: FirstAnswers) -> None:
    sender = Sender(first, 200)

    answers = await asyncio.gather(*(sender.send() for _ in range(5)))

    assert sender.sent == 1
    assert sorted(answers) == [(200, False), *[(200, True)] * 4]


async def test_twins_of_one_that_was_refused_try_for_themselves_one_by_one(first: FirstAnswers) -> None:
    sender = Sender(first, 429, 400, 200)

    answers = await asyncio.gather(*(sender.send() for _ in range(5)))

    assert sender.sent == 3
    assert sorted(answers) == [(200, False), (200, True), (200, True), (400, False), (429, False)]


async def test_an_exception_reaches_its_own_caller_only(first: FirstAnswers) -> None:
    sender = Sender(first, ConnectionError("x"), 200)

    answers = await asyncio.gather(*(sender.send() for _ in range(3)), return_exceptions=True)

    assert [isinstance(one, ConnectionError) for one in answers] == [True, False, False]
    assert answers[1:] == [(200, False), (200, True)]


async def test_what_was_sent_is_not_sent_again_to_twins_though_the_store_is_down(
    first: FirstAnswers, kept: Kept
) -> None:
    kept.is_down = True
    sender = Sender(first, 200)

    answers = await asyncio.gather(*(sender.send() for _ in range(3)))

    assert (sender.sent, sorted(answers)) == (1, [(200, False), (200, True), (200, True)])


async def test_a_key_stands_for_one_body(first: FirstAnswers) -> None:
    sender = Sender(first, 200)
    await sender.send()

    with pytest.raises(ReusedError):
        await sender.send(b"another")


def test_names_tell_numbers_and_keys_apart_and_show_neither(first: FirstAnswers) -> None:
    names = {first.name("200", b"order"), first.name("201", b"order"), first.name("200", b"order2")}

    assert len(names) == 3
    assert all("order" not in name for name in names)
