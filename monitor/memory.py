"""What the pipeline remembers between steps: what stands, numbers, states, open windows, and which resends wait."""

import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from monitor import firings
from monitor.actions import Resend
from monitor.conversations import Conversations
from monitor.firings import FIRINGS_MOST, Firing
from monitor.resends import ENDED
from monitor.standing import Standing
from monitor.states import State

NUMBERS_MOST = 10_000  # in memory; those that were silent longest go first
STATES_MOST = 10_000
RECENT_MOST = 100_000  # pairs of number and person, about 300 bytes each
FIRINGS_SWEPT_EVERY_SECONDS = 10.0  # while a rule fires in as many groups as it may
PERSONS_RESENDS_MOST = 64  # of one person that a success is compared with
FIRINGS_SWEPT_FROM, FIRINGS_SWEPT_AT_ONCE, FIRINGS_SWEPT_FOR_EACH = 1_000, 1_000, 4
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
        self._of_person: dict[str, tuple[str, ...] | set[str]] = {}  # a set takes five times as much as one id
        self._of_retry: dict[str, str] = {}

    def learn(self, resends: Iterable[Resend]) -> None:
        """Take up resends as they are now."""
        for resend in resends:
            if resend.state == "pending":
                self._of_message[resend.wamid] = resend.id
                self._add(resend)
            else:
                self._of_message.pop(resend.wamid, None)
                self._remove(resend)
            if resend.retry_wamid:
                if resend.outcome in ENDED - {"delivered"}:
                    self._of_retry.pop(resend.retry_wamid, None)
                else:
                    self._of_retry[resend.retry_wamid] = resend.id

    def of(self, wamid: str, recipient: str, alias: str = "") -> Iterable[str]:
        """Yield the ids of resends that news of a message may concern; `alias` is another hash of its recipient."""
        if not self._of_message and not self._of_retry:
            return
        if wamid in self._of_message:
            yield self._of_message[wamid]
        if wamid in self._of_retry:
            yield self._of_retry[wamid]
        for one in filter(None, (recipient, alias)):
            yield from itertools.islice(self._of_person.get(one, ()), PERSONS_RESENDS_MOST)

    def _add(self, resend: Resend) -> None:
        ids = self._of_person.get(resend.recipient, ())
        if isinstance(ids, set):
            ids.add(resend.id)
        elif resend.id not in ids:
            self._of_person[resend.recipient] = {*ids, resend.id} if ids else (resend.id,)

    def _remove(self, resend: Resend) -> None:
        ids = self._of_person.get(resend.recipient, ())
        if isinstance(ids, set):
            ids.discard(resend.id)
        if not ids or ids == (resend.id,):
            self._of_person.pop(resend.recipient, None)


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
        self._of_rule: Counter[str] = Counter()
        self._firings_swept_from = FIRINGS_SWEPT_FROM
        self._firings_swept_at = -math.inf
        self._to_sweep: list[tuple[str, ...]] = []

    def learn_recent(self, recent: Mapping[tuple[str, str], str]) -> None:
        """Take up the newest campaign message from a number to a person, for answers without context."""
        for pair, wamid in recent.items():
            self.recent[pair] = wamid
            self.recent.move_to_end(pair)
        while len(self.recent) > RECENT_MOST:
            self.recent.popitem(last=False)

    def learn_firings(self, changed: Iterable[Firing], now: float) -> None:
        """Take up firings as they are now; one that is over is remembered while its rule rests."""
        changed = list(changed)
        for firing in changed:
            key = (firing.rule, *firing.group)
            if firing.state == firings.ENDED and firing.rests_until <= now:
                if self.firings.pop(key, None) is not None:
                    self._of_rule[firing.rule] -= 1
            else:
                self._of_rule[firing.rule] += key not in self.firings
                self.firings[key] = firing
        is_full = max(self._of_rule.values(), default=0) >= FIRINGS_MOST
        is_due = is_full and not 0 <= now - self._firings_swept_at < FIRINGS_SWEPT_EVERY_SECONDS
        if not self._to_sweep and (is_due or len(self.firings) > self._firings_swept_from):
            self._to_sweep = list(self.firings)
            self._firings_swept_at = now
        if self._to_sweep:
            self._sweep_firings(max(FIRINGS_SWEPT_AT_ONCE, FIRINGS_SWEPT_FOR_EACH * len(changed)), now)

    def has_room_for(self, rule: str) -> bool:
        """Say whether a rule may fire in one more group, give or take those of one step."""
        return self._of_rule[rule] < FIRINGS_MOST

    def _sweep_firings(self, count: int, now: float) -> None:
        """Look at some: a step that looked at tens of thousands would hold up the gate."""
        for _ in range(min(count, len(self._to_sweep))):
            key = self._to_sweep.pop()
            firing = self.firings.get(key)
            if firing is not None and firing.state == firings.ENDED and firing.rests_until <= now:
                del self.firings[key]
                self._of_rule[key[0]] -= 1
        if not self._to_sweep:
            self._firings_swept_from = 2 * len(self.firings) + FIRINGS_SWEPT_FROM

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
