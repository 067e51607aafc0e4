"""Rates: how many sends a throttle has let through, so that the next one waits its turn; memory only."""

from monitor.actions import Pause

BURST_SECONDS = 1.0  # what is saved up while nobody sends; at least one message
THROTTLES_MOST = 10_000


class Rates:
    """One bucket of tokens for each throttle in force."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, throttle: Pause, per_second: float, now: float) -> float:
        """Take one message out of the throttle's bucket; return 0.0, or how many seconds to wait for the next."""
        most = max(1.0, per_second * BURST_SECONDS)
        if len(self._buckets) > THROTTLES_MOST:
            self._buckets.clear()
        tokens, at = self._buckets.get(throttle.id, (most, now))
        tokens = min(most, tokens + max(0.0, now - at) * per_second)
        if tokens < 1.0:
            self._buckets[throttle.id] = (tokens, now)
            return (1.0 - tokens) / per_second
        self._buckets[throttle.id] = (tokens - 1.0, now)
        return 0.0
