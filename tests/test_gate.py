"""May we send? The answer for each scope, lane and form of the question."""

import msgspec
import pytest

from monitor import gate
from monitor.actions import Pause
from monitor.gate import Ask
from monitor.rates import Rates

WABAS = {"200": "100", "201": "100", "300": "101"}


def pause(
    scope: str, scope_id: str = "", lane: str = "all", until: float | None = None, released_at: float | None = None
) -> Pause:
    return Pause(
        id=f"p-{scope}", scope=scope, scope_id=scope_id, lane=lane, rule="rule", code=368, reason="why",
        actor="rule:rule", since=0.0, until=until, asked_scope=scope, released_at=released_at,
    )  # fmt: skip


def is_allowed(ask: Ask, *pauses: Pause, now: float = 100.0) -> bool:
    return gate.decide(pauses, ask, WABAS, now).allow


@pytest.mark.parametrize(
    ("held", "ask", "allow"),
    [
        (pause("all"), Ask(phone_number_id="300"), False),
        (pause("waba", "100"), Ask(phone_number_id="200"), False),
        (pause("waba", "100"), Ask(phone_number_id="300"), True),
        (pause("waba", "100"), Ask(phone_number_id="999"), True),
        (pause("waba", "100"), Ask(phone_number_id="999", waba_id="100"), False),
        (pause("waba", "100"), Ask(waba_id="101"), True),
        (pause("waba", "100"), Ask(), False),
        (pause("phone_number", "200"), Ask(phone_number_id="200"), False),
        (pause("phone_number", "200"), Ask(phone_number_id="201"), True),
        (pause("phone_number", "200"), Ask(waba_id="100"), False),
        (pause("phone_number", "200"), Ask(waba_id="101"), True),
        (pause("template", "offer"), Ask(phone_number_id="200", template="offer"), False),
        (pause("template", "offer"), Ask(phone_number_id="200", template="other"), True),
        (pause("country", "BR"), Ask(country="BR"), False),
        (pause("recipient", "hash"), Ask(recipient="hash"), False),
        (pause("recipient", "hash"), Ask(recipient="other"), True),
        (pause("campaign", "spring"), Ask(campaign="spring"), False),
        (pause("campaign", "spring"), Ask(campaign="autumn"), True),
        (pause("category", "utility"), Ask(phone_number_id="200", category="utility"), False),
        (pause("category", "utility"), Ask(phone_number_id="200", category="marketing"), True),
        (pause("category", "utility"), Ask(phone_number_id="200"), False),
        (pause("category", "utility"), Ask(phone_number_id="200", kind="free_form"), True),
    ],
)
def test_a_pause_holds_its_own_scope(held: Pause, ask: Ask, allow: bool) -> None:
    assert is_allowed(ask, held) == allow


@pytest.mark.parametrize(
    ("lane", "ask", "allow"),
    [
        ("marketing", Ask(category="marketing"), False),
        ("marketing", Ask(category="utility"), True),
        ("marketing", Ask(), False),
        ("marketing", Ask(category="invented"), False),
        ("business_initiated", Ask(category="authentication"), False),
        ("business_initiated", Ask(kind="free_form"), True),
        ("business_initiated", Ask(category="service"), True),
        ("business_initiated", Ask(), False),
        ("all", Ask(kind="reply"), False),
    ],
)
def test_a_lane_stops_what_is_or_may_be_of_it(lane: str, ask: Ask, allow: bool) -> None:
    assert is_allowed(ask, pause("all", lane=lane)) == allow


def test_a_pause_is_over_when_its_time_is() -> None:
    timed = pause("all", until=150.0)

    assert not is_allowed(Ask(), timed, now=149.9)
    assert is_allowed(Ask(), timed, now=150.0)


def test_a_released_pause_holds_nothing() -> None:
    assert is_allowed(Ask(), pause("all", released_at=90.0))


def test_of_several_pauses_the_one_that_ends_last_answers() -> None:
    verdict = gate.decide(
        [pause("all", until=130.0), pause("waba", "100", until=160.5)], Ask(waba_id="100"), WABAS, 100.0
    )

    assert verdict.pause is not None
    assert (verdict.pause.scope, verdict.reason, verdict.retry_after_seconds) == ("waba", "paused_waba", 61)


@pytest.mark.parametrize(
    ("uri", "ask"),
    [
        ("/v23.0/200/messages", Ask(phone_number_id="200")),
        ("/v23.0/200/messages?access_token=x", Ask(phone_number_id="200")),
        ("/graph/v21.0/200/marketing_messages", Ask(phone_number_id="200")),
        ("https://graph.facebook.com/v23.0/200/messages", Ask(phone_number_id="200")),
        ("/v23.0/200/media", Ask(is_send=False)),
        ("/v23.0/200", Ask(is_send=False)),
        ("/v23.0/../200/messages", Ask()),
        ("/v23.0/200/messages/x", Ask()),
        ("//evil", Ask()),
        ("/v23.0/200/%6dessages", Ask(phone_number_id="200")),
        ("/v23.0/200/%256dessages", Ask(phone_number_id="200")),
        ("/v23.0/200/%25252525256dessages", Ask()),
        ("/V23.0/200/MESSAGES", Ask(phone_number_id="200")),
        ("/v23.0/200%3Fx/../200/messages", Ask()),
        ("/v23.0//200/messages", Ask()),
        ("//v23.0/200/messages", Ask()),
        ("/v23.0/", Ask()),
        ("/v23.0/?batch=[]", Ask()),
        ("/v23.0", Ask()),
        ("/200/messages", Ask()),
        ("/200/media", Ask()),
        ("", Ask()),
    ],
)
def test_a_gateway_s_uri_is_read_strictly(uri: str, ask: Ask) -> None:
    assert gate.from_uri(uri) == ask


@pytest.mark.parametrize(
    ("uri", "ask"),
    [
        ("/200/messages", Ask(phone_number_id="200")),
        ("/200/media", Ask(is_send=False)),
        ("/oauth/access_token", Ask(is_send=False)),
        ("/v23.0/200/messages", Ask(phone_number_id="200")),
        ("/v23.0", Ask()),
        ("/", Ask()),
        ("", Ask()),
    ],
)
def test_towards_graph_the_version_may_be_left_out(uri: str, ask: Ask) -> None:
    assert gate.from_uri(uri, is_graph=True) == ask


def test_a_call_that_sends_nothing_is_always_allowed() -> None:
    assert is_allowed(Ask(is_send=False), pause("all"))


def throttle(per_second: float, until: float = 400.0, steps: int = 0, step_seconds: float = 0.0) -> Pause:
    held = msgspec.structs.replace(
        pause("phone_number", "200", until=until), id=f"t{per_second}", per_second=per_second
    )
    return msgspec.structs.replace(held, steps=steps, step_seconds=step_seconds)


def test_a_throttle_allows_and_says_how_fast_the_slowest_counts() -> None:
    verdict = gate.decide([throttle(10.0), throttle(2.0)], Ask(phone_number_id="200"), WABAS, 100.0)

    assert (verdict.allow, verdict.reason, verdict.per_second) == (True, "throttled", 2.0)


def test_a_pause_is_stricter_than_any_throttle() -> None:
    verdict = gate.decide([throttle(10.0), pause("waba", "100")], Ask(phone_number_id="200"), WABAS, 100.0)

    assert (verdict.allow, verdict.reason) == (False, "paused_waba")


@pytest.mark.parametrize(("now", "per_second"), [(0, 5), (299, 5), (300, 10), (350, 20), (399, 20), (400, None)])
def test_a_throttle_doubles_with_each_step_and_is_gone_after_the_last(now: float, per_second: float | None) -> None:
    verdict = gate.decide([throttle(5.0, 400.0, 2, 50.0)], Ask(phone_number_id="200"), WABAS, now)

    assert verdict.per_second == per_second


def test_a_narrow_scope_counts_within_its_account() -> None:
    held = msgspec.structs.replace(pause("template", "offer"), waba_id="100")

    assert not is_allowed(Ask(phone_number_id="200", template="offer"), held)
    assert is_allowed(Ask(phone_number_id="300", template="offer"), held)


def test_a_bucket_lets_through_as_many_as_its_rate() -> None:
    rates, held = Rates(), throttle(2.0)

    waits = [rates.take([held], 100.0 + number / 10) for number in range(30)]

    assert waits.count(0.0) == 2 + 5  # what was saved up, and three seconds at two a second
    assert 0.0 < max(waits) <= 0.5


def test_a_slow_rate_still_lets_one_through() -> None:
    rates, held = Rates(), throttle(1 / 60)

    first, second, third = (rates.take([held], at) for at in (0.0, 30.0, 61.0))

    assert (first, second > 0, third) == (0.0, True, 0.0)


@pytest.mark.parametrize(
    ("ask", "on_error", "allow"),
    [
        (Ask(category="marketing"), {"marketing": "deny", "business_initiated": "allow", "all": "allow"}, False),
        (Ask(category="utility"), {"marketing": "deny", "business_initiated": "allow", "all": "deny"}, True),
        (Ask(kind="free_form"), {"marketing": "deny", "business_initiated": "deny", "all": "allow"}, True),
        (Ask(), {"marketing": "deny", "business_initiated": "allow", "all": "allow"}, False),
        (Ask(), {"marketing": "allow", "business_initiated": "allow", "all": "allow"}, True),
        (Ask(is_send=False), {}, True),
        (Ask(category="utility"), {}, False),
    ],
)
def test_what_cannot_be_told_is_answered_by_the_strictest_lane(ask: Ask, on_error: dict[str, str], allow: bool) -> None:
    assert gate.untold(ask, on_error, "not_ready").allow == allow
