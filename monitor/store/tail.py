"""The journal's tail: what was journaled last, in memory, for a pipeline that is nearly caught up."""

from collections import deque
from collections.abc import Iterable

from monitor.store.protocol import Entry

TAIL_BYTES = 64 * 1024 * 1024  # of bodies; beyond it the file is read


class Tail:
    """The newest entries without a gap, but those that were read; `size_bytes` is what their bodies take."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.size_bytes = 0

    def remember(self, entries: Iterable[Entry]) -> None:
        """Keep what was just journaled; where that is too much, nothing that came before it is kept."""
        for entry in entries:
            if self.size_bytes + len(entry.body) > TAIL_BYTES:
                self.clear()
            self._entries.append(entry)
            self.size_bytes += len(entry.body)

    def behind(self, position: int, limit: int) -> list[Entry]:
        """Return the entries behind a position, and let go of those up to it; none where the next is not kept."""
        entries = self._entries
        while entries and entries[0].position <= position:
            self.size_bytes -= len(entries.popleft().body)
        if not entries or entries[0].position != position + 1:
            return []
        return [entries[index] for index in range(min(limit, len(entries)))]

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()
        self.size_bytes = 0
