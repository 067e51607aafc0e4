"""Records as a store keeps them, each told from its like by a number or a word."""

from typing import Any

from msgspec.structs import replace

from monitor.actions import Alert, AuditEntry, Flag, Incident, Pause, Resend
from monitor.firings import Firing
from monitor.messages import Message, Step

NOW = 1_700_000_000.0


def message(number: int | str, **fields: Any) -> Message:
    """Return a message that was sent to a person of its own."""
    steps = (Step("sent", "1", NOW, NOW),)
    sent = Message(f"wamid.{number}", "100", "200", f"#{number}", "outbound", "utility", "", "sent", steps)
    return replace(sent, **fields)


def delivered(number: int, at: float, **fields: Any) -> Message:
    """Return a message that has arrived."""
    steps = (Step("sent", "1", NOW, NOW), Step("delivered", "2", at, at))
    return message(number, **{"state": "delivered", "steps": steps, **fields})


def pause(number: int, **fields: Any) -> Pause:
    """Return a pause until somebody resumes."""
    return replace(Pause(f"p{number}", "waba", "100", "all", "one", None, "", "ann", NOW, None, "waba"), **fields)


def flag(number: int, **fields: Any) -> Flag:
    """Return an open flag."""
    return replace(Flag(f"f{number}", "one", "", {"group": f"{number}"}, {}, NOW, NOW, (), 0), **fields)


def alert(number: int, **fields: Any) -> Alert:
    """Return an alert."""
    return replace(Alert(f"a{number}", "one", "warning", "", {"group": f"{number}"}, NOW, NOW, 1, 60.0), **fields)


def incident(number: int, **fields: Any) -> Incident:
    """Return an incident that lasts."""
    return replace(Incident(f"i{number}", "100", "200", NOW, NOW, ()), **fields)


def firing(number: int, **fields: Any) -> Firing:
    """Return a firing that is not over."""
    return replace(Firing(f"g{number}", "one", (f"{number}",), "each", "firing", NOW, NOW, None, (), 1, ""), **fields)


def resend(number: int, **fields: Any) -> Resend:
    """Return a resend that is due."""
    one = Resend(f"r{number}", f"wamid.{number}", "100", "200", f"#{number}", "", 131043, "one", "", NOW, NOW)
    return replace(one, **fields)


def note(number: int, **fields: Any) -> AuditEntry:
    """Return a note of the audit."""
    return replace(AuditEntry(NOW + number, "ann", "pause", f"p{number}", "why", number), **fields)
