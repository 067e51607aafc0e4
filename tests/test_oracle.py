"""The oracle of the fault tests sees what it is there to see."""

from dataclasses import replace

import pytest

from monitor import payloads
from tests.harness import oracle
from tests.harness.oracle import Delivery, Oracle

BODIES = [
    payloads.delivery(payloads.change("200", statuses=[payloads.status(f"wamid.{number}", "sent", 1_700_000_000)]))
    for number in range(3)
]
WHOLE = Oracle(
    integrity="ok",
    positions=[1, 2, 3],
    deliveries=[Delivery(number, "", body) for number, body in enumerate(BODIES, 1)],
    cursor=3,
    audit_broken_at=None,
    messages=[(f"wamid.{number}", [("sent", "1700000000")]) for number in range(3)],
)
STEP = ("sent", "1700000000")


def test_what_is_whole_passes_however_often_it_was_forwarded() -> None:
    oracle.assert_kept(BODIES, WHOLE, [*BODIES, BODIES[1]])
    assert oracle.lost(BODIES, WHOLE) == set()


@pytest.mark.parametrize(
    ("found", "forwarded"),
    [
        (replace(WHOLE, integrity="row 1 missing from index"), BODIES),
        (replace(WHOLE, positions=[1, 3]), BODIES),
        (replace(WHOLE, audit_broken_at=7), BODIES),
        (replace(WHOLE, deliveries=WHOLE.deliveries[1:], messages=WHOLE.messages[1:]), BODIES[1:]),
        (replace(WHOLE, deliveries=[*WHOLE.deliveries, WHOLE.deliveries[0]]), BODIES),
        (WHOLE, BODIES[1:]),
        (WHOLE, [*BODIES, b"{}"]),
        (replace(WHOLE, messages=WHOLE.messages[1:]), BODIES),
        (replace(WHOLE, messages=[("wamid.0", [STEP, STEP]), *WHOLE.messages[1:]]), BODIES),
        (replace(WHOLE, messages=[("wamid.0", []), *WHOLE.messages[1:]]), BODIES),
    ],
)  # fmt: skip
def test_what_is_not_is_seen(found: Oracle, forwarded: list[bytes]) -> None:
    with pytest.raises(AssertionError):
        oracle.assert_kept(BODIES, found, forwarded)


def test_a_body_that_was_answered_and_is_gone_is_lost() -> None:
    assert oracle.lost(BODIES, replace(WHOLE, deliveries=WHOLE.deliveries[1:])) == {BODIES[0]}
