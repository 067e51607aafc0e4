"""Messages to send again: when, why, why not, and what became of the retry."""

import msgspec
import pytest

from monitor import codes, resends
from monitor.actions import Evidence, Moment, Resend, ResendAction
from monitor.events import ErrorReport, MetaError, PresumedExpired, ResendsClaimed, ResendSettled, Status
from monitor.messages import Message, Step

CATALOGUE = codes.catalogue()
ACTION = ResendAction("rule", 30.0, (Evidence(1, "status", 1.0, 1.0, code=131043, wamid="wamid.1"),))


def moment(now: float, position: int = 1) -> Moment:
    return Moment(position, now, "hash")


def message(state: str = "failed", category: str = "utility", wamid: str = "wamid.1", template: str = "") -> Message:
    steps = (Step(state, "1", 1.0, 1.0),)
    return Message(wamid, "100", "200", "hash", "outbound", category, "", state, steps, template=template)


def failed(code: int) -> Status:
    return Status(
        "wamid.1|failed|1", "100", "200", 1.0, "wamid.1", "failed", "hash", "", None, (MetaError(code, "", ""),), ""
    )


def listed(
    code: int = 131049, *, category: str = "utility", is_stopped: bool = False, before: Resend | None = None
) -> Resend:
    asked = resends.wanted(CATALOGUE, failed(code), (), by_catalogue=True)
    assert asked is not None
    changes = resends.listed(
        failed(code), message(category=category), asked, moment(10.0), is_stopped=is_stopped, before=before
    )
    (resend,) = (change for change in changes if isinstance(change, Resend))
    return resend


def test_a_code_that_says_later_is_listed_with_its_own_wait() -> None:
    resend = listed(131049)

    assert (resend.state, resend.rule, resend.reason) == ("pending", "catalogue", "code_131049")
    assert resend.not_before == 10.0 + 86400


@pytest.mark.parametrize("code", [131026, 131047, 506, 999])
def test_a_code_that_does_not_say_later_is_not_listed(code: int) -> None:
    assert resends.wanted(CATALOGUE, failed(code), (), by_catalogue=True) is None


def test_a_rule_s_own_wait_comes_before_the_catalogue_s() -> None:
    asked = resends.wanted(CATALOGUE, failed(131049), [ACTION], by_catalogue=True)

    assert asked is not None
    assert asked[:2] == ("rule", 30.0)


def test_an_error_without_a_message_of_its_own_asks_for_nothing() -> None:
    report = ErrorReport("key", "100", "200", 1.0, "messages", MetaError(131043, "", ""))

    assert resends.wanted(CATALOGUE, report, [ACTION], by_catalogue=True) is None


def test_a_presumed_expiry_is_listed_like_an_expiry_and_says_which() -> None:
    event = PresumedExpired("key", "100", "200", 5.0, "wamid.1", "hash", "utility", "")
    asked = resends.wanted(CATALOGUE, event, (), by_catalogue=True)
    assert asked is not None

    changes = resends.listed(event, message("sent"), asked, moment(10.0), is_stopped=False, before=None)

    assert [change.reason for change in changes if isinstance(change, Resend)] == ["presumed_expired"]


@pytest.mark.parametrize(
    ("category", "is_stopped", "reason"),
    [
        ("authentication", False, "one_time_password"),
        ("authentication_international", False, "one_time_password"),
        ("marketing", True, "opted_out"),
        ("", True, "opted_out"),
    ],
)
def test_what_must_not_be_sent_is_withheld_with_the_reason(category: str, is_stopped: bool, reason: str) -> None:
    resend = listed(category=category, is_stopped=is_stopped)

    assert (resend.state, resend.reason) == ("withheld", reason)


def test_a_notice_goes_to_a_person_who_only_stopped_marketing() -> None:
    assert listed(category="utility", is_stopped=True).state == "pending"


def test_a_message_that_arrived_is_not_listed() -> None:
    asked = resends.wanted(CATALOGUE, failed(131049), (), by_catalogue=True)
    assert asked is not None

    assert resends.listed(failed(131049), message("read"), asked, moment(1.0), is_stopped=False, before=None) == []


def test_each_further_attempt_waits_twice_as_long_until_it_has_been_tried_enough() -> None:
    first = listed()
    second = listed(before=first)
    third = listed(before=second)
    fourth = listed(before=third)

    assert [one.not_before - 10.0 for one in (first, second, third)] == [86400.0, 172800.0, 345600.0]
    assert [one.attempt for one in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert (fourth.state, fourth.reason) == ("withheld", "tried_enough")
    assert {one.chain_id for one in (first, second, third, fourth)} == {"wamid.1"}


@pytest.mark.parametrize(
    ("success", "is_superseded"),
    [
        (message("delivered", wamid="wamid.2"), True),
        (message("delivered", "", wamid="wamid.2"), True),
        (message("delivered", "marketing", wamid="wamid.2"), False),
        (message("delivered", wamid="wamid.2", template="other"), False),
        (message("delivered", wamid="wamid.1"), False),
    ],
)
def test_a_later_success_of_the_same_kind_makes_a_resend_needless(success: Message, is_superseded: bool) -> None:
    resend = msgspec.structs.replace(listed(131043), template="offer")

    assert resends.is_superseded_by(resend, success) == is_superseded


@pytest.mark.parametrize(("category", "stopped"), [("authentication", set[str]()), ("marketing", {"hash"})])
def test_what_became_known_since_it_was_listed_withholds_a_resend_from_its_worker(
    category: str, stopped: set[str]
) -> None:
    pending = Resend("r1", "wamid.1", "100", "200", "hash", "", 131043, "rule", "", 1.0, 1.0)
    known = {"wamid.1": message(category=category)}

    (change,) = resends.claim({"r1": pending}, known, stopped, ResendsClaimed("one", ("r1",), 60.0), moment(10.0))

    assert isinstance(change, Resend)
    assert change.state == "withheld"


def test_the_retry_s_outcome_is_joined_whenever_it_is_known() -> None:
    claimed = Resend("r1", "wamid.1", "100", "200", "", "", 131043, "rule", "", 1.0, 60.0, "claimed", "one", 60.0, "7")
    act = ResendSettled("one", "ok", "r1", "sent", "wamid.2")

    unknown = resends.settle({"r1": claimed}, {}, act, moment(10.0))[0]
    known = resends.settle({"r1": claimed}, {"wamid.2": message("delivered", wamid="wamid.2")}, act, moment(10.0))[0]
    assert isinstance(unknown, Resend)
    assert isinstance(known, Resend)
    later = resends.joined(unknown, message("read", wamid="wamid.2"))

    assert (unknown.retry_wamid, unknown.outcome) == ("wamid.2", "")
    assert known.outcome == "delivered"
    assert later is not None
    assert later.outcome == "read"


def test_a_resend_belongs_to_one_worker_until_its_lease_ends() -> None:
    pending = Resend("r1", "wamid.1", "100", "200", "", "", 131043, "rule", "", 1.0, 1.0)

    (taken,) = resends.claim({"r1": pending}, {}, set(), ResendsClaimed("one", ("r1",), 60.0), moment(10.0, 7))
    assert isinstance(taken, Resend)
    meanwhile = resends.claim({"r1": taken}, {}, set(), ResendsClaimed("two", ("r1",), 90.0), moment(59.0, 8))
    (later,) = resends.claim({"r1": taken}, {}, set(), ResendsClaimed("two", ("r1",), 120.0), moment(60.0, 9))

    assert (taken.state, taken.claimed_by, taken.claim) == ("claimed", "one", "7")
    assert meanwhile == []
    assert isinstance(later, Resend)
    assert later.claimed_by == "two"


@pytest.mark.parametrize(("outcome", "state"), [("sent", "sent"), ("dropped", "dropped"), ("released", "pending")])
def test_a_worker_s_word_settles_a_resend_once(outcome: str, state: str) -> None:
    claimed = Resend("r1", "wamid.1", "100", "200", "", "", 131043, "rule", "", 1.0, 60.0, "claimed", "one", 60.0, "7")

    changes = resends.settle({"r1": claimed}, {}, ResendSettled("one", "ok", "r1", outcome), moment(10.0))
    settled = changes[0]
    assert isinstance(settled, Resend)
    again = resends.settle({"r1": settled}, {}, ResendSettled("one", "ok", "r1", "sent"), moment(11.0))

    assert settled.state == state
    assert bool(again) == (state == "pending")
