"""What the pipeline remembers between steps: what stands, numbers, states, open windows, and which resends wait."""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from monitor import firings
from monitor.actions import Resend
from monitor.conversations import Conversations
from monitor.firings import Firing
from monitor.resends import ENDED
from monitor.standing import Standing
from monitor.states import State

NUMBERS_MOST = 10_000  # in memory; those that were silent longest go first
STATES_MOST = 10_000
RECENT_MOST = 100_000  # pairs of number and person, about 300 bytes each
PERSONS_RESENDS_MOST = 64  # of one person that a success is compared with
FIRINGS_SWEPT_FROM = 1_000
SEEN_EVERY_SECONDS = 3600.0  # how often it is noted that a number is still there


class Number(msgspec.Struct, frozen=True):
    """A business phone number: `number` is the hash of how it is displayed.

    `reported_since` is when the first of its sends was reported to us, None where none is.
    """

    phone_number_id: str
    waba_id: str
    number: str
    seen_at: float
    reported_since: float | None = None


class Waiting:
    """Which resends wait for something: their own message, another one to the same person, or their retry."""

    def __init__(self) -> None:
        self._of_message: dict[str, str] = {}
        self._of_person: dict[str, set[str]] = {}
        self._of_retry: dict[str, str] = {}

    def learn(self, resends: Iterable[Resend]) -> None:
        """Take up resends as they are now."""
        for resend in resends:
            if resend.state == "pending":
                self._of_message[resend.wamid] = resend.id
                self._of_person.setdefault(resend.recipient, set()).add(resend.id)
            else:
                self._of_message.pop(resend.wamid, None)
                if (ids := self._of_person.get(resend.recipient)) is not None:
                    ids.discard(resend.id)
                    if not ids:
                        del self._of_person[resend.recipient]
            if resend.retry_wamid:
                if resend.outcome in ENDED - {"delivered"}:
                    self._of_retry.pop(resend.retry_wamid, None)
                else:
                    self._of_retry[resend.retry_wamid] = resend.id

    def of(self, wamid: str, recipient: str) -> Iterable[str]:
        """Yield the ids of resends that news of a message may concern."""
        if not self._of_message and not self._of_retry:
            return
        if wamid in self._of_message:
            yield self._of_message[wamid]
        if wamid in self._of_retry:
            yield self._of_retry[wamid]
        yield from itertools.islice(self._of_person.get(recipient, ()), PERSONS_RESENDS_MOST)


class Memory:
    """The published picture: changed only after a commit. `wabas` gives the account of each number, for the gate."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.numbers: OrderedDict[str, Number] = OrderedDict()
        self.wabas: dict[str, str] = {}
        self.phone_number_ids: dict[str, str] = {}
        self.recent: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.states: OrderedDict[str, State] = OrderedDict()
        self.conversations = Conversations()
        self.waiting = Waiting()
        self.firings: dict[tuple[str, ...], Firing] = {}
        self._firings_swept_at = FIRINGS_SWEPT_FROM

    def learn_recent(self, recent: Mapping[tuple[str, str], str]) -> None:
        """Take up the newest campaign message from a number to a person, for answers without context."""
        for pair, wamid in recent.items():
            self.recent[pair] = wamid
            self.recent.move_to_end(pair)
        while len(self.recent) > RECENT_MOST:
            self.recent.popitem(last=False)

    def learn_firings(self, changed: Iterable[Firing], now: float) -> None:
        """Take up firings as they are now; one that is over is remembered while its rule rests."""
        for firing in changed:
            key = (firing.rule, *firing.group)
            if firing.state == firings.ENDED and firing.rests_until <= now:
                self.firings.pop(key, None)
            else:
                self.firings[key] = firing
        if len(self.firings) > self._firings_swept_at:
            self.firings = {
                key: firing for key, firing in self.firings.items()
                if firing.state != firings.ENDED or firing.rests_until > now
            }  # fmt: skip
            self._firings_swept_at = 2 * len(self.firings) + FIRINGS_SWEPT_FROM

    def learn(self, numbers: Iterable[Number], states: Iterable[State]) -> None:
        """Take up numbers and states as they are now; the newest stand last."""
        for number in numbers:
            self.numbers.pop(number.phone_number_id, None)
            self.numbers[number.phone_number_id] = number
            self.wabas[number.phone_number_id] = number.waba_id
            if number.number:
                self.phone_number_ids[number.number] = number.phone_number_id
        while len(self.numbers) > NUMBERS_MOST:
            _, gone = self.numbers.popitem(last=False)
            self.phone_number_ids.pop(gone.number, None)
            self.wabas.pop(gone.phone_number_id, None)
        for state in states:
            self.states.pop(state.key, None)
            self.states[state.key] = state
        while len(self.states) > STATES_MOST:
            self.states.popitem(last=False)
