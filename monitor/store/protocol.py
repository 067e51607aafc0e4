"""What a store promises, and the records that pass through it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from monitor.actions import Alert, AuditEntry, Flag, Incident, Pause, Resend
from monitor.conversations import Window
from monitor.firings import Firing
from monitor.memory import Number
from monitor.messages import Message
from monitor.standing import Change, Standing
from monitor.states import State
from monitor.windows import Value

WEBHOOK = "webhook"
OPERATOR = "operator"
TICK = "tick"
SEND = "send"
ERASED = "erased"  # was a webhook, all of which was about people who have been forgotten

ALERTMANAGER, PAGERDUTY, SLACK, APPRISE = "alertmanager", "pagerduty", "slack", "apprise"
FIRING = "firing"
"""Kinds of outbox rows beside forwards and webhooks: alerts, and a firing that a rule's `webhook:` action sends."""


class StoreUnavailableError(Exception):
    """Nothing was written; the same call may succeed later."""


class StoreInUseError(Exception):
    """Another process holds the store, or the store is of a kind that this version can't read."""


class Arrival(msgspec.Struct, frozen=True):
    """What is to be journaled: `signature` is Meta's header as it came, empty for an operator's act."""

    kind: str
    received_at: float
    body: bytes
    signature: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One place of the journal."""

    position: int
    kind: str
    received_at: float
    body: bytes
    signature: str


class OutboxRow(msgspec.Struct, frozen=True):
    """One thing that must leave for one destination; `reference` is a journal position or an alert's id."""

    id: int
    destination: str
    kind: str
    reference: str
    created_at: float
    attempts: int
    sent: int
    error: str = ""
    state: str = "pending"


class Claim(msgspec.Struct, frozen=True):
    """A leased outbox row with the journal entry that it forwards, None for what is no forward or is gone."""

    row: OutboxRow
    entry: Entry | None = None


class Enqueue(msgspec.Struct, frozen=True):
    """An outbox row to be written with the changes that it follows from."""

    destination: str
    kind: str
    reference: str


class Settlement(msgspec.Struct, frozen=True):
    """What became of a claimed row: done, dead, or waiting until `next_at`: to be tried again, sent again, or held."""

    id: int
    outcome: str
    next_at: float = 0.0
    error: str = ""


class Commit(msgspec.Struct, frozen=True):
    """All that one pipeline step changes, written in one transaction with the cursor.

    `counts` are added to each campaign's headings; `aliases` gives a person's other hash; `preferences` say who stopped
    marketing messages, and when; `forgotten` people are removed last. `answered` gives the wamid of what was sent under
    the name of an Idempotency-Key whose answer may not have come, `retried_rows` which dead outbox rows live again: an
    id, or 0 and a destination (empty for all).
    """

    cursor: int
    now: float
    messages: Sequence[Message] = ()
    seen: Mapping[str, float] = {}
    numbers: Sequence[Number] = ()
    states: Sequence[State] = ()
    conversations: Sequence[Window] = ()
    counts: Mapping[tuple[str, str], int] = {}
    aliases: Mapping[str, str] = {}
    preferences: Mapping[str, tuple[bool, float]] = {}
    forgotten: Sequence[str] = ()
    changes: Sequence[Change] = ()
    values: Sequence[Value] = ()
    outbox: Sequence[Enqueue] = ()
    answered: Mapping[str, str] = {}
    retried_rows: Sequence[tuple[int, str]] = ()


class Campaign(msgspec.Struct, frozen=True):
    """A campaign's counts by heading, and when its first and newest message was heard of."""

    campaign: str
    first_at: float
    last_at: float
    counts: dict[str, int]


class FirstAnswer(msgspec.Struct, frozen=True):
    """What was first answered under an Idempotency-Key; `digest` is of the request's body, empty if it is not known.

    So it is while the send is under way. `recipient` is the keyed hash of the person whom the body names.
    """

    key: str
    digest: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    recipient: str = ""


class Erasing(msgspec.Struct, frozen=True):
    """What an erasure did: entries that were changed, those that wait to be forwarded, and all ids of the person."""

    entries: int
    waiting: int
    ids: frozenset[str]


class Backlog(msgspec.Struct, frozen=True):
    """How much waits for one destination: `oldest_at` is None when nothing does."""

    pending: int
    dead: int
    oldest_at: float | None


class Page(msgspec.Struct, frozen=True):
    """Some records, newest first, and the cursor of the next page (empty on the last one)."""

    items: list[Any]
    next_cursor: str


class Before(msgspec.Struct, frozen=True):
    """From before when what is removed, by class: `bodies` are the bytes of webhooks and of sends in the journal.

    `messages` are those with their resends and windows, `history` is what stood and is over: pauses, flags, alerts and
    incidents, which stay where it is 0. All else goes with the journal.
    """

    journal: float
    bodies: float
    messages: float
    campaigns: float
    history: float = 0.0


class Store(Protocol):
    """The one seam to durable state. Every write is durable when its call returns, or raises StoreUnavailableError."""

    @property
    def unread_bytes(self) -> int:
        """How much was journaled since the start that the pipeline has not read."""
        ...

    async def append(self, arrival: Arrival) -> int | None:
        """Journal it with a forward row per destination; return its position, or None for a copy of a known body."""
        ...

    async def read(self, after: int, limit: int) -> list[Entry]:
        """Return the entries behind a position, in order."""
        ...

    async def read_since(
        self, received_at: float, after: int, until: int, limit: int, containing: bytes = b""
    ) -> list[Entry]:
        """Return Meta's entries received at or after a time, behind `after`, up to `until`.

        Of webhooks only those that hold some bytes; ticks and sends always.
        """
        ...

    async def newest_before(self, received_at: float, until: int) -> int:
        """Return the position of the newest entry up to `until` that was received before a time, 0 where none was."""
        ...

    async def entry(self, position: int) -> Entry | None:
        """Return one entry, or None where retention has removed it."""
        ...

    async def cursor(self) -> int:
        """Return the position up to which the journal has been acted upon."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Write one step's changes and its cursor, all or nothing."""
        ...

    async def messages(self, wamids: Sequence[str]) -> dict[str, Message]:
        """Return what is known of these messages."""
        ...

    async def seen(self, keys: Sequence[str]) -> dict[str, float]:
        """Return when those of these event keys were received that have been acted upon."""
        ...

    async def standing(self, now: float) -> Standing:
        """Return what stands, or was just over, at `now`."""
        ...

    async def numbers(self) -> list[Number]:
        """Return the phone numbers that are known, the one seen last standing last."""
        ...

    async def states(self) -> list[State]:
        """Return Meta's last word on numbers, templates and accounts."""
        ...

    async def conversations(self, now: float) -> list[Window]:
        """Return the customer-service windows that are open, the one that closes last standing last."""
        ...

    async def live_firings(self, now: float) -> list[Firing]:
        """Return firings that are not over, and those that keep their rule resting."""
        ...

    async def rule_values(self) -> list[Value]:
        """Return the last values of the facts that rules wait to change."""
        ...

    async def firings(self, before: str, limit: int, *, is_live: bool | None) -> Page:
        """Return firings, newest first."""
        ...

    async def firing(self, firing_id: str) -> Firing | None:
        """Return one firing."""
        ...

    async def first_answer(self, key: str) -> FirstAnswer | None:
        """Return what was first answered under a key, None where nothing was, or it is past retention."""
        ...

    async def drop_answer(self, key: str) -> None:
        """Forget that something is under way under a key; what was answered stays."""
        ...

    async def keep_answer(self, answer: FirstAnswer, at: float) -> None:
        """Keep the first answer under its key; a later one changes nothing, but what has no digest gives way to it."""
        ...

    async def waiting_resends(self) -> list[Resend]:
        """Return resends that are pending or whose retry has not come to an end."""
        ...

    async def resends_by_id(self, resend_ids: Sequence[str], wamids: Sequence[str] = ()) -> dict[str, Resend]:
        """Return these resends, and those of these messages."""
        ...

    async def recent_campaign_messages(self) -> dict[tuple[str, str], str]:
        """Return the wamid of the newest campaign message from each number to each person, the newest last."""
        ...

    async def preferences(self, people: Sequence[str]) -> dict[str, tuple[bool, float]]:
        """Return whether these people stopped marketing messages and when they said so, by any of their hashes."""
        ...

    async def people(self, hashes: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return for each of these hashes all that stand for the same person, itself among them."""
        ...

    async def due_messages(self, now: float, limit: int) -> list[str]:
        """Return the wamids of messages that must be judged, the longest overdue first."""
        ...

    async def campaigns(self, before: str, limit: int) -> Page:
        """Return campaigns, the one heard of last first."""
        ...

    async def unengaged(self, campaign: str, before: float, after: int, limit: int) -> Page:
        """Return messages of a campaign that were delivered before a time and neither read nor answered, in order."""
        ...

    async def incidents(self, before: str, limit: int) -> Page:
        """Return incidents, newest first."""
        ...

    async def incident(self, incident_id: str) -> Incident | None:
        """Return one incident."""
        ...

    async def claim(self, destination: str, now: float, lease_seconds: float, limit: int) -> list[Claim]:
        """Lease rows that are due, oldest first: fewer where they are large."""
        ...

    async def renew(self, destination: str, now: float, *, is_start: bool) -> None:
        """Let rows that wait after a failure be due; at a start leases end too, since who held them is gone."""
        ...

    async def outbox(self, before: str, limit: int, *, state: str, destination: str) -> Page:
        """Return outbox rows, newest first; of a state and a destination where these are given."""
        ...

    async def outbox_row(self, row_id: int) -> OutboxRow | None:
        """Return one outbox row, None where it was delivered or never was."""
        ...

    async def settle(self, settlements: Sequence[Settlement], claimed: Sequence[int]) -> None:
        """Write what became of claimed rows; rows that were claimed and are not named are free again."""
        ...

    async def backlog(self) -> dict[str, Backlog]:
        """Return how much waits for each destination."""
        ...

    async def pauses(self, before: str, limit: int, *, active_at: float | None) -> Page:
        """Return pauses, newest first; only those in force at `active_at` where it is given."""
        ...

    async def flags(self, before: str, limit: int, *, is_open: bool | None) -> Page:
        """Return flags, newest first."""
        ...

    async def resends(self, before: str, limit: int, *, state: str) -> Page:
        """Return resends, newest first."""
        ...

    async def audit(self, before: str, limit: int) -> Page:
        """Return who did what, newest first."""
        ...

    async def newest_drill(self) -> AuditEntry | None:
        """Return the note of the newest drill."""
        ...

    async def recent_messages(self, before: str, limit: int, *, people: Sequence[str], state: str) -> Page:
        """Return messages, newest first."""
        ...

    async def due_resends(self, now: float, limit: int) -> list[Resend]:
        """Return resends that a worker may take now."""
        ...

    async def pending_resends(self) -> dict[str, int]:
        """Return how many resends wait, by phone number id."""
        ...

    async def resend(self, resend_id: str) -> Resend | None:
        """Return one resend."""
        ...

    async def pause(self, pause_id: str) -> Pause | None:
        """Return one pause."""
        ...

    async def flag(self, flag_id: str) -> Flag | None:
        """Return one flag."""
        ...

    async def alert(self, alert_id: str) -> Alert | None:
        """Return one alert."""
        ...

    async def erase(self, person: str) -> Erasing:
        """Take a person, named as Meta does, out of every journaled body; those that wait to be forwarded stay."""
        ...

    async def shred(self) -> None:
        """Let nothing of what was removed remain in the store's files."""
        ...

    async def prune(self, before: Before) -> int:
        """Remove a few that are past their class's time and that nothing waits for; say how many, 0 when done."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and let go of the store."""
        ...
