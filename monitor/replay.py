"""Windows filled again from the journal: what took effect from an entry enters them, and nothing follows."""

from collections.abc import Sequence
from typing import Any

from monitor import aspects, effects, engine, messages
from monitor.engine import Plan
from monitor.events import (
    AccountEvent,
    Duplicate,
    ErrorReport,
    Event,
    InboundMessage,
    SendFailed,
    Sent,
    Status,
    Tick,
    Unparsed,
    Unsettled,
)
from monitor.step import Known
from monitor.windows import Windows


def pass_time(plan: Plan, windows: Windows, now: float) -> None:
    """Let silence be noticed up to a time; what was to follow has followed."""
    while (timer := windows.due(now)) is not None:
        if timer.condition:
            engine.expire(plan, windows, timer)


class Replay:
    """Feeds windows, entry by entry; a copy that was received at the same time as the first is told from it."""

    def __init__(self, plan: Plan, windows: Windows) -> None:
        self._plan = plan
        self._windows = windows
        self._received_at = 0.0
        self._taken: set[tuple[str | int | None, ...]] = set()

    def feed(self, known: Known, position: int, received_at: float, events: Sequence[Event]) -> None:
        """Enter what took effect from this entry, rather than from another copy of it, into the windows."""
        pass_time(self._plan, self._windows, received_at)
        if received_at != self._received_at:
            self._received_at = received_at
            self._taken.clear()
        wamids: dict[str, None] = {}
        for event in events:
            if isinstance(event, Tick):
                wamids.update(dict.fromkeys(event.wamids))
            elif _took_effect(known, event, received_at) and self._enter(known, event, position):
                wamids.update({wamid: None} if (wamid := getattr(event, "wamid", "")) in known.messages else {})
        for derived in effects.derived_before(known, wamids, received_at):
            self._enter(known, derived, position)

    def _enter(self, known: Known, event: Any, position: int) -> bool:
        key = (event.key, *(error.code for error in aspects.errors(event)))  # as a message tells its steps apart
        if key in self._taken:
            return False
        self._taken.add(key)
        message = known.messages.get(getattr(event, "wamid", ""))
        engine.evaluate(self._plan, self._windows, event, position, self._received_at, message)
        return True


def _took_effect(known: Known, event: Event, received_at: float) -> bool:
    match event:
        case Status() | InboundMessage() | Sent():
            message = known.messages.get(event.wamid)
            name = {InboundMessage: "received", Sent: "accepted"}.get(type(event), getattr(event, "status", ""))
            steps = message.steps if message is not None else ()
            return any(step.status == name and step.received_at == received_at for step in steps)
        case Unsettled():
            message = known.messages.get(messages.unsettled_id(event.token or event.key))
            return message is not None and message.steps[0].received_at == received_at
        case ErrorReport() | AccountEvent() | Unparsed() | SendFailed() | Duplicate():
            return known.seen.get(event.key) == received_at
        case _:
            return False
