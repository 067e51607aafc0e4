"""An event as it took effect: what metrics and traces are told after the commit."""

import msgspec

from monitor.actions import Action
from monitor.events import Event
from monitor.messages import Advance
from monitor.standing import Change


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One event with its effects; a repeated one had taken effect before; `advance` is what moved a message.

    `event` is None where only time has passed. `shadowed` is what rules in shadow mode would have done, `matched` and
    `late` are the rules that counted the event, and those for which it came too late. `leaked` is the
    rule of a pause that was in force when the message was sent all the same, `crowded` are the rules that fire in too
    many groups to fire in one more.
    """

    event: Event | None
    received_at: float
    is_repeated: bool = False
    advance: Advance | None = None
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    shadowed: tuple[Action, ...] = ()
    matched: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    leaked: str = ""
    crowded: tuple[str, ...] = ()
