"""The public listener's application: every answer, and what is journaled with it."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from monitor import payloads, receive, signature
from monitor.attempts import WINDOW_SECONDS, Attempts
from monitor.deadlines import Deadlines
from monitor.receive import BODY_BYTES_MOST, IN_FLIGHT_BYTES_MOST, WAITING_MOST, Door, Receiver
from monitor.store.protocol import Arrival, StoreUnavailableError
from tests.asgi import Answer, call

SECRET = b"0123456789abcdef"
DOOR = Door("/webhook", (b"another-secret-of-ours", SECRET), (b"token", b"other-token"))
BODY = payloads.delivery(payloads.change("200", statuses=[payloads.status("wamid.one", "sent", 1.7e9)]))


class Journal:
    """Keeps arrivals in memory."""

    def __init__(self) -> None:
        self.waiting = 0
        self.arrivals: list[Arrival] = []
        self.is_broken = False
        self.is_full = False

    def has_room(self) -> bool:
        return not self.is_full

    async def append(self, arrival: Arrival) -> int | None:
        if self.is_broken:
            raise StoreUnavailableError("disk full")
        if any(arrival.body == known.body for known in self.arrivals):
            return None
        self.arrivals.append(arrival)
        return len(self.arrivals)


class World:
    """A receiver and what it touched."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.outcomes: Counter[str] = Counter()
        self.now = 1.7e9
        self.guesses: Counter[str] = Counter()
        self.behind: Iterator[bool] = itertools.repeat(False)
        self.asked: list[int] = []
        self.signed_by: list[int] = []
        self.receiver = Receiver(
            DOOR,
            self.journal,
            clock=lambda: 1.7e9,
            count=lambda outcome: self.outcomes.update([outcome]),
            count_signed=self.signed_by.append,
            journaled=lambda: None,
            is_behind=self.is_behind,
            attempts=Attempts(lambda: self.now, lambda outcome: self.guesses.update([outcome])),
            deadlines=Deadlines(),
        )

    def is_behind(self) -> bool:
        self.asked.append(len(self.journal.arrivals))
        return next(self.behind)

    async def post(
        self, body: bytes | Sequence[bytes], *, signed: str | bytes | None = None, extra: Sequence[tuple[str, str]] = ()
    ) -> Answer:
        whole = body if isinstance(body, bytes) else b"".join(body)
        claimed = signature.sign(whole, SECRET) if signed is None else signed
        return await call(
            self.receiver, "POST", "/webhook", headers=[("X-Hub-Signature-256", claimed), *extra], body=body
        )


@pytest.fixture
def world() -> World:
    return World()


async def test_a_signed_delivery_is_journaled_with_its_bytes_and_signature(world: World) -> None:
    answer = await world.post(BODY)

    assert (answer.status, answer.body) == (200, b"")
    assert world.journal.arrivals == [Arrival("webhook", 1.7e9, BODY, signature.sign(BODY, SECRET))]
    assert world.outcomes == {"accepted": 1}


async def test_a_body_in_pieces_is_one_body(world: World) -> None:
    answer = await world.post([BODY[:10], BODY[10:20], BODY[20:]])

    assert answer.status == 200
    assert world.journal.arrivals[0].body == BODY


async def test_any_of_the_secrets_may_have_signed(world: World) -> None:
    answer = await world.post(BODY, signed=signature.sign(BODY, DOOR.app_secrets[0]))

    assert answer.status == 200


async def test_signed_garbage_is_accepted_since_a_retry_cannot_mend_it(world: World) -> None:
    answer = await world.post(b"\xff\xfe not json")

    assert answer.status == 200
    assert len(world.journal.arrivals) == 1


async def test_a_copy_is_answered_200_and_counted_as_one(world: World) -> None:
    await world.post(BODY)
    answer = await world.post(BODY)

    assert answer.status == 200
    assert world.outcomes == {"accepted": 1, "duplicate": 1}


@pytest.mark.parametrize(
    "claimed",
    ["", "sha1=" + "0" * 40, "sha256=" + "0" * 63, "sha256=" + "g" * 64, b"sha256=\xe9" + b"0" * 63, "0" * 64],
)
async def test_a_malformed_signature_is_401_before_the_body_is_read(world: World, claimed: str | bytes) -> None:
    answer = await world.post([b"never", b"read"], signed=claimed)

    assert answer.status == 401
    assert world.outcomes == {"signature_mismatch": 1}
    assert world.journal.arrivals == []


async def test_a_wrong_digest_is_401(world: World) -> None:
    answer = await world.post(BODY, signed=signature.sign(BODY, b"not-our-secret-at-all"))

    assert answer.status == 401
    assert world.outcomes == {"signature_mismatch": 1}


async def test_no_signature_is_401(world: World) -> None:
    answer = await call(world.receiver, "POST", "/webhook", body=BODY)

    assert answer.status == 401
    assert world.outcomes == {"signature_missing": 1}


async def test_two_signatures_are_401(world: World) -> None:
    answer = await world.post(BODY, extra=[("X-Hub-Signature-256", signature.sign(BODY, SECRET))])

    assert answer.status == 401


async def test_a_body_that_one_byte_was_changed_in_is_401(world: World) -> None:
    answer = await world.post(BODY.replace(b"sent", b"read"), signed=signature.sign(BODY, SECRET))

    assert answer.status == 401


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("pieces_after", [0, 1, 3])
async def test_a_body_over_4_mib_is_413_wherever_it_ends(world: World, is_declared: bool, pieces_after: int) -> None:
    pieces = [b"x" * (BODY_BYTES_MOST // 4 + 1)] * (4 + pieces_after)
    extra = [("Content-Length", str(sum(map(len, pieces))))] if is_declared else []

    async with asyncio.timeout(1):
        answer = await world.post(pieces, extra=extra)

    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert world.outcomes == {"too_large": 1}


async def test_it_is_told_which_of_the_secrets_signed(world: World) -> None:
    for secret in (SECRET, DOOR.app_secrets[0]):
        assert (await world.post(BODY, signed=signature.sign(BODY, secret))).status == 200
    await world.post(BODY, signed=signature.sign(BODY, b"a-stranger-s-secret"))

    assert world.signed_by == [2, 1]


async def test_what_comes_waits_until_what_came_before_was_acted_upon(world: World) -> None:
    world.behind = itertools.chain([True, True, True], itertools.repeat(False))

    answer = await world.post(BODY)

    assert answer.status == 200
    assert world.asked == [0, 0, 0, 0]  # nothing was journaled while it waited


async def test_what_waits_for_long_is_journaled_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "HELD_SECONDS", 0.1)
    world.behind = itertools.repeat(True)

    answer = await world.post(BODY)

    assert answer.status == 200
    assert len(world.asked) > 2


async def test_who_waits_is_let_in_before_who_comes_later(world: World) -> None:
    is_behind = True
    world.behind = iter(lambda: is_behind, None)
    bodies = [BODY.replace(b"wamid.one", b"wamid.%d" % number) for number in range(4)]
    waiting = []
    for body in bodies[:3]:
        waiting.append(asyncio.create_task(world.post(body)))
        await asyncio.sleep(0.01)
    is_behind = False
    waiting.append(asyncio.create_task(world.post(bodies[3])))
    await asyncio.gather(*waiting)

    assert [arrival.body for arrival in world.journal.arrivals] == bodies


async def test_what_nobody_signed_is_refused_without_waiting(world: World) -> None:
    world.behind = itertools.repeat(True)

    answer = await world.post(BODY, signed="sha256=" + "0" * 64)

    assert answer.status == 401
    assert world.asked == []


async def test_a_body_of_exactly_4_mib_is_accepted(world: World) -> None:
    answer = await world.post(b"x" * BODY_BYTES_MOST)

    assert answer.status == 200


async def test_a_compressed_body_is_415(world: World) -> None:
    answer = await world.post(BODY, extra=[("Content-Encoding", "gzip")])

    assert answer.status == 415
    assert world.journal.arrivals == []


async def test_a_body_compressed_by_one_of_two_words_is_415(world: World) -> None:
    answer = await world.post(BODY, extra=[("Content-Encoding", "gzip"), ("Content-Encoding", "identity")])

    assert answer.status == 415


async def test_an_unavailable_journal_is_503_with_retry_after(world: World) -> None:
    world.journal.is_broken = True

    answer = await world.post(BODY)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert world.outcomes == {"journal_unavailable": 1}


async def test_a_full_disk_is_503_with_retry_after_until_there_is_room(world: World) -> None:
    world.journal.is_full = True
    refused = await world.post(BODY)
    world.journal.is_full = False
    taken = await world.post(BODY)

    assert (refused.status, refused.headers["retry-after"], taken.status) == (503, "5", 200)
    assert world.outcomes == {"disk_full": 1, "accepted": 1}


async def test_too_many_waiting_deliveries_are_503(world: World) -> None:
    world.journal.waiting = WAITING_MOST

    answer = await world.post(BODY)

    assert answer.status == 503
    assert world.outcomes == {"overloaded": 1}


async def test_bytes_in_flight_are_given_back(world: World) -> None:
    length = [("Content-Length", str(len(BODY)))]
    for number in range(2 + IN_FLIGHT_BYTES_MOST // BODY_BYTES_MOST):
        body = BODY + b" " * number
        await world.post(body, extra=[("Content-Length", str(BODY_BYTES_MOST))])

    answer = await world.post(BODY, extra=length)

    assert answer.status == 200
    assert world.outcomes["overloaded"] == 0


async def test_a_sender_that_goes_away_leaves_nothing(world: World) -> None:
    headers = [("X-Hub-Signature-256", signature.sign(BODY, SECRET))]

    answer = await call(world.receiver, "POST", "/webhook", headers=headers, body=[BODY[:10]], is_cut_off=True)

    assert answer.status == 0
    assert world.journal.arrivals == []


@pytest.mark.parametrize("token", ["token", "other-token"])
async def test_the_verification_is_answered_with_its_challenge(world: World, token: str) -> None:
    query = f"hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444"

    answer = await call(world.receiver, "GET", f"/webhook?{query}")

    assert (answer.status, answer.body) == (200, b"1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1",
        "hub.mode=unsubscribe&hub.verify_token=token&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=token",
        "hub.mode=subscribe&hub.verify_token=token&hub.verify_token=wrong&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=token&hub.challenge=<script>",
        "hub.mode=subscribe&hub.verify_token=%C3%A9&hub.challenge=1",
    ],
)
async def test_any_other_verification_is_403(world: World, query: str) -> None:
    answer = await call(world.receiver, "GET", f"/webhook?{query}")

    assert answer.status == 403
    assert answer.body == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/metrics"), ("POST", "/webhook/"), ("PUT", "/webhook"), ("GET", "/v1/gate")],
)
async def test_anything_else_is_404_and_empty(world: World, method: str, path: str) -> None:
    answer = await call(world.receiver, method, path)

    assert (answer.status, answer.body) == (404, b"")


async def test_the_eleventh_wrong_verification_in_a_minute_is_told_to_wait_and_a_right_one_never(world: World) -> None:
    wrong = "/webhook?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1"
    right = wrong.replace("wrong", "token")

    answers = [await call(world.receiver, "GET", wrong) for _ in range(12)]
    meanwhile = await call(world.receiver, "GET", right)
    world.now += WINDOW_SECONDS
    later = await call(world.receiver, "GET", wrong)

    assert [answer.status for answer in answers] == [403] * 10 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= WINDOW_SECONDS + 1
    assert (meanwhile.status, later.status) == (200, 403)
    assert world.guesses == {"unknown": 11, "limited": 2}
