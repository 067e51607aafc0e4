"""Coverage: which rules a set of tests made fire, and which of their tests were seen both to hold and to fail."""

from collections.abc import Iterable, Mapping

import msgspec

from monitor import aspects, engine
from monitor.engine import Plan
from monitor.events import MetaEvent
from monitor.facts import Fact
from monitor.messages import Message


class Coverage(msgspec.Struct, frozen=True):
    """What the tests tried: `unfired` rules never acted, `unheld` and `unfailed` are tests seen one way only."""

    rules: int
    unfired: tuple[str, ...]
    conditions: int
    unheld: tuple[str, ...]
    unfailed: tuple[str, ...]


class Tried:
    """Gathers what tests try of the rules of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._fired: set[str] = set()
        self._seen: dict[str, set[bool]] = {}
        for rule in plan.rules.values():
            for watch in engine.watches(rule):
                for fact, _ in watch.matcher.tests:
                    self._seen[_name(watch, fact)] = set()

    def facts(self, facts: Iterable[Fact], messages: Mapping[str, Message]) -> None:
        """Note which rules acted, and which tests of all rules each event fulfilled."""
        for fact in facts:
            self._fired.update(action.rule for action in (*fact.actions, *fact.shadowed))
            if isinstance(fact.event, MetaEvent) and not fact.is_repeated:
                self._event(fact.event, messages)

    def coverage(self) -> Coverage:
        """Return what was tried."""
        return Coverage(
            len(self._plan.rules),
            tuple(name for name in self._plan.rules if name not in self._fired),
            len(self._seen),
            tuple(name for name, seen in self._seen.items() if True not in seen),
            tuple(name for name, seen in self._seen.items() if False not in seen),
        )

    def _event(self, event: MetaEvent, messages: Mapping[str, Message]) -> None:
        message = messages.get(getattr(event, "wamid", ""))
        for aspect in aspects.of(self._plan.catalogue, event, message):
            for rule in self._plan.rules.values():
                for watch in engine.watches(rule):
                    for fact, test in watch.matcher.tests:
                        self._seen[_name(watch, fact)].add(engine.holds(test, aspect.facts.get(fact, "")))


def _name(watch: engine.Watch, fact: str) -> str:
    return f"{watch.condition.id}.{watch.role}.{fact}"
