"""A follower's picture: what it answers from memory, what it leaves to the sidecar, and when it no longer knows."""

import msgspec
import pytest

from monitor import gate, pictures
from monitor.actions import Pause
from monitor.gate import Ask
from monitor.pictures import Picture

PAUSE = Pause("p5-0", "waba", "100", "marketing", "rule", 368, "why", "rule:rule", 1.0, None, "waba")
DENY = dict.fromkeys(gate.EVERY_LANE, "deny")
MARKETING = Ask(phone_number_id="200", category="marketing")


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def snapshot(*pauses: Pause, now: float = 1000.0, at: float = 1000.0) -> Picture:
    whole = {"position": 5, "now": now, "pauses": pauses, "numbers": {"200": "100"}}
    return pictures.told(Picture(), "snapshot", encoded(whole), at)


def allows(picture: Picture, ask: Ask = MARKETING, at: float = 1000.0) -> bool | None:
    verdict = pictures.decide(picture, ask, at, 10.0, DENY)
    return None if verdict is None else verdict.allow


def test_a_snapshot_says_how_it_stands_and_events_change_it() -> None:
    picture = snapshot(PAUSE)
    assert (allows(picture), allows(picture, Ask(phone_number_id="200", category="utility"))) == (False, True)

    picture = pictures.told(picture, "pause", encoded(msgspec.structs.replace(PAUSE, released_at=999.0)), 1001.0)
    assert allows(picture, at=1001.0)

    picture = pictures.told(picture, "number", encoded({"phone_number_id": "300", "waba_id": "100"}), 1002.0)
    picture = pictures.told(picture, "pause", encoded(msgspec.structs.replace(PAUSE, id="p6-0")), 1002.0)
    assert not allows(picture, Ask(phone_number_id="300"), at=1002.0)


@pytest.mark.parametrize(
    ("picture", "at", "reason"), [(Picture(), 1000.0, "not_connected"), (snapshot(), 1010.1, "stale")]
)
def test_what_is_not_known_is_answered_as_told(picture: Picture, at: float, reason: str) -> None:
    denied = pictures.decide(picture, MARKETING, at, 10.0, DENY)
    allowed = pictures.decide(picture, MARKETING, at, 10.0, {**DENY, "marketing": "allow"})

    assert denied is not None
    assert allowed is not None
    assert (denied.allow, denied.reason, allowed.allow) == (False, reason, True)


def test_a_heartbeat_keeps_the_picture_fresh_and_its_clock_right() -> None:
    timed = msgspec.structs.replace(PAUSE, until=2000.0)
    picture = snapshot(timed, now=1990.0, at=1000.0)
    assert not allows(picture, at=1005.0)

    picture = pictures.told(picture, "heartbeat", encoded({"position": 5, "now": 2000.5}), 1010.0)
    assert allows(picture, at=1010.0)
    assert allows(picture, at=1019.0)


def test_what_only_the_sidecar_can_tell_is_left_to_it() -> None:
    throttle = msgspec.structs.replace(PAUSE, per_second=2.0)
    person = msgspec.structs.replace(PAUSE, scope="recipient", scope_id="hash", lane="all")

    assert allows(snapshot(throttle)) is None
    named = msgspec.structs.replace(MARKETING, recipient="15550001")
    assert allows(snapshot(person), named) is None
    assert allows(snapshot(person)) is True
    assert allows(snapshot(msgspec.structs.replace(person, until=900.0)), named) is True


def test_pauses_that_are_over_do_not_pile_up() -> None:
    picture = snapshot()
    for number in range(1000):
        over = msgspec.structs.replace(PAUSE, id=f"p{number}-0", scope="template", scope_id=str(number), until=2.0)
        picture = pictures.told(picture, "pause", encoded(over), 1000.0)

    assert len(picture.stands.pauses) <= pictures.SWEPT_FROM
