"""Effects without a store: what a pipeline would remember between steps, kept in dictionaries."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from monitor import parse, payloads
from monitor.actions import Resend
from monitor.events import AccountEvent, Event, MetaEvent, Sent, Tick
from monitor.facts import Fact
from monitor.memory import Memory
from monitor.messages import Message
from monitor.rehearsal import Rehearsal
from monitor.step import Known, Settings
from tests import setting

NOW = 1_700_000_000.0
NUMBER, WABA = "200", "100"


def pseudonym(person: str) -> str:
    """Stand for a person in a way that tests can read."""
    return f"#{person}" if person else ""


class World:
    """What has happened so far."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.rehearsal = Rehearsal(settings or setting.settings())
        self.facts: list[Fact] = []

    @property
    def memory(self) -> Memory:
        """What the pipeline remembers."""
        return self.rehearsal.memory

    @property
    def known(self) -> Known:
        """What the store remembers."""
        return self.rehearsal.known

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Each campaign's headings."""
        return self.rehearsal.counts

    def take(self, events: Sequence[Event], at: float) -> None:
        """Let the events of one entry take effect, as one step."""
        self.facts.extend(self.rehearsal.take(events, at))

    def hear(self, *changes: dict[str, Any], at: float = NOW, time: float | None = None) -> None:
        """Receive one delivery with these changes."""
        body = payloads.delivery(*changes, waba_id=WABA, time=time)
        self.take(parse.delivery(body, at, pseudonym), at)

    def status(self, wamid: str, name: str, at: float = NOW, received_at: float | None = None, **about: Any) -> None:
        """Hear of one status."""
        item = payloads.status(wamid, name, at, **about)
        self.hear(payloads.change(NUMBER, statuses=[item]), at=at if received_at is None else received_at)

    def message(self, wamid: str, at: float = NOW, *, sender: str = "15550000001", context: str = "") -> None:
        """Hear from a customer."""
        item = payloads.message(wamid, at, sender=sender)
        if context:
            item["context"] = {"id": context}
        self.hear(payloads.change(NUMBER, messages=[item]), at=at)

    def account(self, field: str, value: dict[str, Any], at: float = NOW) -> None:
        """Hear of a change of the account."""
        self.hear({"field": field, "value": value}, at=at, time=at)

    def sent(self, wamid: str, at: float = NOW, **about: Any) -> None:
        """Learn that the Graph API took a message."""
        about.setdefault("recipient", "#15550000001")
        self.take([Sent(f"{wamid}|accepted|", WABA, NUMBER, at, wamid, **about)], at)

    def tick(self, at: float) -> None:
        """Let time pass: judge what is due."""
        due = [one.wamid for one in self.known.messages.values() if one.due_at is not None and one.due_at <= at]
        self.take([Tick(at, tuple(due))], at)

    def one(self, wamid: str) -> Message:
        """Return what is known of a message."""
        return self.known.messages[wamid]

    def resend(self, wamid: str) -> Resend:
        """Return the resend of a message."""
        return next(one for one in self.known.resends.values() if one.wamid == wamid)

    def new(self, kind: type) -> list[Any]:
        """Return the new events of a kind that took effect."""
        return [fact.event for fact in self.facts if isinstance(fact.event, kind) and not fact.is_repeated]

    def details(self) -> list[Any]:
        """Return the details of account events."""
        return [event.detail for event in self.new(AccountEvent)]


def events_of(*changes: dict[str, Any], time: float | None = None) -> list[MetaEvent]:
    """Return what one delivery says."""
    return parse.delivery(payloads.delivery(*changes, waba_id=WABA, time=time), NOW, pseudonym)
