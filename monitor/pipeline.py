"""From the journal to its effects: read, evaluate, commit with the cursor, then observe and publish.

One consumer, in order. Effects and cursor are one transaction, so a crash anywhere repeats a step and never doubles it;
metrics and traces are observed after the commit, so a failed commit can't count.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence

import msgspec

from monitor import effects, generators, inquiries, logs, pacing, parse, replay, standing, turns
from monitor.actions import Alert, AuditEntry, Moment, Pause, Resend, WebhookAction
from monitor.engine import Plan
from monitor.events import Event, OperatorAct, Send, Tick, Unparsed
from monitor.facts import Fact
from monitor.generators import Work
from monitor.memory import Memory
from monitor.parse import Pseudonym
from monitor.replay import Replay
from monitor.standing import Change, Standing
from monitor.step import Known, Settings, Step
from monitor.store.protocol import (
    ALERTMANAGER,
    ERASED,
    FIRING,
    OPERATOR,
    SEND,
    TICK,
    WEBHOOK,
    Commit,
    Enqueue,
    Entry,
    Store,
)
from monitor.windows import Windows

STEP_ENTRIES = 512
STEP_EVENTS = 1_000  # a delivery holds up to thousands of statuses; a step ends with the one that reaches this
BUSY_ENTRIES = 16  # so many at once and nothing left means load: wait a little, so that the next commit holds more
BUSY_SECONDS = 0.004
ANSWER_SECONDS = 0.001  # left to those who ask the gate after a change, before it is counted
FORGET_SECONDS = 5.0  # how often is looked for what has been over for long
OBSERVED_AT_ONCE = 50  # facts, in about half a millisecond
BEHIND_SECONDS = 0.5  # how long an entry may wait to be acted upon before those that come now are held
BEHIND_BYTES = 1024 * 1024  # how much may: bodies can be journaled ten times as fast as acted upon
STUCK_SECONDS = 1.0  # without a step: then nothing is held, since what holds us up is a fault of ours
_decode_own = {
    OPERATOR: msgspec.json.Decoder(OperatorAct).decode,
    TICK: msgspec.json.Decoder(Tick).decode,
    SEND: msgspec.json.Decoder(Send).decode,
}

Batch = list[tuple[Entry, Sequence[Event]]]


class Pipeline:
    """The consumer of the journal, and the published picture of what stands."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        pseudonym: Pseudonym,
        *,
        observe: Callable[[Sequence[Fact]], None],
        quarantine: Callable[[str, int], None],
        alert_destinations: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._store = store
        self.settings = settings
        self._pseudonym = pseudonym
        self._observe = observe
        self._quarantine = quarantine
        self.alert_destinations = tuple(alert_destinations)
        self._windows = Windows()
        self._is_filled = False
        self._stepping = asyncio.Lock()
        self._reached: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self.on_step: Callable[[], None] = lambda: None
        self.on_published: Callable[[int, Step], None] = lambda _position, _step: None
        self._limit = STEP_ENTRIES
        self._ahead: Batch = []
        self._forgot_at = 0.0
        self._oldest_at = math.inf
        self._stepped_at = -math.inf
        self._loaded_at = -math.inf
        self.cursor = 0
        self.memory = Memory()
        self.is_loaded = False

    @property
    def plan(self) -> Plan:
        """The rules in force."""
        return self.settings.plan

    @property
    def standing(self) -> Standing:
        """What stands, as of the last commit."""
        return self.memory.standing

    @property
    def next_due_at(self) -> float:
        """When time alone will let a rule act: infinity where none waits."""
        return self._windows.next_at

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._wake.set()

    def is_behind(self, now: float) -> bool:
        """Say whether one waits for long, or much waits, while steps are made: what comes now had better wait outside.

        Else a flood would let Meta's word of a block wait behind all that had come before it. What is left from before
        the start is no flood.
        """
        is_late = now - self._oldest_at > BEHIND_SECONDS or self._store.unread_bytes > BEHIND_BYTES
        return is_late and self._oldest_at > self._loaded_at and time.perf_counter() - self._stepped_at < STUCK_SECONDS

    async def load(self, now: float) -> None:
        """Take up where the store stands: the cursor and what stands.

        The windows are filled from the journal before the first step. That may take seconds after an hour of much
        traffic, for which neither the gate nor whoever delivers has to wait.
        """
        store, memory = self._store, self.memory
        self._loaded_at = now
        self.cursor = await store.cursor()
        memory.standing = await store.standing(now)
        memory.learn(await store.numbers(), await store.states())
        memory.conversations.learn(await store.conversations(now))
        memory.waiting.learn(await store.waiting_resends())
        memory.learn_recent(await store.recent_campaign_messages())
        memory.learn_firings(await store.live_firings(now), now)
        self.is_loaded = True

    async def adopt(self, settings: Settings, note: Callable[[], Awaitable[None]]) -> None:
        """Put other rules and settings in force between two steps; steps go on while their windows are filled.

        Where the rules are the same the windows are, too. `note` journals it; where that fails nothing has changed.
        """
        known, new = self.plan, settings.plan
        reached = self.cursor
        is_same = (known.rules, known.catalogue) == (new.rules, new.catalogue)
        windows = None if is_same else await self._filled(settings.plan, reached)
        async with self._stepping:
            if windows is not None:
                await self._complete(windows, new, reached)
            await note()
            self.settings = settings
            if windows is not None:
                self._windows, self._is_filled = windows, True

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
        async with self._stepping:
            return await self._step()

    async def _step(self) -> int:
        if not self._is_filled:
            windows = await self._filled(self.plan, self.cursor)
            await self._complete(windows, self.plan, self.cursor)
            self._windows, self._is_filled = windows, True
        batch = self._ahead or await self._next_batch(self.cursor)
        self._ahead = []
        if not batch:
            return 0
        last = batch[-1][0]
        self._oldest_at = batch[0][0].received_at
        await self._forget(batch[0][0].received_at)
        step = Step(self.settings, self._windows, self.memory, await self._known(batch))
        await pacing.sliced(self._taking(step, batch))
        commit = _commit(step, last, list(self._alerts_to_send(step, self.standing)))
        # What comes next is read and parsed while this is being written: neither needs to know the other.
        failed, ahead = await asyncio.gather(
            self._store.commit(commit), self._next_batch(last.position), return_exceptions=True
        )
        if failed is not None:
            self._is_filled = False
            raise failed
        self._ahead = [] if isinstance(ahead, BaseException) else ahead
        self._windows.changed.clear()
        self.cursor = last.position
        self._oldest_at = self._ahead[0][0].received_at if self._ahead else math.inf
        self._stepped_at = time.perf_counter()
        self._publish(step, last.received_at)
        self.on_published(last.position, step)
        self._announce()
        if step.changes:
            await asyncio.sleep(ANSWER_SECONDS)
        for first in range(0, len(step.facts), OBSERVED_AT_ONCE):
            self._observe(step.facts[first : first + OBSERVED_AT_ONCE])
            await asyncio.sleep(0)
        if step.changes:
            self.on_step()
        return len(batch)

    async def _forget(self, now: float) -> None:
        """Let go of what has been over for long, from time to time; sooner where the clock was put back."""
        if not 0 <= now - self._forgot_at < FORGET_SECONDS:
            forgetting = Work(standing.forgetting(self.memory.standing, now))
            await pacing.sliced(forgetting)
            self.memory.standing = forgetting.result
            self._forgot_at = now

    def _publish(self, step: Step, now: float) -> None:
        memory = self.memory
        memory.standing = step.standing
        memory.learn(step.numbers.values(), step.states.values())
        memory.learn_recent(step.recent)
        memory.learn_firings(step.firings.values(), now)
        memory.conversations.learn(step.conversations)
        memory.conversations.forget(step.forgotten)
        memory.waiting.learn(change for change in step.changes if isinstance(change, Resend))

    async def _next_batch(self, after: int) -> Batch:
        batch = await self._parsed(await self._store.read(after, self._limit))
        self._limit = min(STEP_ENTRIES, max(BUSY_ENTRIES, 2 * len(batch)))
        return batch

    async def _parsed(self, entries: Iterable[Entry]) -> Batch:
        batch: Batch = []
        await pacing.sliced(self._parsing(entries, batch))
        return batch

    def _parsing(self, entries: Iterable[Entry], batch: Batch) -> Iterator[None]:
        count = 0
        for entry in entries:
            events = yield from self._reading(entry)
            batch.append((entry, events))
            count += len(events)
            if count >= STEP_EVENTS:
                break
            yield

    def events(self, entry: Entry) -> Sequence[Event]:
        """Return what an entry says; what our own parser fails on is quarantined."""
        return generators.whole(self._reading(entry))

    def _reading(self, entry: Entry) -> Generator[None, None, Sequence[Event]]:
        try:
            if entry.kind == WEBHOOK:
                return (yield from parse.reading(entry.body, entry.received_at, self._pseudonym))
            return [] if entry.kind == ERASED else [_decode_own[entry.kind](entry.body)]
        except Exception:  # noqa: BLE001 (one broad except per entry: quarantine it, go on)
            self._quarantine("parse", entry.position)
            logs.get().exception("entry_quarantined", position=entry.position, stage="parse")
            return [Unparsed(f"{entry.position}", "", entry.received_at, "parser_failed", "")]

    async def _known(self, batch: Batch) -> Known:
        asked = inquiries.Asked(self.memory, self.plan.catalogue)
        for event in (event for _, events in batch for event in events):
            asked.note(event)
        store = self._store
        is_asked = asked.resend_ids or asked.failed
        resends = await store.resends_by_id(list(asked.resend_ids), list(asked.failed)) if is_asked else {}
        for resend_id in asked.claimed_ids.intersection(resends):
            asked.wamids.add(resends[resend_id].wamid)
            asked.people.add(resends[resend_id].recipient)
        return Known(
            await store.messages(list(asked.wamids)) if asked.wamids else {},
            await store.seen(list(asked.keys)) if asked.keys else {},
            resends,
            await store.preferences(list(asked.people)) if asked.people else {},
            await store.people(list(asked.people)) if asked.people else {},
        )

    def _taking(self, step: Step, batch: Batch) -> Iterator[None]:
        """Let each event take effect in the step, and the time that passes before it; what fails is quarantined."""
        for entry, events in batch:
            serial = 0
            for event in events:
                moment = Moment(entry.position, entry.received_at, self.plan.hash, serial)
                try:
                    if step.windows.next_at <= moment.now:
                        used = yield from turns.advancing(step, moment)
                        serial += used
                        moment = msgspec.structs.replace(moment, serial=serial)
                    serial += effects.take(step, event, moment)
                except Exception:  # noqa: BLE001 (one broad except per event: quarantine it, go on)
                    self._quarantine("evaluate", entry.position)
                    logs.get().exception("entry_quarantined", position=entry.position, stage="evaluate")
                yield

    def _alerts_to_send(self, step: Step, before: Standing) -> Iterable[Enqueue]:
        """Return rows for alerts that are new, and for those that end now so that on-call hears it at once."""
        if not step.changes:
            return
        changed = {change.id for change in step.changes if isinstance(change, Pause)}
        ended = {change.id for change in step.changes if isinstance(change, Alert) and change.ended_at is not None}
        for alert in step.standing.alerts.values():
            known = before.alerts.get(alert.id)
            if known is None or alert.id in ended or changed.intersection(alert.pause_ids):
                for destination, kind in self.alert_destinations:
                    yield Enqueue(destination, kind, alert.id)
            elif alert.sequence > known.sequence:
                for destination, kind in self.alert_destinations:
                    if kind != ALERTMANAGER:  # which repeats by itself
                        yield Enqueue(destination, kind, f"{alert.id}#{alert.sequence}")
        for fact in step.facts:
            for action in fact.actions:
                if isinstance(action, WebhookAction):
                    yield Enqueue(action.to, FIRING, f"{action.firing_id}:{fact.received_at}")

    def _announce(self) -> None:
        waiting = self._reached
        self._reached = [(position, future) for position, future in waiting if position > self.cursor]
        for position, future in waiting:
            if position <= self.cursor and not future.done():
                future.set_result(None)

    async def _filled(self, plan: Plan, reached: int) -> Windows:
        """Return windows with all that could share one with what comes behind a position; what follows is left out."""
        windows = Windows(await self._store.rule_values())
        newest = await self._store.entry(reached) if reached else None
        if newest is not None:
            now = newest.received_at
            told_all = now - plan.horizon_seconds if plan.horizon_seconds else math.inf
            for since, until, containing in (
                (now - plan.errors_horizon_seconds, told_all, b'"errors"'), (told_all, math.inf, b""),
            ):  # fmt: skip
                if since < min(until, now):
                    # The whole journal is not gone through for an hour.
                    after = await self._store.newest_before(since, reached)
                    await self._feed(Replay(plan, windows), since, until, containing, after, reached)
        return windows

    async def _complete(self, windows: Windows, plan: Plan, reached: int) -> None:
        """Add what has taken effect behind a position; no step may be under way."""
        if reached < self.cursor:
            await self._feed(Replay(plan, windows), 0.0, math.inf, b"", reached, self.cursor)
        newest = await self._store.entry(self.cursor) if self.cursor else None
        if newest is not None:
            replay.pass_time(plan, windows, newest.received_at)
        for firing in self.memory.firings.values():
            turns.watch(windows, plan, firing)

    async def _feed(
        self, filling: Replay, since: float, until: float, containing: bytes, after: int, reached: int
    ) -> None:
        while entries := await self._store.read_since(since, after, reached, STEP_ENTRIES, containing):
            batch = await self._parsed(entries)
            known = await self._known(batch)
            for entry, events in batch:
                if entry.received_at < until:
                    filling.feed(known, entry.position, entry.received_at, events)
            after = batch[-1][0].position
            if batch[-1][0].received_at >= until:
                return


def _commit(step: Step, last: Entry, outbox: Sequence[Enqueue]) -> Commit:
    return Commit(
        cursor=last.position,
        now=last.received_at,
        messages=list(step.messages.values()),
        seen=step.seen,
        numbers=list(step.numbers.values()),
        states=list(step.states.values()),
        conversations=step.conversations,
        counts=step.counts,
        aliases=step.aliases,
        preferences=step.preferences,
        forgotten=step.forgotten,
        answered=step.answered,
        retried_rows=step.retried_rows,
        changes=_last(step.changes),
        values=list(step.windows.changed.values()),
        outbox=outbox,
    )


def _last(changes: Sequence[Change]) -> list[Change]:
    """Return what is left to write of the changes of a step: each record as it came to be, and every note."""
    kept: dict[object, Change] = {}
    for number, change in enumerate(changes):
        kept[number if isinstance(change, AuditEntry) else change.id] = change
    return list(kept.values())
