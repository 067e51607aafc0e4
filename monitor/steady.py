"""The wall clock as it was at the start, going on by the monotonic one: who sets the machine's clock ends no pause.

Small corrections are followed. After a jump the old time goes on, until a restart or until Meta's own timestamps show
that the wall clock is right after all, as after a machine stood still.
"""

import time
from collections.abc import Callable

FOLLOWED_SECONDS = 5.0  # between two looks; time services correct by less


class Steady:
    """Called for the time in Unix seconds; `off_by_seconds` is how far the wall clock has jumped ahead, 0 usually."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset_seconds = wall() - monotonic()
        self.off_by_seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        wall = self._wall()
        steady = self._monotonic() + self._offset_seconds
        difference = wall - steady
        if -FOLLOWED_SECONDS <= difference <= FOLLOWED_SECONDS:
            self._offset_seconds += difference
            self.off_by_seconds = 0.0
            return wall
        self.off_by_seconds = difference
        return steady

    def heard(self, at: float) -> bool:
        """Take up the wall clock where a timestamp of Meta's is ahead of us and not of it; say whether it was."""
        ahead = at - self()
        if not FOLLOWED_SECONDS < ahead <= self.off_by_seconds + FOLLOWED_SECONDS:
            return False
        self._offset_seconds += self.off_by_seconds
        self.off_by_seconds = 0.0
        return True
