"""Account-level fields as typed details, by the shapes of Meta's reference."""

from typing import Any

import pytest

from monitor import account
from monitor.account import (
    AccountAlert,
    AccountReview,
    AccountUpdate,
    Capability,
    Detail,
    NumberName,
    NumberQuality,
    Preference,
    Restriction,
    Security,
    Template,
    TemplateCategory,
    TemplateQuality,
    TemplateStatus,
    Unspecific,
)
from monitor.events import AccountEvent, Unparsed
from tests.world import NOW, events_of

OFFER = Template("594425479261596", "offer", "en_US")
NAMES = {
    "message_template_id": 594425479261596,
    "message_template_name": "offer",
    "message_template_language": "en_US",
}


def read(field: str, value: Any) -> list[AccountEvent]:
    events = events_of({"field": field, "value": value}, time=NOW)
    assert all(isinstance(event, AccountEvent) for event in events)
    return [event for event in events if isinstance(event, AccountEvent)]


@pytest.mark.parametrize(
    ("field", "value", "event", "detail"),
    [
        (
            "account_update",
            {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "ADULT"}},
            "ACCOUNT_VIOLATION",
            AccountUpdate(violation="ADULT"),
        ),
        (
            "account_update",
            {
                "event": "ACCOUNT_RESTRICTION",
                "restriction_info": [
                    {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1_700_086_400},
                    {
                        "restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION",
                        "expiration": "2023-11-15T22:13:20+0000",
                    },
                    {"restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"},
                ],
            },
            "ACCOUNT_RESTRICTION",
            AccountUpdate(
                restrictions=(
                    Restriction("RESTRICTED_BIZ_INITIATED_MESSAGING", 1_700_086_400.0),
                    Restriction("RESTRICTED_ADD_PHONE_NUMBER_ACTION", 1_700_086_400.0),
                    Restriction("RESTRICTED_CUSTOMER_INITIATED_MESSAGING", None),
                )
            ),
        ),
        (
            "account_update",
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": ["DISABLE"], "waba_ban_date": "2023-11-14"}},
            "DISABLED_UPDATE",
            AccountUpdate(ban_state="DISABLE", ban_at=1_699_920_000.0),
        ),
        (
            "account_alerts",
            {
                "entity_type": "BUSINESS",
                "entity_id": "1",
                "alert_info": {"alert_severity": "WARNING", "alert_status": "ACTIVE", "alert_type": "OBA_REJECTED"},
            },
            "OBA_REJECTED",
            AccountAlert("WARNING", "OBA_REJECTED", "ACTIVE", "BUSINESS", "1"),
        ),
        ("account_review_update", {"decision": "APPROVED"}, "APPROVED", AccountReview("APPROVED")),
        ("business_capability_update", {"max_daily_conversations_per_business": "TIER_2K"}, "", Capability(2000)),
        ("business_capability_update", {"max_daily_conversation_per_phone": 1000}, "", Capability(1000)),
        ("business_capability_update", {"max_daily_conversations_per_business": -1}, "", Capability(-1)),
        (
            "phone_number_quality_update",
            {
                "display_phone_number": "15550783881",
                "event": "DOWNGRADE",
                "old_limit": "TIER_10K",
                "current_limit": "TIER_250",
            },
            "DOWNGRADE",
            NumberQuality("#15550783881", "DOWNGRADE", 250, 10_000),
        ),
        (
            "phone_number_name_update",
            {
                "display_phone_number": "15550783881",
                "decision": "REJECTED",
                "requested_verified_name": "Lucky Shrub",
                "rejection_reason": "NAME_NOT_CONSISTENT",
            },
            "REJECTED",
            NumberName("#15550783881", "REJECTED", "NAME_NOT_CONSISTENT"),
        ),
        (
            "message_template_status_update",
            {"event": "PAUSED", **NAMES, "message_template_category": "MARKETING", "reason": "NONE"},
            "PAUSED",
            TemplateStatus(OFFER, "PAUSED", "MARKETING", ""),
        ),
        (
            "message_template_quality_update",
            {"previous_quality_score": "GREEN", "new_quality_score": "YELLOW", **NAMES},
            "YELLOW",
            TemplateQuality(OFFER, "YELLOW", "GREEN"),
        ),
        (
            "message_template_status_update",
            {"previous_quality_score": "GREEN", "new_quality_score": "RED", **NAMES},
            "RED",
            TemplateQuality(OFFER, "RED", "GREEN"),
        ),
        (
            "template_category_update",
            {"previous_category": "UTILITY", "new_category": "MARKETING", **NAMES},
            "MARKETING",
            TemplateCategory(OFFER, "MARKETING", "UTILITY", ""),
        ),
        (
            "security",
            {"display_phone_number": "15550783881", "event": "PIN_CHANGED", "requester": "61555822107539"},
            "PIN_CHANGED",
            Security("#15550783881"),
        ),
        ("flows", {"event": "FLOW_STATUS_CHANGE"}, "FLOW_STATUS_CHANGE", Unspecific()),
        ("something_new", {"event": "HELLO", "x": [1]}, "HELLO", Unspecific()),
    ],
)
def test_a_field_is_read_as_meta_writes_it(field: str, value: dict[str, Any], event: str, detail: Detail) -> None:
    (found,) = read(field, value)

    assert (found.field, found.event, found.detail, found.occurred_at) == (field, event, detail, NOW)


def test_each_user_s_preference_is_an_event_of_its_own() -> None:
    people = [
        {"wa_id": "15550000001", "category": "marketing_messages", "value": "stop", "timestamp": 1},
        {"user_id": "US.1", "wa_id": "15550000002", "category": "marketing_messages", "value": "resume"},
    ]

    found = read("user_preferences", {"user_preferences": people})

    assert [event.detail for event in found] == [
        Preference("#15550000001", "stop", "marketing_messages", 1.0),
        Preference("#US.1", "resume", "marketing_messages", None, "#15550000002"),
    ]
    assert len({event.key for event in found}) == 2


@pytest.mark.parametrize("field", ["account_update", "security", "user_preferences", "phone_number_quality_update"])
@pytest.mark.parametrize("value", [None, [], "text", 1, {}, {"event": 1}, {"restriction_info": "x", "ban_info": []}])
def test_whatever_stands_there_is_an_event_and_never_an_error(field: str, value: Any) -> None:
    events = events_of({"field": field, "value": value}, time=NOW)

    assert len(events) == 1
    assert not isinstance(events[0], Unparsed)


def test_a_preference_is_that_of_the_user_id_where_the_contacts_tell_it() -> None:
    value = {
        "contacts": [{"wa_id": "15550000001", "user_id": "US.1"}],
        "user_preferences": [{"wa_id": "15550000001", "value": "stop"}, {"wa_id": "15550000002", "value": "stop"}],
    }

    details = [event.detail for event in read("user_preferences", value)]

    assert [one.recipient for one in details if isinstance(one, Preference)] == ["#US.1", "#15550000002"]


def test_a_partner_s_event_is_about_the_account_that_it_names() -> None:
    (found,) = read("account_update", {"event": "PARTNER_REMOVED", "waba_info": {"waba_id": "980", "owner": "1"}})

    assert found.waba_id == "980"


@pytest.mark.parametrize(
    ("word", "limit"),
    [
        ("TIER_50", 50), ("TIER_250", 250), ("TIER_2K", 2_000), ("TIER_100K", 100_000), ("TIER_UNLIMITED", -1),
        ("-1", -1), ("1000", 1000), ("TIER_NOT_SET", None), ("", None), ("TIER_²K", None),
    ],
)  # fmt: skip
def test_a_limit_is_a_number_of_messages_a_day(word: str, limit: int | None) -> None:
    assert account.limit(word) == limit


def test_rules_can_match_each_restriction() -> None:
    detail = AccountUpdate("SPAM", (Restriction("A", None), Restriction("B", None)), "")

    assert [facts["restriction"] for facts in account.facts(detail)] == ["A", "B"]
    assert {facts["violation"] for facts in account.facts(detail)} == {"SPAM"}
