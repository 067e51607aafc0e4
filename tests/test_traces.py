"""One trace per outbound message, decoded from real OTLP requests."""

import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from monitor import codes, messages, traces
from monitor.events import MetaError, Status
from monitor.messages import Message
from monitor.spans import Exchange
from monitor.traces import QUEUE_MOST, Traces
from tests.harness.collector import Collector, attributes

KEY = b"a key of our own"
KNOWN = codes.catalogue()
PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


def status(wamid: str, name: str, at: float = 1.7e9, *, code: int | None = None, callback_data: str = "") -> Status:
    errors = () if code is None else (MetaError(code, "+1 555 000 1234 cannot be reached", ""),)
    return Status(
        f"{wamid}|{name}|{at:g}", "100", "200", at, wamid, name, "hash", "utility", None, errors, callback_data
    )


def export(
    collector: Collector,
    statuses: Sequence[Status],
    *,
    default: float = 1.0,
    failed: float = 1.0,
    restarts_after: int = 0,
) -> list[Span]:
    """Let traces observe statuses, from a new exporter after some, and return what reached the collector."""
    known: dict[str, Message] = {}
    parts = [statuses[:restarts_after], statuses[restarts_after:]]
    for part in parts:
        exporting = Traces(
            traces.otlp(collector.endpoint, 2.0), KEY, codes.catalogue(), default_ratio=default, failed_ratio=failed
        )
        for one in part:
            advance = messages.advance(known.get(one.wamid), one, one.occurred_at)
            assert advance is not None
            known[one.wamid] = advance.message
            exporting.observe(advance, {})
        exporting.close()
    return collector.spans


def steps(found: Sequence[Span]) -> list[Span]:
    """Return the spans without the summaries of lives that ended."""
    return [span for span in found if not span.name.startswith("lifecycle")]


def named(found: Sequence[Span], name: str) -> Span:
    (span,) = (span for span in found if span.name == name)
    return span


def test_a_message_is_one_trace_though_a_restart_comes_between(collector: Collector) -> None:
    life = [
        status("wamid.1", "sent", 1.7e9),
        status("wamid.1", "delivered", 1.7e9 + 3),
        status("wamid.1", "read", 1.7e9 + 60),
    ]

    root, *children = steps(export(collector, life, restarts_after=2))

    assert {span.trace_id for span in (root, *children)} == {root.trace_id}
    assert (root.parent_span_id, root.name, len(root.trace_id)) == (b"", "send utility", 16)
    assert [(span.name, span.parent_span_id) for span in children] == [
        ("delivered", root.span_id),
        ("read", root.span_id),
    ]
    assert [span.start_time_unix_nano // 10**9 for span in (root, *children)] == [
        1_700_000_000,
        1_700_000_003,
        1_700_000_060,
    ]
    assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano <= 10**9 for span in (root, *children))


def test_spans_carry_the_messaging_conventions(collector: Collector) -> None:
    root, child = steps(export(collector, [status("wamid.1", "sent"), status("wamid.1", "delivered", 1.7e9 + 1)]))

    assert attributes(root) == {
        "messaging.system": "whatsapp",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.id": "wamid.1",
        "messaging.destination.name": "200",
        "whatsapp.status": "sent",
        "whatsapp.waba.id": "100",
        "whatsapp.phone_number.id": "200",
        "whatsapp.recipient.hash": "hash",
        "whatsapp.category": "utility",
    }
    assert attributes(child)["messaging.operation.name"] == "delivered"
    assert root.kind == Span.SPAN_KIND_PRODUCER


def test_a_failure_is_an_error_with_meta_s_code_and_without_meta_s_words(collector: Collector) -> None:
    _, failed = steps(
        export(collector, [status("wamid.1", "sent"), status("wamid.1", "failed", 1.7e9 + 1, code=131026)])
    )

    assert failed.status.code == SpanStatus.STATUS_CODE_ERROR
    assert attributes(failed)["error.type"] == "131026"
    assert "555" not in str(failed)


def test_the_application_s_own_trace_is_linked(collector: Collector) -> None:
    parent = f"00-{PARENT[0]}-{PARENT[1]}-01"

    linked, plain, zero = export(
        collector,
        [
            status("wamid.1", "sent", callback_data=f'{{"traceparent": "{parent}"}}'),
            status("wamid.2", "sent", callback_data="order-7"),
            status("wamid.3", "sent", callback_data=f"00-{'0' * 32}-{PARENT[1]}-01"),
        ],
    )

    assert [(link.trace_id.hex(), link.span_id.hex()) for link in linked.links] == [PARENT]
    assert len(plain.links) == len(zero.links) == 0


def test_all_spans_of_a_message_share_its_sampling(collector: Collector) -> None:
    life = [status(f"wamid.{number}", name) for number in range(300) for name in ("sent", "delivered")]

    spans = steps(export(collector, life, default=0.2))

    ids = [attributes(span)["messaging.message.id"] for span in spans]
    assert 30 <= len(set(ids)) <= 90
    assert len(ids) == 2 * len(set(ids))


def test_a_message_that_fails_is_traced_from_its_beginning_though_it_was_not_sampled(collector: Collector) -> None:
    life = [
        status("wamid.1", "sent"), status("wamid.1", "delivered", 1.7e9 + 1),
        status("wamid.1", "failed", 1.7e9 + 2, code=368), status("wamid.1", "read", 1.7e9 + 3),
    ]  # fmt: skip

    found = steps(export(collector, life, default=0.0))

    assert [span.name for span in found] == ["send utility", "delivered", "failed", "read"]
    assert {span.parent_span_id for span in found[1:]} == {found[0].span_id}


def test_neither_failures_nor_others_are_traced_where_their_share_is_none(collector: Collector) -> None:
    life = [status("wamid.1", "sent"), status("wamid.1", "failed", 1.7e9 + 1, code=368)]

    assert export(collector, life, default=0.0, failed=0.0) == []


def test_the_end_of_a_life_is_summed_up(collector: Collector) -> None:
    found = export(
        collector,
        [
            status("wamid.1", "sent", 1.7e9),
            status("wamid.1", "delivered", 1.7e9 + 3),
            status("wamid.1", "read", 1.7e9 + 60),
        ],
    )

    ended = named(found, "lifecycle read")
    (pair,) = (pair for pair in ended.attributes if pair.key == "whatsapp.read.seconds")
    assert pair.value.double_value == 60.0
    assert ended.end_time_unix_nano - ended.start_time_unix_nano == 60 * 10**9
    assert attributes(ended)["whatsapp.outcome"] == "read"
    assert named(found, "lifecycle delivered").parent_span_id == ended.parent_span_id


def test_what_rules_decided_stands_on_the_step_that_they_decided_about(collector: Collector) -> None:
    exporting = Traces(traces.otlp(collector.endpoint, 2.0), KEY, KNOWN, default_ratio=1.0, failed_ratio=1.0)
    advance = messages.advance(None, status("wamid.1", "failed", code=368), 1.7e9)
    assert advance is not None
    exporting.observe(advance, {"whatsapp.rules": ["policy_block"], "whatsapp.actions": ["policy_block:pause"]})
    exporting.close()

    root = named(collector.spans, "send utility")
    told = {pair.key: [one.string_value for one in pair.value.array_value.values] for pair in root.attributes}
    assert (told["whatsapp.rules"], told["whatsapp.actions"]) == (["policy_block"], ["policy_block:pause"])


def test_a_send_through_the_proxy_has_its_span_and_the_gate_s(collector: Collector) -> None:
    exporting = Traces(traces.otlp(collector.endpoint, 2.0), KEY, KNOWN, default_ratio=1.0, failed_ratio=1.0)
    parent = f"00-{PARENT[0]}-{PARENT[1]}-01"
    decision = {"whatsapp.gate.decision": "allow", "whatsapp.gate.reason": "not_paused"}
    exporting.exchanged("wamid.1", Exchange(1.7e9, 1.7e9 + 0.001, 1.7e9 + 0.25, 200, "200", decision, parent))
    exporting.close()

    sent, gate = named(collector.spans, "POST messages"), named(collector.spans, "gate")
    (root,) = steps(export(collector, [status("wamid.1", "sent")]))[-1:]
    assert (sent.trace_id, sent.parent_span_id, gate.parent_span_id) == (root.trace_id, root.span_id, sent.span_id)
    assert sent.end_time_unix_nano - sent.start_time_unix_nano == pytest.approx(250_000_000, abs=1_000)
    assert attributes(gate) == decision
    assert [link.trace_id.hex() for link in sent.links] == [PARENT[0]]


@pytest.mark.parametrize(("flags", "count"), [("01", 1), ("00", 0)])
def test_a_decision_joins_the_trace_of_who_asked_where_that_is_sampled(
    collector: Collector, flags: str, count: int
) -> None:
    exporting = Traces(traces.otlp(collector.endpoint, 2.0), KEY, KNOWN, default_ratio=0.0, failed_ratio=0.0)
    exporting.decided(f"00-{PARENT[0]}-{PARENT[1]}-{flags}", 1.7e9, {"whatsapp.gate.decision": "deny"})
    exporting.decided("garbage", 1.7e9, {"whatsapp.gate.decision": "deny"})
    exporting.close()

    assert len(collector.spans) == count
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in collector.spans} <= {PARENT}


def test_what_no_collector_takes_is_counted_and_never_waited_for() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        dropped: dict[str, int] = {}
        exporting = Traces(
            traces.otlp(f"http://127.0.0.1:{mute.getsockname()[1]}", 30.0),
            KEY,
            KNOWN,
            default_ratio=1.0,
            failed_ratio=1.0,
        )
        exporting.dropped = lambda reason, count: dropped.update({reason: dropped.get(reason, 0) + count})
        one = status("wamid.1", "sent")
        advance = messages.advance(None, one, 1.0)
        assert advance is not None

        started_at = time.monotonic()
        for _ in range(2 * QUEUE_MOST + 1_000):
            exporting.observe(advance, {})
        observed_seconds = time.monotonic() - started_at
        exporting.close()
        closed_seconds = time.monotonic() - started_at - observed_seconds

    assert dropped["queue_full"] >= QUEUE_MOST
    assert observed_seconds < 5
    assert closed_seconds < 2.5


def test_an_exemplar_s_ids_are_those_of_the_trace(collector: Collector) -> None:
    exporting = Traces(traces.otlp(collector.endpoint, 2.0), KEY, KNOWN, default_ratio=1.0, failed_ratio=1.0)
    ids = exporting.sampled_ids("wamid.1")
    exporting.close()

    (root,) = export(collector, [status("wamid.1", "sent")])

    assert ids == (root.trace_id.hex(), root.span_id.hex())
