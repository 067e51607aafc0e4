"""A message's life: whatever the order of its statuses, the same end."""

import itertools

import pytest

from monitor import messages
from monitor.events import InboundMessage, MetaError, Pricing, Status
from monitor.messages import STEPS_MOST, Advance, Message

AT = {
    "sent": 100.0,
    "delivered": 103.0,
    "read": 110.0,
    "failed": 104.0,
    "deleted": 120.0,
    "warning": 101.0,
    "played": 130.0,
}


def status(name: str, at: float | None = None, *, code: int | None = None, pricing: Pricing | None = None) -> Status:
    occurred_at = AT.get(name, 100.0) if at is None else at
    errors = () if code is None else (MetaError(code, "", ""),)
    key = f"wamid.1|{name}|{occurred_at:g}"
    return Status(key, "100", "200", occurred_at, "wamid.1", name, "hash", "utility", pricing, errors, "order-7")


def live(*statuses: Status) -> tuple[Message | None, list[Advance]]:
    known: Message | None = None
    advances = []
    for one in statuses:
        advance = messages.advance(known, one, 500.0)
        if advance is not None:
            known = advance.message
            advances.append(advance)
    return known, advances


@pytest.mark.parametrize("order", list(itertools.permutations(["sent", "delivered", "read", "failed"])))
def test_every_order_of_statuses_ends_in_the_same_state(order: tuple[str, ...]) -> None:
    message, advances = live(*(status(name) for name in order))

    assert message is not None
    assert message.state == "read"
    assert [advance.delivery_seconds for advance in advances if advance.delivery_seconds is not None] == [3.0]
    assert [advance.read_seconds for advance in advances if advance.read_seconds is not None] == [7.0]


def test_a_repeated_status_says_nothing_new_but_another_timestamp_does() -> None:
    _, advances = live(status("sent"), status("sent"), status("delivered"), status("sent"), status("sent", 101.0))

    assert [advance.message.steps[-1].occurred_at for advance in advances] == [100.0, 103.0, 101.0]


@pytest.mark.parametrize("order", [("failed", "delivered"), ("delivered", "failed")])
def test_delivered_wins_over_failed(order: tuple[str, str]) -> None:
    message, advances = live(*(status(name) for name in order))

    assert message is not None
    assert message.state == "delivered"
    assert advances[-1].is_recovered == (order[0] == "failed")


def test_an_unknown_status_or_a_warning_moves_nothing() -> None:
    message, _ = live(status("sent"), status("warning"), status("invented"))

    assert message is not None
    assert message.state == "sent"
    assert [step.status for step in message.steps] == ["sent", "warning", "invented"]


def test_a_duration_that_would_be_negative_is_none() -> None:
    _, advances = live(status("sent", 100.0), status("delivered", 90.0))

    assert all(advance.delivery_seconds is None for advance in advances)


def test_a_message_is_priced_once() -> None:
    pricing = Pricing("utility", "PMP", "true")

    _, advances = live(status("sent", pricing=pricing), status("delivered", pricing=pricing))

    assert [advance.is_first_priced for advance in advances] == [True, False]


def test_codes_and_callback_data_are_kept() -> None:
    message, _ = live(status("failed", code=131026))

    assert message is not None
    assert (message.steps[0].codes, message.callback_data) == ((131026,), "order-7")


def test_a_loop_of_statuses_ends_at_the_cap() -> None:
    message, _ = live(*(status("sent", float(at)) for at in range(1, 10 * STEPS_MOST)))

    assert message is not None
    assert len(message.steps) == STEPS_MOST


def test_an_inbound_message_is_new_once() -> None:
    inbound = InboundMessage("wamid.2|received", "100", "200", 100.0, "wamid.2", "text", "hash", ())

    first = messages.receive(None, inbound, 101.0)
    second = messages.receive(first, inbound, 102.0)

    assert first is not None
    assert (first.state, first.direction) == ("received", "inbound")
    assert second is None
