"""When a destination is told what of an alert: that it fires, that it is over, or nothing; and when again.

What began and ended while nobody could be told is told as firing first: of an end alone nobody would hear.
"""

import msgspec

from monitor.wordings import RESEND_SECONDS

FIRING, RESOLVED = "firing", "resolved"
RESOLVED_SECONDS = 300.0  # how long Alertmanager goes on being told of an end
LATE_SECONDS = 60.0  # how long Alertmanager has a late alert as firing: its default group_wait is 30 seconds


class Plan(msgspec.Struct, frozen=True):
    """What is said now, None for nothing, and when the next look is due, None for never."""

    says: str | None
    again_at: float | None


def kept_alive(told: int, created_at: float, ended_at: float | None, now: float) -> Plan:
    """Return what Alertmanager is sent, which forgets what it is not told again; `told` counts what it took so far."""
    if ended_at is None:
        return Plan(FIRING, now + RESEND_SECONDS)
    if not told and ended_at > created_at:
        return Plan(FIRING, now + LATE_SECONDS)
    return Plan(RESOLVED, None if now >= ended_at + RESOLVED_SECONDS else now + RESEND_SECONDS)


def once(told: int, created_at: float, ended_at: float | None, now: float, *, is_end_told: bool) -> Plan:
    """Return what those are sent that remember: the beginning and the end, each once."""
    if not told:
        if ended_at is None:
            return Plan(FIRING, now + RESEND_SECONDS)
        if ended_at <= created_at:
            return Plan(None, None)  # its end was told before this row was made
        return Plan(FIRING, now if is_end_told else None)
    if ended_at is None:
        return Plan(None, now + RESEND_SECONDS)
    return Plan(RESOLVED if is_end_told else None, None)


def reminder(sequence: int, newest: int, ended_at: float | None) -> Plan:
    """Return what a reminder says: nothing where a later one says the same, or all is over."""
    return Plan(None if sequence < newest or ended_at is not None else FIRING, None)
