"""Meta's own key: what its word on an account or a template stops, for how long, and what lifts it."""

from typing import Any

import pytest

from monitor import gate, standing
from monitor.actions import META, Pause, is_in_force
from monitor.events import PauseReleased
from monitor.gate import Ask
from tests import setting
from tests.world import NOW, NUMBER, WABA, World


@pytest.fixture
def world() -> World:
    return World(setting.settings(follows_meta=True))


def update(**value: Any) -> dict[str, Any]:
    return {"field": "account_update", "value": value}


def restricted(kind: str, until: float | None = NOW + 3600) -> dict[str, Any]:
    info = {"restriction_type": kind} | ({"expiration": int(until)} if until else {})
    return update(event="ACCOUNT_RESTRICTION", restriction_info=[info])


def template(event: str, language: str = "en_US") -> dict[str, Any]:
    value = {
        "event": event, "message_template_id": 1, "message_template_name": "offer",
        "message_template_language": language,
    }  # fmt: skip
    return {"field": "message_template_status_update", "value": value}


def locks(world: World, at: float = NOW) -> list[Pause]:
    found = world.memory.standing.pauses.values()
    return [pause for pause in found if pause.rule == META and is_in_force(pause, at)]


def verdict(world: World, at: float = NOW + 1, **asked: Any) -> gate.Verdict:
    ask = Ask(waba_id=WABA, phone_number_id=NUMBER, **asked)
    return gate.decide(standing.concerning(world.memory.standing, gate.narrow(ask)), ask, {}, at)


def test_a_restriction_of_what_the_business_starts_leaves_replies_running(world: World) -> None:
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING"), time=NOW)

    denied = verdict(world, kind="template", category="marketing")
    assert (denied.allow, denied.reason, denied.retry_after_seconds) == (False, "paused_waba", 3599)
    assert denied.pause is not None
    assert gate.key_of(denied.pause) == "meta"
    assert gate.may_release(denied.pause) == ["meta", "time", "operator"]
    assert verdict(world, kind="free_form").allow
    assert verdict(world, at=NOW + 3600, category="marketing").allow


def test_what_meta_restricts_beside_messaging_stops_nothing(world: World) -> None:
    world.hear(restricted("RESTRICTED_ADD_PHONE_NUMBER_ACTION"), restricted("RESTRICTED_DIRECT_SEND_UTILITY_TEMPLATES"))

    assert not locks(world)


def test_each_restriction_has_its_own_end_and_a_newer_word_moves_it(world: World) -> None:
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", NOW + 100), time=NOW)
    world.hear(restricted("RESTRICTED_CUSTOMER_INITIATED_MESSAGING", NOW + 50), time=NOW, at=NOW + 1)
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", NOW + 200), time=NOW + 2, at=NOW + 2)

    assert {(pause.lane, pause.until) for pause in locks(world)} == {
        ("business_initiated", NOW + 200), ("all", NOW + 50),
    }  # fmt: skip
    assert not verdict(world, kind="reply").allow
    assert verdict(world, at=NOW + 60, kind="reply").allow


@pytest.mark.parametrize(
    "end",
    [
        update(event="DISABLED_UPDATE", ban_info={"waba_ban_state": "REINSTATE"}),
        update(event="ACCOUNT_RESTRICTION", restriction_info=[]),
    ],
)
def test_meta_lifts_what_meta_has_placed(world: World, end: dict[str, Any]) -> None:
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", None), time=NOW)
    world.hear(update(event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"}), time=NOW + 1, at=NOW + 1)
    assert len(locks(world)) == 2

    world.hear(end, time=NOW + 2, at=NOW + 2)

    assert not locks(world, NOW + 2)
    assert verdict(world, at=NOW + 3, category="marketing").allow


@pytest.mark.parametrize("times", [(0, 10), (10, 0), (0, -500)])
def test_a_ban_lasts_whatever_end_a_restriction_has(world: World, times: tuple[int, int]) -> None:
    ban = update(event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE"})
    told = [ban, restricted("RESTRICTED_CUSTOMER_INITIATED_MESSAGING", NOW + 100)]
    for change, second in sorted(zip(told, times, strict=True), key=lambda one: abs(one[1])):
        world.hear(change, time=NOW + second, at=NOW + abs(second))

    assert not verdict(world, at=NOW + 600, category="marketing").allow


@pytest.mark.parametrize(
    "told", [{}, {"restriction_info": None}, {"restriction_info": "X"}, {"restriction_info": ["X"]}]
)
def test_a_restriction_that_cannot_be_read_lifts_nothing(world: World, told: dict[str, Any]) -> None:
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", None), time=NOW)

    world.hear(update(event="ACCOUNT_RESTRICTION", **told), time=NOW + 2, at=NOW + 2)

    assert not verdict(world, at=NOW + 3, category="marketing").allow


@pytest.mark.parametrize(
    "end",
    [
        update(event="DISABLED_UPDATE", ban_info={"waba_ban_state": "REINSTATE"}),
        update(event="ACCOUNT_RESTRICTION", restriction_info=[]),
    ],
)
def test_an_end_that_was_said_before_the_newest_word_lifts_nothing(world: World, end: dict[str, Any]) -> None:
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", None), time=NOW - 9000, at=NOW - 9000)
    world.hear(restricted("RESTRICTED_BIZ_INITIATED_MESSAGING", None), time=NOW, at=NOW)

    world.hear(end, time=NOW - 600, at=NOW + 1)

    assert not verdict(world, at=NOW + 2, category="marketing").allow
    assert [one.closed_at for one in world.memory.standing.incidents.values()] == [None]


def test_a_paused_template_stops_only_itself_and_its_language(world: World) -> None:
    world.hear(template("PAUSED"), time=NOW)

    assert not verdict(world, template="offer").allow
    assert not verdict(world, template="offer", language="en_US").allow
    assert verdict(world, template="offer", language="de").allow
    assert verdict(world, template="other").allow

    world.hear(template("APPROVED", "de"), time=NOW + 1, at=NOW + 1)
    assert not verdict(world, template="offer").allow
    world.hear(template("APPROVED"), time=NOW + 2, at=NOW + 2)
    assert verdict(world, at=NOW + 3, template="offer").allow


def test_an_older_word_that_comes_late_changes_nothing(world: World) -> None:
    world.hear(template("APPROVED"), time=NOW)
    world.hear(template("PAUSED"), time=NOW - 60, at=NOW + 1)

    assert not locks(world, NOW + 1)


def test_a_finding_that_was_reinstated_stays_open_when_meta_repeats_it(world: World) -> None:
    world.hear(template("PAUSED"), time=NOW)
    (lock,) = locks(world)
    act = PauseReleased("ann", "Meta's support says otherwise", lock.id, reinstated_seconds=600.0)
    world.take([act], NOW + 1)

    world.hear(template("PAUSED"), time=NOW + 2, at=NOW + 2)

    assert verdict(world, at=NOW + 3, template="offer").allow


def test_without_the_key_meta_s_word_alone_stops_nothing() -> None:
    world = World(setting.settings(follows_meta=False))
    world.hear(template("PAUSED"), time=NOW)

    assert not locks(world)
