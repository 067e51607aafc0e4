"""From the journal to its effects: read, evaluate, commit with the cursor, then observe and publish.

One consumer, in order. Effects and cursor are one transaction, so a crash anywhere repeats a step and never doubles it;
metrics and traces are observed after the commit, so a failed commit can't count.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard, assert_never

import msgspec

from monitor import engine, logs, messages, parse, standing
from monitor.actions import Pause, Resend
from monitor.engine import Plan, Windows
from monitor.events import (
    AccountEvent,
    ErrorReport,
    FlagResolved,
    InboundMessage,
    MetaEvent,
    OperatorAct,
    PausePlaced,
    PauseReleased,
    ResendsClaimed,
    ResendSettled,
    RulesLoaded,
    Status,
    Unparsed,
)
from monitor.facts import Fact
from monitor.messages import Advance, Message
from monitor.parse import Pseudonym
from monitor.standing import Change, Moment, Standing
from monitor.store.protocol import WEBHOOK, Commit, Enqueue, Entry, Store

STEP_ENTRIES = 512
STEP_EVENTS = 2_000  # a delivery holds up to thousands of statuses; a step ends with the one that reaches this
BUSY_ENTRIES = 16  # so many at once and nothing left means load: wait a little, so that the next commit holds more
BUSY_SECONDS = 0.004
ANSWER_SECONDS = 0.001  # left to those who ask the gate after a change, before it is counted
SLICE_SECONDS = 0.002  # how long the event loop is held before others may run
_decode_act = msgspec.json.Decoder(OperatorAct).decode


Batch = list[tuple[Entry, Sequence[MetaEvent | OperatorAct]]]


class Known(msgspec.Struct):
    """What the store remembers of the things that a batch speaks of."""

    messages: dict[str, Message]
    seen: dict[str, float]
    resends: dict[str, Resend]


class Step:
    """What one step has decided so far, and what it may build on: its own messages over those of the store."""

    def __init__(self, standing: Standing, known: "Known") -> None:
        self.standing = standing
        self.known = known.messages
        self.seen = known.seen
        self.resends = known.resends
        self.changed: dict[str, Message] = {}
        self.newly_seen: dict[str, float] = {}
        self.changes: list[Change] = []
        self.superseded: list[str] = []
        self.numbers: dict[str, str] = {}
        self.facts: list[Fact] = []

    def learn(self, changes: Iterable[Change]) -> None:
        """Let later events of the step see resends as they are now."""
        self.resends.update((change.id, change) for change in changes if isinstance(change, Resend))

    def message(self, wamid: str) -> Message | None:
        """Return what is known of a message by now."""
        return self.changed.get(wamid) or self.known.get(wamid)


class Pipeline:
    """The consumer of the journal, and the published picture of what stands."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        pseudonym: Pseudonym,
        *,
        observe: Callable[[Sequence[Fact]], None],
        quarantine: Callable[[str, int], None],
        alert_destinations: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._store = store
        self._plan = plan
        self._pseudonym = pseudonym
        self._observe = observe
        self._quarantine = quarantine
        self.alert_destinations = tuple(alert_destinations)
        self._windows = Windows()
        self._reached: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self.on_step: Callable[[], None] = lambda: None
        self._limit = STEP_ENTRIES
        self._ahead: Batch = []
        self.cursor = 0
        self.standing = Standing()
        self.numbers: dict[str, str] = {}
        self.is_loaded = False
        self.is_ready = False

    @property
    def plan(self) -> Plan:
        """The rules in force."""
        return self._plan

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._wake.set()

    async def load(self, now: float) -> None:
        """Take up where the store stands: the cursor, what stands, and the windows rebuilt from the journal."""
        self.cursor = await self._store.cursor()
        self.standing = await self._store.standing(now)
        self.numbers = await self._store.numbers()
        self.is_loaded = True
        await self._rebuild_windows()
        self.is_ready = True

    async def adopt(self, plan: Plan) -> None:
        """Put other rules in force from the next step on."""
        self._plan = plan
        await self._rebuild_windows()

    async def reach(self, position: int) -> None:
        """Wait until the entry at `position` has taken effect."""
        if self.cursor >= position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reached.append((position, future))
        self._wake.set()
        await future

    async def run(self) -> None:
        """Step for ever; returns only by an exception or cancellation."""
        while True:
            self._wake.clear()
            count = await self.step()
            if not count:
                await self._wake.wait()
            elif count >= BUSY_ENTRIES and not self._ahead:
                await asyncio.sleep(BUSY_SECONDS)

    async def step(self) -> int:
        """Act upon the next entries and return how many; raises StoreUnavailableError, having changed nothing."""
        batch = self._ahead or await self._next_batch(self.cursor)
        self._ahead = []
        if not batch:
            return 0
        last = batch[-1][0]
        step = Step(self.standing, await self._known(batch))
        started = time.perf_counter()
        for entry, events in batch:
            serial = 0
            for event in events:
                serial += self._take(step, entry, event, serial)
                if time.perf_counter() - started > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    started = time.perf_counter()
        commit = Commit(
            cursor=last.position,
            now=last.received_at,
            messages=list(step.changed.values()),
            seen=step.newly_seen,
            numbers=step.numbers,
            changes=step.changes,
            superseded_wamids=step.superseded,
            outbox=list(self._alerts_to_send(step, self.standing)),
        )
        # What comes next is read and parsed while this is being written: neither needs to know the other.
        failed, ahead = await asyncio.gather(
            self._store.commit(commit), self._next_batch(last.position), return_exceptions=True
        )
        if failed is not None:
            await self._rebuild_windows()
            raise failed
        self._ahead = [] if isinstance(ahead, BaseException) else ahead
        self.cursor = last.position
        self.standing = standing.forget(step.standing, last.received_at) if step.changes else step.standing
        self.numbers.update(step.numbers)
        self._announce()
        if step.changes:
            await asyncio.sleep(ANSWER_SECONDS)
        self._observe(step.facts)
        if step.changes:
            self.on_step()
        return len(batch)

    async def _next_batch(self, after: int) -> Batch:
        batch = await self._parsed(await self._store.read(after, self._limit))
        self._limit = min(STEP_ENTRIES, max(BUSY_ENTRIES, 2 * len(batch)))
        return batch

    async def _parsed(self, entries: Iterable[Entry]) -> Batch:
        batch: Batch = []
        count = 0
        started = time.perf_counter()
        for entry in entries:
            events = self._events(entry)
            batch.append((entry, events))
            count += len(events)
            if count >= STEP_EVENTS:
                break
            if time.perf_counter() - started > SLICE_SECONDS:
                await asyncio.sleep(0)
                started = time.perf_counter()
        return batch

    def _events(self, entry: Entry) -> Sequence[MetaEvent | OperatorAct]:
        try:
            if entry.kind == WEBHOOK:
                return parse.delivery(entry.body, entry.received_at, self._pseudonym)
            return [_decode_act(entry.body)]
        except Exception:  # noqa: BLE001 (one broad except per entry: quarantine it, go on)
            self._quarantine("parse", entry.position)
            logs.get().exception("entry_quarantined", position=entry.position, stage="parse")
            return [Unparsed(f"{entry.position}", "", entry.received_at, "parser_failed", "")]

    async def _known(self, batch: Batch) -> Known:
        wamids: set[str] = set()
        keys: set[str] = set()
        resend_ids: set[str] = set()
        for _, events in batch:
            for event in events:
                match event:
                    case Status() | InboundMessage():
                        wamids.add(event.wamid)
                    case ErrorReport() | AccountEvent() | Unparsed():
                        keys.add(event.key)
                    case ResendsClaimed():
                        resend_ids.update(event.resend_ids)
                    case ResendSettled():
                        resend_ids.add(event.resend_id)
                    case _:
                        pass
        store = self._store
        resends = [await store.resend(resend_id) for resend_id in resend_ids]
        return Known(
            await store.messages(list(wamids)) if wamids else {},
            await store.seen(list(keys)) if keys else {},
            {resend.id: resend for resend in resends if resend is not None},
        )

    def _take(self, step: Step, entry: Entry, event: MetaEvent | OperatorAct, serial: int) -> int:
        """Let one event take effect in the step; return how many record ids it used."""
        moment = Moment(entry.position, entry.received_at, self._plan.hash, serial)
        try:
            return self._effect(step, entry, event, moment)
        except Exception:  # noqa: BLE001 (one broad except per event: quarantine it, go on)
            self._quarantine("evaluate", entry.position)
            logs.get().exception("entry_quarantined", position=entry.position, stage="evaluate")
            return 0

    def _effect(self, step: Step, entry: Entry, event: MetaEvent | OperatorAct, moment: Moment) -> int:
        if not isinstance(event, Status | InboundMessage | ErrorReport | AccountEvent | Unparsed):
            made = self._operate(step, event, moment)
            step.changes.extend(made)
            step.facts.append(Fact(event, entry.received_at, changes=tuple(made)))
            return 1
        advance: Advance | None = None
        is_new = True
        match event:
            case Status():
                advance = messages.advance(step.message(event.wamid), event, entry.received_at)
                is_new = advance is not None
                if advance is not None:
                    step.changed[event.wamid] = advance.message
                    if advance.is_recovered:
                        step.superseded.append(event.wamid)
            case InboundMessage():
                message = messages.receive(step.message(event.wamid), event, entry.received_at)
                is_new = message is not None
                if message is not None:
                    step.changed[event.wamid] = message
            case ErrorReport() | AccountEvent() | Unparsed():
                is_new = event.key not in step.seen
                if is_new:
                    step.seen[event.key] = step.newly_seen[event.key] = entry.received_at
            case _:
                assert_never(event)
        if not is_new:
            step.facts.append(Fact(event, entry.received_at, is_repeated=True))
            return 0
        self._meet_number(step, event)
        changes: list[Change] = []
        actions = engine.evaluate(self._plan, self._windows, event, entry.position, entry.received_at)
        if actions:
            step.standing, changes = standing.decide(
                step.standing, actions, moment, advance.message if advance is not None else None
            )
            step.changes.extend(changes)
        step.facts.append(Fact(event, entry.received_at, False, advance, tuple(actions), tuple(changes)))
        return len(actions)

    def _operate(self, step: Step, act: OperatorAct, moment: Moment) -> list[Change]:
        match act:
            case PausePlaced():
                step.standing, changes = standing.place(step.standing, act, moment)
            case PauseReleased():
                step.standing, changes = standing.release(step.standing, act, moment)
            case FlagResolved():
                step.standing, changes = standing.resolve(step.standing, act, moment)
            case ResendsClaimed():
                changes = standing.claim(step.resends, act, moment)
                step.learn(changes)
            case ResendSettled():
                changes = standing.settle(step.resends, act, moment)
                step.learn(changes)
            case RulesLoaded():
                changes = standing.adopt(act, moment)
            case _:
                assert_never(act)
        return changes

    def _meet_number(self, step: Step, event: MetaEvent) -> None:
        phone_number_id = getattr(event, "phone_number_id", "")
        if phone_number_id and event.waba_id and self.numbers.get(phone_number_id) != event.waba_id:
            step.numbers[phone_number_id] = event.waba_id

    def _alerts_to_send(self, step: Step, before: Standing) -> Iterable[Enqueue]:
        """Return rows for alerts that are new, and for those that end now so that on-call hears it at once."""
        changed = {change.id for change in step.changes if isinstance(change, Pause)}
        for alert in step.standing.alerts.values():
            if alert.id not in before.alerts or changed.intersection(alert.pause_ids):
                for destination, kind in self.alert_destinations:
                    yield Enqueue(destination, kind, alert.id)

    def _announce(self) -> None:
        waiting = self._reached
        self._reached = [(position, future) for position, future in waiting if position > self.cursor]
        for position, future in waiting:
            if position <= self.cursor and not future.done():
                future.set_result(None)

    async def _rebuild_windows(self) -> None:
        """Feed the windows with what could still share one with the next event; actions are left out."""
        windows = Windows()
        plan = self._plan
        newest = await self._store.entry(self.cursor) if self.cursor else None
        if plan.horizon_seconds and newest is not None:
            since, after = newest.received_at - plan.horizon_seconds, 0
            containing = b'"errors"' if plan.counts_only_errors else b""
            while entries := await self._store.read_since(since, after, self.cursor, STEP_ENTRIES, containing):
                batch = await self._parsed(entries)
                known = await self._known(batch)
                for entry, events in batch:
                    taken: set[str] = set()
                    for event in events:
                        if _took_effect(event, entry, known) and event.key not in taken:
                            taken.add(event.key)
                            engine.evaluate(plan, windows, event, entry.position, entry.received_at)
                after = batch[-1][0].position
        self._windows = windows


def _took_effect(event: MetaEvent | OperatorAct, entry: Entry, known: Known) -> TypeGuard[MetaEvent]:
    """Say whether this entry was the one that the event took effect from, rather than a repetition."""
    match event:
        case Status() | InboundMessage():
            message = known.messages.get(event.wamid)
            name = event.status if isinstance(event, Status) else "received"
            return message is not None and any(
                step.status == name and step.received_at == entry.received_at for step in message.steps
            )
        case ErrorReport() | AccountEvent() | Unparsed():
            return known.seen.get(event.key) == entry.received_at
        case _:
            return False
