"""A message's life: statuses folded into one record per wamid, whatever their order and however often they come."""

import msgspec

from monitor.events import InboundMessage, Status

RANKS = {
    "warning": 0,
    "received": 1,
    "accepted": 1,
    "sent": 2,
    "failed": 3,
    "delivered": 4,
    "read": 5,
    "played": 6,
    "deleted": 7,
}
"""A state never goes backwards: the highest rank wins. Delivered wins over failed, since a recipient with several
devices can produce both (Meta, support page). A status that is not listed has rank 0 and is kept in the timeline."""
STEPS_MOST = 64  # a message has a handful of statuses; more is somebody's loop


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One status in the life of a message; `stamp` is Meta's timestamp as it was written."""

    status: str
    stamp: str
    occurred_at: float
    received_at: float
    codes: tuple[int, ...] = ()


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message that the business sent or received, and its steps in the order in which we heard of them."""

    wamid: str
    waba_id: str
    phone_number_id: str
    recipient: str
    direction: str
    category: str
    callback_data: str
    state: str
    steps: tuple[Step, ...]
    is_priced: bool = False

    def first(self, status: str) -> float | None:
        """Return when `status` was first reached, by Meta's clock."""
        first: float | None = None
        for step in self.steps:
            if step.status == status and (first is None or step.occurred_at < first):
                first = step.occurred_at
        return first


class Advance(msgspec.Struct, frozen=True, gc=False):
    """What one status changed: the message as it is now, and the durations that became known with it."""

    message: Message
    is_first: bool
    delivery_seconds: float | None = None
    read_seconds: float | None = None
    is_recovered: bool = False
    is_first_priced: bool = False


def advance(known: Message | None, status: Status, received_at: float) -> Advance | None:
    """Fold a status into what is known of its message; None where it says nothing new.

    A status is new unless one of the same wamid, name and timestamp came before.
    """
    stamp = status.key.rpartition("|")[2]
    codes = tuple(error.code for error in status.errors if error.code is not None) if status.errors else ()
    step = Step(status.status, stamp, status.occurred_at, received_at, codes)
    if known is None:
        message = Message(
            status.wamid, status.waba_id, status.phone_number_id, status.recipient, "outbound",
            status.category, status.callback_data, status.status, (step,), status.pricing is not None,
        )  # fmt: skip
        return Advance(message, is_first=True, is_first_priced=message.is_priced)
    if len(known.steps) >= STEPS_MOST:
        return None
    for before in known.steps:
        if before.status == step.status and before.stamp == stamp:
            return None
    message = Message(
        known.wamid,
        known.waba_id or status.waba_id,
        known.phone_number_id or status.phone_number_id,
        known.recipient or status.recipient,
        known.direction,
        status.category or known.category,
        known.callback_data or status.callback_data,
        status.status if RANKS.get(status.status, 0) > RANKS.get(known.state, 0) else known.state,
        (*known.steps, step),
        known.is_priced or status.pricing is not None,
    )
    return Advance(
        message,
        is_first=False,
        delivery_seconds=_between(known, message, "sent", "delivered"),
        read_seconds=_between(known, message, "delivered", "read"),
        is_first_priced=message.is_priced and not known.is_priced,
        is_recovered=known.state == "failed" and RANKS.get(message.state, 0) > RANKS["failed"],
    )


def receive(known: Message | None, inbound: InboundMessage, received_at: float) -> Message | None:
    """Return the record of an inbound message, or None where it is known already."""
    if known is not None:
        return None
    codes = tuple(error.code for error in inbound.errors if error.code is not None)
    step = Step("received", "", inbound.occurred_at, received_at, codes)
    return Message(
        inbound.wamid, inbound.waba_id, inbound.phone_number_id, inbound.sender, "inbound", "", "", "received", (step,)
    )


def _between(known: Message, message: Message, start: str, end: str) -> float | None:
    """Return the seconds from one status to the other when the newest step is what made both known."""
    if message.steps[-1].status not in {start, end}:
        return None
    if known.first(start) is not None and known.first(end) is not None:
        return None
    started_at, ended_at = message.first(start), message.first(end)
    if started_at is None or ended_at is None or ended_at < started_at:
        return None
    return ended_at - started_at
