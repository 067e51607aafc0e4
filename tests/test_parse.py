"""Webhook bodies to events: tolerant of everything, raising for nothing, losing no readable neighbour."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitor import parse, payloads
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, MetaEvent, Pricing, Status, Unparsed

NOW = 1_700_000_100.0
TEAM_PAYLOADS = Path(__file__).parents[2] / "shared" / "payloads"


def read(body: bytes) -> list[MetaEvent]:
    return parse.delivery(body, NOW, lambda number: f"hash-of-{number}" if number else "")


def status(**changes: Any) -> dict[str, Any]:
    return {"id": "wamid.1", "status": "sent", "timestamp": "1700000000", "recipient_id": "15550000001", **changes}


def one_status(**changes: Any) -> MetaEvent:
    events = read(payloads.delivery(payloads.change("200", statuses=[status(**changes)]), waba_id="100"))
    assert len(events) == 1
    return events[0]


@pytest.mark.parametrize("name", ["sent", "delivered", "read", "deleted", "warning", "failed", "played", "invented"])
def test_every_status_is_read_known_or_not(name: str) -> None:
    event = one_status(status=name)

    assert isinstance(event, Status)
    assert (event.status, event.wamid, event.waba_id, event.phone_number_id) == (name, "wamid.1", "100", "200")
    assert (event.occurred_at, event.recipient) == (1_700_000_000.0, "hash-of-15550000001")


def test_pricing_and_conversation_are_read_where_present() -> None:
    priced = one_status(pricing={"billable": True, "pricing_model": "PMP", "category": "utility", "type": "regular"})
    older = one_status(conversation={"id": "c", "origin": {"type": "marketing"}})

    assert isinstance(priced, Status)
    assert (priced.pricing, priced.category) == (Pricing("utility", "PMP", "true"), "utility")
    assert isinstance(older, Status)
    assert (older.pricing, older.category) == (None, "marketing")


def test_a_code_is_read_in_all_three_places() -> None:
    body = payloads.delivery(
        payloads.change(
            "200",
            statuses=[payloads.status("wamid.1", "failed", NOW, codes=(368,))],
            messages=[
                {**payloads.message("wamid.2", NOW, message_type="unsupported"), "errors": [payloads.error(131051)]}
            ],
            errors=[payloads.error(130429)],
        )
    )

    failed, unsupported, reported = read(body)

    assert isinstance(failed, Status)
    assert isinstance(unsupported, InboundMessage)
    assert isinstance(reported, ErrorReport)
    assert [failed.errors[0].code, unsupported.errors[0].code, reported.error.code] == [368, 131051, 130429]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (368, 368),
        ("368", 368),
        (" 368 ", 368),
        (368.0, 368),
        ("CODE", None),
        (None, None),
        (True, None),
        (2**70, None),
        (1e400, None),
        (3.5, None),
    ],
)
def test_a_code_is_read_as_a_number_whatever_it_is_written_as(given: Any, code: int | None) -> None:
    event = one_status(status="failed", errors=[{"code": given, "title": "t"}])

    assert isinstance(event, Status)
    assert event.errors == (MetaError(code, "t", ""),)


@pytest.mark.parametrize(
    ("timestamp", "occurred_at"),
    [
        ("1700000000", 1_700_000_000.0),
        (1700000000, 1_700_000_000.0),
        ("1700000000123", 1_700_000_000.123),
        ("soon", NOW),
        (None, NOW),
        ("0", NOW),
        (-5, NOW),
        (1e18, NOW),
        ([], NOW),
    ],
)
def test_a_timestamp_that_cannot_be_read_is_the_time_of_receipt(timestamp: Any, occurred_at: float) -> None:
    event = one_status(timestamp=timestamp)

    assert event.occurred_at == occurred_at


def test_numbers_as_strings_and_strings_as_numbers_are_read() -> None:
    statuses = [{"id": 7, "status": "sent", "timestamp": 1700000000}]
    value = {"metadata": {"phone_number_id": 200}, "statuses": statuses}
    body = json.dumps({"entry": [{"id": 100, "changes": [{"field": "messages", "value": value}]}]}).encode()

    (event,) = read(body)

    assert isinstance(event, Status)
    assert (event.waba_id, event.phone_number_id, event.wamid) == ("100", "200", "7")


def test_a_number_of_thousands_of_digits_harms_no_neighbour() -> None:
    body = payloads.delivery(payloads.change("200", statuses=[status()])).replace(
        b'"field"', b'"n":' + b"9" * 5000 + b',"field"'
    )

    events = read(body)

    assert [event.wamid for event in events if isinstance(event, Status)] == ["wamid.1"]


def test_the_business_scoped_user_id_is_the_recipient_where_there_is_one() -> None:
    event = one_status(recipient_user_id="US.13491208655302741918")

    assert isinstance(event, Status)
    assert event.recipient == "hash-of-US.13491208655302741918"


def test_nothing_readable_is_lost_beside_what_is_not() -> None:
    good = {
        "field": "messages",
        "value": {
            "metadata": {"phone_number_id": "200"},
            "statuses": [None, 5, status(), {"id": "x"}, {"status": "sent"}],
        },
    }
    body = json.dumps(
        {
            "entry": [
                None,
                7,
                {"id": "1"},
                {"id": "2", "changes": [None, {"field": 3}, {"value": {}}, {"field": "messages", "value": []}, good]},
            ]
        }
    ).encode()

    events = read(body)

    assert [event.wamid for event in events if isinstance(event, Status)] == ["wamid.1"]
    assert [event.reason for event in events if isinstance(event, Unparsed)] == [
        "entry_not_an_object", "entry_not_an_object", "changes_not_a_list", "change_not_an_object", "field_missing",
        "value_not_an_object", "statuses_not_an_object", "statuses_not_an_object", "status_without_status",
        "status_without_id",
    ]  # fmt: skip


def test_a_code_on_a_status_without_an_id_is_still_heard() -> None:
    body = payloads.delivery(payloads.change("200", statuses=[{"status": "failed", "errors": [payloads.error(368)]}]))

    unparsed, reported = read(body)

    assert isinstance(unparsed, Unparsed)
    assert isinstance(reported, ErrorReport)
    assert reported.error.code == 368


@pytest.mark.parametrize("name", ["statuses", "messages", "errors", "contacts"])
def test_null_where_a_list_belongs_is_nothing(name: str) -> None:
    change = payloads.change("200", statuses=[status()])
    change["value"][name] = change["value"].get(name) if name == "statuses" else None

    events = read(payloads.delivery(change))

    assert [type(event) for event in events] == [Status]


def test_a_lone_surrogate_or_a_nul_harms_no_neighbour() -> None:
    body = payloads.delivery(
        payloads.change("200", statuses=[status(id="wamid.\ud83d"), status(id="wamid.\0x"), status()])
    )

    events = read(body)

    assert [event.wamid for event in events if isinstance(event, Status)] == ["wamid.\ufffd", "wamid.x", "wamid.1"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"\xff\xfe{\x00}\x00", "not_json"),
        (b"{", "not_json"),
        (b"[" * 100_000, "too_deep"),
        (b"[]", "not_an_object"),
        (b"1" * 5000, "not_an_object"),
        (
            b'{"object":"instagram","entry":[{"id":"1","changes":[{"field":"messages","value":{"errors":[{"code":368}]}}]}]}',
            "other_object",
        ),
        (b"{}", "empty"),
        (b'{"entry": []}', "empty"),
        (b'{"entry": {}}', "entry_not_a_list"),
        (b'{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{}}}]}]}', "value_empty"),
    ],
)
def test_a_body_that_says_nothing_is_one_unparsed_event(body: bytes, reason: str) -> None:
    events = read(body)

    assert [event.reason for event in events if isinstance(event, Unparsed)] == [reason]
    assert len(events) == 1


def test_every_other_field_is_an_account_event_and_its_errors_are_heard() -> None:
    value = {"event": "ACCOUNT_RESTRICTION", "errors": [{"code": 368}]}
    body = payloads.delivery({"field": "account_update", "value": value}, {"field": "new_field", "value": []})

    restricted, reported, unknown = read(body)

    assert isinstance(restricted, AccountEvent)
    assert (restricted.field, restricted.event) == ("account_update", "ACCOUNT_RESTRICTION")
    assert isinstance(reported, ErrorReport)
    assert (reported.field, reported.error.code) == ("account_update", 368)
    assert isinstance(unknown, AccountEvent)
    assert unknown.field == "new_field"


def test_all_entries_and_changes_of_a_batch_are_read_in_order() -> None:
    entries = [
        json.loads(
            payloads.delivery(
                *(payloads.change("200", statuses=[status(id=f"wamid.{entry}.{change}")]) for change in range(2))
            )
        )["entry"][0]
        for entry in range(3)
    ]

    events = read(json.dumps({"entry": entries}).encode())

    assert [event.wamid for event in events if isinstance(event, Status)] == [
        f"wamid.{entry}.{change}" for entry in range(3) for change in range(2)
    ]


def test_an_event_has_the_same_key_in_every_delivery() -> None:
    alone = payloads.delivery(payloads.change("200", statuses=[status()]))
    batched = payloads.delivery(payloads.change("200", statuses=[status(id="wamid.0"), status()]))

    assert read(alone)[0].key == read(batched)[1].key


def test_the_team_s_payloads_are_all_read() -> None:
    files = sorted(TEAM_PAYLOADS.rglob("*.json"))
    if not files:
        pytest.skip("the team's payloads are not beside this checkout")

    for file in files:
        events = read(file.read_bytes())

        assert events
        assert not any(isinstance(event, Unparsed) for event in events), file.name


@pytest.mark.parametrize("item", [{"status": "failed"}, {"id": "wamid.1"}])
def test_what_an_unreadable_status_reports_is_heard_all_the_same(item: dict[str, Any]) -> None:
    found = read(
        payloads.delivery(payloads.change("200", statuses=[{**item, "errors": [payloads.error(368), "odd"]}]), time=NOW)
    )

    assert [type(one).__name__ for one in found] == ["Unparsed", "ErrorReport"]
    assert isinstance(found[1], ErrorReport)
    assert (found[1].error.code, found[1].phone_number_id, found[1].occurred_at) == (368, "200", NOW)


def test_errors_of_other_fields_are_heard_too() -> None:
    value = {"metadata": {"phone_number_id": "200"}, "errors": [payloads.error(131042), 5]}

    found = read(payloads.delivery({"field": "flows", "value": value}, time=NOW))

    reports = [one for one in found if isinstance(one, ErrorReport)]
    assert [(one.field, one.error.code, one.phone_number_id) for one in reports] == [("flows", 131042, "200")]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"5", ("not_an_object", "")), (b"{}", ("empty", "")), (b'{"entry":5}', ("entry_not_a_list", "entry")),
        (b'{"entry":[5]}', ("entry_not_an_object", "entry[0]")),
        (b'{"entry":[{}]}', ("changes_not_a_list", "entry[0].changes")),
        (b'{"entry":[{"changes":[5]}]}', ("change_not_an_object", "entry[0].changes[0]")),
        (b'{"entry":[{"changes":[{}]}]}', ("field_missing", "entry[0].changes[0].field")),
        (b'{"entry":[{"changes":[{"field":"messages","value":{}}]}]}', ("value_empty", "entry[0].changes[0].value")),
        (b'{"entry":[{"changes":[{"field":"messages"}]}]}', ("value_not_an_object", "entry[0].changes[0].value")),
        (
            b'{"entry":[{"changes":[{"field":"messages","value":{"messages":[{}]}}]}]}',
            ("message_without_id", "entry[0].changes[0].value.messages[0]"),
        ),
        (
            b'{"entry":[{"changes":[{"field":"messages","value":{"statuses":5}}]}]}',
            ("statuses_not_a_list", "entry[0].changes[0].value.statuses"),
        ),
        (
            b'{"entry":[{"changes":[{"field":"messages","value":{"errors":[5]}}]}]}',
            ("errors_not_an_object", "entry[0].changes[0].value.errors[0]"),
        ),
        (b"[" * 100_000, ("too_deep", "")), (b"{", ("not_json", "")),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why_and_where(body: bytes, said: tuple[str, str]) -> None:
    (found,) = read(body)

    assert isinstance(found, Unparsed)
    assert (found.reason, found.path, found.occurred_at) == (*said, NOW)
    assert found.key.partition("|")[2] in {said[1], ""}


@pytest.mark.parametrize(
    "value",
    [
        {"groups": [{"request_id": "1", "errors": [{"code": 131208}]}]},
        {"groups": [{"profile_picture": {"errors": [{"code": 131208}]}}]},
        {"history": [{"errors": [{"code": 131208}]}]},
        {"calls": {"errors": {"code": 131208}}},
    ],
)
def test_errors_within_the_items_of_other_fields_are_heard_too(value: dict[str, Any]) -> None:
    account, reported = read(payloads.delivery({"field": "group_settings_update", "value": value}))

    assert isinstance(account, AccountEvent)
    assert isinstance(reported, ErrorReport)
    assert reported.error.code == 131208


def test_errors_of_messages_in_a_history_are_not_errors_of_today() -> None:
    value = {"history": [{"threads": [{"messages": [{"errors": [{"code": 131051}]}]}]}]}

    assert [type(event) for event in read(payloads.delivery({"field": "history", "value": value}))] == [AccountEvent]


def test_errors_are_told_apart_by_account_number_field_and_time() -> None:
    def key(number: str, waba_id: str, time: float) -> str:
        change = payloads.change(number, errors=[payloads.error(368)])
        return read(payloads.delivery(change, waba_id=waba_id, time=time))[0].key

    told = [("200", "100", NOW), ("201", "100", NOW), ("200", "101", NOW), ("200", "100", NOW + 1)]
    keys = {key(*about) for about in told}

    assert len(keys) == 4
    assert key("200", "100", NOW) in keys
