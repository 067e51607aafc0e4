"""What events change: expiry, anomalies, campaigns, conversations, incidents, resends."""

from collections.abc import Callable

import pytest
from immutables import Map

from monitor import codes, parse, payloads
from monitor.actions import is_in_force
from monitor.campaigns import Naming
from monitor.events import (
    Anomaly,
    MetaError,
    NewCode,
    PausePlaced,
    PauseReleased,
    PersonForgotten,
    PresumedExpired,
    ResendsClaimed,
    ResendSettled,
    SendFailed,
    Status,
)
from monitor.messages import Policy
from tests import setting
from tests.world import NOW, NUMBER, WABA, World, pseudonym

DAY = 86_400.0
QUICK = Policy({"authentication": 600.0, "": 3_600.0}, {"parcel": 60.0}, buffer_seconds=100.0, buffer_share=0.0)
ME = "#15550000001"
BIZ = "RESTRICTED_BIZ_INITIATED_MESSAGING"


def quick(**more: object) -> World:
    return World(setting.settings(policy=QUICK, **more))  # type: ignore[arg-type]


def restriction(until: float | None = None, kind: str = BIZ) -> dict[str, object]:
    return {"event": "ACCOUNT_RESTRICTION", "restriction_info": [{"restriction_type": kind, "expiration": until}]}


# Silent expiry


def test_a_message_of_which_nothing_is_heard_is_presumed_expired_once_and_listed_to_be_sent_again() -> None:
    world = quick()
    world.status("wamid.1", "sent")

    world.tick(NOW + 3_699)
    early = world.new(PresumedExpired)
    world.tick(NOW + 3_700)
    world.tick(NOW + 9_999)

    assert early == []
    assert len(world.new(PresumedExpired)) == 1
    assert world.one("wamid.1").state == "presumed_expired"
    assert (world.resend("wamid.1").state, world.resend("wamid.1").reason) == ("pending", "presumed_expired")


def test_a_later_delivered_takes_the_expiry_back() -> None:
    world = quick()
    world.status("wamid.1", "sent")
    world.tick(NOW + 3_700)

    world.status("wamid.1", "delivered", NOW + 3_600, NOW + 4_000)

    assert world.one("wamid.1").state == "delivered"
    assert (world.resend("wamid.1").state, world.resend("wamid.1").reason) == ("superseded", "arrived")
    assert world.facts[-1].advance is not None
    assert world.facts[-1].advance.is_recovered


@pytest.mark.parametrize(
    ("category", "template", "seconds"),
    [("authentication", "", 700), ("marketing", "", 3_700), ("marketing", "parcel", 160)],
)
def test_the_time_to_live_is_the_template_s_or_the_category_s(category: str, template: str, seconds: float) -> None:
    world = quick()
    world.sent("wamid.1", category=category, template=template)

    assert world.one("wamid.1").due_at == NOW + seconds


@pytest.mark.parametrize("last", ["delivered", "read", "failed"])
def test_what_came_to_an_end_is_never_presumed_expired(last: str) -> None:
    world = quick()
    world.status("wamid.1", "sent")
    world.status("wamid.1", last, NOW + 1)

    world.tick(NOW + DAY * 60)

    assert world.new(PresumedExpired) == []


def test_a_one_time_password_that_expired_is_withheld() -> None:
    world = quick()
    world.status("wamid.1", "sent", category="authentication")

    world.tick(NOW + DAY)

    assert (world.resend("wamid.1").state, world.resend("wamid.1").reason) == ("withheld", "one_time_password")


def test_a_longer_time_to_live_after_a_reload_holds_for_messages_that_were_due() -> None:
    world = quick()
    world.status("wamid.1", "sent")
    world.rehearsal.settings = setting.settings(policy=Policy({"": 7_200.0}, buffer_seconds=0.0, buffer_share=0.0))

    world.tick(NOW + 3_700)

    assert world.new(PresumedExpired) == []
    assert world.one("wamid.1").due_at == NOW + 7_200


def test_a_rule_on_131043_holds_for_a_presumed_expiry_and_can_tell_it_apart() -> None:
    text = b"""rules:
  - {name: expired, match: {code: 131043}, actions: [flag]}
  - {name: presumed, match: {origin: presumed}, actions: [flag]}
"""
    world = World(setting.settings(text, policy=QUICK))
    world.status("wamid.1", "sent")
    world.tick(NOW + DAY)

    assert {flag.rule for flag in world.memory.standing.flags.values()} == {"expired", "presumed"}


# Anomalies


def test_failed_after_delivered_is_noted_once_in_either_order() -> None:
    for names in (("delivered", "failed"), ("failed", "delivered")):
        world = World()
        at = {"delivered": NOW + 1, "failed": NOW + 5}
        for name in (*names, *names):
            world.status("wamid.1", name, at[name], NOW + 10)

        assert [one.anomaly for one in world.new(Anomaly)] == ["failed_after_delivered"]
        assert world.one("wamid.1").state == "delivered"


def test_read_without_delivered_is_an_anomaly_only_when_delivered_does_not_follow() -> None:
    world = World()
    for wamid in ("wamid.1", "wamid.2"):
        world.status(wamid, "read")
    world.status("wamid.2", "delivered", NOW - 1, NOW + 5)

    world.tick(NOW + 61)
    world.tick(NOW + 200)

    assert [(one.wamid, one.anomaly) for one in world.new(Anomaly)] == [("wamid.1", "read_without_delivered")]


def test_a_status_of_an_unreported_send_is_an_anomaly_only_where_sends_are_reported() -> None:
    world = World()
    world.status("wamid.before", "sent", NOW - 5)
    world.sent("wamid.1")
    world.status("wamid.1", "sent", NOW + 1)
    world.status("wamid.unknown", "sent", NOW + 2)
    world.status("wamid.late", "sent", NOW + 2)
    world.sent("wamid.late", NOW + 2)

    world.tick(NOW + 100)

    assert [(one.wamid, one.anomaly) for one in world.new(Anomaly)] == [("wamid.unknown", "unknown_send")]


def test_a_code_that_nobody_knows_is_new_once() -> None:
    world = World()
    for number in range(3):
        world.status(f"wamid.{number}", "failed", codes=(131999,))
    world.hear(payloads.change(NUMBER, errors=[payloads.error(131999)]))

    (found,) = world.new(NewCode)
    assert (found.error.code, found.origin) == (131999, "status")


def test_a_code_that_the_configuration_names_is_not_new() -> None:
    named = codes.catalogue([{"code": 131999, "class": "policy_block", "hits": "waba"}])
    world = World(setting.settings(catalogue=named))

    world.status("wamid.1", "failed", codes=(131999,))

    assert world.new(NewCode) == []
    assert len(world.memory.standing.incidents) == 1


# Incidents


def send_failed(world: World, at: float) -> None:
    event = SendFailed(f"key{at}", WABA, NUMBER, at, ME, MetaError(368, "", ""))
    world.take([event], at)


def out_of_band(world: World, at: float) -> None:
    world.hear(payloads.change(NUMBER, errors=[payloads.error(368)]), at=at, time=at)


def account_update(world: World, at: float) -> None:
    world.account("account_update", restriction(NOW + DAY), at)


WITNESSES: dict[str, Callable[[World, float], None]] = {
    "send": send_failed, "webhook": out_of_band, "account": account_update
}  # fmt: skip


@pytest.mark.parametrize("order", [("send", "webhook", "account"), ("account", "send", "webhook")])
def test_all_witnesses_of_a_block_are_one_incident_with_who_spoke_first(order: tuple[str, ...]) -> None:
    world = World()
    for number, name in enumerate(order):
        WITNESSES[name](world, NOW + number)
    WITNESSES[order[0]](world, NOW + 9)

    (incident,) = world.memory.standing.incidents.values()
    assert [one.origin for one in incident.witnesses] == list(order)
    assert incident.witnesses[0].count == 2
    assert (incident.codes, incident.until) == ((368,), NOW + DAY)


@pytest.mark.parametrize("order", [("webhook", "account"), ("account", "webhook")])
def test_meta_s_own_end_ends_the_pause_of_the_same_incident(order: tuple[str, ...]) -> None:
    world = World()
    for number, name in enumerate(order):
        WITNESSES[name](world, NOW + number)

    (pause,) = world.memory.standing.pauses.values()
    assert (pause.rule, pause.until) == ("policy_block", NOW + DAY)
    assert is_in_force(pause, NOW + DAY - 1)
    assert not is_in_force(pause, NOW + DAY)


def test_a_restriction_without_an_end_keeps_the_pause_until_someone_resumes() -> None:
    world = World()
    out_of_band(world, NOW)
    world.account("account_update", restriction(None), NOW + 1)

    (pause,) = world.memory.standing.pauses.values()
    assert pause.until is None


@pytest.mark.parametrize(("seconds", "is_over"), [(2, True), (600, False)])
def test_a_witness_by_our_own_clock_outvotes_meta_s_end_only_where_it_is_surely_newer(
    seconds: int, is_over: bool
) -> None:
    world = World()
    send_failed(world, NOW)
    end = {"field": "account_update", "value": {"event": "ACCOUNT_RESTRICTION", "restriction_info": []}}
    world.hear(end, time=NOW - seconds, at=NOW + 10)

    (incident,) = world.memory.standing.incidents.values()
    assert (incident.closed_at is not None) == is_over


def test_a_ban_after_a_restriction_leaves_the_pause_without_an_end() -> None:
    world = World(setting.settings(follows_meta=False))
    out_of_band(world, NOW)
    world.account("account_update", restriction(NOW + 3_600), NOW + 1)
    (pause,) = world.memory.standing.pauses.values()
    assert pause.until == NOW + 3_600

    world.account("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}, NOW + 2)

    (pause,) = world.memory.standing.pauses.values()
    assert pause.until is None


def test_a_restriction_of_adding_numbers_ends_no_pause_of_sending() -> None:
    world = World()
    out_of_band(world, NOW)
    world.account("account_update", restriction(NOW + 60, "RESTRICTED_ADD_PHONE_NUMBER_ACTION"), NOW + 1)

    (pause,) = world.memory.standing.pauses.values()
    assert pause.until is None


@pytest.mark.parametrize(
    "value",
    [
        {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}},
        {"event": "ACCOUNT_RESTRICTION", "restriction_info": []},
    ],
)
def test_meta_lifts_an_incident_and_the_next_block_is_another(value: dict[str, object]) -> None:
    world = World()
    out_of_band(world, NOW)
    world.account("account_update", value, NOW + 10)
    out_of_band(world, NOW + 20)

    incidents = sorted(world.memory.standing.incidents.values(), key=lambda one: one.opened_at)
    assert [one.closed_by for one in incidents] == ["meta", ""]


def test_the_release_of_its_pause_closes_an_incident() -> None:
    world = World()
    out_of_band(world, NOW)
    (pause,) = world.memory.standing.pauses.values()

    world.take([PauseReleased("ann", "appeal granted", pause.id)], NOW + 5)

    (incident,) = world.memory.standing.incidents.values()
    assert (incident.closed_by, incident.close_reason) == ("ann", "appeal granted")


def test_a_violation_alone_and_a_block_of_one_country_are_no_incident() -> None:
    world = World()
    world.account("account_update", {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}})
    world.status("wamid.1", "failed", codes=(130497,))
    world.account("account_update", restriction(NOW - 1))

    assert world.memory.standing.incidents == Map()


def test_two_accounts_are_two_incidents_even_in_one_delivery() -> None:
    world = World()
    values = [{**restriction(NOW + 1_000), "waba_info": {"waba_id": waba_id}} for waba_id in ("1", "2")]
    world.hear(*({"field": "account_update", "value": value} for value in values))

    assert sorted(one.waba_id for one in world.memory.standing.incidents.values()) == ["1", "2"]


@pytest.mark.parametrize(("waba_id", "at"), [("900", NOW - 172_800), ("0", NOW + 1)])
def test_a_number_stays_with_its_account_whatever_an_old_word_or_a_test_says(waba_id: str, at: float) -> None:
    world = World()
    world.status("wamid.1", "sent")

    change = payloads.change(NUMBER, statuses=[payloads.status("wamid.2", "sent", at)])
    world.take(parse.delivery(payloads.delivery(change, waba_id=waba_id), NOW + 1, pseudonym), NOW + 1)

    assert world.memory.wabas == {NUMBER: WABA}


def test_a_number_moves_to_another_account_with_the_first_word_from_there() -> None:
    world = World()
    world.status("wamid.1", "sent")

    change = payloads.change(NUMBER, statuses=[payloads.status("wamid.2", "sent", NOW + 1)])
    world.take(parse.delivery(payloads.delivery(change, waba_id="900"), NOW + 1, pseudonym), NOW + 1)

    assert world.memory.wabas == {NUMBER: "900"}


def test_each_member_of_a_group_has_statuses_of_its_own() -> None:
    world = World()
    told = [("delivered", "1"), ("delivered", "2"), ("failed", "3"), ("failed", "4"), ("failed", "4")]
    items = [
        payloads.status("wamid.1", status, NOW, recipient="group", codes=(131026,) if status == "failed" else ())
        | {"recipient_type": "group", "recipient_participant_id": member}
        for status, member in told
    ]
    world.hear(payloads.change(NUMBER, statuses=items))

    counted = [fact.event for fact in world.facts if not fact.is_repeated]
    assert [event.status for event in counted if isinstance(event, Status)] == ["delivered"] * 2 + ["failed"] * 2
    assert not [event for event in counted if isinstance(event, Anomaly)]


# Campaigns


def campaign(world: World, name: str = "spring") -> dict[str, int]:
    return {heading: count for (of, heading), count in world.counts.items() if of == name and count}


def test_a_campaign_counts_each_message_by_how_far_it_came() -> None:
    world = World(setting.settings(naming=Naming(path="$.campaign")))
    for number, names in enumerate((("sent",), ("sent", "delivered"), ("sent", "delivered", "read"), ("failed",))):
        for name in (*names, *names):
            codes_of = (131026,) if name == "failed" else ()
            world.status(f"wamid.{number}", name, callback_data='{"campaign": "spring"}', codes=codes_of)

    assert campaign(world) == {
        "messages": 4, "sent": 4, "delivered": 2, "read": 1, "failed": 1, "failed_recipient": 1, "billable_utility": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("naming", "given", "callback_data", "template", "name"),
    [
        (Naming(path="$.a.b"), "", '{"a": {"b": 7}}', "", "7"),
        (Naming(path="$.a"), "", "no json", "offer", "offer"),
        (Naming(regex=r"c=([a-z]+)"), "", "x=1;c=spring;", "offer", "spring"),
        (Naming(regex=r"[a-z]+"), "", "12spring34", "", "spring"),
        (Naming(), "header", "", "offer", "header"),
        (Naming(), "", "data", "offer", "offer"),
        (Naming(by_template=False), "", "data", "offer", ""),
        (Naming(), 'a"}\n# HELP', "", "", "a____ HELP"),
    ],
)
def test_a_campaign_s_name_is_given_or_found_in_the_callback_data_or_is_the_template_s(
    naming: Naming, given: str, callback_data: str, template: str, name: str
) -> None:
    for order in (0, 1):
        world = World(setting.settings(naming=naming))
        for step in (0, 1):
            if step == order:
                world.sent("wamid.1", callback_data=callback_data, template=template, campaign=given)
            else:
                world.status("wamid.1", "sent", callback_data=callback_data)

        assert world.one("wamid.1").campaign == name
        assert campaign(world, name).get("messages") == (1 if name else None)


def test_a_reply_counts_by_its_context_or_in_time_and_once() -> None:
    world = World(setting.settings(naming=Naming(), reply_seconds=100.0))
    for number in range(4):
        world.sent(f"wamid.{number}", template="offer", recipient=f"#1555000000{number}")
    world.message("wamid.in0", NOW + 5_000, sender="15550000000", context="wamid.0")
    world.message("wamid.in1", NOW + 50, sender="15550000001")
    world.message("wamid.in1b", NOW + 60, sender="15550000001")
    world.message("wamid.in2", NOW + 101, sender="15550000002")

    assert campaign(world, "offer")["replied"] == 2


def test_failed_and_then_delivered_is_not_counted_as_failed() -> None:
    world = World(setting.settings(naming=Naming(regex=".+")))
    world.status("wamid.1", "failed", codes=(131026,), callback_data="spring")
    world.status("wamid.1", "delivered", NOW + 1, callback_data="spring")

    assert "failed" not in campaign(world)
    assert campaign(world)["delivered"] == 1


# Conversations


def test_a_window_opens_with_a_customer_s_message_and_closes_after_a_day() -> None:
    world = World()
    world.message("wamid.in", NOW)
    world.message("wamid.older", NOW - 500)
    conversations = world.memory.conversations

    assert conversations.counts(NOW + 1) == {NUMBER: 1}
    assert conversations.is_open(NUMBER, ME, NOW + DAY - 1)
    assert not conversations.is_open(NUMBER, ME, NOW + DAY)
    assert not conversations.is_open("201", ME, NOW)
    assert conversations.counts(NOW + DAY) == {}


def test_a_message_from_the_future_opens_a_window_for_a_day_from_now() -> None:
    world = World()
    world.hear(payloads.change(NUMBER, messages=[payloads.message("wamid.in", NOW + 3650 * DAY)]))

    assert world.memory.conversations.is_open(NUMBER, ME, NOW + DAY - 1)
    assert not world.memory.conversations.is_open(NUMBER, ME, NOW + DAY)


def test_a_person_with_two_ids_is_found_by_both_and_counted_once() -> None:
    world = World()
    item = {**payloads.message("wamid.in", NOW, sender="15550000009"), "from_user_id": "US.1"}
    world.hear(payloads.change(NUMBER, messages=[item]))

    assert world.memory.conversations.counts(NOW) == {NUMBER: 1}
    assert world.memory.conversations.is_open(NUMBER, "#US.1", NOW)
    assert world.memory.conversations.is_open(NUMBER, "#15550000009", NOW)


# Resends


def test_a_later_success_takes_the_resend_from_the_list() -> None:
    world = World()
    world.status("wamid.1", "failed", codes=(131043,))
    world.status("wamid.other", "delivered", NOW + 1, recipient="15550000002")
    pending = world.resend("wamid.1").state

    world.status("wamid.2", "delivered", NOW + 2)

    assert pending == "pending"
    assert (world.resend("wamid.1").state, world.resend("wamid.1").reason) == ("superseded", "later_success")


def test_a_person_who_stopped_marketing_is_not_sent_it_again() -> None:
    world = World()
    world.account("user_preferences", {"user_preferences": [{"wa_id": "15550000001", "value": "stop"}]})
    world.status("wamid.1", "sent", category="marketing")
    world.status("wamid.1", "failed", category="marketing", codes=(131049,))
    world.account("user_preferences", {"user_preferences": [{"wa_id": "15550000001", "value": "resume"}]}, NOW + 5)
    world.status("wamid.2", "sent", NOW + 6, category="marketing")
    world.status("wamid.2", "failed", NOW + 6, category="marketing", codes=(131049,))

    assert (world.resend("wamid.1").state, world.resend("wamid.1").reason) == ("withheld", "opted_out")
    assert world.resend("wamid.2").state == "pending"


def test_the_outcome_of_the_retry_is_joined_and_its_failure_is_the_next_attempt() -> None:
    world = World()
    world.status("wamid.1", "failed", codes=(131049,))
    first = world.resend("wamid.1").id
    world.take([ResendsClaimed("worker", (first,), NOW + DAY * 3)], NOW + DAY * 2)
    world.take([ResendSettled("worker", "", first, "sent", "wamid.2")], NOW + DAY * 2)

    world.status("wamid.2", "failed", NOW + DAY * 2 + 5, codes=(131049,))

    assert (world.resend("wamid.1").state, world.resend("wamid.1").outcome) == ("sent", "failed")
    assert (world.resend("wamid.2").attempt, world.resend("wamid.2").chain_id) == (2, "wamid.1")
    assert world.resend("wamid.2").not_before == NOW + DAY * 2 + 5 + 2 * DAY


# People


def test_a_forgotten_person_leaves_no_trace_in_what_stands() -> None:
    world = World()
    for number in range(5):
        world.status(f"wamid.{number}", "failed", NOW + number, codes=(506,))
    world.message("wamid.in", NOW)

    world.take([PersonForgotten("ann", "asked to", (ME,))], NOW + 10)

    (flag,) = world.memory.standing.flags.values()
    assert ME not in repr(world.memory.standing)
    assert "wamid.1" not in repr(flag.evidence)
    assert flag.evidence_count == 5
    assert world.memory.conversations.counts(NOW + 11) == {}


@pytest.mark.parametrize(
    ("name", "at", "number", "is_leak"),
    [
        ("sent", 60, NUMBER, True),
        ("failed", 60, NUMBER, True),
        ("sent", 0, NUMBER, False),
        ("sent", 60, "other", False),
    ],
)
def test_what_is_sent_after_a_pause_is_a_leak(name: str, at: float, number: str, is_leak: bool) -> None:
    world = World()
    world.status("wamid.before", "sent", NOW)
    world.take([PausePlaced("ann", "why", "phone_number", NUMBER, "all", None)], NOW + 10)

    item = payloads.status("wamid.1", name, NOW + at, codes=(131026,) if name == "failed" else ())
    world.hear(payloads.change(number, statuses=[item]), at=NOW + 61)
    world.status("wamid.1", "delivered", NOW + at + 1, NOW + 62)
    world.status("wamid.before", "delivered", NOW + 63)

    assert [fact.leaked for fact in world.facts if fact.leaked] == ["operator"] * is_leak
