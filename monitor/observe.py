"""What facts add to metrics and traces, once they are committed."""

from collections.abc import Sequence
from typing import Any

from monitor import codes, engine
from monitor.actions import ACTION_NAMES, Flag, Resend
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, Status, Unparsed, kind
from monitor.facts import Fact
from monitor.messages import Advance
from monitor.metrics import STATUSES, Cached, Metrics
from monitor.traces import Traces


def facts(metrics: Metrics, traces: Traces | None, batch: Sequence[Fact], now: float) -> None:
    """Count a step's facts and queue the spans of its statuses; `now` is when the step was committed."""
    counts: dict[Any, int] = {}  # counters are added up here first: a step has thousands of facts and few series
    for fact in batch:
        event = fact.event
        name = kind(event)
        _add(counts, metrics.events.of(name))
        if fact.is_repeated:
            _add(counts, metrics.repeated_events.of(name))
            continue
        match event:
            case Status():
                _status(metrics, traces, fact, event, counts)
            case InboundMessage():
                sender = metrics.sender(event.waba_id, event.phone_number_id)
                message_type = metrics.bounded("message_type", event.message_type)
                _add(counts, metrics.messages_received.of(*sender, message_type))
                _lag(metrics, fact.received_at - event.occurred_at, "messages")
                _errors(metrics, sender, event.errors, "message")
            case ErrorReport():
                sender = metrics.sender(event.waba_id, event.phone_number_id)
                _errors(metrics, sender, (event.error,), engine.origin(event))
            case AccountEvent():
                waba_id, _ = metrics.sender(event.waba_id, "")
                field = metrics.bounded("field", event.field)
                _add(counts, metrics.account_events.of(waba_id, field, metrics.bounded("event", event.event)))
                _lag(metrics, fact.received_at - event.occurred_at, field)
            case Unparsed():
                _add(counts, metrics.unparsed.of(event.reason))
            case _:
                pass  # operators' acts show in what they change
        if fact.actions or fact.changes:
            _effects(metrics, fact, now)
    for counter, count in counts.items():
        counter.inc(count)


def _add(counts: dict[Any, int], counter: Any) -> None:
    counts[counter] = counts.get(counter, 0) + 1


def _status(metrics: Metrics, traces: Traces | None, fact: Fact, event: Status, counts: dict[Any, int]) -> None:
    sender = metrics.sender(event.waba_id, event.phone_number_id)
    status = event.status if event.status in STATUSES else metrics.bounded("status", event.status)
    _add(counts, metrics.statuses.of(*sender, status))
    _lag(metrics, fact.received_at - event.occurred_at, "messages")
    if event.errors:
        _errors(metrics, sender, event.errors, "status")
    advance = fact.advance
    if advance is None:
        return
    # Meta sends pricing with `sent` and again with `delivered` or `read`: a message is priced once.
    if event.pricing is not None and advance.is_first_priced:
        priced = event.pricing
        labels = (
            metrics.bounded("category", priced.category),
            metrics.bounded("pricing_model", priced.pricing_model),
            priced.billable if priced.billable in {"true", "false"} else "",
        )
        _add(counts, metrics.messages_priced.of(*sender, *labels))
    if advance.delivery_seconds is not None:
        _duration(metrics, metrics.delivery_seconds, traces, advance, advance.delivery_seconds)
    if advance.read_seconds is not None:
        _duration(metrics, metrics.read_seconds, traces, advance, advance.read_seconds)
    if traces is not None:
        traces.observe(advance, event)


def _duration(metrics: Metrics, histogram: Cached, traces: Traces | None, advance: Advance, seconds: float) -> None:
    message = advance.message
    ids = traces.sampled_ids(message.wamid) if traces is not None else None
    exemplar = {"trace_id": ids[0], "span_id": ids[1]} if ids is not None else None
    _, phone_number_id = metrics.sender(message.waba_id, message.phone_number_id)
    histogram.of(phone_number_id, metrics.bounded("category", message.category)).observe(seconds, exemplar)


def _lag(metrics: Metrics, seconds: float, field: str) -> None:
    if seconds > 0:
        metrics.webhook_lag_seconds.of(field).observe(seconds)


def _errors(metrics: Metrics, sender: tuple[str, str], errors: Sequence[MetaError], origin: str) -> None:
    for error in errors:
        metrics.errors.of(*sender, codes.label(error.code), origin).inc()


def _effects(metrics: Metrics, fact: Fact, now: float) -> None:
    for action in fact.actions:
        name = ACTION_NAMES[type(action)]
        metrics.rule_actions.of(action.rule, name, "enforce").inc()
        metrics.reaction_seconds.of(name).observe(max(0.0, now - fact.received_at))
    for rule in {action.rule for action in fact.actions}:
        metrics.rule_matches.of(rule).inc()
    for change in fact.changes:
        match change:
            case Flag() if change.opened_at == change.last_at and change.resolved_at is None:
                metrics.flags.of(change.rule).inc()
            case Resend():
                _, phone_number_id = metrics.sender(change.waba_id, change.phone_number_id)
                metrics.resends.of(phone_number_id, "listed" if change.state == "pending" else change.state).inc()
            case _:
                pass
