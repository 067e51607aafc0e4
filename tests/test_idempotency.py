"""First answers: twins wait, what failed is tried again, and a store that is down loses nothing that matters here."""

import asyncio
import hashlib

import pytest

from monitor.store.protocol import FirstAnswer, StoreUnavailableError
from monitor.web.idempotency import FirstAnswers, NotSentError, ReusedError

UNKNOWN = FirstAnswer("name", b"", 502, [], b"")


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
        known = self.answers.get(answer.key)
        if known is None or not known.digest:
            self.answers[answer.key] = answer

    async def drop(self, key: str) -> None:
        if not self.answers[key].digest:
            del self.answers[key]


class Sender:
    """Answers with these statuses in turn, each after a moment."""

    def __init__(self, first: FirstAnswers, *statuses: int | Exception) -> None:
        self.first = first
        self.statuses = list(statuses)
        self.sent = 0
        self.refusal: FirstAnswer | None = None

    async def send(self, body: bytes = b"body") -> tuple[int, bool]:
        async def made() -> FirstAnswer:
            self.sent += 1
            await asyncio.sleep(0.01)
            status = self.statuses.pop(0)
            if isinstance(status, Exception):
                raise status
            digest = hashlib.blake2b(body, digest_size=16).digest()
            return FirstAnswer("name", digest, status, [], b"")

        answer, is_replayed = await self.first.once("name", body, lambda: self.refusal, UNKNOWN, made)
        return answer.status, is_replayed


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def first(kept: Kept) -> FirstAnswers:
    return FirstAnswers(kept.load, kept.keep, kept.drop, [b"key"])


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


async def test_what_was_not_sent_for_certain_may_be_tried_by_its_twins(first: FirstAnswers) -> None:
    sender = Sender(first, NotSentError(), 200)

    answers = await asyncio.gather(*(sender.send() for _ in range(3)), return_exceptions=True)

    assert [isinstance(one, NotSentError) for one in answers] == [True, False, False]
    assert answers[1:] == [(200, False), (200, True)]


async def test_whatever_else_ends_a_send_leaves_its_outcome_unknown(first: FirstAnswers) -> None:
    sender = Sender(first, ConnectionError("x"))

    answers = await asyncio.gather(*(sender.send() for _ in range(3)), return_exceptions=True)

    assert isinstance(answers[0], ConnectionError)
    assert answers[1:] == [(502, True), (502, True)]
    assert sender.sent == 1


async def test_nothing_is_sent_where_nothing_can_be_kept(first: FirstAnswers, kept: Kept) -> None:
    kept.is_down = True
    sender = Sender(first, 200)

    with pytest.raises(StoreUnavailableError):
        await sender.send()

    assert sender.sent == 0


async def test_an_answer_that_cannot_be_kept_any_more_is_known_to_twins_and_unknown_later(
    first: FirstAnswers, kept: Kept
) -> None:
    sender = Sender(first, 200)
    sending = [asyncio.create_task(sender.send()) for _ in range(3)]
    await asyncio.sleep(0.005)
    kept.is_down = True

    assert sorted(await asyncio.gather(*sending)) == [(200, False), (200, True), (200, True)]
    assert await sender.send() == (502, True)
    assert sender.sent == 1


async def test_a_refusal_is_not_kept(first: FirstAnswers, kept: Kept) -> None:
    sender = Sender(first, 200)
    sender.refusal = FirstAnswer("", b"", 403, [], b"")

    assert await sender.send() == (403, False)
    sender.refusal = None
    assert await sender.send() == (200, False)


async def test_a_key_stands_for_one_body(first: FirstAnswers) -> None:
    sender = Sender(first, 200)
    await sender.send()

    with pytest.raises(ReusedError):
        await sender.send(b"another")


def test_names_tell_numbers_and_keys_apart_and_show_neither(first: FirstAnswers) -> None:
    names = {first.names("200", b"order"), first.names("201", b"order"), first.names("200", b"order2")}

    assert len(names) == 3
    assert all("order" not in name for name in names)


async def test_an_answer_that_was_kept_under_an_older_hash_key_is_the_first_one(kept: Kept) -> None:
    before = FirstAnswers(kept.load, kept.keep, kept.drop, [b"old"])
    after = FirstAnswers(kept.load, kept.keep, kept.drop, [b"new", b"old"])
    (old,) = before.names("200", b"order")
    name, *formerly = after.names("200", b"order")
    await kept.keep(FirstAnswer(old, b"", 200, [], b"first"))

    async def never() -> FirstAnswer:
        raise AssertionError("sent twice")

    answer, is_replayed = await after.once(name, b"", lambda: None, UNKNOWN, never, formerly)

    assert formerly == [old]
    assert (answer.body, is_replayed) == (b"first", True)
