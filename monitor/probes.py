"""Coming back by trial: after a stop a trickle, then a growing share of all sends, and at last everything.

All of it follows from the clock: nothing has to happen for a stage to end.
"""

import msgspec

SHARES = (0.05, 0.25)  # of all sends, in the steps between the trickle and everything
CLOSED, HALF_OPEN, RAMPING = "closed", "half_open", "ramping"


class Probe(msgspec.Struct, frozen=True):
    """From `from_at` on `per_second` messages for `seconds`, then each of SHARES for `step_seconds`."""

    from_at: float
    per_second: float
    seconds: float
    step_seconds: float


def ends_at(probe: Probe) -> float:
    """Return when everything may be sent again."""
    return probe.from_at + probe.seconds + len(SHARES) * probe.step_seconds


def stage(probe: Probe, now: float) -> tuple[str, float]:
    """Return the stage, and with it messages a second (half open) or the share of sends (ramping) that may leave."""
    if now < probe.from_at:
        return CLOSED, 0.0
    ramped_seconds = now - probe.from_at - probe.seconds
    if ramped_seconds < 0:
        return HALF_OPEN, probe.per_second
    step = int(ramped_seconds // probe.step_seconds) if probe.step_seconds else len(SHARES)
    return RAMPING, SHARES[step] if step < len(SHARES) else 1.0
