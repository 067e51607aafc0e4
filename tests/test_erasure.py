"""A person taken out of webhook bodies: nothing of them stays, nothing of others goes."""

import json
from typing import Any

import pytest

from monitor import erasure, payloads

ME, OTHER = "15550000001", "15550000002"


def erased(*changes: dict[str, Any], ids: tuple[str, ...] = (ME,)) -> Any:
    found = erasure.erase(payloads.delivery(*changes), ids)
    assert found is not None
    return None if found.body is None else json.loads(found.body)


def statuses(*people: str) -> dict[str, Any]:
    return payloads.change(
        "200", statuses=[payloads.status(f"wamid.{one}", "sent", 1.0, recipient=one) for one in people]
    )


@pytest.mark.parametrize("levels", [600, 100_000])
@pytest.mark.parametrize("leaf", [f'"{ME}"', f'{{"from":"{ME}","from_user_id":"US.1"}}', f'"1{ME}"'])
def test_of_a_body_that_is_too_deep_to_be_taken_apart_nothing_is_left(levels: int, leaf: str) -> None:
    """One such body made each person's erasure fail that it names."""
    body = ('{"a":' * levels + leaf + "}" * levels).encode()

    assert erasure.erase(body, [ME]) == erasure.Erased(None, frozenset([ME]))


def test_only_the_person_s_own_statuses_go() -> None:
    left = erased(statuses(ME, OTHER, ME))

    value = left["entry"][0]["changes"][0]["value"]
    assert [status["recipient_id"] for status in value["statuses"]] == [OTHER]
    assert ME not in json.dumps(left)


def test_of_a_body_about_nobody_else_nothing_is_left() -> None:
    assert erased(statuses(ME)) is None
    assert erased(payloads.change("200", messages=[payloads.message("wamid.1", 1.0, sender=ME)])) is None


def test_a_message_goes_with_its_contact_and_a_stranger_s_mention_loses_the_mention() -> None:
    change = payloads.change(
        "200", messages=[payloads.message("a", 1.0, sender=ME), payloads.message("b", 1.0, sender=OTHER)]
    )
    change["value"]["contacts"] = [{"wa_id": ME, "profile": {"name": "Me"}}, {"wa_id": OTHER}]
    change["value"]["messages"][1]["contacts"] = [{"phones": [{"wa_id": ME, "type": "HOME"}, {"wa_id": "1"}]}]

    value = erased(change)["entry"][0]["changes"][0]["value"]

    assert [one["id"] for one in value["messages"]] == ["b"]
    assert [one["wa_id"] for one in value["contacts"]] == [OTHER]
    assert value["messages"][0]["contacts"] == [{"phones": [{"wa_id": "1"}]}]


def test_a_person_s_other_id_is_learnt_and_erased_too() -> None:
    both = {**payloads.status("a", "sent", 1.0, recipient=ME), "recipient_user_id": "US.1"}
    only = {**payloads.status("b", "sent", 1.0), "recipient_user_id": "US.1"}
    del only["recipient_id"]

    found = erasure.erase(payloads.delivery(payloads.change("200", statuses=[only, both])), [ME])

    assert found is not None
    assert found.body is None
    assert found.ids == {ME, "US.1"}


def test_a_group_that_the_person_is_in_is_not_the_person() -> None:
    mine = {**payloads.status("a", "sent", 1.0, recipient="group"), "recipient_participant_id": ME}
    theirs = payloads.status("b", "sent", 1.0, recipient="group")

    left = erased(payloads.change("200", statuses=[mine, theirs]))

    assert [one["id"] for one in left["entry"][0]["changes"][0]["value"]["statuses"]] == ["b"]


def test_a_body_that_names_the_person_nowhere_is_left_alone() -> None:
    assert erasure.erase(payloads.delivery(statuses(OTHER)), [ME]) is None


def test_a_number_that_only_begins_like_the_person_s_is_another() -> None:
    longer = erased(statuses(ME + "5", ME))

    assert ME + "5" in json.dumps(longer)


@pytest.mark.parametrize("body", [b"{broken " + ME.encode(), b'"' + ME.encode() + b'"', b"[" * 100_000 + ME.encode()])
def test_of_what_cannot_be_read_nothing_is_left(body: bytes) -> None:
    found = erasure.erase(body, [ME])

    assert found is not None
    assert found.body is None


def test_a_longer_number_that_holds_the_person_s_is_somebody_else_s() -> None:
    assert erasure.erase(payloads.delivery(statuses(f"{ME}9", f"4{ME}")), [ME]) is None
