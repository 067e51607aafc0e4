"""What facts add to metrics and traces, once they are committed."""

from collections.abc import Sequence
from typing import Any

from monitor import actions, aspects, codes, logs
from monitor.actions import Flag, Incident, Pause, Resend
from monitor.events import (
    AccountEvent,
    Anomaly,
    DrillDone,
    Duplicate,
    ErrorReport,
    Event,
    InboundMessage,
    MetaError,
    NewCode,
    PresumedExpired,
    SendFailed,
    Sent,
    Status,
    Unparsed,
    kind,
)
from monitor.facts import Fact
from monitor.messages import PRESUMED_EXPIRED, Advance
from monitor.metrics import DRILL_STAGES, STATUSES, Metrics
from monitor.rules import ENFORCE, SHADOW
from monitor.series import Cached
from monitor.traces import Traces


def facts(metrics: Metrics, traces: Traces | None, batch: Sequence[Fact], now: float) -> None:
    """Count a step's facts and queue the spans of its statuses; `now` is when the step was committed."""
    counts: dict[Any, int] = {}  # counters are added up here first: a step has thousands of facts and few series
    for fact in batch:
        event = fact.event
        if event is None:
            _effects(metrics, fact, now)
            continue
        name = kind(event)
        _add(counts, metrics.events.of(name))
        if fact.is_repeated:
            _add(counts, metrics.repeated_events.of(name))
            continue
        _event(metrics, traces, fact, event, counts)
        _of_rules(metrics, fact, counts)
        if traces is not None and fact.advance is not None:
            traces.observe(fact.advance, _decided(fact))
        if fact.actions or fact.changes or fact.shadowed:
            _effects(metrics, fact, now)
    for counter, count in counts.items():
        counter.inc(count)
    metrics.heard(now)


def _event(metrics: Metrics, traces: Traces | None, fact: Fact, event: Event, counts: dict[Any, int]) -> None:
    """Count what one event says, by its kind."""
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
            _errors(metrics, sender, (event.error,), aspects.origin(event))
        case Sent():
            _, phone_number_id = metrics.sender(event.waba_id, event.phone_number_id)
            _add(counts, metrics.sends.of(phone_number_id, metrics.bounded("outcome", event.outcome)))
        case SendFailed():
            sender = metrics.sender(event.waba_id, event.phone_number_id)
            _add(counts, metrics.sends.of(sender[1], "failed"))
            _errors(metrics, sender, (event.error,), "send")
        case DrillDone():
            drilled(metrics, event, fact.received_at)
        case Duplicate():
            _, phone_number_id = metrics.sender(event.waba_id, event.phone_number_id)
            outcome = "refused" if event.is_refused else "passed"
            _add(counts, metrics.duplicates.of(phone_number_id, event.trigger, outcome))
        case PresumedExpired():
            _, phone_number_id = metrics.sender(event.waba_id, event.phone_number_id)
            category = metrics.bounded("category", event.category)
            _add(counts, metrics.presumed_expired.of(phone_number_id, category))
        case Anomaly():
            _, phone_number_id = metrics.sender(event.waba_id, event.phone_number_id)
            _add(counts, metrics.anomalies.of(phone_number_id, event.anomaly))
        case NewCode():
            logs.get().warning("new_code_seen", code=event.error.code, origin=event.origin, waba_id=event.waba_id)
        case AccountEvent():
            waba_id, _ = metrics.sender(event.waba_id, "")
            field = metrics.bounded("field", event.field)
            _add(counts, metrics.account_events.of(waba_id, field, metrics.bounded("event", event.event)))
            _lag(metrics, fact.received_at - event.occurred_at, field)
        case Unparsed():
            _add(counts, metrics.unparsed.of(event.reason))
        case _:
            pass  # operators' acts show in what they change


def drilled(metrics: Metrics, drill: DrillDone, at: float) -> None:
    """Show the newest drill."""
    for stage, seconds in drill.seconds.items():
        if stage in DRILL_STAGES:
            metrics.drill_seconds.of(stage).set(seconds)
    metrics.drill_passed.of().set(int(drill.is_passed))
    metrics.drill_timestamp.of().set(at)


def _of_rules(metrics: Metrics, fact: Fact, counts: dict[Any, int]) -> None:
    if fact.leaked and fact.advance is not None:
        message = fact.advance.message
        _, phone_number_id = metrics.sender(message.waba_id, message.phone_number_id)
        _add(counts, metrics.leaks.of(phone_number_id, fact.leaked))
    for rule in fact.matched:
        _add(counts, metrics.rule_matches.of(rule))
    for rule in fact.late:
        _add(counts, metrics.rule_late_events.of(rule))
    for rule in fact.crowded:
        _add(counts, metrics.rule_crowded_events.of(rule))


def _decided(fact: Fact) -> dict[str, list[str]]:
    """Return what rules made of an event, as attributes of its span."""
    decided = {
        "whatsapp.rules": list(fact.matched),
        "whatsapp.actions": [f"{action.rule}:{actions.name(action)}" for action in fact.actions],
        "whatsapp.leaked": [fact.leaked] if fact.leaked else [],
    }
    return {name: values for name, values in decided.items() if values}


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
    if advance.is_recovered and advance.before is not None and advance.before.state == PRESUMED_EXPIRED:
        _add(counts, metrics.taken_back.of(sender[1], metrics.bounded("category", advance.before.category)))
    if advance.delivery_seconds is not None:
        _duration(metrics, metrics.delivery_seconds, traces, advance, advance.delivery_seconds)
    if advance.read_seconds is not None:
        _duration(metrics, metrics.read_seconds, traces, advance, advance.read_seconds)


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
        metrics.errors.of(*sender, codes.label(metrics.catalogue, error.code), origin).inc()


def _effects(metrics: Metrics, fact: Fact, now: float) -> None:
    for mode, done in ((ENFORCE, fact.actions), (SHADOW, fact.shadowed)):
        for action in done:
            metrics.rule_actions.of(action.rule, actions.name(action), mode).inc()
    for action in fact.actions:
        metrics.reaction_seconds.of(actions.name(action)).observe(max(0.0, now - fact.received_at))
    for change in fact.changes:
        match change:
            case Flag() if change.opened_at == change.last_at and change.resolved_at is None:
                metrics.flags.of(change.rule).inc()
            case Pause():
                metrics.prepare_leaks(change.rule, change.scope, change.scope_id)
            case Resend():
                _, phone_number_id = metrics.sender(change.waba_id, change.phone_number_id)
                metrics.resends.of(phone_number_id, _outcome(change)).inc()
            case Incident() if [one.count for one in change.witnesses] == [1] and change.closed_at is None:
                metrics.incidents.of(metrics.sender(change.waba_id, "")[0], change.witnesses[0].origin).inc()
            case _:
                pass


def _outcome(resend: Resend) -> str:
    if resend.outcome:
        return f"retry_{resend.outcome}"
    return "listed" if resend.state == "pending" else resend.state
