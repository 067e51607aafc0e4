"""How much a pause that is no full stop lets through."""

import msgspec

from monitor import probes
from monitor.actions import Pause


class Limit(msgspec.Struct, frozen=True):
    """How much a pause that is no full stop lets through: messages a second, or a share of all sends."""

    name: str
    per_second: float | None = None
    share: float | None = None


def rate(pause: Pause, now: float) -> float:
    """Return how many messages a second a pause in force lets through: none, or what its steps have come to."""
    if pause.per_second is None or pause.until is None:
        return pause.per_second or 0.0
    restored_from = pause.until - pause.steps * pause.step_seconds
    steps = int((now - restored_from) // pause.step_seconds) + 1 if pause.steps and now >= restored_from else 0
    return pause.per_second * 2.0 ** min(steps, pause.steps)


def limit(pause: Pause, now: float) -> Limit | None:
    """Return how much a pause in force lets through, None where it stops everything."""
    if pause.per_second is not None:
        return Limit("throttled", per_second=rate(pause, now))
    if pause.probe is None:
        return None
    stage, amount = probes.stage(pause.probe, now)
    if stage == probes.CLOSED:
        return None
    return Limit(stage, per_second=amount) if stage == probes.HALF_OPEN else Limit(stage, share=amount)
