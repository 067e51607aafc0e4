"""What rules can match of an event: its facts, one set for each error or restriction that it holds."""

from collections.abc import Mapping

import msgspec

from monitor import account, codes
from monitor.account import AccountUpdate
from monitor.codes import Catalogue
from monitor.events import (
    AccountEvent,
    Anomaly,
    Duplicate,
    ErrorReport,
    InboundMessage,
    MetaError,
    MetaEvent,
    NewCode,
    PresumedExpired,
    SendFailed,
    Sent,
    Status,
    Unsettled,
    kind,
)
from monitor.messages import Message
from monitor.sightings import About, Sighting

EXPIRED_CODE = 131043  # an expired message of Meta's 2022 table; a presumed one is treated alike
_NONE = MetaError(None, "", "")
_EXPIRED = MetaError(EXPIRED_CODE, "", "")
Facts = dict[str, str]
_WITH_ERRORS = frozenset({"status", "message", "error", "send_failed", "new_code", "presumed_expired"})
_BY_PROXY = frozenset({"sent", "send_failed", "duplicate", "send_unknown"})
_OF_OURS = frozenset({"status", "presumed_expired", "anomaly"}) | _BY_PROXY
SOURCE_MOST = 64
_OF_ACCOUNT = frozenset({"account"})
KINDS_OF: Mapping[str, frozenset[str]] = {
    "origin": _WITH_ERRORS | _OF_ACCOUNT,
    **dict.fromkeys(("code", "class", "hits", "retryable"), _WITH_ERRORS),
    "status": frozenset({"status"}),
    "message_type": frozenset({"message"}),
    "anomaly": frozenset({"anomaly"}),
    "country": frozenset({"status"}) | _BY_PROXY,
    **dict.fromkeys(("source", "caller", "trigger"), _OF_OURS),
    "recipient": _OF_OURS | {"message"},
    "wamid": _OF_OURS | {"message"},
    "campaign": _OF_OURS,
    **dict.fromkeys(("category", "template"), _OF_OURS | _OF_ACCOUNT),
    **dict.fromkeys(
        ("event", "restriction", "violation", "ban_state", "decision", "severity", "alert_type", "alert_status",
         "reason", "quality", "previous_quality", "template_status", "previous_category", "limit", "previous_limit",
         "preference", "template_id", "language"), _OF_ACCOUNT),
}  # fmt: skip
"""Which kinds of event can have a fact; those that are not named here any kind can."""


class Aspect(msgspec.Struct, frozen=True):
    """One set of facts; `error` has no code where the event holds no error."""

    facts: Facts
    error: MetaError


def errors(event: MetaEvent) -> tuple[MetaError, ...]:
    """Return the errors that an event holds; a presumed expiry counts as Meta's own."""
    match event:
        case Status() | InboundMessage():
            return event.errors
        case ErrorReport() | SendFailed() | NewCode():
            return (event.error,)
        case PresumedExpired():
            return (_EXPIRED,)
        case _:
            return ()


def origin(event: MetaEvent) -> str:
    """Return which place an event's errors stood in."""
    match event:
        case Status():
            return "status"
        case InboundMessage():
            return "message"
        case ErrorReport(field="messages"):
            return "webhook"
        case Sent() | SendFailed() | Duplicate() | Unsettled():
            return "send"
        case PresumedExpired():
            return "presumed"
        case NewCode():
            return event.origin
        case _:
            return "account"


def of(known: Catalogue, event: MetaEvent, message: Message | None) -> list[Aspect]:
    """Return the event's sets of facts, never none; `message` is what is known of the message that it is about."""
    found = errors(event)
    whole = _whole(event, message)
    if isinstance(event, AccountEvent):
        return [Aspect({**whole, **facts}, _NONE) for facts in account.facts(event.detail)]
    if not found:
        return [Aspect(whole, _NONE)]
    whole["origin"] = origin(event)
    return [Aspect({**whole, **_error(known, error)}, error) for error in found]


def about(known: Catalogue, aspect: Aspect) -> About:
    """Return what sightings of events with such an aspect have in common."""
    facts, code = aspect.facts, codes.find(known, aspect.error.code)
    return About(
        kind=facts["kind"],
        origin=facts.get("origin", ""),
        code=aspect.error.code,
        title=code.title if code is not None else "",
        waba_id=facts["waba_id"],
        phone_number_id=facts["phone_number_id"],
        category=facts.get("category", ""),
        source=facts.get("source", ""),
        template=facts.get("template", ""),
        campaign=facts.get("campaign", ""),
        restriction=facts.get("restriction", ""),
        country=facts.get("country", ""),
        caller=facts.get("caller", ""),
        trigger=facts.get("trigger", ""),
    )


def sighted(event: MetaEvent, facts: Facts, about: About, position: int, received_at: float) -> Sighting:
    """Return the event as windows remember it; what claims to come from the future happened when we received it."""
    at = min(event.occurred_at, received_at)
    return Sighting(at, received_at, position, facts["wamid"], facts["recipient"], about)


def _whole(event: MetaEvent, message: Message | None) -> Facts:
    facts = {
        "kind": kind(event),
        "field": event.field if isinstance(event, AccountEvent | ErrorReport) else "messages",
        "waba_id": event.waba_id,
        "phone_number_id": getattr(event, "phone_number_id", ""),
        "recipient": getattr(event, "recipient", "") or getattr(event, "sender", ""),
        "wamid": getattr(event, "wamid", ""),
        "country": getattr(event, "country", ""),
    }
    match event:
        case Status():
            facts["status"], facts["category"] = event.status, event.category
            facts["source"] = event.callback_data[:SOURCE_MOST]
        case InboundMessage():
            facts["message_type"] = event.message_type
        case AccountEvent():
            facts["event"] = event.event
            if isinstance(event.detail, AccountUpdate):
                facts["origin"] = "account"
        case Anomaly():
            facts["anomaly"] = event.anomaly
        case Sent() | SendFailed() | Duplicate() | Unsettled():
            facts.update(
                category=event.category, template=event.template, campaign=event.campaign,
                source=event.callback_data[:SOURCE_MOST], caller=event.caller, trigger=event.trigger,
            )  # fmt: skip
        case PresumedExpired():
            facts["category"], facts["template"] = event.category, event.template
        case _:
            pass
    if message is not None and message.direction == "outbound":
        facts["category"] = facts.get("category") or message.category
        facts["template"], facts["campaign"] = message.template, message.campaign
        facts["source"] = facts.get("source") or message.callback_data[:SOURCE_MOST]
        facts["caller"], facts["trigger"] = message.caller, message.trigger
    return facts


def _error(known: Catalogue, error: MetaError) -> Facts:
    code = codes.find(known, error.code)
    return {
        "code": "" if error.code is None else str(error.code),
        "class": code.kind if code else "",
        "hits": code.hits if code else "",
        "retryable": code.retryable if code else "",
    }
