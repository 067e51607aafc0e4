"""May we send? The answer for each scope, lane and form of the question."""

from typing import Any

import msgspec
import pytest

from monitor import gate
from monitor.actions import Pause
from monitor.gate import Ask
from monitor.messages import Message
from monitor.probes import Probe
from monitor.rates import Rates

WABAS = {"200": "100", "201": "100", "300": "101"}


def pause(
    scope: str,
    scope_id: str = "",
    lane: str = "all",
    until: float | None = None,
    released_at: float | None = None,
    **more: Any,
) -> Pause:
    made = Pause(
        id=f"p-{scope}", scope=scope, scope_id=scope_id, lane=lane, rule="rule", code=368, reason="why",
        actor="rule:rule", since=0.0, until=until, asked_scope=scope, released_at=released_at,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


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
        (pause("template", "offer", language="en_US"), Ask(template="offer", language="en_US"), False),
        (pause("template", "offer", language="en_US"), Ask(template="offer", language="de"), True),
        (pause("template", "offer", language="en_US"), Ask(template="offer"), False),
        (pause("template", "offer", language="en_US"), Ask(template="other", language="en_US"), True),
        (pause("template", "offer"), Ask(template="offer", language="de"), False),
        (pause("recipient", "hash"), Ask(recipient="hash"), False),
        (pause("recipient", "hash"), Ask(recipient="other"), True),
        (pause("recipient", "hash"), Ask(recipient="newer", formerly=("hash",)), False),
        (pause("pair", "200|hash"), Ask(phone_number_id="200", recipient="newer", formerly=("hash",)), False),
        (pause("pair", "200|hash"), Ask(phone_number_id="200", recipient="newer", formerly=("other",)), True),
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
    ("query", "is_rewritten"),
    [
        ("method=post", True), ("%6dethod=post", True), ("%6D%65thod", True), ("a=b&METHOD=post", True),
        ("+method=post", True), ("method[]=post", True), ("method%00x=post", True), ("a=b;batch=x", True),
        ("batch=[]", True), ("fields=id&b%61tch", True), ("a=b%26batch=x", True),
        ("", False), ("fields=method,batch", False), ("methods=x&batch_size=2", False), ("x-method=post", False),
        ("fields=id&access_token=EAAG%7C%2Bbatch", False),
    ],
)  # fmt: skip
def test_a_query_that_makes_another_call_is_a_send_by_anybody(query: str, is_rewritten: bool) -> None:
    assert gate.is_rewritten(query) == is_rewritten
    assert gate.from_uri(f"/v23.0/200/media?{query}") == (Ask() if is_rewritten else Ask(is_send=False))


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


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (Ask("200", recipient="#1", kind="free_form"), "window_closed"),
        (Ask("200", recipient="#1", kind="reply"), "window_closed"),
        (Ask("200", recipient="#1", kind="template"), "not_paused"),
        (Ask("200", recipient="#1"), "not_paused"),
        (Ask("200", kind="free_form"), "not_paused"),
        (Ask(recipient="#1", kind="free_form"), "not_paused"),
        (Ask("200", recipient="#2", kind="free_form"), "not_paused"),
        (Ask("201", recipient="#2", kind="free_form"), "window_closed"),
        (Ask("200", recipient="#3", kind="free_form", formerly=("#2",)), "not_paused"),
        (Ask("200", recipient="#3", kind="free_form", formerly=("#1",)), "window_closed"),
    ],
)
def test_a_free_form_message_outside_its_window_goes_with_a_warning(ask: Ask, reason: str) -> None:
    verdict = gate.decide([], ask, WABAS, 100.0, lambda number, person: (number, person) == ("200", "#2"))

    assert (verdict.allow, verdict.reason, verdict.warning) == (True, reason, reason.removeprefix("not_paused"))


def test_a_pause_says_more_than_a_closed_window() -> None:
    asked = Ask("200", recipient="#1", kind="free_form")

    assert gate.decide([pause("all")], asked, WABAS, 100.0, lambda _number, _person: False).reason == "paused_all"


@pytest.mark.parametrize(("rule", "key"), [("operator", "operator"), ("meta", "meta"), ("spam", "rules")])
def test_a_pause_turns_the_key_of_whom_it_is_from(rule: str, key: str) -> None:
    assert gate.key_of(pause("all", rule=rule)) == key


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


def test_of_throttles_that_grow_the_one_that_is_slowest_now_counts() -> None:
    grown, steady = throttle(5.0, 400.0, 2, 50.0), throttle(7.0, 400.0)

    early, late = (gate.decide([grown, steady], Ask(phone_number_id="200"), WABAS, now) for now in (100.0, 310.0))

    assert (early.pause, early.per_second) == (grown, 5.0)
    assert (late.pause, late.per_second) == (steady, 7.0)


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


@pytest.mark.parametrize(
    ("changed", "ends"),
    [
        ({"until": None}, ["operator"]),
        ({"until": 500.0}, ["time", "operator"]),
        ({"until": None, "until_cleared": True}, ["rule", "operator"]),
        ({"until": 500.0, "rule": "meta"}, ["meta", "time", "operator"]),
    ],
)
def test_who_may_end_a_pause_is_said(changed: dict[str, Any], ends: list[str]) -> None:
    assert gate.may_release(msgspec.structs.replace(pause("all", ""), **changed)) == ends


@pytest.mark.parametrize("uri", ["/v23.0/x/../200/media", "/v23.0/200//media", "/v23.0", "/v23.0/200/messages?/media"])
def test_what_could_be_taken_for_a_send_is_one(uri: str) -> None:
    assert gate.from_uri(uri).is_send


def test_what_a_message_was_is_what_would_have_been_asked() -> None:
    sent = Message(
        "wamid.1", "100", "200", "#1", "outbound", "marketing", "", "sent", (), template="offer", campaign="spring"
    )

    assert gate.asked_for(sent) == Ask("200", "100", "marketing", "offer", "#1", campaign="spring")


def test_of_pauses_those_stopped_a_message_that_were_in_force_when_it_left() -> None:
    sent = Message("wamid.1", "100", "200", "#1", "outbound", "utility", "", "sent", (), started_at=100.0)
    held, later = pause("waba", "100", since=50.0), pause("waba", "100", since=150.0)
    released = pause("waba", "100", since=50.0, released_at=120.0)
    before = pause("waba", "100", since=10.0, released_at=60.0)
    elsewhere, slow = pause("waba", "101", since=50.0), pause("waba", "100", since=50.0, per_second=1.0)

    found = list(gate.stopped([held, later, released, before, elsewhere, slow], sent, {}))

    assert found == [held, released]


@pytest.mark.parametrize(
    ("ask", "on_error", "allow"),
    [
        (Ask(category="marketing"), {"marketing": "allow"}, True),
        (Ask(category="marketing"), {"all": "allow", "business_initiated": "allow"}, False),
        (Ask(category="utility"), {"business_initiated": "allow"}, True),
        (Ask(category="service"), {"all": "allow"}, True),
        (Ask(category="service"), {"business_initiated": "allow", "marketing": "allow"}, False),
        (Ask(), {"all": "allow", "business_initiated": "allow"}, False),
        (Ask(), dict.fromkeys(("all", "business_initiated", "marketing"), "allow"), True),
    ],
)
def test_what_cannot_be_told_says_when_to_ask_again(ask: Ask, on_error: dict[str, str], allow: bool) -> None:
    verdict = gate.untold(ask, on_error, "not_ready")

    assert (verdict.allow, verdict.reason, verdict.retry_after_seconds) == (allow, "not_ready", None if allow else 1)


def test_narrow_scopes_are_found_by_their_ids() -> None:
    asked = Ask("200", template="offer", recipient="#1", country="DE", campaign="spring")

    assert gate.narrow(asked) == [
        ("template", "offer"), ("campaign", "spring"), ("country", "DE"), ("recipient", "#1"), ("pair", "200|#1"),
    ]  # fmt: skip
    assert [gate.pair_of("200", ""), gate.pair_of("", "#1")] == ["", ""]


@pytest.mark.parametrize(
    ("scope", "scope_id", "ask", "allow"),
    [
        ("country", "DE", Ask("200", country="DE"), False), ("country", "DE", Ask("200", country="FR"), True),
        ("pair", "200|#1", Ask("200", recipient="#1"), False), ("pair", "200|#1", Ask("200", recipient="#2"), True),
        ("recipient", "#1", Ask("200", recipient="#1"), False), ("campaign", "a", Ask("200", campaign="b"), True),
        ("category", "marketing", Ask("200"), False), ("category", "marketing", Ask("200", kind="reply"), True),
        ("category", "marketing", Ask("200", category="marketing", kind="free_form"), True),
        ("category", "marketing", Ask("200", category="marketing"), False),
        ("all", "", Ask("200"), False),
    ],
)  # fmt: skip
def test_each_scope_holds_what_it_names(scope: str, scope_id: str, ask: Ask, allow: bool) -> None:
    assert is_allowed(ask, pause(scope, scope_id)) == allow


def test_another_account_s_pause_holds_nobody_here() -> None:
    elsewhere = pause("template", "offer", waba_id="101")

    assert is_allowed(Ask("200", waba_id="100", template="offer"), elsewhere)
    assert not is_allowed(Ask("200", waba_id="101", template="offer"), elsewhere)


def test_a_denial_says_when_to_come_back_to_the_whole_second_and_at_least_one() -> None:
    ends = {100.2: 1, 101.0: 1, 101.2: 2, 160.0: 60}

    told = [gate.decide([pause("all", "", until=end)], Ask("200"), {}, 100.0).retry_after_seconds for end in ends]

    assert told == list(ends.values())
    assert gate.decide([pause("all", "")], Ask("200"), {}, 100.0).retry_after_seconds == gate.ASK_AGAIN_SECONDS


def test_a_probe_that_has_not_opened_denies_until_it_does_and_others_are_named() -> None:
    probed = pause("waba", "100", until=2_000.0, probe=Probe(130.0, 0.1, 600.0, 600.0))
    other = pause("all", "", until=110.0)

    verdict = gate.decide([other, probed], Ask("200", waba_id="100"), {}, 100.0)

    assert (verdict.allow, verdict.reason, verdict.retry_after_seconds) == (False, "paused_waba", 30)
    assert (verdict.pause, verdict.others) == (probed, (other,))


def test_of_what_lets_some_through_the_slowest_counts_and_a_rate_before_a_share() -> None:
    opened = Probe(90.0, 0.5, 600.0, 600.0)
    ramping = pause("all", "", until=9_000.0, probe=Probe(-590.0, 0.5, 600.0, 600.0))
    slow = pause("all", "", until=9_000.0, probe=opened)

    verdict = gate.decide([ramping, slow], Ask("200"), {}, 100.0)
    share = gate.decide([ramping], Ask("200"), {}, 100.0)

    assert (verdict.allow, verdict.per_second, verdict.pause, len(verdict.limits)) == (True, 0.5, slow, 2)
    assert (share.allow, share.per_second, share.share) == (True, None, 0.05)


def test_quotas_and_rates_deny_for_at_least_a_second() -> None:
    used, slowed = gate.used_up("app", 0.97, 0.2), gate.throttled(gate.NOT_PAUSED, 0.2)

    assert (used.allow, used.reason, used.retry_after_seconds, used.share) == (False, "usage_app", 1, 0.97)
    assert (slowed.allow, slowed.reason, slowed.retry_after_seconds) == (False, "not_paused", 1)
    assert gate.throttled(gate.NOT_PAUSED, 1.5).retry_after_seconds == 2
