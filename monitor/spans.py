"""Spans of one outbound message, built from what is known when it is known; nothing is held until a trace is whole.

A span leaves only when it ends and backends cut long traces, so each step of a message's life is a short span of its
own under a root that the first step makes. Trace and span ids are keyed hashes of the wamid: steps that come days
apart, or after a restart, land in the same trace, and what is built twice is the same span.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status as SpanStatus
from opentelemetry.trace.status import StatusCode

from monitor import __version__, codes, pseudonyms
from monitor.codes import Catalogue
from monitor.messages import PRESUMED_EXPIRED, Advance, Message, Step

SPAN_SECONDS = 0.001  # a status is a moment; backends hide spans without a length
_FAILED = frozenset({"failed", PRESUMED_EXPIRED})
_ENDED = frozenset({"delivered", "read", "played", "failed", "deleted", PRESUMED_EXPIRED})
_TRACEPARENT = re.compile(r"(?<![0-9a-f])00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?![0-9a-f-])")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("whatsapp-monitor", __version__)
_ID_SPACE = 2**64
_Value = str | bool | float | Sequence[str]


class Origin(msgspec.Struct, frozen=True):
    """Whose spans these are, and which share of messages is traced: of those that failed, and of all."""

    key: bytes
    catalogue: Catalogue
    resource: Resource
    default_ratio: float
    failed_ratio: float


class Exchange(msgspec.Struct, frozen=True):
    """A send on its way through the proxy, in unix seconds, and what Graph answered; `traceparent` is the caller's."""

    asked_at: float
    decided_at: float
    answered_at: float
    status: int
    phone_number_id: str
    decision: Mapping[str, str]
    traceparent: str = ""


def place(origin: Origin, wamid: str) -> float:
    """Return where a message stands in [0, 1): the shares below which it is traced."""
    return (pseudonyms.trace_id(origin.key, wamid) % _ID_SPACE) / _ID_SPACE


def is_sampled(origin: Origin, message: Message) -> bool:
    """Say whether a message is traced, by what became of it so far: the same for all of its spans."""
    below = place(origin, message.wamid)
    if below < origin.default_ratio:
        return True
    return below < origin.failed_ratio and any(step.status in _FAILED for step in message.steps)


def root(origin: Origin, wamid: str) -> SpanContext:
    """Return the context of a message's root span."""
    span_id = pseudonyms.span_id(origin.key, wamid, "root")
    return SpanContext(pseudonyms.trace_id(origin.key, wamid), span_id, is_remote=False, trace_flags=_SAMPLED)


def of_advance(origin: Origin, advance: Advance, decided: Mapping[str, Sequence[str]]) -> Iterator[ReadableSpan]:
    """Yield the spans of what is new; of all that was heard before too where its message is traced from now on.

    `decided` is what rules made of it, as attributes of the newest step.
    """
    message, before = advance.message, advance.before
    if not is_sampled(origin, message):
        return
    is_begun = before is not None and is_sampled(origin, before)
    known = len(before.steps) if is_begun and before is not None else 0
    for number, step in enumerate(message.steps[known:], known):
        further = decided if number == len(message.steps) - 1 else {}
        yield _step(origin, message, step, further, is_root=number == 0)
    if message.state in _ENDED and (not is_begun or before is None or before.state != message.state):
        yield _lifecycle(origin, message)


def of_exchange(origin: Origin, wamid: str, seen: Exchange) -> Iterator[ReadableSpan]:
    """Yield the spans of a send that the proxy passed on, and of the gate's decision before it."""
    if place(origin, wamid) >= origin.default_ratio:
        return
    context = _context(origin, wamid, "exchange")
    attributes: dict[str, _Value] = {
        **_about(wamid, seen.phone_number_id),
        "http.request.method": "POST",
        "http.response.status_code": str(seen.status),
    }
    yield _span(
        origin, "POST messages", context, root(origin, wamid), SpanKind.CLIENT, seen.asked_at, seen.answered_at,
        attributes, linked=links(seen.traceparent),
    )  # fmt: skip
    gate = _context(origin, wamid, "gate")
    yield _span(
        origin, "gate", gate, context, SpanKind.INTERNAL, seen.asked_at, seen.decided_at, dict(seen.decision)
    )  # fmt: skip


def of_decision(origin: Origin, traceparent: str, at: float, decision: Mapping[str, str]) -> Iterator[ReadableSpan]:
    """Yield the span of a decision of the gate in the trace of who asked, where that is sampled."""
    for link in links(traceparent):
        parent = link.context
        if parent.trace_flags.sampled:
            span_id = pseudonyms.span_id(origin.key, traceparent, f"gate{at}")
            context = SpanContext(parent.trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)
            yield _span(origin, "gate", context, parent, SpanKind.SERVER, at, at + SPAN_SECONDS, dict(decision))


def of_departure(
    origin: Origin, wamid: str, name: str, began_at: float, ended_at: float, about: Mapping[str, str]
) -> Iterator[ReadableSpan]:
    """Yield the span of a forward or an alert that left for a destination, or was refused there."""
    context = _context(origin, wamid, f"{name}{began_at}")
    status = SpanStatus(StatusCode.ERROR if "error.type" in about else StatusCode.UNSET)
    attributes = {**_about(wamid, ""), **about}
    yield _span(
        origin, name, context, root(origin, wamid), SpanKind.PRODUCER, began_at, ended_at, attributes, status
    )  # fmt: skip


def links(text: str) -> Sequence[Link]:
    """Return a link to the trace that a W3C traceparent within a text names; none where there is none."""
    found = _TRACEPARENT.search(text)
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return ()
    flags = TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED)
    return (Link(SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)),)


def _step(
    origin: Origin, message: Message, step: Step, decided: Mapping[str, Sequence[str]], *, is_root: bool
) -> ReadableSpan:
    attributes: dict[str, _Value] = {
        **_of_message(message),
        "messaging.operation.name": "send" if is_root else step.status,
        "messaging.operation.type": "send" if is_root else "settle",
        "whatsapp.status": step.status,
        **decided,
    }
    status = SpanStatus(StatusCode.UNSET)
    if step.status in _FAILED:
        code = step.codes[0] if step.codes else None
        attributes["error.type"] = "_OTHER" if code is None else str(code)
        known = codes.find(origin.catalogue, code)
        status = SpanStatus(StatusCode.ERROR, "" if known is None else known.title)  # Meta's own text may hold data
    name, context, parent, kind = step.status, _context(origin, message.wamid, _key(step)), None, SpanKind.CLIENT
    if is_root:
        name, context, kind = f"send {message.category}".strip(), root(origin, message.wamid), SpanKind.PRODUCER
    else:
        parent = root(origin, message.wamid)
    return _span(
        origin, name, context, parent, kind, step.occurred_at, step.occurred_at + SPAN_SECONDS, attributes, status,
        links(message.callback_data) if is_root else (),
    )  # fmt: skip


def _lifecycle(origin: Origin, message: Message) -> ReadableSpan:
    """Return the summary of a life that has come to an end, from its first step to its last."""
    times = [step.occurred_at for step in message.steps]
    attributes: dict[str, _Value] = {
        **_of_message(message),
        "whatsapp.outcome": message.state,
        "whatsapp.statuses": [step.status for step in message.steps],
    }
    begun_at = message.first("sent")
    for name in ("delivered", "read"):
        at = message.first(name)
        if begun_at is not None and at is not None:
            attributes[f"whatsapp.{name}.seconds"] = max(0.0, at - begun_at)
    context = _context(origin, message.wamid, f"lifecycle|{message.state}")
    end = max(*times, min(times) + SPAN_SECONDS)
    return _span(
        origin, f"lifecycle {message.state}", context, root(origin, message.wamid), SpanKind.INTERNAL, min(times), end,
        attributes,
    )  # fmt: skip


def _of_message(message: Message) -> dict[str, str]:
    attributes = {
        **_about(message.wamid, message.phone_number_id),
        "whatsapp.waba.id": message.waba_id,
        "whatsapp.recipient.hash": message.recipient,
        "whatsapp.category": message.category,
    }
    return {name: value for name, value in attributes.items() if value}


def _about(wamid: str, phone_number_id: str) -> dict[str, str]:
    about = {"messaging.system": "whatsapp", "messaging.message.id": wamid}
    if phone_number_id:
        about |= {"messaging.destination.name": phone_number_id, "whatsapp.phone_number.id": phone_number_id}
    return about


def _key(step: Step) -> str:
    return f"{step.status}|{step.stamp}|{','.join(map(str, step.codes))}"


def _context(origin: Origin, wamid: str, name: str) -> SpanContext:
    trace_id, span_id = pseudonyms.trace_id(origin.key, wamid), pseudonyms.span_id(origin.key, wamid, name)
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)


def _span(
    origin: Origin,
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    began_at: float,
    ended_at: float,
    attributes: Mapping[str, _Value],
    status: SpanStatus | None = None,
    linked: Sequence[Link] = (),
) -> ReadableSpan:
    return ReadableSpan(
        name=name, context=context, parent=parent, resource=origin.resource, attributes=attributes, links=linked,
        kind=kind, instrumentation_scope=_SCOPE, status=status or SpanStatus(StatusCode.UNSET),
        start_time=int(began_at * 1_000_000_000), end_time=int(ended_at * 1_000_000_000),
    )  # fmt: skip
