"""The Graph API's answers to sends, as events."""

from typing import Any

import pytest

from monitor import sends
from monitor.events import MetaError, SendFailed, Sent
from monitor.sends import Attempt

ATTEMPT = Attempt("200", "100", "hash", "marketing", "offer", "en", "spring", "data")


def test_an_accepted_message_is_sent_with_all_that_is_known_of_it() -> None:
    answer = {"messaging_product": "whatsapp", "contacts": [], "messages": [{"id": "wamid.1"}]}

    assert sends.event(ATTEMPT, answer, 5.0) == Sent(
        "wamid.1|accepted|",
        "100",
        "200",
        5.0,
        "wamid.1",
        "hash",
        "marketing",
        "offer",
        "en",
        "spring",
        "data",
        "accepted",
    )


def test_a_held_message_says_so() -> None:
    event = sends.event(ATTEMPT, {"messages": [{"id": "w", "message_status": "held_for_quality_assessment"}]}, 5.0)

    assert isinstance(event, Sent)
    assert event.outcome == "held_for_quality_assessment"


@pytest.mark.parametrize("data", [{"details": "why"}, "why"])
def test_a_refused_send_is_a_witness_of_its_error(data: Any) -> None:
    error = {"message": "(#368) blocked", "type": "OAuthException", "code": "368", "error_data": data}

    event = sends.event(ATTEMPT, {"error": error}, 5.0)

    assert isinstance(event, SendFailed)
    assert event.error == MetaError(368, "(#368) blocked", "why")


@pytest.mark.parametrize("answer", [None, [], {}, {"messages": []}, {"messages": [{"id": ""}]}, {"error": "text"}])
def test_what_is_no_answer_of_graph_s_is_no_event(answer: Any) -> None:
    assert sends.event(ATTEMPT, answer, 5.0) is None


def test_two_equal_refusals_at_two_times_are_two() -> None:
    one, two = (sends.event(ATTEMPT, {"error": {"code": 1}}, at) for at in (1.0, 2.0))

    assert one is not None
    assert two is not None
    assert one.key != two.key
