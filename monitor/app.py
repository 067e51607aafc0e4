"""Every part, wired in one straight line."""

import asyncio
import functools
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from monitor import destinations, logs, networks, observe, pseudonyms, reloads, traces
from monitor.actions import is_in_force
from monitor.attempts import Attempts
from monitor.config import Loaded
from monitor.deadlines import Deadlines
from monitor.departures import Departures
from monitor.destinations import Closing
from monitor.document import Mistake, Mistaken
from monitor.events import DrillDone, EntriesLost, OperatorAct, RulesLoaded, Tick
from monitor.exposition import Page
from monitor.facts import Fact
from monitor.feed import Feed
from monitor.hour import Hour
from monitor.loops import Loops
from monitor.metrics import Metrics
from monitor.outbox import Destination, Outbox
from monitor.pipeline import Pipeline
from monitor.readings import Readings
from monitor.receive import Receiver
from monitor.rules import RuleSet
from monitor.sandbox import Sandbox
from monitor.sections import Config
from monitor.statements import Statements
from monitor.steady import FOLLOWED_SECONDS, Steady
from monitor.step import Step
from monitor.store.opening import open_store
from monitor.store.protocol import OPERATOR, TICK, Arrival, Backlog, Before, Campaign, StoreUnavailableError
from monitor.store.sqlite import SqliteStore
from monitor.traces import Traces
from monitor.upstream import Upstream
from monitor.usages import Usages
from monitor.web import markup
from monitor.web.board import Board
from monitor.web.internal import internal

PSEUDONYMS_CACHED = 4096  # each change names its number again
PRUNE_SECONDS = 60.0
PRUNE_STEP = 500
JUDGED_MOST = 1_000  # messages in one tick
TICK_SECONDS = 0.5  # how late a rule that waits for time may act
CAMPAIGNS_SHOWN = 1_000
RULES_PREPARED = 20  # at once: each has some series
DRAIN_SECONDS = 5.0
FINISH_SECONDS = 0.5  # for what takes effect and for what leaves, at the least
ENDING_SECONDS = 2.5  # for all that comes after the delay, or after what may be drained
LEAST_SECONDS = 0.3  # for spans, whatever else has taken its time
EXPORT_SECONDS = 5.0
OPERATOR_SYSTEM = "whatsapp-monitor"


class App:
    """The running parts. `reload` swaps what a file may change; `close` finishes what was accepted."""

    def __init__(self, loaded: Loaded, path: Any, store: SqliteStore, tracer: Traces | None) -> None:
        self._path = path
        self._channels: list[Closing] = []
        self._reloading = asyncio.Lock()
        self._sandbox = Sandbox()
        self._backlog: dict[str, Backlog] = {}
        self._resends: dict[str, int] = {}
        self.traces = tracer
        self.clock = Steady()
        self.deadlines = Deadlines()
        self.loaded = loaded
        self.store = store
        self.rendering: Executor = ThreadPoolExecutor(1, "metrics")
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, loaded.catalogue(), loaded.config.metrics.series_most)
        self._loops = Loops(lambda kind: self.metrics.loop_restarts.of(kind).inc())
        self._campaigns: Sequence[Campaign] = ()
        self._silent: dict[str, int] = {}
        self._away_seconds = 0.0
        self.is_started = False
        self.is_stopping = False
        self._stopped_at = 0.0
        hash_keys = loaded.hash_keys()
        self.pipeline = Pipeline(
            store,
            reloads.settings(loaded),
            functools.lru_cache(PSEUDONYMS_CACHED)(functools.partial(pseudonyms.recipient, hash_keys[0])),
            observe=self._observe,
            quarantine=lambda stage, _: self.metrics.quarantined.of(stage).inc(),
            alert_destinations=destinations.names(loaded.config)[1],
        )
        self.receiver = Receiver(
            reloads.door(loaded),
            store,
            clock=self.clock,
            count=lambda outcome: self.metrics.deliveries.of(outcome).inc(),
            count_signed=lambda number: self.metrics.signatures.of(self.metrics.bounded("secret", str(number))).inc(),
            journaled=self._journaled,
            is_behind=lambda: self.pipeline.is_behind(self.clock()),
            attempts=Attempts(self.clock, lambda outcome: self.metrics.logins_failed.of(f"verify_{outcome}").inc()),
            deadlines=self.deadlines,
        )
        self.upstream = Upstream(networks.parse(loaded.config.outbound.deny_networks))
        made, self._channels = self._destinations(loaded)
        self.outbox = self._new_outbox(made)
        self.page = Page(self.registry)
        self.feed = Feed(lambda: self.pipeline.memory, self.clock)
        self.hour = Hour(self.clock)
        self.templates = markup.templates()
        self.usages = Usages()
        self.board = Board(store, self.pipeline, self.feed, self.hour, self.usages, self.templates, self.clock)
        self.pipeline.on_published = self._tell
        self.internal = internal(self, hash_keys)
        self.registry.register(self._readings())
        self.registry.register(self._statements())
        if tracer is not None:
            tracer.dropped = lambda reason, count: self.metrics.spans_dropped.of(reason).inc(count)
        store.writer.on_flush = lambda seconds, _: self.metrics.journal_commit_seconds.of().observe(seconds)
        self.pipeline.on_step = self.outbox.wake

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come: state is loaded, the store works and nobody asked us to stop."""
        return self.is_started and not self.is_stopping and not self.store.writer.is_broken

    async def start(self) -> None:
        """Load what stands and start the background loops."""
        newest = await self.store.entry(await self.store.head())
        self._away_seconds = self.clock() - newest.received_at if newest is not None else 0.0
        if self._away_seconds < -FOLLOWED_SECONDS:
            logs.get().warning("clock_behind_journal", seconds=-self._away_seconds)
        await self.pipeline.load(self.clock())
        self.feed.begin(self.pipeline.cursor)
        await self._prepare(self.loaded.rule_set)
        for number in self.pipeline.memory.numbers.values():
            self.metrics.sender(number.waba_id, number.phone_number_id)
            self.metrics.heard(number.seen_at)
        self.metrics.reloaded(is_successful=True)
        await self._remember_drill()
        self._loops.start("pipeline", self.pipeline.run)
        self._loops.start("retention", self._retain)
        self._loops.start("ticks", self._tick)
        self._loops.start("board", self.board.run)
        self._start_outbox()
        await self._note_rules(self.loaded)
        if self.store.lost:
            first, last = self.store.lost[0], self.store.lost[-1]
            logs.get().error("entries_lost", first=first, last=last)
            await self._note(EntriesLost(OPERATOR_SYSTEM, first, last))
        self.is_started = True

    async def reload(self, *, is_loosening_acknowledged: bool = False) -> tuple[Mistake, ...]:
        """Take up the changed files, all or nothing; return what is wrong with them.

        Rules that would stop less than those in force are wrong too, unless that is what was wanted.
        """
        async with self._reloading:
            channels: list[Closing] = []
            try:
                reading = functools.partial(reloads.read, is_loosening_acknowledged=is_loosening_acknowledged)
                loaded, planned = await asyncio.to_thread(reading, self._sandbox, self._path, self.loaded)
                made, channels = self._destinations(loaded)
                await self.pipeline.adopt(planned, functools.partial(self._note_rules, loaded))
            except Exception as error:  # noqa: BLE001 (whatever is wrong: the old is kept, and the gauge tells)
                self.metrics.reloaded(is_successful=False)
                mistakes = (
                    error.mistakes if isinstance(error, Mistaken) else (Mistake(str(self._path), 0, 0, "", str(error)),)
                )
                logs.get().error("reload_failed", mistakes=[str(mistake) for mistake in mistakes])
                await destinations.close(channels)
                return mistakes
            await self._adopt(loaded, made, channels)
            self.metrics.reloaded(is_successful=True)
            logs.get().info("reloaded", rules=loaded.rule_set.hash)
            return ()

    async def refresh(self) -> None:
        """Read what only the store knows, for the next scrape."""
        try:
            self._backlog = await self.store.backlog()
            self._resends = await self.store.pending_resends()
            self._campaigns = (await self.store.campaigns("", CAMPAIGNS_SHOWN)).items
            self._silent = await self.store.silent(self.clock() - self.loaded.config.messages.silent_after)
        except StoreUnavailableError:
            logs.get().warning("scrape_incomplete")

    async def close(self, delay_seconds: float = 0.0) -> None:
        """Act upon what was journaled, let the outbox settle, and give everything back.

        `delay_seconds` is for how long the listeners stayed open after `stop`.
        A store that is broken takes up nothing any more: the sooner we are gone, the sooner a restart recovers it.
        """
        self.stop()
        if not self.store.writer.is_broken:
            await self._catch_up(self._drain_seconds())
        self._loops.cancel(but="outbox")
        await self._loops.finished("", self._drain_seconds())
        await destinations.close(self._channels)
        await self.upstream.close()
        if self.traces is not None:
            end_at = self._stopped_at + max(delay_seconds, DRAIN_SECONDS) + ENDING_SECONDS
            await asyncio.to_thread(self.traces.close, max(LEAST_SECONDS, end_at - time.monotonic()))
        await self.store.close()
        self.rendering.shutdown(wait=False)

    def stop(self) -> None:
        """Say that nothing more is wanted: not ready, and whoever follows is let go."""
        if not self.is_stopping:
            self._stopped_at = time.monotonic()
        self.is_stopping = True
        self._sandbox.close()
        self.outbox.stop()
        self.feed.close()
        self.board.close()

    def _drain_seconds(self) -> float:
        """Return for how long something may still take its time: what is left of it, and a moment at the least."""
        return max(FINISH_SECONDS, self._stopped_at + DRAIN_SECONDS - time.monotonic())

    async def _catch_up(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.pipeline.reach(await self.store.head())
        except (TimeoutError, StoreUnavailableError):
            logs.get().warning("stopped_before_caught_up", cursor=self.pipeline.cursor)

    def _journaled(self) -> None:
        """Act upon a delivery, and forward it."""
        self.pipeline.wake()
        self.outbox.wake_soon()

    def _tell(self, position: int, step: Step) -> None:
        heard = [fact.event for fact in step.facts if fact.event is not None and not fact.is_repeated]
        self.feed.publish(position, step.changes, step.numbers.values(), heard)

    def _observe(self, facts: Sequence[Fact]) -> None:
        if self.clock.off_by_seconds:
            newest = max((getattr(fact.event, "occurred_at", None) or 0.0 for fact in facts), default=0.0)
            if self.clock.heard(newest):
                logs.get().warning("clock_taken_up", advice="Meta's timestamps agree with it")
        observe.facts(self.metrics, self.traces, facts, self.clock())
        self.hour.observe(facts)

    def _destinations(self, loaded: Loaded) -> tuple[list[Destination], list[Closing]]:
        seen = Departures(self.traces, self.clock)
        return destinations.build(loaded, self.store, lambda: self.pipeline.standing, self.clock, seen)

    def _new_outbox(self, made: Sequence[Destination]) -> Outbox:
        def count(destination: str, outcome: str) -> None:
            self.metrics.outbox_sends.of(destination, outcome).inc()

        return Outbox(self.store, made, clock=self.clock, count=count)

    async def _adopt(self, loaded: Loaded, made: Sequence[Destination], channels: list[Closing]) -> None:
        self.outbox.stop()
        await self._loops.finished("outbox", DRAIN_SECONDS)
        old_channels, self._channels = self._channels, channels
        self.outbox = self._new_outbox(made)
        self.pipeline.on_step = self.outbox.wake
        self.loaded = loaded
        self.receiver.door = reloads.door(loaded)
        self.store.writer.forward_to = destinations.names(loaded.config)[0]
        self.store.room.keep_free_bytes = loaded.config.store.keep_free
        self._start_outbox()
        await destinations.close(old_channels)
        self.metrics.adopt(loaded.catalogue())
        if self.traces is not None:
            self.traces.learn(self.metrics.catalogue)
        await self._prepare(loaded.rule_set)

    async def _prepare(self, rule_set: RuleSet) -> None:
        for first in range(0, len(rule_set.rules), RULES_PREPARED):
            self.metrics.prepare_rules(rule_set.rules[first : first + RULES_PREPARED])
            await asyncio.sleep(0)

    async def _remember_drill(self) -> None:
        known = await self.store.newest_drill()
        if known is not None:
            told = msgspec.json.decode(known.reason)
            drill = DrillDone(known.actor, "", int(known.target), told["passed"], told["seconds"])
            observe.drilled(self.metrics, drill, known.at)

    async def _note_rules(self, loaded: Loaded) -> None:
        """Journal which rules hold for what follows; what they tell goes where their configuration wants it."""
        await self._note(RulesLoaded(OPERATOR_SYSTEM, loaded.rule_set.hash))
        self.pipeline.alert_destinations = destinations.names(loaded.config)[1]

    async def _note(self, act: OperatorAct) -> None:
        await self.store.append(Arrival(OPERATOR, self.clock(), msgspec.json.encode(act)))
        self.pipeline.wake()

    def _start_outbox(self) -> None:
        outbox = self.outbox
        for destination in outbox.destinations:
            self._loops.start(f"outbox:{destination.name}", functools.partial(outbox.run, destination))

    async def _tick(self) -> None:
        """Let time enter the journal where rules wait for it, and name the messages that must be judged in silence.

        After a longer absence Meta is given the buffer to deliver what it kept for us.
        """
        buffer_seconds = self.loaded.config.messages.buffer
        if self._away_seconds > buffer_seconds:
            await asyncio.sleep(buffer_seconds)
        judge_at = 0.0
        while True:
            now = self.clock()
            wamids: list[str] = []
            every_seconds = self.loaded.config.messages.check_every
            if not 0 < judge_at - now <= every_seconds:  # further away: the clock was put back
                wamids = await self.store.due_messages(now, JUDGED_MOST)
                judge_at = now if len(wamids) == JUDGED_MOST else now + every_seconds
            if wamids or self.pipeline.next_due_at <= now:
                tick = msgspec.json.encode(Tick(now, tuple(wamids)))
                position = await self.store.append(Arrival(TICK, now, tick))
                if position is not None:
                    await self.pipeline.reach(position)
            if len(wamids) < JUDGED_MOST:
                await asyncio.sleep(min(TICK_SECONDS, max(0.05, judge_at - now)))

    async def _retain(self) -> None:
        """Remove what is past retention, a little at a time so that deliveries never wait for it."""
        while True:
            config, now = self.loaded.config, self.clock()
            while await self.store.prune(_before(config, now)):
                await asyncio.sleep(0.05)
            self.metrics.remove_idle(now - config.metrics.idle_after)
            await asyncio.sleep(PRUNE_SECONDS)

    def _readings(self) -> Any:
        def pauses() -> list[Any]:
            now = self.clock()
            return [pause for pause in self.pipeline.standing.pauses.values() if is_in_force(pause, now)]

        return Readings(
            clock=self.clock,
            catalogue=lambda: self.metrics.catalogue,
            pauses=pauses,
            flags=lambda: self.pipeline.standing.flags.values(),
            firings=lambda: self.pipeline.memory.firings.values(),
            backlog=lambda: self._backlog,
            resends=lambda: self._resends,
            lag_events=lambda: max(0, self.store.writer.last_position - self.pipeline.cursor),
            journal_bytes=self.store.size_bytes,
            lost_entries=len(self.store.lost),
            clock_off_seconds=lambda: self.clock.off_by_seconds,
            room=self.store.room,
            caps=self.metrics.caps,
            followers=lambda: len(self.feed.followers),
        )

    def _statements(self) -> Any:
        return Statements(
            self.metrics,
            self.pipeline.memory,
            clock=self.clock,
            idle_seconds=lambda: self.loaded.config.metrics.idle_after,
            campaigns=lambda: self._campaigns,
            silent=lambda: self._silent,
        )


def build(loaded: Loaded, path: Any) -> App:
    """Open the store and wire every part; StoreInUseError where it can't be had, ValueError for what can't be made."""
    config = loaded.config
    store = open_store(loaded.store_path, destinations.names(config)[0])
    store.room.keep_free_bytes = config.store.keep_free
    return App(loaded, path, store, _tracer(loaded))


def _tracer(loaded: Loaded) -> Traces | None:
    tracing = loaded.config.tracing
    if not traces.is_wanted(tracing.endpoint):
        return None
    return Traces(
        traces.otlp(tracing.endpoint, EXPORT_SECONDS, networks.parse(loaded.config.outbound.deny_networks)),
        loaded.hash_key(),
        loaded.catalogue(),
        default_ratio=tracing.sample.default,
        failed_ratio=tracing.sample.failed,
    )


def _before(config: Config, now: float) -> Before:
    """Return from before when what is past retention."""
    store, bodies, history = config.store, config.store.body_retention, config.store.history_retention
    messages = config.messages.retention
    return Before(
        journal=now - store.retention,
        bodies=now - (store.retention if bodies is None else bodies),
        messages=now - (store.retention if messages is None else messages),
        campaigns=now - config.campaigns.retention,
        history=0.0 if history is None else now - history,
    )
