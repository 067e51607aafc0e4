"""Rates: how many sends throttles and probes have let through, so that the next one waits its turn; memory only."""

from collections.abc import Sequence

from monitor.actions import Pause
from monitor.limits import Limit, limit

BURST_SECONDS = 1.0  # what is saved up while nobody sends; at least one message
LIMITS_MOST = 10_000
SHARE_SECONDS = 1.0  # when to ask again where only a share of all sends may leave
_WHOLE = 1.0 - 1e-9  # twenty times 0.05 is a little less than 1


class Rates:
    """One bucket of tokens for each limit in force; a share earns its part of a token with each question."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, limits: Sequence[Pause], now: float) -> float:
        """Take one message out of every limit's bucket; return 0.0, or how many seconds to wait and take none."""
        if len(self._buckets) > LIMITS_MOST:
            self._buckets.clear()
        found = [(pause, allowed) for pause in limits if (allowed := limit(pause, now)) is not None]
        named = [(f"{pause.id}:{allowed.name}", allowed) for pause, allowed in found]
        filled = [(name, self._filled(name, allowed, now), allowed) for name, allowed in named]
        waits = [_wait_seconds(allowed, tokens) for _, tokens, allowed in filled if tokens < _WHOLE]
        for name, tokens, _ in filled:
            self._buckets[name] = (tokens if waits else tokens - 1.0, now)
        return max(waits, default=0.0)

    def share(self, name: str, share: float) -> bool:
        """Say whether this send is one of the share that may leave."""
        tokens = min(1.0, self._buckets.get(name, (0.0, 0.0))[0] + share)
        is_one = tokens >= _WHOLE
        self._buckets[name] = (tokens - 1.0 if is_one else tokens, 0.0)
        return is_one

    def _filled(self, name: str, allowed: Limit, now: float) -> float:
        if allowed.share is not None:
            return min(1.0, self._buckets.get(name, (0.0, now))[0] + allowed.share)
        per_second = allowed.per_second or 0.0
        most = max(1.0, per_second * BURST_SECONDS)
        tokens, at = self._buckets.get(name, (most, now))
        return min(most, tokens + max(0.0, now - at) * per_second)


def _wait_seconds(allowed: Limit, tokens: float) -> float:
    if allowed.share is not None or not allowed.per_second:
        return SHARE_SECONDS
    return (1.0 - tokens) / allowed.per_second
