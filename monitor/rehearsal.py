"""A rehearsal: events take effect as in the pipeline, and what it would remember is kept in memory without a store."""

from collections import Counter
from collections.abc import Sequence

from monitor import effects, turns
from monitor.actions import Moment
from monitor.events import Event
from monitor.facts import Fact
from monitor.memory import Memory
from monitor.step import Known, Settings, Step
from monitor.windows import Windows


class Rehearsal:
    """What has happened so far; `position` is that of the newest entry."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.memory = Memory()
        self.windows = Windows()
        self.known = Known({}, {}, {}, {}, {})
        self.counts: Counter[tuple[str, str]] = Counter()
        self.position = 0

    def take(self, events: Sequence[Event], at: float) -> list[Fact]:
        """Let the events of the next entry take effect, as one step."""
        self.position += 1
        step = self.step()
        serial = 0
        for event in events:
            serial += effects.take(step, event, Moment(self.position, at, self.settings.plan.hash, serial))
        return self.kept(step, at)

    def pass_time(self, at: float) -> list[Fact]:
        """Let time pass, as a tick does: rules that wait for it act."""
        if self.windows.next_at > at:
            return []
        self.position += 1
        step = self.step()
        turns.advance(step, Moment(self.position, at, self.settings.plan.hash))
        return self.kept(step, at)

    def step(self) -> Step:
        """Begin a step over what has happened so far."""
        return Step(self.settings, self.windows, self.memory, self.known)

    def kept(self, step: Step, at: float) -> list[Fact]:
        """Keep what a step has decided, as of a time; return its facts."""
        self.known.messages.update(step.messages)
        self.known.seen.update(step.seen)
        for person, told in step.preferences.items():
            self.known.preferences[person] = max(told, self.known.preferences.get(person, told), key=lambda one: one[1])
        for key, count in step.counts.items():
            self.counts[key] += count
        memory = self.memory
        memory.standing = step.standing
        memory.learn(step.numbers.values(), step.states.values())
        memory.learn_recent(step.recent)
        memory.learn_firings(step.firings.values(), at)
        memory.conversations.learn(step.conversations)
        memory.conversations.forget(step.forgotten)
        self.windows.changed.clear()
        return step.facts
