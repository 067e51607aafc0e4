"""What Meta or an operator said: one frozen record for each kind of thing.

All times are unix seconds. `occurred_at` is Meta's own timestamp where it sends a readable one, else the time of
receipt. A `recipient` is always a keyed hash, never a number. `key` identifies the event over redeliveries.
"""

import msgspec


class MetaError(msgspec.Struct, frozen=True, gc=False):
    """One object of an `errors` list; `code` is None where it could not be read."""

    code: int | None
    title: str
    details: str


class Pricing(msgspec.Struct, frozen=True, gc=False):
    """What a message cost, as Meta categorised it."""

    category: str
    pricing_model: str
    billable: str


class Status(msgspec.Struct, frozen=True, gc=False):
    """One object of `statuses`: what became of a message that the business sent."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    status: str
    recipient: str
    category: str
    pricing: Pricing | None
    errors: tuple[MetaError, ...]
    callback_data: str


class InboundMessage(msgspec.Struct, frozen=True, gc=False):
    """One object of `messages`: a customer wrote."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    message_type: str
    sender: str
    errors: tuple[MetaError, ...]


class ErrorReport(msgspec.Struct, frozen=True, gc=False):
    """One object of a value's own `errors`: out of band, about no single message."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    field: str
    error: MetaError


class AccountEvent(msgspec.Struct, frozen=True, gc=False):
    """A change of any field but `messages`; `event` is what the value itself calls the change."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    field: str
    event: str


class Unparsed(msgspec.Struct, frozen=True, gc=False):
    """Something that could not be read: `path` says where in the body, `reason` is one snake_case word."""

    key: str
    waba_id: str
    occurred_at: float
    reason: str
    path: str


class PausePlaced(msgspec.Struct, frozen=True, tag="pause_placed"):
    """An operator paused a scope; `until` None means until someone resumes."""

    actor: str
    reason: str
    scope: str
    scope_id: str
    lane: str
    until: float | None


class PauseReleased(msgspec.Struct, frozen=True, tag="pause_released"):
    """An operator resumed."""

    actor: str
    reason: str
    pause_id: str


class FlagResolved(msgspec.Struct, frozen=True, tag="flag_resolved"):
    """An operator closed a flag."""

    actor: str
    reason: str
    flag_id: str


class ResendsClaimed(msgspec.Struct, frozen=True, tag="resends_claimed"):
    """A worker took resends, until the lease ends."""

    actor: str
    resend_ids: tuple[str, ...]
    lease_until: float


class ResendSettled(msgspec.Struct, frozen=True, tag="resend_settled"):
    """A worker said what became of a resend: `sent`, `dropped` or `released`."""

    actor: str
    reason: str
    resend_id: str
    outcome: str


class RulesLoaded(msgspec.Struct, frozen=True, tag="rules_loaded"):
    """The configuration and rules in force from here on."""

    actor: str
    rules_hash: str


MetaEvent = Status | InboundMessage | ErrorReport | AccountEvent | Unparsed
OperatorAct = PausePlaced | PauseReleased | FlagResolved | ResendsClaimed | ResendSettled | RulesLoaded
EVENT_KINDS = {
    Status: "status",
    InboundMessage: "message",
    ErrorReport: "error",
    AccountEvent: "account",
    Unparsed: "unparsed",
    PausePlaced: "pause_placed",
    PauseReleased: "pause_released",
    FlagResolved: "flag_resolved",
    ResendsClaimed: "resends_claimed",
    ResendSettled: "resend_settled",
    RulesLoaded: "rules_loaded",
}


def kind(event: MetaEvent | OperatorAct) -> str:
    """Return the event's kind, one of a fixed set."""
    return EVENT_KINDS[type(event)]
