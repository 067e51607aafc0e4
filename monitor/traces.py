"""One trace per outbound message, as OTLP: spans built from statuses when their webhooks arrive.

A span leaves only when it ends and backends cut long traces, so each status is a short span of its own under a root
that the first status makes. Trace and root ids are keyed hashes of the wamid: statuses that arrive days apart, or after
a restart, land in the same trace.
"""

import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status as SpanStatus
from opentelemetry.trace.status import StatusCode

from monitor import __version__, codes, pseudonyms
from monitor.codes import Catalogue
from monitor.events import Status
from monitor.messages import Advance

SPAN_NANOSECONDS = 1_000_000  # a status is a moment; backends hide spans without a length
QUEUE_MOST = 8_192
BATCH_MOST = 512
EXPORT_EVERY_SECONDS = 1.0
SHUTDOWN_SECONDS = 2.0  # the exporter's own shutdown takes up to 30 s with a dead collector
_TRACEPARENT = re.compile(r"(?<![0-9a-f])00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?![0-9a-f-])")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("whatsapp-monitor", __version__)
_ID_SPACE = 2**64


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
        self._key = key
        self.catalogue = catalogue
        self._default_below = int(default_ratio * _ID_SPACE)
        self._failed_below = int(failed_ratio * _ID_SPACE)
        self.dropped: Callable[[str, int], None] = lambda _reason, _count: None
        self._resource = Resource.create({"service.name": "whatsapp-monitor", "service.version": __version__})
        self._queue: list[ReadableSpan] = []
        self._wake = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="span-exporter", daemon=True)
        self._thread.start()

    def observe(self, advance: Advance, status: Status) -> None:
        """Queue the spans of one new status, if its message is sampled."""
        spans = self._spans(advance, status)
        if not spans:
            return
        with self._wake:
            room = max(0, QUEUE_MOST - len(self._queue))
            self._queue.extend(spans[:room])
            self._wake.notify()
        if len(spans) > room:
            self.dropped("queue_full", len(spans) - room)

    def sampled_ids(self, wamid: str) -> tuple[str, str] | None:
        """Return the trace and root span id of a message in hex where it is sampled whatever becomes of it."""
        trace_id = pseudonyms.trace_id(self._key, wamid)
        if trace_id % _ID_SPACE >= self._default_below:
            return None
        return f"{trace_id:032x}", f"{self._root_id(wamid):016x}"

    def close(self) -> None:
        """Export what is queued within a budget, then let go."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(SHUTDOWN_SECONDS)

    def _spans(self, advance: Advance, status: Status) -> list[ReadableSpan]:
        trace_id = pseudonyms.trace_id(self._key, status.wamid)
        place = trace_id % _ID_SPACE
        is_always_sampled = place < self._default_below
        if not is_always_sampled and not (status.status == "failed" and place < self._failed_below):
            return []
        root = SpanContext(trace_id, self._root_id(status.wamid), is_remote=False, trace_flags=_SAMPLED)
        spans: list[ReadableSpan] = []
        if advance.is_first or not is_always_sampled:
            spans.append(self._root(advance, status, root))
        if not advance.is_first:
            spans.append(self._child(status, root))
        return spans

    def _root(self, advance: Advance, status: Status, context: SpanContext) -> ReadableSpan:
        message = advance.message
        started_at = min(step.occurred_at for step in message.steps)
        is_own = advance.is_first
        return self._span(
            f"send {message.category}".strip(),
            context,
            None,
            SpanKind.PRODUCER,
            started_at,
            {
                **self._attributes(status),
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "whatsapp.status": message.steps[0].status,
            },
            status if is_own else None,
            self._links(message.callback_data),
        )

    def _child(self, status: Status, root: SpanContext) -> ReadableSpan:
        span_id = pseudonyms.span_id(self._key, status.wamid, status.key)
        context = SpanContext(root.trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)
        attributes = {
            **self._attributes(status),
            "messaging.operation.name": status.status,
            "messaging.operation.type": "settle",
            "whatsapp.status": status.status,
        }
        return self._span(status.status, context, root, SpanKind.CLIENT, status.occurred_at, attributes, status, ())

    def _attributes(self, status: Status) -> dict[str, str]:
        attributes = {
            "messaging.system": "whatsapp",
            "messaging.destination.name": status.phone_number_id,
            "messaging.message.id": status.wamid,
            "whatsapp.waba.id": status.waba_id,
            "whatsapp.phone_number.id": status.phone_number_id,
            "whatsapp.recipient.hash": status.recipient,
            "whatsapp.category": status.category,
        }
        return {name: value for name, value in attributes.items() if value}

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        span_kind: SpanKind,
        started_at: float,
        attributes: dict[str, Any],
        outcome: Status | None,
        links: Sequence[Link],
    ) -> ReadableSpan:
        state = SpanStatus(StatusCode.UNSET)
        if outcome is not None and outcome.status == "failed":
            error = outcome.errors[0] if outcome.errors else None
            attributes["error.type"] = str(error.code) if error is not None and error.code is not None else "_OTHER"
            known = codes.find(self.catalogue, error.code) if error is not None else None
            state = SpanStatus(
                StatusCode.ERROR, known.title if known is not None else ""
            )  # Meta's own text may hold data
        start = int(started_at * 1_000_000_000)
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            links=links,
            kind=span_kind,
            instrumentation_scope=_SCOPE,
            status=state,
            start_time=start,
            end_time=start + SPAN_NANOSECONDS,
        )

    def _root_id(self, wamid: str) -> int:
        return pseudonyms.span_id(self._key, wamid, "root")

    def _links(self, callback_data: str) -> Sequence[Link]:
        """Link to the application's own trace where it left a W3C traceparent in biz_opaque_callback_data."""
        found = _TRACEPARENT.search(callback_data)
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return ()
        flags = TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED)
        return (Link(SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)),)

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


def otlp(endpoint: str | None, timeout_seconds: float) -> SpanExporter:
    """Return an exporter to an OTLP/HTTP collector; without an endpoint the usual OTEL_* variables say where."""
    if endpoint is None:
        return OTLPSpanExporter(timeout=timeout_seconds)
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=timeout_seconds)
