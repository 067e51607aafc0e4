"""Whatever the order, the batches and the repetitions: the same statuses end in the same states and counts."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from monitor import codes, observe, parse, payloads
from monitor.campaigns import Naming
from monitor.events import Event
from monitor.messages import ANOMALIES, Message
from monitor.metrics import Metrics
from tests import setting
from tests.world import NOW, NUMBER, WABA, World, pseudonym

WAMIDS = ("wamid.1", "wamid.2", "wamid.3")
RECEIVED_AT = NOW + 1_000
NAMES = ("sent", "delivered", "read", "failed", "played", "deleted", "warning", "something_new")

statuses = st.builds(
    lambda wamid, name, at, code: payloads.status(
        wamid, name, NOW + at, codes=(code,) if name == "failed" else (), callback_data=f"campaign-{wamid[-1]}"
    ),
    st.sampled_from(WAMIDS),
    st.sampled_from(NAMES),
    st.integers(0, 5),
    st.sampled_from((131026, 131043, 131049, 506, 999_999)),
)


def outcome(batches: Sequence[Sequence[dict[str, Any]]]) -> tuple[Any, ...]:
    """Return the messages, campaigns, counters and resends that deliveries of these statuses end in."""
    world = World(setting.settings(naming=Naming(regex=".+")))
    for batch in batches:
        world.hear(payloads.change(NUMBER, statuses=list(batch)), at=RECEIVED_AT)
    world.tick(RECEIVED_AT + 100)
    metrics = Metrics(CollectorRegistry(), codes.catalogue())
    observe.facts(metrics, None, world.facts, RECEIVED_AT)
    counted = {
        (sample.name, *sample.labels.items()): sample.value
        for family in (metrics.statuses, metrics.errors, metrics.messages_priced, metrics.anomalies)
        for metric in family.metric.collect()
        for sample in metric.samples
    }
    messages = {wamid: settled(message) for wamid, message in world.known.messages.items()}
    numbers = {(metric, heading): count for (metric, heading), count in world.counts.items() if count}
    waiting = {one.wamid for one in world.known.resends.values() if one.state == "pending"}
    return messages, numbers, counted, waiting


def settled(message: Message) -> Message:
    """Return a message with its steps in an order of their own; what we found ourselves was found at any time."""
    steps = (
        msgspec.structs.replace(step, occurred_at=0.0) if step.status in ANOMALIES else step for step in message.steps
    )
    return msgspec.structs.replace(message, steps=tuple(sorted(steps, key=repr)))


@settings(max_examples=150, deadline=None)
@given(st.lists(statuses, min_size=1, max_size=9), st.randoms(use_true_random=False), st.data())
def test_order_repetition_and_batches_change_nothing(
    items: list[dict[str, Any]], random: Any, data: st.DataObject
) -> None:
    expected = outcome([[item] for item in items])
    shuffled = items + data.draw(st.lists(st.sampled_from(items), max_size=4))
    random.shuffle(shuffled)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    batches = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]

    found = outcome([batch for batch in batches if batch])

    assert found[:3] == expected[:3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(statuses, min_size=1, max_size=4), min_size=1, max_size=5))
def test_replaying_the_journal_gives_the_same_facts(deliveries: list[list[dict[str, Any]]]) -> None:
    bodies = [
        payloads.delivery(payloads.change(NUMBER, statuses=items, errors=[payloads.error(368)]), waba_id=WABA)
        for items in deliveries
    ]

    def facts(*, in_one_step: bool) -> tuple[Any, ...]:
        world = World()
        entries: list[list[Event]] = [list(parse.delivery(body, RECEIVED_AT, pseudonym)) for body in bodies]
        for events in entries:
            world.take(events, RECEIVED_AT)
        told = [(fact.event, fact.is_repeated, fact.actions) for fact in world.facts]
        return told, world.memory.standing, world.known.messages if in_one_step else dict(world.known.messages)

    assert facts(in_one_step=True) == facts(in_one_step=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(statuses, min_size=1, max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(("statuses", "messages", "errors")),
)
def test_an_unreadable_thing_never_hides_its_neighbours(items: list[dict[str, Any]], junk: Any, place: str) -> None:
    change = payloads.change(NUMBER, statuses=list(items))
    change["value"].setdefault(place, [])
    if isinstance(change["value"][place], list):
        change["value"][place].append(junk)

    world = World()
    world.hear(change, at=RECEIVED_AT)

    assert {item["id"] for item in items} <= world.known.messages.keys()
