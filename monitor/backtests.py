"""A backtest: rules over a journal as it came, and what they would have done to sending."""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from monitor import actions, gate, parse, standing
from monitor.actions import AuditEntry, Pause
from monitor.events import Event, OperatorAct, PauseReleased, Send, Sent, Status, Tick
from monitor.facts import Fact
from monitor.memory import Memory
from monitor.messages import Message, has_arrived
from monitor.parse import Pseudonym
from monitor.rehearsal import Rehearsal
from monitor.rules import Rule
from monitor.standing import Change
from monitor.step import Settings
from monitor.store.protocol import ERASED, OPERATOR, SEND, TICK, Entry
from monitor.windows import Windows

MESSAGES_MOST = 200_000  # remembered at once; the oldest are forgotten first, as if they were heard of anew
SWEPT_EVERY = 1_000  # entries between two looks at what is over
EXAMPLES_MOST = 5
_ACTOR = "backtest"
_decode_tick = msgspec.json.Decoder(Tick).decode
_decode_send = msgspec.json.Decoder(Send).decode


class Effect(msgspec.Struct):
    """What one rule would have done: times in seconds, `false_stops` of the stopped messages were delivered anyway."""

    rule: str
    mode: str
    firings: int = 0
    actions: dict[str, int] = {}
    paused_seconds: float = 0.0
    throttled_seconds: float = 0.0
    stopped: int = 0
    false_stops: int = 0
    examples: list[str] = []


class Report(msgspec.Struct):
    """What all rules together would have done to the messages of a journal."""

    rules_hash: str
    since: float
    until: float
    entries: int
    messages: int
    stopped: int
    false_stops: int
    effects: list[Effect]
    pauses: list[Pause]


class Backtest:
    """Takes entries in their order; `resumed_after_seconds` is when somebody resumes what only a human ends."""

    def __init__(self, settings: Settings, pseudonym: Pseudonym, resumed_after_seconds: float | None) -> None:
        self._rehearsal = Rehearsal(settings)
        self._pseudonym = pseudonym
        self._resumed_after_seconds = resumed_after_seconds
        self._effects = {name: Effect(name, rule.mode, actions={}) for name, rule in settings.plan.rules.items()}
        self._pauses: dict[str, Pause] = {}
        self._resumes: list[tuple[float, str]] = []
        self._stopped: dict[str, tuple[str, ...]] = {}
        self._arrived: set[str] = set()
        self._messages = 0
        self._entries = 0
        self._since = 0.0
        self._until = 0.0
        self.on_facts: Callable[[Sequence[Fact]], None] = lambda _: None

    @property
    def settings(self) -> Settings:
        """How events take effect."""
        return self._rehearsal.settings

    @property
    def windows(self) -> Windows:
        """What rules remember by now."""
        return self._rehearsal.windows

    @property
    def memory(self) -> Memory:
        """What stands by now, and what fires."""
        return self._rehearsal.memory

    def message(self, event: Event) -> Message | None:
        """Return what is known of the message that an event is about."""
        return self._rehearsal.known.messages.get(getattr(event, "wamid", ""))

    def hear(self, event: Event, at: float) -> list[Fact]:
        """Let an event happen that the journal does not hold."""
        return self._rehearsal.take([event], at)

    def take(self, entry: Entry) -> None:
        """Let one entry take effect; what operators did then is left out."""
        self._entries += 1
        self._since = self._since or entry.received_at
        self._until = max(self._until, entry.received_at)
        while self._resumes and self._resumes[0][0] <= entry.received_at:
            self._resume(*self._resumes.pop(0))
        # Positions are the journal's own, so that records have the ids that they had when it happened.
        self._rehearsal.position = entry.position - 1
        self._note(self._rehearsal.take(self._events(entry), entry.received_at))
        if self._entries % SWEPT_EVERY == 0:
            self._sweep(entry.received_at)

    def report(self) -> Report:
        """Return what came of it."""
        for pause in self._pauses.values():
            effect = self._effects.get(pause.rule)
            if effect is None:
                continue
            ends = [end for end in (pause.released_at, pause.until, self._until) if end is not None]
            seconds = max(0.0, min(ends) - pause.since)
            if pause.per_second is None:
                effect.paused_seconds += seconds
            else:
                effect.throttled_seconds += seconds
        for wamid, rules in self._stopped.items():
            for rule in rules:
                effect = self._effects[rule]
                effect.stopped += 1
                if wamid in self._arrived:
                    effect.false_stops += 1
                if len(effect.examples) < EXAMPLES_MOST:
                    effect.examples = [*effect.examples, wamid]
        false_stops = len(self._arrived.intersection(self._stopped))
        return Report(
            self._rehearsal.settings.plan.hash, self._since, self._until, self._entries, self._messages,
            len(self._stopped), false_stops, list(self._effects.values()), list(self._pauses.values()),
        )  # fmt: skip

    def _events(self, entry: Entry) -> Sequence[Event]:
        if entry.kind in {OPERATOR, ERASED}:
            return []
        if entry.kind == TICK:
            return [_decode_tick(entry.body)]
        if entry.kind == SEND:
            return [_decode_send(entry.body)]
        return parse.delivery(entry.body, entry.received_at, self._pseudonym)

    def _resume(self, at: float, pause_id: str) -> None:
        act: OperatorAct = PauseReleased(_ACTOR, "taken as resumed", pause_id)
        self._note(self._rehearsal.take([act], at))

    def _note(self, facts: Sequence[Fact]) -> None:
        self.on_facts(facts)
        for fact in facts:
            for action in fact.actions:
                counts = self._effects[action.rule].actions
                counts[actions.name(action)] = counts.get(actions.name(action), 0) + 1
            if fact.advance is not None and isinstance(fact.event, Status | Sent):
                self._moved(fact.advance.message, is_first=fact.advance.before is None)
            for change in fact.changes:  # after it: the message that brought a pause about was not stopped by it
                self._changed(change)

    def _changed(self, change: Change) -> None:
        match change:
            case AuditEntry(action="fired"):
                self._effects[change.actor.removeprefix("rule:")].firings += 1
            case Pause():
                is_new = change.id not in self._pauses
                self._pauses[change.id] = change
                is_open = change.until is None and not change.until_cleared
                if is_new and is_open and self._resumed_after_seconds is not None:
                    bisect.insort(self._resumes, (change.since + self._resumed_after_seconds, change.id))
            case _:
                pass

    def _moved(self, message: Message, *, is_first: bool) -> None:
        if is_first:
            self._messages += 1
            rules = tuple(dict.fromkeys(self._stopping(message)))
            if rules:
                self._stopped[message.wamid] = rules
        if message.wamid in self._stopped and has_arrived(message):
            self._arrived.add(message.wamid)

    def _stopping(self, message: Message) -> Iterator[str]:
        """Yield the rules whose pauses were in force when the message was sent."""
        held = gate.stopped(self._pauses.values(), message, self._rehearsal.memory.wabas)
        yield from (pause.rule for pause in held)

    def _sweep(self, now: float) -> None:
        memory, known = self._rehearsal.memory, self._rehearsal.known
        memory.standing = standing.forget(memory.standing, now)
        for kept in (known.messages, known.seen):
            for key in list(kept)[: max(0, len(kept) - MESSAGES_MOST)]:
                del kept[key]


def table(report: Report, rules: Mapping[str, Rule]) -> list[dict[str, object]]:
    """Return a line for each rule, the ones that stopped most first."""
    return [
        {
            "rule": effect.rule,
            "mode": rules[effect.rule].mode if effect.rule in rules else effect.mode,
            "firings": effect.firings,
            "actions": " ".join(f"{name}={count}" for name, count in effect.actions.items()) or "-",
            "paused_minutes": round(effect.paused_seconds / 60, 1),
            "throttled_minutes": round(effect.throttled_seconds / 60, 1),
            "stopped": effect.stopped,
            "false_stops": effect.false_stops,
        }
        for effect in sorted(report.effects, key=lambda effect: (-effect.stopped, -effect.firings))
    ]
