"""A message's life: what is heard of it folded into one record per wamid, whatever the order and however often.

Folding is a join: any permutation, repetition or batching of the same statuses ends in the same record but for the
times of receipt.
"""

from collections.abc import Mapping

import msgspec

from monitor.events import MEMBER, InboundMessage, PresumedExpired, Sent, Status, Unsettled

RANKS = {
    "warning": 0,
    "received": 1,
    "accepted": 1,
    "sent": 2,
    "presumed_expired": 3,
    "failed": 4,
    "delivered": 5,
    "read": 6,
    "played": 7,
    "deleted": 8,
}
"""A state never goes backwards: the highest rank wins. Delivered wins over failed, since a recipient with several
devices can produce both (Meta, support page). A status that is not listed has rank 0 and is kept in the timeline."""
UNKNOWN, SETTLED = "unknown", "settled"  # of a send that the Graph API did not answer
STATES = (*RANKS, "pending", UNKNOWN, SETTLED)
STEPS_MOST = 64  # a message has a handful of statuses; more is somebody's loop
PRESUMED_EXPIRED, READ_WITHOUT_DELIVERED, UNKNOWN_SEND = "presumed_expired", "read_without_delivered", "unknown_send"
FAILED_AFTER_DELIVERED, DELIVERED_AFTER_FAILED = "failed_after_delivered", "delivered_after_failed"
ANOMALIES = (READ_WITHOUT_DELIVERED, UNKNOWN_SEND, FAILED_AFTER_DELIVERED, DELIVERED_AFTER_FAILED)
_WAITING = frozenset({"accepted", "sent", "warning"})
_ARRIVED = frozenset({"delivered", "read", "played"})
_SEEN = frozenset({"read", "played"})
_GIVEN_UP = frozenset({"failed", PRESUMED_EXPIRED})
_DECISIVE = _ARRIVED | {"failed"}


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One status or finding in the life of a message; `stamp` is Meta's timestamp as it was written.

    In a group MEMBER and the start of a member's hash follow it.
    """

    status: str
    stamp: str
    occurred_at: float
    received_at: float
    codes: tuple[int, ...] = ()


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message that the business sent or received, and its steps in the order in which we heard of them.

    `billable` is empty until Meta priced it. `campaign_rank` says where the campaign's name came from (campaigns.py).
    `due_at` is when it must be judged if nothing more is heard, None for never.
    """

    wamid: str
    waba_id: str
    phone_number_id: str
    recipient: str
    direction: str
    category: str
    callback_data: str
    state: str
    steps: tuple[Step, ...]
    billable: str = ""
    template: str = ""
    campaign: str = ""
    campaign_rank: int = 0
    started_at: float = 0.0
    due_at: float | None = None
    replied_at: float | None = None
    caller: str = ""
    trigger: str = ""

    def first(self, status: str) -> float | None:
        """Return when `status` was first reached, by Meta's clock."""
        first: float | None = None
        for step in self.steps:
            if step.status == status and (first is None or step.occurred_at < first):
                first = step.occurred_at
        return first


class Policy(msgspec.Struct, frozen=True):
    """How long silence may last: times to live by category and by template, what is added to them, and for the rest.

    The buffer is the longer of `buffer_seconds` and `buffer_share` of the time to live, since webhooks lag.
    """

    time_to_live: Mapping[str, float]
    templates: Mapping[str, float] = {}
    buffer_seconds: float = 900.0
    buffer_share: float = 0.1
    settle_seconds: float = 60.0


DEFAULT_POLICY = Policy({"authentication": 600.0, "": 30 * 86400.0})


class Advance(msgspec.Struct, frozen=True, gc=False):
    """What one step changed: the message before and now, and what became known with it."""

    message: Message
    before: Message | None = None
    delivery_seconds: float | None = None
    read_seconds: float | None = None
    is_recovered: bool = False
    is_first_priced: bool = False
    contradictions: tuple[str, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether no status of the message was heard before."""
        return self.before is None or all(step.status == "accepted" for step in self.before.steps)


def advance(
    known: Message | None,
    status: Status,
    received_at: float,
    policy: Policy = DEFAULT_POLICY,
    reported_since: float | None = None,
) -> Advance | None:
    """Fold a status into what is known of its message; None where it says nothing new.

    A status is new unless one of the same wamid, name, stamp and codes came before. `reported_since` is
    since when the number's sends are reported to us, so that a status of an unreported one is worth a look.
    """
    stamp = status.key.rpartition("|")[2]
    codes = tuple(error.code for error in status.errors if error.code is not None) if status.errors else ()
    step = Step(status.status, stamp, status.occurred_at, received_at, codes)
    billable = (status.pricing.billable or "unknown") if status.pricing is not None else ""
    if known is None:
        first = Message(
            status.wamid, status.waba_id, status.phone_number_id, status.recipient, "outbound",
            status.category, status.callback_data, status.status, (step,), billable,
            started_at=status.occurred_at,
        )  # fmt: skip
        return Advance(reconsidered(first, policy, reported_since), is_first_priced=billable != "")
    if not _is_new(known, step):
        return None
    message = Message(
        known.wamid,
        _join(known.waba_id, status.waba_id),
        _join(known.phone_number_id, status.phone_number_id),
        _join(known.recipient, status.recipient),
        known.direction,
        _join(known.category, status.category),
        _join(known.callback_data, status.callback_data),
        _further(known.state, status.status),
        (*known.steps, step),
        _join(known.billable, billable),
        known.template,
        known.campaign,
        known.campaign_rank,
        min(known.started_at, status.occurred_at),
        None,
        known.replied_at,
        known.caller,
        known.trigger,
    )
    return _advanced(known, reconsidered(message, policy, reported_since))


def accept(known: Message | None, sent: Sent, received_at: float, policy: Policy = DEFAULT_POLICY) -> Advance | None:
    """Fold in that the Graph API took the message; None where that is known."""
    step = Step("accepted", "", sent.occurred_at, received_at)
    if known is None:
        message = Message(
            sent.wamid, sent.waba_id, sent.phone_number_id, sent.recipient, "outbound", sent.category,
            sent.callback_data, "accepted", (step,), template=sent.template, started_at=sent.occurred_at,
            caller=sent.caller, trigger=sent.trigger,
        )  # fmt: skip
        return Advance(reconsidered(message, policy))
    if not _is_new(known, step):
        return None
    message = msgspec.structs.replace(
        known,
        waba_id=_join(known.waba_id, sent.waba_id),
        phone_number_id=_join(known.phone_number_id, sent.phone_number_id),
        recipient=_join(known.recipient, sent.recipient),
        category=_join(known.category, sent.category),
        callback_data=_join(known.callback_data, sent.callback_data),
        template=_join(known.template, sent.template),
        caller=_join(known.caller, sent.caller),
        trigger=_join(known.trigger, sent.trigger),
        state=_further(known.state, "accepted"),
        steps=(*known.steps, step),
        started_at=min(known.started_at, sent.occurred_at),
    )
    return _advanced(known, reconsidered(message, policy))


def unsettled_id(token: str) -> str:
    """Return the id by which a send is known until the Graph API's own word gives it one."""
    return f"unsettled:{token}"


def unsettled(sent: Unsettled, received_at: float) -> Message:
    """Return the record of a send whose outcome is not known."""
    return Message(
        unsettled_id(sent.token or sent.key), sent.waba_id, sent.phone_number_id, sent.recipient, "outbound",
        sent.category, sent.callback_data, UNKNOWN, (Step(UNKNOWN, "", sent.occurred_at, received_at),),
        template=sent.template, campaign=sent.campaign, started_at=sent.occurred_at, caller=sent.caller,
        trigger=sent.trigger,
    )  # fmt: skip


def settled(known: Message, status: Status, received_at: float) -> Message:
    """Return the record once a status has told which message it became: its wamid is the step's stamp."""
    step = Step(SETTLED, status.wamid, status.occurred_at, received_at)
    return msgspec.structs.replace(known, state=SETTLED, steps=(*known.steps, step))


def taken(known: Message, status: Status) -> Sent:
    """Return what the Graph API would have answered to a send whose outcome a status tells."""
    return Sent(
        f"{status.wamid}|accepted|", known.waba_id, known.phone_number_id, known.started_at, status.wamid,
        known.recipient, known.category, known.template, "", known.campaign, known.callback_data, SETTLED,
        "", known.caller, known.trigger,
    )  # fmt: skip


def note(
    known: Message,
    finding: str,
    occurred_at: float,
    received_at: float,
    policy: Policy = DEFAULT_POLICY,
    reported_since: float | None = None,
) -> Advance | None:
    """Fold in what we found ourselves (a presumed expiry, an anomaly); None where it was found before."""
    step = Step(finding, "", occurred_at, received_at)
    if not _is_new(known, step):
        return None
    message = msgspec.structs.replace(known, state=_further(known.state, finding), steps=(*known.steps, step))
    return _advanced(known, reconsidered(message, policy, reported_since))


def judge(message: Message, at: float, policy: Policy, reported_since: float | None = None) -> tuple[str, ...]:
    """Return what must be found of a message of which nothing more was heard until `at`: names of findings."""
    return tuple(finding for finding, due_at in _deadlines(message, policy, reported_since) if due_at <= at)


def reconsidered(message: Message, policy: Policy, reported_since: float | None = None) -> Message:
    """Return the message with the time at which it must be judged, as the policy has it."""
    if reported_since is None and message.state in {"delivered", "failed"}:
        due_at = None
    else:
        due_at = min((due_at for _, due_at in _deadlines(message, policy, reported_since)), default=None)
    return message if due_at == message.due_at else msgspec.structs.replace(message, due_at=due_at)


def receive(known: Message | None, inbound: InboundMessage, received_at: float) -> Message | None:
    """Return the record of an inbound message, or None where it is known already."""
    if known is not None:
        return None
    codes = tuple(error.code for error in inbound.errors if error.code is not None)
    step = Step("received", "", inbound.occurred_at, received_at, codes)
    return Message(
        inbound.wamid, inbound.waba_id, inbound.phone_number_id, inbound.sender, "inbound", "", "", "received",
        (step,), started_at=inbound.occurred_at,
    )  # fmt: skip


def has_arrived(message: Message) -> bool:
    """Say whether the message reached its recipient."""
    return RANKS.get(message.state, 0) > RANKS["failed"]


def expired(message: Message, at: float, key: str) -> PresumedExpired:
    """Return the presumed expiry of a message as an event."""
    return PresumedExpired(
        key, message.waba_id, message.phone_number_id, at, message.wamid, message.recipient, message.category,
        message.template,
    )  # fmt: skip


def _advanced(before: Message, message: Message) -> Advance:
    newest = message.steps[-1].status
    return Advance(
        message,
        before,
        delivery_seconds=_between(before, message, "sent", "delivered") if newest in {"sent", "delivered"} else None,
        read_seconds=_between(before, message, "delivered", "read") if newest in {"delivered", "read"} else None,
        is_first_priced=message.billable != "" and not before.billable,
        is_recovered=before.state in _GIVEN_UP and has_arrived(message),
        contradictions=_contradictions(message) if newest in _DECISIVE else (),
    )


def _deadlines(message: Message, policy: Policy, reported_since: float | None) -> list[tuple[str, float]]:
    """Return what will have to be found, and when, if nothing more is heard."""
    found: list[tuple[str, float]] = []
    if message.state in _WAITING:
        found.append((PRESUMED_EXPIRED, message.started_at + _silence_seconds(message, policy)))
    elif message.state in _SEEN and not _has(message, "delivered", READ_WITHOUT_DELIVERED):
        seen_at = min(step.received_at for step in message.steps if step.status in _SEEN)
        found.append((READ_WITHOUT_DELIVERED, seen_at + policy.settle_seconds))
    is_reported = reported_since is not None and message.started_at > reported_since
    if is_reported and not _has(message, "accepted", UNKNOWN_SEND):
        heard_at = min(step.received_at for step in message.steps)
        found.append((UNKNOWN_SEND, heard_at + policy.settle_seconds))
    return found


def _has(message: Message, *names: str) -> bool:
    return any(step.status in names for step in message.steps)


def _silence_seconds(message: Message, policy: Policy) -> float:
    lifetimes = policy.time_to_live
    seconds = policy.templates.get(message.template) if message.template else None
    if seconds is None:
        kind = message.category.partition("_")[0]  # authentication_international, marketing_lite
        seconds = lifetimes.get(kind, lifetimes[""])
    return seconds + max(policy.buffer_seconds, policy.buffer_share * seconds)


def _contradictions(message: Message) -> tuple[str, ...]:
    """Return contradictions that are not noted yet; each stays true whatever comes later, so order does not matter."""
    failed = [step.occurred_at for step in message.steps if step.status == "failed"]
    if not failed or any(MEMBER in step.stamp for step in message.steps):  # a group's members fare differently
        return ()
    arrived = [step.occurred_at for step in message.steps if step.status in _ARRIVED]
    if not arrived:
        return ()
    found = []
    if max(failed) >= min(arrived) and not _has(message, FAILED_AFTER_DELIVERED):
        found.append(FAILED_AFTER_DELIVERED)
    if max(arrived) > min(failed) and not _has(message, DELIVERED_AFTER_FAILED):
        found.append(DELIVERED_AFTER_FAILED)
    return tuple(found)


def _is_new(known: Message, step: Step) -> bool:
    if len(known.steps) >= STEPS_MOST:
        return False
    for before in known.steps:
        if before.status == step.status and before.stamp == step.stamp and before.codes == step.codes:
            return False
    return True


def _join(some: str, other: str) -> str:
    """Return what is said; of two contradicting values always the same one, whichever came first."""
    if not other or some == other:
        return some
    return max(some, other) if some else other


def _further(some: str, other: str) -> str:
    rank, other_rank = RANKS.get(some, 0), RANKS.get(other, 0)
    return other if (other_rank, other) > (rank, some) else some


def _between(known: Message, message: Message, start: str, end: str) -> float | None:
    """Return the seconds from one status to the other when the newest step is what made both known."""
    started_at, ended_at = message.first(start), message.first(end)
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    is_known = known.first(start) is not None and known.first(end) is not None
    return None if is_known else ended_at - started_at
