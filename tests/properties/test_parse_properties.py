"""Parsing, for every body: it never raises and never loses a readable neighbour."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import messages, parse
from monitor.events import Status
from monitor.messages import Message

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from(
    ["entry", "changes", "value", "field", "statuses", "messages", "errors", "id", "status", "code"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5),
    max_leaves=25,
)
GOOD = {"id": "wamid.good", "status": "sent", "timestamp": "1700000000"}


def read(body: bytes) -> list[Any]:
    return list(parse.delivery(body, 1.0, str))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_gives_at_least_one_event_and_no_exception(body: bytes) -> None:
    assert read(body)


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3), st.lists(JSON, max_size=3), st.integers(0, 3))
def test_a_readable_status_is_never_lost_among_junk(
    entries: list[Any], changes: list[Any], items: list[Any], place: int
) -> None:
    def among(junk: list[Any], good: Any) -> list[Any]:
        return [*junk[:place], good, *junk[place:]]

    value = {"metadata": {"phone_number_id": "200"}, "statuses": among(items, GOOD)}
    entry = {"id": "100", "changes": among(changes, {"field": "messages", "value": value})}
    body = json.dumps({"entry": among(entries, entry)}).encode()

    events = read(body)

    found = [event for event in events if isinstance(event, Status) and event.wamid == "wamid.good"]
    assert [(event.waba_id, event.phone_number_id, event.status) for event in found] == [("100", "200", "sent")]


LIVES = st.lists(
    st.tuples(st.sampled_from(["sent", "delivered", "read", "failed", "deleted", "odd"]), st.integers(1, 5)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(LIVES, st.randoms(use_true_random=False))
def test_any_order_and_repetition_of_statuses_ends_alike(life: list[tuple[str, int]], chance: Any) -> None:
    def end(statuses: list[tuple[str, int]]) -> tuple[int, int]:
        known: Message | None = None
        new = 0
        for name, at in statuses:
            status = Status(f"w|{name}|{at}", "1", "2", float(at), "w", name, "", "", None, (), "")
            advance = messages.advance(known, status, 9.0)
            if advance is not None:
                known, new = advance.message, new + 1
        assert known is not None
        return messages.RANKS.get(known.state, 0), new

    shuffled = [*life, *chance.choices(life, k=len(life))]
    chance.shuffle(shuffled)

    assert end(shuffled) == end(life)
