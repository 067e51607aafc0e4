"""Two ids of one person: the number, and the business-scoped id that Meta gives beside it or instead."""

import pytest

from monitor import gate, payloads, standing
from monitor.gate import Ask
from monitor.web import verdicts
from tests import setting
from tests.world import NOW, NUMBER, WABA, World, pseudonym

PHONE, BUSINESS_ID = "15550000001", "US.1"
PAIR, EXPIRED = 131056, 131043


def hear(
    world: World, status: str, *, code: int = 0, at: float = NOW, by: str = "both", wamid: str = "wamid.1"
) -> None:
    """Hear of a message to one person, who is named by the number, or by both ids."""
    item = payloads.status(wamid, status, at, recipient=PHONE, codes=(code,) if code else ())
    named = {"recipient_user_id": BUSINESS_ID} if by == "both" else {}
    world.hear(payloads.change(NUMBER, statuses=[item | named]), at=at)


def prefer(world: World, value: str, at: float, **ids: str) -> None:
    world.hear(preference(value, at, **ids), at=NOW)


def preference(value: str, at: float, **ids: str) -> dict[str, object]:
    told = {"category": "marketing_messages", "value": value, "timestamp": int(at), "wa_id": PHONE, **ids}
    about = {"metadata": {"phone_number_id": NUMBER}, "user_preferences": [told]}
    return {"field": "user_preferences", "value": about}


def is_allowed(world: World, person: str, at: float = NOW) -> bool:
    ask = Ask(waba_id=WABA, phone_number_id=NUMBER, recipient=pseudonym(person))
    return gate.decide(standing.concerning(world.memory.standing, gate.narrow(ask)), ask, {}, at).allow


def test_a_pair_that_must_wait_waits_by_either_id() -> None:
    world = World()
    hear(world, "failed", code=PAIR)

    assert [is_allowed(world, one) for one in (PHONE, BUSINESS_ID, "15550000002")] == [False, False, True]


@pytest.mark.parametrize("status", ["delivered", "failed"])
def test_a_pause_holds_by_an_id_that_is_heard_of_later(status: str) -> None:
    world = World()
    hear(world, "failed", code=PAIR, by="number")
    assert [is_allowed(world, one) for one in (PHONE, BUSINESS_ID)] == [False, True]

    hear(world, status, wamid="wamid.2")
    assert [is_allowed(world, one) for one in (PHONE, BUSINESS_ID)] == [False, False]


def test_a_pair_waits_by_both_ids_although_its_failure_names_one_of_two_that_were_heard_of() -> None:
    world = World()
    hear(world, "delivered")
    hear(world, "failed", code=PAIR, by="number", wamid="wamid.2")

    assert [is_allowed(world, one) for one in (PHONE, BUSINESS_ID)] == [False, False]


def test_a_pause_by_two_ids_is_shown_and_counted_once() -> None:
    world = World()
    hear(world, "failed", code=PAIR)

    shown = verdicts.of(world.memory.standing, {}, {}, {}, NOW)

    assert (len(shown.pauses), shown.hidden, dict(shown.narrow)) == (1, 0, {"pair": 1})


def test_of_two_wishes_of_one_second_the_later_one_counts_in_whatever_steps_they_come() -> None:
    step = World().rehearsal.step()
    step.known.preferences["a"], step.preferences["a"] = (True, NOW), (False, NOW)

    assert not step.has_stopped("a")


def test_a_pause_holds_by_an_id_that_a_wish_tells() -> None:
    world = World()
    hear(world, "failed", code=PAIR, by="number")

    prefer(world, "resume", NOW, user_id=BUSINESS_ID)

    assert [is_allowed(world, one) for one in (PHONE, BUSINESS_ID)] == [False, False]


def test_a_pause_that_is_over_is_forgotten_by_all_of_its_ids() -> None:
    world = World()
    hear(world, "failed", code=PAIR)

    assert standing.forget(world.memory.standing, NOW + 1e6).narrow == standing.Standing().narrow


def test_a_later_success_under_both_ids_makes_a_resend_by_one_of_them_needless() -> None:
    world = World()
    hear(world, "failed", code=EXPIRED, by="number")

    hear(world, "delivered", wamid="wamid.2", at=NOW + 1)

    assert [one.state for one in world.known.resends.values()] == ["superseded"]


def test_who_stopped_marketing_by_number_is_sent_nothing_again_by_the_other_id() -> None:
    world = World(setting.settings())
    prefer(world, "stop", NOW)

    hear(world, "failed", code=EXPIRED)

    assert [(one.state, one.reason) for one in world.known.resends.values()] == [("withheld", "opted_out")]


@pytest.mark.parametrize("is_at_once", [True, False])
def test_an_older_wish_that_comes_late_does_not_undo_a_newer_one(is_at_once: bool) -> None:
    world = World()
    said = [preference("stop", NOW), preference("resume", NOW - 3600)]
    if is_at_once:
        world.hear(*said)
    else:
        for one in said:
            world.hear(one)

    hear(world, "failed", code=EXPIRED)

    assert [one.reason for one in world.known.resends.values()] == ["opted_out"]
