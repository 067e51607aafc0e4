"""One step of the pipeline: what it is told, what is known of what it speaks of, and what it has decided so far."""

import itertools
from collections.abc import Iterable

import msgspec

from monitor.actions import Resend
from monitor.campaigns import Naming
from monitor.conversations import Window
from monitor.engine import Plan
from monitor.facts import Fact
from monitor.firings import Firing
from monitor.memory import PERSONS_RESENDS_MOST, Memory, Number
from monitor.messages import Message, Policy
from monitor.standing import Change
from monitor.states import State
from monitor.windows import Windows


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says of how events take effect."""

    plan: Plan
    policy: Policy
    naming: Naming
    reply_seconds: float
    resend_by_catalogue: bool
    follows_meta: bool = False


class Known(msgspec.Struct):
    """What the store remembers of the things that a batch speaks of.

    `preferences` say of people whether they stopped marketing, and when they said so; `people` gives all hashes of one.
    """

    messages: dict[str, Message] = {}
    seen: dict[str, float] = {}
    resends: dict[str, Resend] = {}
    preferences: dict[str, tuple[bool, float]] = {}
    people: dict[str, tuple[str, ...]] = {}


class Step:
    """What one step has decided so far, and what it may build on: its own decisions over what was known before."""

    def __init__(self, settings: Settings, windows: Windows, memory: Memory, known: Known) -> None:
        self.settings = settings
        self.windows = windows
        self.memory = memory
        self.known = known
        self.standing = memory.standing
        self.messages: dict[str, Message] = {}
        self.seen: dict[str, float] = {}
        self.changes: list[Change] = []
        self.numbers: dict[str, Number] = {}
        self.states: dict[str, State] = {}
        self.conversations: list[Window] = []
        self.counts: dict[tuple[str, str], int] = {}
        self.aliases: dict[str, str] = {}
        self.recent: dict[tuple[str, str], str] = {}
        self.preferences: dict[str, tuple[bool, float]] = {}
        self.forgotten: list[str] = []
        self.retried_rows: list[tuple[int, str]] = []
        self.answered: dict[str, str] = {}  # by Idempotency-Key's name the message that a status has told of
        self.facts: list[Fact] = []
        self.firings: dict[tuple[str, ...], Firing] = {}
        self._of_message: dict[str, str] = {}
        self._of_retry: dict[str, str] = {}
        self._of_person: dict[str, dict[str, None]] = {}
        for resend in known.resends.values():
            self._index(resend)

    def message(self, wamid: str) -> Message | None:
        """Return what is known of a message by now."""
        return self.messages.get(wamid) or self.known.messages.get(wamid)

    def number(self, phone_number_id: str) -> Number | None:
        """Return what is known of a phone number by now."""
        return self.numbers.get(phone_number_id) or self.memory.numbers.get(phone_number_id)

    def firing(self, key: tuple[str, ...]) -> Firing | None:
        """Return the firing of a rule (the key's first part) in a group (the others), over or not, None for none."""
        return self.firings.get(key) or self.memory.firings.get(key)

    def learn_firing(self, firing: Firing) -> None:
        """Take up a firing as it is now."""
        self.firings[firing.rule, *firing.group] = firing

    def newest_to(self, phone_number_id: str, recipient: str) -> str:
        """Return the wamid of the newest campaign message from a number to a person, empty for none."""
        pair = (phone_number_id, recipient)
        return self.recent.get(pair) or self.memory.recent.get(pair, "")

    def reported_since(self, phone_number_id: str) -> float | None:
        """Return since when the number's sends are reported to us."""
        number = self.number(phone_number_id)
        return number.reported_since if number is not None else None

    def has_stopped(self, *people: str) -> bool:
        """Say whether a person, by any of these hashes, wants no marketing: what was said last counts."""
        told = (known.get(one) for known in (self.preferences, self.known.preferences) for one in people)
        is_stopped, _ = max((one for one in told if one is not None), key=lambda one: one[1], default=(False, 0.0))
        return is_stopped

    def learn(self, changes: Iterable[Change]) -> None:
        """Take up changes, so that later events of the step see them."""
        for change in changes:
            self.changes.append(change)
            if isinstance(change, Resend):
                self.known.resends[change.id] = change
                self._index(change)

    def resend(self, wamid: str) -> Resend | None:
        """Return the resend of a message, if it was ever listed in what this step knows of."""
        return self.known.resends.get(self._of_message.get(wamid, ""))

    def retried(self, wamid: str) -> Resend | None:
        """Return the resend whose retry this message is."""
        return self.known.resends.get(self._of_retry.get(wamid, ""))

    def resends_of_person(self, recipient: str) -> list[Resend]:
        """Return some of the resends to a person that this step knows of: a loop's thousands are not all looked at."""
        some = itertools.islice(self._of_person.get(recipient, ()), PERSONS_RESENDS_MOST)
        return [self.known.resends[one] for one in some]

    def _index(self, resend: Resend) -> None:
        self._of_message[resend.wamid] = resend.id
        if resend.retry_wamid:
            self._of_retry[resend.retry_wamid] = resend.id
        if resend.state == "pending":
            self._of_person.setdefault(resend.recipient, {})[resend.id] = None
        else:
            self._of_person.get(resend.recipient, {}).pop(resend.id, None)
