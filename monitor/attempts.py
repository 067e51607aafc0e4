"""Log-ins that failed: whoever tries one token after another is told to wait.

Right tokens are never made to wait: in a pod or behind an ingress everybody has one address, and the gate must answer.
Different tokens are counted, not requests, so that a program with one wrong token is seen as what it is.
"""

import hashlib
from collections.abc import Callable

DIFFERENT_MOST = 10  # in WINDOW_SECONDS, from one address
WINDOW_SECONDS = 60.0
ADDRESSES_MOST = 1_024


class Attempts:
    """What was tried from each address since its window began."""

    def __init__(self, clock: Callable[[], float], count: Callable[[str], None]) -> None:
        self._clock = clock
        self._count = count
        self._tried: dict[str, tuple[float, set[bytes]]] = {}

    def wait_seconds(self, address: str) -> int:
        """Return how long a wrong token from an address is to wait, 0 where it need not; counts one that must."""
        begun_at, tried = self._tried.get(address, (0.0, set()))
        left = begun_at + WINDOW_SECONDS - self._clock()
        if left <= 0 or len(tried) < DIFFERENT_MOST:
            return 0
        self._count("limited")
        return int(min(left, WINDOW_SECONDS)) + 1

    def failed(self, address: str, claimed: bytes) -> None:
        """Note a token that nobody has."""
        self._count("unknown")
        self.begun(address, claimed)

    def begun(self, address: str, claimed: bytes) -> None:
        """Note a password before it is looked at, which takes a while: else all that come together are the first."""
        now = self._clock()
        begun_at, tried = self._tried.pop(address, (now, set()))
        if not 0 <= now - begun_at < WINDOW_SECONDS:
            begun_at, tried = now, set()
        tried.add(_digest(claimed))
        self._tried[address] = (begun_at, tried)
        if len(self._tried) > ADDRESSES_MOST:
            del self._tried[next(iter(self._tried))]

    def right(self, address: str, claimed: bytes) -> None:
        """Take back what was noted of a password that somebody has."""
        if address in self._tried:
            self._tried[address][1].discard(_digest(claimed))


def _digest(claimed: bytes) -> bytes:
    return hashlib.blake2b(claimed, digest_size=8).digest()
