"""Forwards and alerts as spans in the traces of the messages that they are about."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from monitor import codes, payloads, traces
from monitor.actions import Alert
from monitor.channels import SendError
from monitor.departures import MESSAGES_MOST, Departures
from monitor.store.protocol import Entry
from monitor.traces import Traces
from tests.harness.collector import Collector, attributes

KEY = b"a key of our own"
NOW = 1_700_000_000.0
ALERT = Alert(
    "a5-1", "policy_block", "critical", "blocked", {"alertname": "policy_block"}, NOW, NOW, 1, None, code=368,
    wamid="wamid.1",
)  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


def entry(*statuses: dict[str, Any]) -> Entry:
    body = payloads.delivery(payloads.change("200", statuses=list(statuses)), waba_id="100")
    return Entry(7, "webhook", NOW, body, "")


async def sending(reason: str = "") -> None:
    if reason:
        raise SendError(reason)


def departures(collector: Collector, default: float, failed: float) -> tuple[Traces, Departures]:
    made = Traces(
        traces.otlp(collector.endpoint, 2.0), KEY, codes.catalogue(), default_ratio=default, failed_ratio=failed
    )
    clock = itertools.count(int(NOW))
    return made, Departures(made, lambda: float(next(clock)))


async def test_a_forward_is_told_for_each_message_in_it_but_not_for_a_thousand(collector: Collector) -> None:
    exporting, made = departures(collector, 1.0, 1.0)
    statuses = [payloads.status(f"wamid.{number}", "sent", NOW) for number in range(100)]
    await made.forwarding("app", entry(*statuses), sending())
    exporting.close()

    assert [span.name for span in collector.spans] == ["forward app"] * MESSAGES_MOST
    assert len({span.trace_id for span in collector.spans}) == MESSAGES_MOST
    assert attributes(collector.spans[0])["whatsapp.delivery"] == "7"


async def test_only_what_failed_is_told_where_nothing_else_is_traced(collector: Collector) -> None:
    exporting, made = departures(collector, 0.0, 1.0)
    sent, failed = payloads.status("wamid.1", "sent", NOW), payloads.status("wamid.2", "failed", NOW, codes=(368,))
    await made.forwarding("app", entry(sent), sending())
    await made.forwarding("app", entry(sent, failed), sending())
    exporting.close()

    assert [attributes(span)["messaging.message.id"] for span in collector.spans] == ["wamid.2"]


async def test_what_did_not_arrive_is_an_error_and_goes_on_as_one(collector: Collector) -> None:
    exporting, made = departures(collector, 1.0, 1.0)
    with pytest.raises(SendError, match="status_503"):
        await made.forwarding("app", entry(payloads.status("wamid.1", "sent", NOW)), sending("status_503"))
    exporting.close()

    (span,) = collector.spans
    assert attributes(span)["error.type"] == "status_503"


async def test_an_alert_is_told_in_the_trace_of_its_newest_message(collector: Collector) -> None:
    exporting, made = departures(collector, 0.0, 1.0)
    await made.telling("pager", ALERT, "firing", sending())
    exporting.close()

    (span,) = collector.spans
    assert span.name == "alert pager"
    assert attributes(span)["whatsapp.alert.state"] == "firing"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 10**9


async def test_without_traces_things_leave_all_the_same() -> None:
    made = Departures(None, lambda: NOW)

    await made.forwarding("app", entry(payloads.status("wamid.1", "sent", NOW)), sending())
    with pytest.raises(SendError):
        await made.telling("pager", ALERT, "firing", sending("timeout"))
