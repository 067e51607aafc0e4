"""Webhook bodies to events, each field of them."""

import json
from typing import Any

import pytest

from monitor import parse
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, MetaEvent, Pricing, Status

NOW = 1_700_000_100.0
METADATA = {"phone_number_id": "200", "display_phone_number": "15550000000"}
ERROR = {"code": 131026, "title": "title", "message": "message", "error_data": {"details": "details"}}


def read(value: Any, field: str = "messages", **entry: Any) -> list[MetaEvent]:
    body = {"entry": [{"id": "100", "changes": [{"field": field, "value": value}], **entry}]}
    return parse.delivery(json.dumps(body).encode(), NOW, lambda person: f"#{person}" if person else "")


def status(**about: Any) -> Status:
    item = {"id": "wamid.1", "status": "failed", "timestamp": "1700000000", "recipient_id": "491700000001", **about}
    (found,) = read({"metadata": METADATA, "statuses": [item]})
    assert isinstance(found, Status)
    return found


def message(contacts: Any = None, **about: Any) -> InboundMessage:
    item = {"id": "wamid.2", "timestamp": 1_700_000_000, **about}
    (found,) = read({"metadata": METADATA, "contacts": contacts, "messages": [item]})
    assert isinstance(found, InboundMessage)
    return found


def test_a_status_with_everything() -> None:
    pricing = {"category": "marketing", "pricing_model": "PMP", "billable": True}
    found = status(
        pricing=pricing, conversation={"origin": {"type": "utility"}}, recipient_user_id="US.1", errors=[ERROR],
        biz_opaque_callback_data="order-7",
    )  # fmt: skip

    assert found == Status(
        "wamid.1|failed|1700000000", "100", "200", 1_700_000_000.0, "wamid.1", "failed", "#US.1", "marketing",
        Pricing("marketing", "PMP", "true"), (MetaError(131026, "title", "details"),), "order-7", "#491700000001",
        "#15550000000", "DE", "",
    )  # fmt: skip


def test_a_status_with_nothing() -> None:
    assert status(timestamp=None) == Status(
        "wamid.1|failed|", "100", "200", NOW, "wamid.1", "failed", "#491700000001", "", None, (), "", "",
        "#15550000000", "", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pricing", "read_as"),
    [
        (5, None), ({}, Pricing("", "", "false")), ({"billable": False}, Pricing("", "", "false")),
        ({"billable": "TRUE", "category": "x"}, Pricing("x", "", "true")),
        ({"billable": True}, Pricing("", "", "true")),
        ({"category": "x", "pricing_model": "y", "billable": False}, Pricing("x", "y", "false")),
        ({"category": "x", "pricing_model": 5, "billable": True}, Pricing("x", "5", "true")),
    ],
)  # fmt: skip
def test_pricing_is_read_as_far_as_it_can_be(pricing: Any, read_as: Pricing | None) -> None:
    found = status(pricing=pricing, conversation={"origin": {"type": "utility"}})

    assert found.pricing == read_as
    assert found.category == ((read_as.category if read_as else "") or "utility")


@pytest.mark.parametrize("conversation", [None, 5, {}, {"origin": 5}, {"origin": {}}])
def test_without_an_origin_there_is_no_category(conversation: Any) -> None:
    assert status(conversation=conversation).category == ""


@pytest.mark.parametrize(
    ("error", "read_as"),
    [
        ({"code": 1, "message": "m"}, MetaError(1, "m", "")), ({"code": "2", "title": "t"}, MetaError(2, "t", "")),
        ({"code": None, "error_data": "d"}, MetaError(None, "", "d")), ({"error_data": {}}, MetaError(None, "", "")),
    ],
)  # fmt: skip
def test_errors_are_read_as_far_as_they_can_be(error: Any, read_as: MetaError) -> None:
    assert status(errors=[error]).errors == (read_as,)
    assert status(errors=error).errors == (read_as,)


def test_a_message_with_everything() -> None:
    about = {"from": "15550000001", "from_user_id": "US.1", "type": "text", "context": {"id": "wamid.1"}}

    assert message(**about, errors=[ERROR]) == InboundMessage(
        "wamid.2|received", "100", "200", 1_700_000_000.0, "wamid.2", "text", "#US.1",
        (MetaError(131026, "title", "details"),), "wamid.1", "#15550000001", "#15550000000",
    )  # fmt: skip


def test_a_message_with_nothing() -> None:
    assert message(timestamp=None, context=5) == InboundMessage(
        "wamid.2|received", "100", "200", NOW, "wamid.2", "unknown", "", (), "", "", "#15550000000"
    )


@pytest.mark.parametrize(
    ("contacts", "sender", "alias"),
    [
        ([{"wa_id": "1", "user_id": "a"}], "#a", "#1"),
        ([{"wa_id": "2", "user_id": "b"}, {"wa_id": "1", "user_id": "a"}], "#a", "#1"),
        ([{"user_id": "a"}], "#a", "#1"),
        ([{"wa_id": "2", "user_id": "b"}], "#1", ""),
        ([{"user_id": "a"}, {"user_id": "b"}], "#1", ""),
        ([{"wa_id": "1"}], "#1", ""), ({"wa_id": "1", "user_id": "a"}, "#a", "#1"), (None, "#1", ""),
    ],
)  # fmt: skip
def test_a_sender_s_other_id_stands_with_its_contact(contacts: Any, sender: str, alias: str) -> None:
    found = message(contacts, **{"from": "1"})

    assert (found.sender, found.alias) == (sender, alias)


def test_of_a_sender_without_a_number_the_only_contact_tells() -> None:
    assert message([{"wa_id": "2", "user_id": "b"}]).sender == "#b"
    assert message([{"wa_id": "2", "user_id": "b"}, {"wa_id": "3", "user_id": "c"}]).sender == ""


@pytest.mark.parametrize(("about", "account"), [({"waba_id": "107"}, "107"), ({}, "100"), (5, "100"), (None, "100")])
def test_an_account_s_event_is_the_account_s_that_it_names(about: Any, account: str) -> None:
    (found,) = read({"event": "X", "waba_info": about, "metadata": METADATA}, "account_update", time=1_700_000_001)

    assert isinstance(found, AccountEvent)
    assert (found.waba_id, found.phone_number_id, found.occurred_at) == (account, "200", 1_700_000_001.0)
    assert (found.field, found.event) == ("account_update", "X")


@pytest.mark.parametrize("value", ["text", None, [1]])
def test_an_account_s_event_without_an_object_is_one_all_the_same(value: Any) -> None:
    (found,) = read(value, "account_update")

    assert isinstance(found, AccountEvent)
    assert (found.waba_id, found.phone_number_id, found.event, found.occurred_at) == ("100", "", "", NOW)


def keys(first: Any, second: Any, field: str) -> int:
    """Return how many different keys two readings have: each a value, and the entry's time or None."""
    found = [read(value, field, **({} if time is None else {"time": time})) for value, time in (first, second)]
    return len({event.key for (event,) in found})


def test_what_is_said_twice_is_known_by_its_time_and_without_one_by_its_body() -> None:
    for field, one, other in (
        ("account_update", {"event": "X", "a": 1, "b": 2}, {"b": 2, "a": 1, "event": "X"}),
        ("messages", {"errors": [{"code": 1, "title": "t"}]}, {"errors": [{"title": "t", "code": 1}]}),
    ):
        assert keys((one, 5), (other, 5), field) == 1
        assert keys((one, 5), (one, 6), field) == 2
        assert keys((one, None), (other, None), field) == 2
        assert keys((one, None), (one, None), field) == 1


def test_an_error_beside_no_message_with_everything() -> None:
    (found,) = read({"metadata": METADATA, "errors": [ERROR]}, time=1_700_000_001)

    assert isinstance(found, ErrorReport)
    assert (found.waba_id, found.phone_number_id, found.occurred_at) == ("100", "200", 1_700_000_001.0)
    assert (found.field, found.error) == ("messages", MetaError(131026, "title", "details"))
    assert len(found.key) == 24
