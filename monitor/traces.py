"""Spans on their way to a collector: queued, exported by a thread, counted where they are lost."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from monitor import __version__, dialing, spans
from monitor.codes import Catalogue
from monitor.messages import Advance
from monitor.networks import Network
from monitor.spans import Exchange, Origin

QUEUE_MOST = 8_192
BATCH_MOST = 512
EXPORT_EVERY_SECONDS = 1.0
SHUTDOWN_SECONDS = 2.0  # the exporter's own shutdown takes up to 30 s with a dead collector


class Traces:
    """Builds spans for a thread that exports them; what can't be exported is counted, never waited for."""

    def __init__(
        self,
        exporter: SpanExporter,
        key: bytes,
        catalogue: Catalogue,
        *,
        default_ratio: float,
        failed_ratio: float,
    ) -> None:
        self._exporter = exporter
        resource = Resource.create({"service.name": "whatsapp-monitor", "service.version": __version__})
        self._origin = Origin(key, catalogue, resource, default_ratio, failed_ratio)
        self.dropped: Callable[[str, int], None] = lambda _reason, _count: None
        self._queue: list[ReadableSpan] = []
        self._wake = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="span-exporter", daemon=True)
        self._thread.start()

    def learn(self, catalogue: Catalogue) -> None:
        """Take up a catalogue of error codes."""
        self._origin = msgspec.structs.replace(self._origin, catalogue=catalogue)

    def observe(self, advance: Advance, decided: Mapping[str, Sequence[str]]) -> None:
        """Queue the spans of what is new in a message's life, with what rules made of it."""
        self._add(spans.of_advance(self._origin, advance, decided))

    def exchanged(self, wamid: str, seen: Exchange) -> None:
        """Queue the spans of a send that the proxy passed on."""
        self._add(spans.of_exchange(self._origin, wamid, seen))

    def decided(self, traceparent: str, at: float, decision: Mapping[str, str]) -> None:
        """Queue the span of a decision that somebody asked for within a trace of their own."""
        self._add(spans.of_decision(self._origin, traceparent, at, decision))

    def departed(
        self, wamid: str, name: str, began_at: float, ended_at: float, about: Mapping[str, str], *, is_failed: bool
    ) -> None:
        """Queue the span of a forward or an alert about a message."""
        if self.is_traced(wamid, is_failed=is_failed):
            self._add(spans.of_departure(self._origin, wamid, name, began_at, ended_at, about))

    def is_traced(self, wamid: str, *, is_failed: bool) -> bool:
        """Say whether a message that failed, or did not, is traced."""
        below = spans.place(self._origin, wamid)
        return below < self._origin.default_ratio or (is_failed and below < self._origin.failed_ratio)

    def sampled_ids(self, wamid: str) -> tuple[str, str] | None:
        """Return the trace and root span id of a message in hex where it is sampled whatever becomes of it."""
        if spans.place(self._origin, wamid) >= self._origin.default_ratio:
            return None
        context = spans.root(self._origin, wamid)
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"

    def close(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Export what is queued within so many seconds, two at the most, then let go."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(min(seconds, SHUTDOWN_SECONDS))

    def _add(self, made: Iterable[ReadableSpan]) -> None:
        found = list(made)
        if not found:
            return
        with self._wake:
            room = max(0, QUEUE_MOST - len(self._queue))
            self._queue.extend(found[:room])
            self._wake.notify()
        if len(found) > room:
            self.dropped("queue_full", len(found) - room)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._is_closing:
                    self._wake.wait(EXPORT_EVERY_SECONDS)
                batch, self._queue = self._queue[:BATCH_MOST], self._queue[BATCH_MOST:]
                is_last = self._is_closing and not batch
            if is_last:
                break
            if batch and not self._export(batch):
                self.dropped("export_failed", len(batch))
            if len(batch) < BATCH_MOST and not self._is_closing:
                threading.Event().wait(EXPORT_EVERY_SECONDS / 4)
        self._exporter.shutdown()

    def _export(self, batch: Sequence[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 (a collector's answer must not end the thread; the drop is counted)
            return False


def is_wanted(endpoint: str | None) -> bool:
    """Say whether spans have somewhere to go: an endpoint of our own or one of the usual OTEL_* variables."""
    return endpoint is not None or any(
        os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def otlp(endpoint: str | None, timeout_seconds: float, deny: Sequence[Network] = ()) -> SpanExporter:
    """Return an exporter to an OTLP/HTTP collector outside the denied networks.

    Without an endpoint the usual OTEL_* variables say where.
    """
    place = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
    return OTLPSpanExporter(endpoint=place, timeout=timeout_seconds, session=dialing.session(deny))
