"""Open customer-service windows: 24 hours from a customer's last message, in which free-form messages are allowed."""

import math
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

WINDOW_SECONDS = 24 * 3600.0  # Meta: outside it only templates, else 131047
WINDOWS_MOST = 200_000  # windows kept in memory, 360 to 580 bytes each; of more the oldest go first


class Window(msgspec.Struct, frozen=True, gc=False):
    """A customer may be answered freely by a number until `closes_at`; both ids of a person are keyed hashes."""

    phone_number_id: str
    recipient: str
    closes_at: float
    alias: str = ""


class Conversations:
    """The windows that are open, in memory, so that the gate can answer without the store.

    Of more than it keeps the oldest go; while one of those may still be open, nobody's window is taken for closed.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], Window] = OrderedDict()
        self._aliases: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._is_whole_from = -math.inf

    def learn(self, windows: Iterable[Window]) -> None:
        """Open windows, or renew those that are open; an older message renews nothing."""
        for window in windows:
            key = (window.phone_number_id, window.recipient)
            known = self._open.get(key)
            if known is not None and known.closes_at >= window.closes_at:
                continue
            if known is None:
                self._counts[key[0]] = self._counts.get(key[0], 0) + 1
            self._open[key] = window
            self._open.move_to_end(key)
            if window.alias:
                self._aliases[key[0], window.alias] = window.recipient
            if len(self._open) > WINDOWS_MOST:
                self._is_whole_from = max(self._is_whole_from, self._drop(next(iter(self._open))))

    def is_open(self, phone_number_id: str, recipient: str, now: float) -> bool:
        """Say whether the number may answer the person freely; both of a person's hashes find the window.

        True where it is not known.
        """
        window = self._open.get((phone_number_id, self._aliases.get((phone_number_id, recipient), recipient)))
        return now < self._is_whole_from or (window is not None and window.closes_at > now)

    def counts(self, now: float) -> dict[str, int]:
        """Return how many windows are open, by phone number id."""
        while self._open:
            key, window = next(iter(self._open.items()))
            if window.closes_at > now:
                break
            self._drop(key)
        return dict(self._counts)

    def forget(self, people: Iterable[str]) -> None:
        """Close what concerns these people, by either of their hashes."""
        gone = set(people)
        if not gone:  # as nearly always: not all windows are looked at then
            return
        for key in [key for key, window in self._open.items() if key[1] in gone or window.alias in gone]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> float:
        window = self._open.pop(key)
        self._aliases.pop((key[0], window.alias), None)
        left = self._counts[key[0]] - 1
        if left:
            self._counts[key[0]] = left
        else:
            del self._counts[key[0]]
        return window.closes_at
