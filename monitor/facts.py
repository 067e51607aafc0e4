"""An event as it took effect: what metrics and traces are told after the commit."""

import msgspec

from monitor.actions import Action
from monitor.events import Event
from monitor.messages import Advance
from monitor.standing import Change


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One event with its effects; a repeated one had taken effect before; `advance` is what moved a message."""

    event: Event
    received_at: float
    is_repeated: bool = False
    advance: Advance | None = None
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
