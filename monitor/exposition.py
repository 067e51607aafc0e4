"""The text of /metrics."""

import threading
import time

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

CACHE_SECONDS = 1.0  # a page of 5,000 series takes 120 to 190 ms to write


class Page:
    """The text of /metrics: written at most once a second, off the event loop, and shared."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._cached: dict[tuple[str, tuple[str, ...]], tuple[float, bytes, str]] = {}

    def text(self, accept: str, names: tuple[str, ...]) -> tuple[bytes, str]:
        """Return the page and its content type in the format that `accept` prefers."""
        encode, content_type = choose_encoder(accept)
        with self._lock:
            key = (content_type, names)
            found = self._cached.get(key)
            now = time.monotonic()
            if found is not None and now - found[0] < CACHE_SECONDS:
                return found[1], found[2]
            registry = self._registry.restricted_registry(names) if names else self._registry
            body = encode(registry)
            self._cached = {one: value for one, value in self._cached.items() if now - value[0] < CACHE_SECONDS}
            self._cached[key] = (time.monotonic(), body, content_type)
            return body, content_type
