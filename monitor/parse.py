"""A webhook body as events: tolerant of everything, raising for nothing.

Facts of the shapes: Meta's Webhooks reference of the WhatsApp Business Platform. What is missing or of another type is
read as far as it can be; what can't be read becomes Unparsed with the path of the place, and its neighbours are kept.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec

from monitor import account_fields, countries, generators, tokens
from monitor.events import (
    MEMBER,
    AccountEvent,
    ErrorReport,
    InboundMessage,
    MetaError,
    MetaEvent,
    Pricing,
    Status,
    Unparsed,
)
from monitor.scalars import dictionaries, integer, text, time, word

Pseudonym = Callable[[str], str]
READ_AT_ONCE = 64  # events
OBJECT = "whatsapp_business_account"
_ITEMS = ("statuses", "messages", "errors")
_ERRORS_DEPTH = 2  # of a field other than `messages`: errors of the value, of an item in it, and of a part of that
_decode = msgspec.json.Decoder().decode


def delivery(body: bytes, received_at: float, pseudonym: Pseudonym) -> list[MetaEvent]:
    """Return what one webhook body says, in its order; never empty."""
    return generators.whole(reading(body, received_at, pseudonym))


def reading(body: bytes, received_at: float, pseudonym: Pseudonym) -> Generator[None, None, list[MetaEvent]]:
    """Read a body little by little: it may hold a hundred thousand statuses."""
    try:
        root = _root(body)
    except (ValueError, RecursionError) as error:
        reason = "too_deep" if isinstance(error, RecursionError) else "not_json"
        return [Unparsed(hashlib.blake2b(body, digest_size=12).hexdigest(), "", received_at, reason, "")]
    walk = _Reading(received_at, pseudonym, body)
    if not isinstance(root, dict):
        return [walk.unparsed("", "not_an_object", "")]
    if root.get("object", OBJECT) != OBJECT:  # a Page's or Instagram's: the app's one address hears of these too
        return [walk.unparsed("", "other_object", "object")]
    events: list[MetaEvent] = []
    for event in walk.entries(root):
        events.append(event)
        if not len(events) % READ_AT_ONCE:
            yield
    return events or [walk.unparsed("", "empty", "")]


def _root(body: bytes) -> Any:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Meta cuts texts without regard to surrogate pairs; the standard library reads such a body, msgspec does not,
        # nor a number of thousands of digits.
        return json.loads(body.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_int=_whole)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


class _Reading:
    """The walk over one body: what each event needs to know of the delivery."""

    def __init__(self, received_at: float, pseudonym: Pseudonym, body: bytes) -> None:
        self._received_at = received_at
        self._pseudonym = pseudonym
        self._body = body

    @functools.cached_property
    def _body_key(self) -> str:
        """What tells this body's nameless things from those of another; few bodies need it."""
        return hashlib.blake2b(self._body, digest_size=12).hexdigest()

    def unparsed(self, waba_id: str, reason: str, path: str) -> Unparsed:
        return Unparsed(f"{self._body_key}|{path}", waba_id, self._received_at, reason, path)

    def entries(self, root: dict[Any, Any]) -> Iterator[MetaEvent]:
        entries = root.get("entry")
        if not isinstance(entries, list):
            if entries is not None:
                yield self.unparsed("", "entry_not_a_list", "entry")
            return
        for number, entry in enumerate(entries):
            path = f"entry[{number}]"
            if not isinstance(entry, dict):
                yield self.unparsed("", "entry_not_an_object", path)
                continue
            waba_id = text(entry.get("id"))
            changes = entry.get("changes")
            if not isinstance(changes, list):
                yield self.unparsed(waba_id, "changes_not_a_list", f"{path}.changes")
                continue
            for place, change in enumerate(changes):
                yield from self._change(waba_id, entry, change, f"{path}.changes[{place}]")

    def _change(self, waba_id: str, entry: dict[Any, Any], change: Any, path: str) -> Iterator[MetaEvent]:
        if not isinstance(change, dict):
            yield self.unparsed(waba_id, "change_not_an_object", path)
            return
        field, value = word(change.get("field")), change.get("value")
        if not field:
            yield self.unparsed(waba_id, "field_missing", f"{path}.field")
            return
        occurred_at = self._time(entry.get("time"))
        if field != "messages":
            yield from self._account(waba_id, entry, field, value, occurred_at, path)
            if isinstance(value, dict):
                for place, error in _errors_within(value, f"{path}.value", _ERRORS_DEPTH):
                    yield self._error_report(waba_id, _phone(value), entry, field, error, occurred_at, place)
            return
        if not isinstance(value, dict):
            yield self.unparsed(waba_id, "value_not_an_object", f"{path}.value")
            return
        is_empty = True
        for event in self._messages_value(waba_id, value, entry, occurred_at, path):
            is_empty = False
            yield event
        if is_empty:
            yield self.unparsed(waba_id, "value_empty", f"{path}.value")

    def _messages_value(
        self, waba_id: str, value: dict[Any, Any], entry: dict[Any, Any], occurred_at: float, path: str
    ) -> Iterator[MetaEvent]:
        phone_number_id, number = _phone(value), self._number(value)
        for name in _ITEMS:
            for place, item in self._objects(waba_id, value, name, path):
                if not isinstance(item, dict):
                    yield item if isinstance(item, Unparsed) else self.unparsed(waba_id, f"{name}_not_an_object", place)
                elif name == "statuses":
                    status = self._status(waba_id, phone_number_id, number, item, place)
                    yield status
                    if isinstance(status, Unparsed):  # what an unreadable status reports must still be heard
                        for error in dictionaries(item.get("errors")):
                            yield self._error_report(
                                waba_id, phone_number_id, entry, "messages", error, occurred_at, place
                            )
                elif name == "messages":
                    yield self._message(waba_id, phone_number_id, number, value, item, place)
                else:
                    yield self._error_report(waba_id, phone_number_id, entry, "messages", item, occurred_at, place)

    def _objects(self, waba_id: str, value: dict[Any, Any], name: str, path: str) -> Iterator[tuple[str, Any]]:
        items = value.get(name)
        if items is None:
            return
        if isinstance(items, dict):  # seen from gateways that unwrap lists of one
            items = [items]
        if not isinstance(items, list):
            place = f"{path}.value.{name}"
            yield place, self.unparsed(waba_id, f"{name}_not_a_list", place)
            return
        for number, item in enumerate(items):
            yield f"{path}.value.{name}[{number}]", item

    def _status(
        self, waba_id: str, phone_number_id: str, number: str, item: dict[Any, Any], place: str
    ) -> Status | Unparsed:
        wamid, status = text(item.get("id")), word(item.get("status"))
        if not wamid:
            return self.unparsed(waba_id, "status_without_id", place)
        if not status:
            return self.unparsed(waba_id, "status_without_status", place)
        timestamp = item.get("timestamp")
        pricing = _pricing(item.get("pricing"))
        wa_id = text(item.get("recipient_id"))
        user_id = text(item["recipient_user_id"]) if "recipient_user_id" in item else ""
        errors = _errors(item.get("errors"))
        callback_data = text(item["biz_opaque_callback_data"]) if "biz_opaque_callback_data" in item else ""
        token = ""
        if callback_data:
            kind, token, callback_data = tokens.split(callback_data)
            token = kind + token
        return Status(
            f"{wamid}|{status}|{text(timestamp)}{self._member(wamid, item) if 'recipient_type' in item else ''}",
            waba_id,
            phone_number_id,
            self._time(timestamp),
            wamid,
            status,
            self._pseudonym(user_id or wa_id),
            (pricing.category if pricing else "") or _origin(item.get("conversation")),
            pricing,
            errors,
            callback_data,
            self._pseudonym(wa_id) if user_id else "",
            number,
            countries.of(wa_id or user_id) if errors else "",
            token,
        )

    def _message(
        self, waba_id: str, phone_number_id: str, number: str, value: dict[Any, Any], item: dict[Any, Any], place: str
    ) -> InboundMessage | Unparsed:
        wamid = text(item.get("id"))
        if not wamid:
            return self.unparsed(waba_id, "message_without_id", place)
        wa_id = text(item.get("from"))
        user_id = text(item.get("from_user_id")) or _contact_user_id(value, wa_id)
        context = item.get("context")
        return InboundMessage(
            f"{wamid}|received",
            waba_id,
            phone_number_id,
            self._time(item.get("timestamp")),
            wamid,
            word(item.get("type")) or "unknown",
            self._pseudonym(user_id or wa_id),
            _errors(item.get("errors")),
            text(context.get("id")) if isinstance(context, dict) else "",
            self._pseudonym(wa_id) if user_id else "",
            number,
        )

    def _error_report(
        self,
        waba_id: str,
        phone_number_id: str,
        entry: dict[Any, Any],
        field: str,
        item: dict[Any, Any],
        occurred_at: float,
        place: str,
    ) -> ErrorReport:
        # Without a time of its own, two equal errors of two bodies are two errors.
        has_time = entry.get("time") is not None
        about = (field, waba_id, phone_number_id)  # Meta may block two accounts in the same second and the same words
        key = _digest(*about, entry["time"], item) if has_time else f"{self._body_key}|{place}"
        return ErrorReport(key, waba_id, phone_number_id, occurred_at, field, _error(item))

    def _account(
        self, waba_id: str, entry: dict[Any, Any], field: str, value: Any, occurred_at: float, path: str
    ) -> Iterator[AccountEvent]:
        has_time = entry.get("time") is not None
        key = _digest(field, entry["time"], waba_id, value) if has_time else f"{self._body_key}|{path}"
        if not isinstance(value, dict):
            yield AccountEvent(key, waba_id, "", occurred_at, field, "")
            return
        about = value.get("waba_info")  # partners' events stand under the business, and name the account here
        account_id = text(about.get("waba_id")) if isinstance(about, dict) else ""
        for number, (event, detail) in enumerate(account_fields.details(field, value, self._pseudonym)):
            own_key = f"{key}|{number}" if number else key
            yield AccountEvent(own_key, account_id or waba_id, _phone(value), occurred_at, field, event, detail)

    def _member(self, wamid: str, item: dict[Any, Any]) -> str:
        """Return what tells the statuses of a group's members apart: they have one wamid, and often one second.

        It is not the person's hash: who is forgotten leaves nothing by which to be found.
        """
        member = text(item.get("recipient_participant_user_id")) or text(item.get("recipient_participant_id"))
        return MEMBER + self._pseudonym(f"{wamid}{MEMBER}{member}")[-8:] if member else ""

    def _number(self, value: dict[Any, Any]) -> str:
        metadata = value.get("metadata")
        shown = text(metadata.get("display_phone_number")) if isinstance(metadata, dict) else ""
        return self._pseudonym(shown)

    def _time(self, value: Any) -> float:
        seconds = time(value)
        return self._received_at if seconds is None else seconds


def _errors_within(value: dict[Any, Any], path: str, depth: int) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield each error in a value with its place, so many levels of objects down."""
    for name, held in value.items():
        items = held if isinstance(held, list) else [held]
        for number, item in enumerate(items):
            place = f"{path}.{name}[{number}]" if isinstance(held, list) else f"{path}.{name}"
            if isinstance(item, dict) and name == "errors":
                yield place, item
            elif isinstance(item, dict) and depth:
                yield from _errors_within(item, place, depth - 1)


def _phone(value: dict[Any, Any]) -> str:
    metadata = value.get("metadata")
    return text(metadata.get("phone_number_id")) if isinstance(metadata, dict) else ""


def _contact_user_id(value: dict[Any, Any], wa_id: str) -> str:
    """Return the business-scoped id of the contact with this wa_id, or of the only contact there is."""
    contacts = dictionaries(value.get("contacts"))
    for contact in contacts:
        shown = text(contact.get("wa_id"))
        if (wa_id and shown == wa_id) or (len(contacts) == 1 and not (wa_id and shown)):
            return text(contact.get("user_id"))
    return ""


def _pricing(value: Any) -> Pricing | None:
    if not isinstance(value, dict):
        return None
    category, model, billable = value.get("category"), value.get("pricing_model"), value.get("billable")
    if not (isinstance(category, str) and isinstance(model, str) and isinstance(billable, bool)):
        category, model, billable = text(category), text(model), text(billable) or billable is True
    return _shared_pricing(category, model, billable)


@functools.lru_cache(256)  # there are about a dozen
def _shared_pricing(category: str, pricing_model: str, billable: str | bool) -> Pricing:
    said = ("true" if billable else "false") if isinstance(billable, bool) else billable.lower()
    return Pricing(word(category), word(pricing_model), said)


def _origin(conversation: Any) -> str:
    origin = conversation.get("origin") if isinstance(conversation, dict) else None
    return word(origin.get("type")) if isinstance(origin, dict) else ""


def _errors(value: Any) -> tuple[MetaError, ...]:
    return tuple(map(_error, dictionaries(value))) if value else ()


def _error(item: dict[Any, Any]) -> MetaError:
    data = item.get("error_data")
    details = text(data.get("details")) if isinstance(data, dict) else text(data)
    return MetaError(integer(item.get("code")), text(item.get("title")) or text(item.get("message")), details)


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode())
        digest.update(b"|")
    return digest.hexdigest()
