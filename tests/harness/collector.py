"""An OTLP/HTTP trace collector that keeps the spans of each request, decoded from protobuf."""

import gzip
import threading
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness import ports
from tests.harness.listener import Listener, Request


class Collector:
    """Answers 200 to what is OTLP and 400 to what is not; `spans` are in the order of their arrival.

    `refusal` is what it answers to all instead, `delay_seconds` how long each answer takes.
    """

    def __init__(self) -> None:
        self.port = ports.free()
        self.refusal: int | None = None
        self.delay_seconds = 0.0
        self.asked = 0
        self.requests: list[ExportTraceServiceRequest] = []
        self._closing = threading.Event()
        self._listener = Listener(self.port, self._take)

    @property
    def endpoint(self) -> str:
        """The base address, as `tracing.endpoint` takes it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Span]:
        """Every span so far."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def __enter__(self) -> Self:
        self._closing.clear()
        self._listener.open()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._closing.set()
        self._listener.close()

    def _take(self, request: Request) -> int:
        self.asked += 1
        if self._closing.wait(self.delay_seconds):
            return 503
        if self.refusal is not None:
            return self.refusal
        if request.path != "/v1/traces" or request.headers.get("content-type") != "application/x-protobuf":
            return 400
        is_gzip = request.headers.get("content-encoding") == "gzip"
        try:
            body = gzip.decompress(request.body) if is_gzip else request.body
            self.requests.append(ExportTraceServiceRequest.FromString(body))
        except Exception:  # noqa: BLE001 (protobuf's own exceptions have no types here)
            return 400
        return 200


def attributes(span: Span) -> dict[str, str | int]:
    """Return a span's attributes as plain values."""
    return {
        pair.key: pair.value.int_value if pair.value.HasField("int_value") else pair.value.string_value
        for pair in span.attributes
    }
