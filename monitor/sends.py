"""What the Graph API answered to a send, as an event: it took the message, or refused it."""

import hashlib
from typing import Any

import msgspec

from monitor.duplicates import Earlier
from monitor.events import Duplicate, MetaError, Send, SendFailed, Sent, Unsettled
from monitor.scalars import dictionaries, integer, text, word

OWN_TYPE = "WhatsAppMonitorRefusal"
"""The `type` of errors that the proxy answers itself: they are no word of Meta's, and no rule ever hears of them."""


class Attempt(msgspec.Struct, frozen=True):
    """What is known of a send apart from its answer; `recipient` is a keyed hash."""

    phone_number_id: str
    waba_id: str = ""
    recipient: str = ""
    category: str = ""
    template: str = ""
    language: str = ""
    campaign: str = ""
    callback_data: str = ""
    country: str = ""
    caller: str = ""
    trigger: str = ""


class Content(msgspec.Struct, frozen=True):
    """What the body of a send says: `recipient` as it is written there."""

    recipient: str = ""
    kind: str = ""
    template: str = ""
    language: str = ""
    callback_data: str = ""


def content(body: Any) -> Content:
    """Read what Graph is asked to send; what can't be read is left unknown."""
    if not isinstance(body, dict):
        return Content()
    template = body.get("template")
    named = template if isinstance(template, dict) else {}
    language = named.get("language")
    return Content(
        text(body.get("to")) or text(body.get("recipient")),
        word(body.get("type")) or "text",
        text(named.get("name")),
        text(language.get("code")) if isinstance(language, dict) else "",
        text(body.get("biz_opaque_callback_data")),
    )


def is_receipt(body: Any) -> bool:
    """Say whether a body only says that a customer's message was read, or that somebody is typing."""
    return isinstance(body, dict) and body.get("status") == "read" and "type" not in body


def is_own(answer: Any) -> bool:
    """Say whether an answer is a refusal of the proxy's own."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return isinstance(error, dict) and error.get("type") == OWN_TYPE


def event(attempt: Attempt, answer: Any, at: float) -> Send | None:
    """Return the event of Graph's answer (`{"messages": [{"id": …}]}` or `{"error": {…}}`); None for neither."""
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if isinstance(error, dict):
        return SendFailed(
            _key(attempt, error, at), attempt.waba_id, attempt.phone_number_id, at, attempt.recipient, _error(error),
            attempt.category, attempt.template, attempt.campaign, attempt.callback_data, attempt.country,
            attempt.caller, attempt.trigger,
        )  # fmt: skip
    for message in dictionaries(answer.get("messages")):
        wamid = text(message.get("id"))
        if wamid:
            return Sent(
                f"{wamid}|accepted|", attempt.waba_id, attempt.phone_number_id, at, wamid, attempt.recipient,
                attempt.category, attempt.template, attempt.language, attempt.campaign, attempt.callback_data,
                word(message.get("message_status")) or "accepted", attempt.country, attempt.caller, attempt.trigger,
            )  # fmt: skip
    return None


def unsettled(attempt: Attempt, token: str, at: float) -> Unsettled:
    """Return the event of a send that the Graph API did not answer."""
    return Unsettled(
        token or _key(attempt, {}, at), attempt.waba_id, attempt.phone_number_id, at, attempt.recipient, token,
        attempt.category, attempt.template, attempt.language, attempt.campaign, attempt.callback_data,
        attempt.country, attempt.caller, attempt.trigger,
    )  # fmt: skip


def duplicate(attempt: Attempt, earlier: Earlier, at: float, *, is_refused: bool) -> Duplicate:
    """Return the event of a send that repeats another."""
    return Duplicate(
        _key(attempt, {"repeats": earlier.count}, at), attempt.waba_id, attempt.phone_number_id, at, attempt.recipient,
        earlier.trigger, earlier.gap_seconds, is_refused, earlier.wamid, attempt.category, attempt.template,
        attempt.campaign, attempt.callback_data, attempt.country, attempt.caller,
    )  # fmt: skip


def _error(error: dict[Any, Any]) -> MetaError:
    data = error.get("error_data")
    details = text(data.get("details")) if isinstance(data, dict) else text(data)
    return MetaError(integer(error.get("code")), text(error.get("message")), details)


def _key(attempt: Attempt, error: dict[Any, Any], at: float) -> str:
    """Two equal refusals at two times are two."""
    return hashlib.blake2b(repr((attempt, sorted(map(str, error)), at)).encode(), digest_size=12).hexdigest()
