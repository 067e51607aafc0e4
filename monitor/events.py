"""What Meta or an operator said: one frozen record for each kind of thing.

All times are unix seconds. `occurred_at` is Meta's own timestamp where it sends a readable one, else the time of
receipt. A `recipient` is always a keyed hash, never a number. `key` identifies the event over redeliveries.
"""

import msgspec

from monitor.account import UNSPECIFIC, Detail
from monitor.probes import Probe

APART_SECONDS = 60.0  # what Meta's clock and ours may be apart
MEMBER = "~"  # in a status' key, before whom of a group it is about


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
    """One object of `statuses`: what became of a message that the business sent.

    `alias` and `number` are keyed hashes: of the recipient's wa_id where a business-scoped id is the recipient, and of
    the display number that it was sent from. `country` is told of failures only, for the rules' sake. `token` is what
    the proxy added to the application's `callback_data`.
    """

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
    alias: str = ""
    number: str = ""
    country: str = ""
    token: str = ""


class InboundMessage(msgspec.Struct, frozen=True, gc=False):
    """One object of `messages`: a customer wrote; `context` is the wamid that the customer answered."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    message_type: str
    sender: str
    errors: tuple[MetaError, ...]
    context: str = ""
    alias: str = ""
    number: str = ""


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
    detail: Detail = UNSPECIFIC


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """The Graph API took a message; `outcome` is its `message_status`, `campaign` what the sender called it.

    `caller` is who sent it, `trigger` why it looks like the repetition of another one (duplicates.py), if it does.
    """

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    recipient: str
    category: str = ""
    template: str = ""
    language: str = ""
    campaign: str = ""
    callback_data: str = ""
    outcome: str = "accepted"
    country: str = ""
    caller: str = ""
    trigger: str = ""


class SendFailed(msgspec.Struct, frozen=True, tag="send_failed"):
    """The Graph API refused a message: the synchronous witness of an error."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    recipient: str
    error: MetaError
    category: str = ""
    template: str = ""
    campaign: str = ""
    callback_data: str = ""
    country: str = ""
    caller: str = ""
    trigger: str = ""


class Duplicate(msgspec.Struct, frozen=True, tag="duplicate"):
    """A send through the proxy that says what another said so many seconds before; the proxy refused it or let it pass.

    `trigger` is one of duplicates.TRIGGERS, `first_wamid` the other message where its outcome is known.
    """

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    recipient: str
    trigger: str
    gap_seconds: float
    is_refused: bool
    first_wamid: str = ""
    category: str = ""
    template: str = ""
    campaign: str = ""
    callback_data: str = ""
    country: str = ""
    caller: str = ""


class Unsettled(msgspec.Struct, frozen=True, tag="unsettled"):
    """The Graph API did not answer a send: it may have been taken. A status that carries the `token` settles it."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    recipient: str
    token: str = ""
    category: str = ""
    template: str = ""
    language: str = ""
    campaign: str = ""
    callback_data: str = ""
    country: str = ""
    caller: str = ""
    trigger: str = ""


class PresumedExpired(msgspec.Struct, frozen=True):
    """A message's time to live and a buffer passed without delivered, read or failed: Meta drops it without a word."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    recipient: str
    category: str
    template: str


class Anomaly(msgspec.Struct, frozen=True):
    """A message's statuses contradict each other or what is known of the send; `anomaly` is one snake_case word."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    wamid: str
    recipient: str
    anomaly: str


class NewCode(msgspec.Struct, frozen=True):
    """An error code that the catalogue does not know was seen for the first time."""

    key: str
    waba_id: str
    phone_number_id: str
    occurred_at: float
    origin: str
    error: MetaError


class Unparsed(msgspec.Struct, frozen=True, gc=False):
    """Something that could not be read: `path` says where in the body, `reason` is one snake_case word."""

    key: str
    waba_id: str
    occurred_at: float
    reason: str
    path: str


class PausePlaced(msgspec.Struct, frozen=True, tag="pause_placed"):
    """An operator paused a scope, `until` None until someone resumes; `aliases` are a recipient's other hashes."""

    actor: str
    reason: str
    scope: str
    scope_id: str
    lane: str
    until: float | None
    aliases: tuple[str, ...] = ()


class PauseReleased(msgspec.Struct, frozen=True, tag="pause_released"):
    """An operator resumed: at once, or by a `probe` from then on.

    With `reinstated_seconds` the finding is judged: for so long it is noted if it comes again, and stops nothing.
    """

    actor: str
    reason: str
    pause_id: str
    probe: Probe | None = None
    reinstated_seconds: float | None = None


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
    """A worker said what became of a resend: `sent`, `dropped` or `released`; `wamid` is the retry's own."""

    actor: str
    reason: str
    resend_id: str
    outcome: str
    wamid: str = ""


class RulesLoaded(msgspec.Struct, frozen=True, tag="rules_loaded"):
    """The configuration and rules in force from here on."""

    actor: str
    rules_hash: str


class EntriesLost(msgspec.Struct, frozen=True, tag="entries_lost"):
    """Journal entries that were durable were gone when the store was opened: the first and the last position."""

    actor: str
    first: int
    last: int


class PersonForgotten(msgspec.Struct, frozen=True, tag="person_forgotten"):
    """An operator had a person erased; `people` are the keyed hashes that stood for them."""

    actor: str
    reason: str
    people: tuple[str, ...]


class IncidentClosed(msgspec.Struct, frozen=True, tag="incident_closed"):
    """An operator closed an incident."""

    actor: str
    reason: str
    incident_id: str


class DrillDone(msgspec.Struct, frozen=True, tag="drill_done"):
    """A synthetic block of an account that does not exist was played: how many seconds it took to reach each stage.

    `seconds` is by stage (gate, follower, alertmanager, release), the slowest where there are several.
    """

    actor: str
    reason: str
    code: int
    is_passed: bool
    seconds: dict[str, float]


class OutboxRetried(msgspec.Struct, frozen=True, tag="outbox_retried"):
    """An operator had tried again what a destination had refused for good: one row, or with 0 all of a destination.

    An empty `destination` stands for every one.
    """

    actor: str
    reason: str
    row_id: int = 0
    destination: str = ""


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """Time passed: these messages are to be judged as of `at`, since nothing was heard of them."""

    at: float
    wamids: tuple[str, ...]


Send = Sent | SendFailed | Duplicate | Unsettled
Derived = PresumedExpired | Anomaly | NewCode
MetaEvent = Status | InboundMessage | ErrorReport | AccountEvent | Unparsed | Send | Derived
OperatorAct = (
    PausePlaced | PauseReleased | FlagResolved | ResendsClaimed | ResendSettled | RulesLoaded | PersonForgotten
    | IncidentClosed | DrillDone
    | OutboxRetried
    | EntriesLost
)  # fmt: skip
Event = MetaEvent | OperatorAct | Tick
EVENT_KINDS = {
    Status: "status",
    InboundMessage: "message",
    ErrorReport: "error",
    AccountEvent: "account",
    Unparsed: "unparsed",
    Sent: "sent",
    SendFailed: "send_failed",
    Duplicate: "duplicate",
    Unsettled: "send_unknown",
    PresumedExpired: "presumed_expired",
    Anomaly: "anomaly",
    NewCode: "new_code",
    PausePlaced: "pause_placed",
    PauseReleased: "pause_released",
    FlagResolved: "flag_resolved",
    ResendsClaimed: "resends_claimed",
    ResendSettled: "resend_settled",
    RulesLoaded: "rules_loaded",
    EntriesLost: "entries_lost",
    PersonForgotten: "person_forgotten",
    IncidentClosed: "incident_closed",
    DrillDone: "drill_done",
    OutboxRetried: "outbox_retried",
    Tick: "tick",
}


def kind(event: Event) -> str:
    """Return the event's kind, one of a fixed set."""
    return EVENT_KINDS[type(event)]
