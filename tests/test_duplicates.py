"""Duplicates: what is the same message again, why that probably was, and what may be tried again."""

from typing import Any

import pytest

from monitor import duplicates
from monitor.duplicates import AFTER_TIMEOUT, DOUBLE_ENQUEUE, REPEAT, TWO_REPLICAS, Sends

TEXT = {"messaging_product": "whatsapp", "to": "15550001", "type": "text", "text": {"body": "Hello"}}
TEMPLATE = {"to": "15550001", "type": "template", "template": {"name": "offer", "language": {"code": "en"}}}


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({**TEXT, "to": "+1 555 0001"}, True),
        (dict(reversed(TEXT.items())), True),
        ({**TEXT, "biz_opaque_callback_data": "retry-2"}, True),
        ({**TEXT, "text": {"body": "Hello!"}}, False),
        ({**TEXT, "to": "15550002"}, False),
        ({**TEXT, "context": {"message_id": "wamid.1"}}, False),
        (TEMPLATE, False),
    ],
)
def test_what_says_the_same_to_the_same_person_is_the_same(other: dict[str, Any], is_same: bool) -> None:
    assert (duplicates.fingerprint("200", TEXT) == duplicates.fingerprint("200", other)) == is_same


def test_two_numbers_are_two_senders_and_parameters_make_another_message() -> None:
    filled = {**TEMPLATE, "template": {**TEMPLATE["template"], "components": [{"type": "body"}]}}  # type: ignore[dict-item]

    assert duplicates.fingerprint("200", TEXT) != duplicates.fingerprint("201", TEXT)
    assert duplicates.fingerprint("200", TEMPLATE) != duplicates.fingerprint("200", filled)


@pytest.mark.parametrize(
    "body",
    [None, [], "x", {}, {"to": 5}, {"status": "read", "message_id": "w", "to": "1"}, {**TEXT, "type": "reaction"}],
)
def test_what_is_no_message_has_no_fingerprint(body: Any) -> None:
    assert duplicates.fingerprint("200", body) is None


def test_a_repetition_says_how_late_and_the_how_manieth_it_is() -> None:
    sends = Sends()
    assert sends.note(b"a", "orders", 60.0, 100.0) is None
    sends.end(b"a", wamid="wamid.1")

    second, third = sends.note(b"a", "orders", 60.0, 130.0), sends.note(b"a", "orders", 60.0, 135.0)

    assert second is not None
    assert third is not None
    assert (second.trigger, second.gap_seconds, second.count, second.wamid) == (REPEAT, 30.0, 2, "wamid.1")
    assert (third.gap_seconds, third.count) == (5.0, 3)
    assert sends.note(b"b", "orders", 60.0, 135.0) is None


@pytest.mark.parametrize(
    ("caller", "is_ended", "is_known", "later", "trigger"),
    [
        ("orders", False, True, 0.2, DOUBLE_ENQUEUE),
        ("orders", True, True, 0.5, DOUBLE_ENQUEUE),
        ("replica-2", True, True, 20.0, TWO_REPLICAS),
        ("orders", True, False, 20.0, AFTER_TIMEOUT),
        ("replica-2", True, False, 20.0, AFTER_TIMEOUT),
        ("orders", True, True, 20.0, REPEAT),
    ],
)
def test_why_it_was_repeated(caller: str, is_ended: bool, is_known: bool, later: float, trigger: str) -> None:
    sends = Sends()
    sends.note(b"a", "orders", 60.0, 0.0)
    if is_ended:
        sends.end(b"a", wamid="wamid.1" if is_known else "", is_known=is_known)

    earlier = sends.note(b"a", caller, 60.0, later)

    assert earlier is not None
    assert earlier.trigger == trigger


def test_what_was_refused_may_be_tried_again() -> None:
    sends = Sends()
    sends.note(b"a", "orders", 60.0, 0.0)
    sends.end(b"a")

    assert sends.note(b"a", "orders", 60.0, 1.0) is None


def test_the_same_after_the_window_is_new_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SENDS_MOST", 3)
    sends = Sends()
    for number in range(10):
        assert sends.note(bytes([number]), "orders", 60.0, 0.0) is None

    assert sends.note(bytes([0]), "orders", 60.0, 1.0) is None  # forgotten
    assert sends.note(bytes([9]), "orders", 60.0, 1.0) is not None
    assert sends.note(bytes([9]), "orders", 60.0, 61.5) is None
