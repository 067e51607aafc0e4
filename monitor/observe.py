"""What facts add to metrics and traces, once they are committed."""

from collections.abc import Sequence

from monitor import codes, engine
from monitor.actions import ACTION_NAMES, Flag, Resend
from monitor.events import AccountEvent, ErrorReport, InboundMessage, MetaError, Status, Unparsed, kind
from monitor.facts import Fact
from monitor.metrics import STATUSES, Metrics
from monitor.traces import Traces


def facts(metrics: Metrics, traces: Traces | None, batch: Sequence[Fact], now: float) -> None:
    """Count a step's facts and queue the spans of its statuses; `now` is when the step was committed."""
    for fact in batch:
        event = fact.event
        metrics.events.of(kind(event)).inc()
        if fact.is_repeated:
            metrics.repeated_events.of(kind(event)).inc()
            continue
        match event:
            case Status():
                _status(metrics, traces, fact, event)
            case InboundMessage():
                sender = metrics.sender(event.waba_id, event.phone_number_id)
                metrics.messages_received.of(*sender, metrics.bounded("message_type", event.message_type)).inc()
                _lag(metrics, fact.received_at - event.occurred_at, "messages")
                _errors(metrics, sender, event.errors, "message")
            case ErrorReport():
                sender = metrics.sender(event.waba_id, event.phone_number_id)
                _errors(metrics, sender, (event.error,), engine.origin(event))
            case AccountEvent():
                waba_id, _ = metrics.sender(event.waba_id, "")
                field = metrics.bounded("field", event.field)
                metrics.account_events.of(waba_id, field, metrics.bounded("event", event.event)).inc()
                _lag(metrics, fact.received_at - event.occurred_at, field)
            case Unparsed():
                metrics.unparsed.of(event.reason).inc()
            case _:
                pass  # operators' acts show in what they change
        _effects(metrics, fact, now)


def _status(metrics: Metrics, traces: Traces | None, fact: Fact, event: Status) -> None:
    sender = metrics.sender(event.waba_id, event.phone_number_id)
    status = event.status if event.status in STATUSES else metrics.bounded("status", event.status)
    metrics.statuses.of(*sender, status).inc()
    _lag(metrics, fact.received_at - event.occurred_at, "messages")
    if event.errors:
        _errors(metrics, sender, event.errors, "status")
    advance = fact.advance
    # Meta sends pricing with `sent` and again with `delivered` or `read`: a message is priced once.
    if event.pricing is not None and advance is not None and advance.is_first_priced:
        priced = event.pricing
        metrics.messages_priced.of(
            *sender,
            metrics.bounded("category", priced.category),
            metrics.bounded("pricing_model", priced.pricing_model),
            priced.billable if priced.billable in {"true", "false"} else "",
        ).inc()
    if advance is None:
        return
    for seconds, histogram in (
        (advance.delivery_seconds, metrics.delivery_seconds),
        (advance.read_seconds, metrics.read_seconds),
    ):
        if seconds is not None:
            ids = traces.sampled_ids(event.wamid) if traces is not None else None
            exemplar = {"trace_id": ids[0], "span_id": ids[1]} if ids is not None else None
            category = metrics.bounded("category", advance.message.category)
            histogram.of(sender[1], category).observe(seconds, exemplar)
    if traces is not None:
        traces.observe(advance, event)


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
